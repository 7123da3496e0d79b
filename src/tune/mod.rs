//! Tuning: labelled features become a tail that the store keeps.
//!
//! ```text
//! method      the interface: Method, its numbers in a tail
//! schedule    the numbers of a fit; optimizer: from a gradient to a step
//! math        exp, ln, square root: one software implementation; vector: products, unrolled
//! origin      where a head starts from and goes back to
//! head        the f32 head in RAM
//! ncm         nearest class mean
//! ridge       least squares in closed form, streaming
//! softmax     softmax regression with SGD, momentum or Adam
//! block       methods below the pooled feature: norms and biases, LoRA, the whole last block
//! memory      owners of the buffers; workspace: one piece of memory for whichever method
//! recipe      a method and its numbers; any, any_head: the method that a recipe names
//! plan        bytes of every part before anything runs; cost: instructions of a step
//! replay      the samples that a fit visits
//! shuffle     in which order
//! fit         the loop: epochs, one bounded step a sample, and the end of it when a loss diverges
//! guard       samples held back decide whether a tune stays
//! added       added classes lowered so that old ones keep what they had
//! reject      unknown inputs, told by confidence and margin
//! self_label  labels for unlabelled samples, by their distance to labelled ones
//! tuner       a method and its samples in one
//! tail        the result as bytes, and back
//! output      a tail as a decoder's output projection
//! ```
//!
//! A [`Method`] is one way of tuning. It owns its parameters in memory that the caller lends, starts
//! from an origin that stays where it lies (image or stored tail), and can go back to it.
//!
//! Contract: no allocation; no panic, whatever the features, labels, bytes or schedule; RAM fixed
//! before the first sample, and lack of it a typed error of `new`. Arithmetic is f32, IEEE, each
//! operation rounded once in a documented order, so a host and a device that do the same steps hold
//! the same bits.

pub mod added;
mod any;
mod any_head;
pub mod block;
mod cost;
mod error;
mod fit;
mod guard;
mod head;
pub mod math;
mod memory;
mod method;
pub mod ncm;
mod optimizer;
mod origin;
pub mod output;
mod plan;
mod recipe;
pub mod reject;
mod replay;
pub mod ridge;
mod schedule;
pub mod self_label;
mod shuffle;
pub mod softmax;
pub mod tail;
mod tuner;
mod vector;
mod workspace;

pub use added::{HasHead, keep_old_classes};
pub use any::AnyMethod;
pub use any_head::{AnyHead, Start};
pub use block::{BlockBuffers, LastBlock, LastBlockMaster, Lora, NormBias};
pub use error::{Buffer, ScheduleField, TuneError};
pub use fit::{Fit, Report, Score, evaluate};
pub use guard::{Verdict, held_back};
pub use head::{ClassName, HeadBuffers, LinearHead, NAME_BYTES, argmax};
pub use math::Math;
pub use memory::{
    AdamMemory, HeadMemory, MomentumMemory, NcmMemory, RidgeMemory, SoftmaxMemory, adam_bytes,
    momentum_bytes, ncm_bytes, plain_bytes, ridge_bytes,
};
pub use method::{Method, MethodId};
pub use ncm::{Ncm, NcmBuffers, Nearest};
pub use origin::{FromScratch, HeadOrigin, OriginFn};
pub use output::TailOutput;
pub use plan::{ReplayPlace, TunePlan, TuneSetup};
pub use recipe::{BlockWeights, Recipe};
pub use reject::Rejection;
pub use replay::{
    FlashBuffers, FlashOffer, FlashReplay, Offer, Place, Positions, Replay, ReplayError,
    ReplayMemory, Samples,
};
pub use ridge::{Ridge, RidgeBuffers, RidgeOptions};
pub use schedule::{Decay, Optimizer, Schedule};
pub use self_label::SelfLabel;
pub use softmax::{AdamState, Softmax, SoftmaxBuffers, Velocity};
pub use tail::{Tail, TailError};
pub use tuner::Tuner;
pub use workspace::{WorkMemory, Workspace};
