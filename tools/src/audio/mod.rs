//! Sound → features, on the host.

mod mfcc;
mod resample;
mod wav;

pub use mfcc::{FrontEnd, FrontEndConfig, FrontEndKind, TableError};
pub use wav::{WavError, centre, read_wav};
