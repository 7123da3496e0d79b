//! Tuning: labelled features become a tail that the store keeps.
//!
//! ```text
//! method      the interface: Method, its numbers in a tail, Schedule
//! math        exp, ln, square root: one software implementation
//! origin      where a head starts from and goes back to
//! head        the f32 head in RAM
//! softmax     softmax regression with SGD, momentum, weight decay
//! memory      owners of the buffers of head and softmax
//! replay      the samples that a fit visits
//! shuffle     in which order
//! fit         the loop: epochs, one bounded step a sample, and the end of it when a loss diverges
//! tuner       a method and its samples in one
//! tail        the result as bytes, and back
//! ```
//!
//! A [`Method`] is one way of tuning. It owns its parameters in memory that the caller lends, starts
//! from an origin that stays where it lies (image or stored tail), and can go back to it.
//!
//! Contract: no allocation; no panic, whatever the features, labels, bytes or schedule; RAM fixed
//! before the first sample, and lack of it a typed error of `new`. Arithmetic is f32, IEEE, each
//! operation rounded once in a documented order, so a host and a device that do the same steps hold
//! the same bits.

mod error;
mod fit;
mod head;
pub mod math;
mod memory;
mod method;
mod origin;
mod replay;
mod shuffle;
pub mod softmax;
pub mod tail;
mod tuner;

pub use error::{Buffer, ScheduleField, TuneError};
pub use fit::{Fit, Report, Score, evaluate};
pub use head::{ClassName, HeadBuffers, LinearHead, NAME_BYTES, argmax};
pub use math::Math;
pub use memory::{HeadMemory, MomentumMemory, SoftmaxMemory, momentum_bytes, plain_bytes};
pub use method::{Method, MethodId, Schedule};
pub use origin::{FromScratch, HeadOrigin, OriginFn};
pub use replay::{
    FlashBuffers, FlashOffer, FlashReplay, Offer, Replay, ReplayError, ReplayMemory, Samples,
};
pub use softmax::{Softmax, SoftmaxBuffers, Velocity};
pub use tail::{Tail, TailError};
pub use tuner::Tuner;
