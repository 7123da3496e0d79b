//! Emulated microcontrollers that probe-rs can flash.
//!
//! A [`machine::Machine`] is a chip: the core comes from Unicorn, everything around it from here.
//! [`server::serve`] puts it behind a Black Magic Probe on a TCP port, which the unmodified probe-rs
//! takes for a real one: `--probe 1d50:6018:127.0.0.1:PORT`. What runs on it is the very firmware that
//! is built for the board.
//!
//! From the ground up: [`mem`] and [`flash`] hold bytes, [`nvic`], [`systick`] and [`scs`] are the
//! core's own registers, [`chip`] has one file a chip, [`board`] is all of that together, [`machine`]
//! lets it run, [`exception`] does what Unicorn does not, [`debug`], [`dap`], [`swd`] and [`bmp`] are
//! the way in from outside. [`oplog`] and [`replay`] take a run apart at each flash operation.
//!
//! Under GPL-2.0-only, because of the emulator, and nothing else of the project is.

#![warn(missing_docs)]

pub mod bmp;
pub mod board;
pub mod chip;
pub mod counter;
pub mod cpu;
pub mod dap;
pub mod debug;
pub mod exception;
pub mod flash;
mod hooks;
pub mod machine;
pub mod mem;
pub mod mx25r;
pub mod nvic;
pub mod oplog;
pub mod replay;
pub mod rtt;
pub mod scs;
pub mod server;
pub mod swd;
pub mod systick;
pub mod uart;
