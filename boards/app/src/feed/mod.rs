//! A host that feeds clips to the running device over a line of bytes and hears what it takes them for.
//!
//! ```text
//! frame     bytes with length, sequence number and CRC on a line that may lose and change some
//! message   requests and replies, one reply to a request
//! line      what a board gives: a line of bytes, a clock, an LED
//! port      the device's end: each request once, its reply again where it got lost (feature `audio`)
//! session   sound → front end → encoder → answers, and learning from labelled clips (feature `audio`)
//! ```
//!
//! The host's end is `tailtune feed`. One definition serves both.

pub mod frame;
mod line;
pub mod message;
#[cfg(feature = "audio")]
mod port;
#[cfg(feature = "audio")]
mod session;

#[cfg(feature = "serial")]
pub use line::Serial;
pub use line::{Line, LineFailed};
