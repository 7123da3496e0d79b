//! Sound → features, on the host.

mod mfcc;

pub use mfcc::{FrontEnd, FrontEndConfig, FrontEndKind};
