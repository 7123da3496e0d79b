//! Onto a board and back: an image or a firmware into its own region, tails out of their slots and in.
//!
//! ```text
//! device   what is asked of a chip behind a probe, and what can go wrong there
//! file     what a file holds: pieces at addresses, with their names
//! firmware whether an ELF is of the board's core
//! plan     a file against a board: what is erased and written, or why not
//! write    a plan onto a device: erase, program, read back, reset
//! slots    the two slots in RAM, through the runtime's own store, and back
//! chip     what probe-rs knows of a chip: sectors, and a board.toml of it (feature `flash`)
//! probe    a chip behind a real probe, by probe-rs (feature `flash`)
//! ```
//!
//! Nothing but `chip` and `probe` knows of probe-rs, so all of it is tested on memory.

#[cfg(feature = "flash")]
pub mod chip;
pub mod device;
#[cfg(test)]
mod fake;
pub mod file;
mod firmware;
pub mod plan;
#[cfg(feature = "flash")]
pub mod probe;
pub mod slots;
pub mod write;

pub use device::{Device, DeviceError, Progress, Step};
pub use plan::{Plan, PlanError, Planned};
