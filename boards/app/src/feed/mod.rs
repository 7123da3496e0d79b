//! A host that feeds clips to the running device over a line of bytes and hears what it takes them for.
//!
//! ```text
//! frame     bytes with length, sequence number and CRC on a line that may lose and change some
//! message   requests and replies, one reply to a request
//! line      what a board gives: a line of bytes, a clock, an LED
//! port      the device's end: each request once, its reply again where it got lost (feature `front-end`)
//! session   sound → front end → encoder → answers, and learning from labelled clips (feature `front-end`)
//! ```
//!
//! The host's end is `tailtune feed`. One definition serves both.

pub mod frame;
mod line;
pub mod message;
#[cfg(feature = "front-end")]
mod port;
#[cfg(feature = "front-end")]
mod session;

#[cfg(feature = "serial")]
pub use line::Serial;
/// The Fourier transform of the images that a board listens with, and the most mel bands.
#[cfg(feature = "front-end")]
pub(crate) const FFT: usize = 512;
#[cfg(feature = "front-end")]
pub(crate) const MEL: usize = 80;

pub use line::{Line, LineFailed};
