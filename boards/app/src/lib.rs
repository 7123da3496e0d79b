//! The application that every board shares: one job from boot to exit.
//!
//! ```text
//! job        what to do and on which samples, as bytes: a file of the emulated board, a flash
//!            region of a real one
//! outcome    what was done, as bytes
//! session    image → encoder → (tune → save) → load → answers
//! samples    the job's samples, through the encoder
//! tune       any method, and its tail to the store
//! error      why a job was not done
//! decode     the decoder's outputs (feature `decode`)
//! listen     sound → frames → encoder → answers (feature `audio`)
//! feed       the same for clips that a host sends over RTT or a serial line, and learning from them
//! tokenize   text → ids (feature `text`)
//! bench      instructions of operators and layers (feature `bench`)
//! device     all of it on a real board: regions, a job in flash, LED and button (feature `device`)
//! ```
//!
//! A board lends it memory, flash and a [`Platform`]: where job bytes come from, where results go.
//! Nothing here allocates or panics, whatever the image, the job or the flash hold.

#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

#[cfg(feature = "bench")]
pub mod bench;
pub mod check;
#[cfg(feature = "decode")]
mod decode;
#[cfg(feature = "device")]
pub mod device;
mod error;
pub mod feed;
pub mod job;
#[cfg(feature = "audio")]
mod listen;
pub mod outcome;
mod samples;
mod session;
#[cfg(feature = "text")]
mod tokenize;
mod tune;

pub use error::{AppError, FlashFailed, PlatformError};
pub use session::{Memory, Platform, ReplayFlash};
