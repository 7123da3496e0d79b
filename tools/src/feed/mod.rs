//! Clips to a device that runs, and what it takes them for: the host's end of the line.
//!
//! ```text
//! wire     bytes to and from a device, and what can go wrong there
//! client   one request at a time, again until it is replied to
//! clips    labelled data as a device takes it, and as the host's own run reads it
//! rtt      the wire through a debug probe (feature `flash`)
//! serial   the wire over a serial port (feature `flash`)
//! ```
//!
//! Frames and messages are the firmware's own: [`tailtune_app::feed`].

mod client;
pub mod clips;
#[cfg(feature = "flash")]
mod rtt;
#[cfg(feature = "flash")]
mod serial;
mod wire;

pub use client::{Answer, Client};
#[cfg(feature = "flash")]
pub use rtt::open as open_rtt;
#[cfg(feature = "flash")]
pub use serial::open as open_serial;
pub use wire::{FeedError, Wire};
