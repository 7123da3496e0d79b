//! ARMv7E-M (Cortex-M4, M7) and ARMv8-M with the DSP extension: SMLAD, two multiply-accumulates an
//! instruction.
//!
//! The inner loops are functions in assembly, one file each; what stands here sees that the operands
//! are what they may read and write, and leaves to the portable loops what is not: they give the same
//! bits.
#![allow(unsafe_code)]

/// Tells an assembler for plain ARMv8-M of the DSP extension. The directive reaches what follows it in
/// the module's assembly: more instructions are known there, none is emitted for it.
#[cfg(tailtune_mve)]
macro_rules! extension {
    () => {
        ".cpu cortex-m55"
    };
}
#[cfg(all(tailtune_v8m, not(tailtune_mve)))]
macro_rules! extension {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(tailtune_v8m))]
macro_rules! extension {
    () => {
        ""
    };
}

#[macro_use]
mod smlad;
mod linear;
mod rows;
mod softmax;

pub(super) use super::portable::{halves, word};
pub(super) use linear::{Places, Store, contexts, linear, scores, tile, tile as weighted};
pub(super) use rows::{normalize, normalize_panel, requantize, sums, widen};
pub(super) use softmax::{exponentials, maxima};
