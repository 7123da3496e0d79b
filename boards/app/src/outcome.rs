//! What a job gave, as bytes.
//!
//! Infer: for each test sample the logits of the whole forward and those of the forward in steps,
//! i16 `[n_classes]` each. Listen: for each test clip its frames, f32 `[n_frames, n_features]`, then the
//! logits, i16 `[n_classes]`. Adapt and evaluate: this record, then the tail's bytes.
//!
//! ```text
//! offset size field
//!  0     4    magic        "TTRS"
//!  4     4    test samples
//!  8     4    right before: by the image's own head; labels that it does not know are wrong
//! 12     4    right after: by the tuned (or loaded) tail
//! 16     4    steps of tuning
//! 20     4    mean loss of the first epoch, f32
//! 24     4    mean loss of the last epoch, f32
//! 28     4    epochs
//! 32     4    store: sequence number of the record
//! 36     4    store: slot
//! 40     4    tail length, bytes
//! ```

use zerocopy::little_endian::{F32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first four bytes of a record.
pub const MAGIC: [u8; 4] = *b"TTRS";

/// The record of an adapt or evaluate job: see the [module](self).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Outcome {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// Test samples.
    pub test: U32,
    /// Right by the image's own head.
    pub right_before: U32,
    /// Right by the tail.
    pub right_after: U32,
    /// Steps of tuning.
    pub steps: U32,
    /// Mean loss of the first epoch.
    pub first_loss: F32,
    /// Mean loss of the last epoch.
    pub last_loss: F32,
    /// Epochs.
    pub epochs: U32,
    /// Sequence number of the stored record.
    pub sequence: U32,
    /// Slot of the stored record.
    pub slot: U32,
    /// Bytes of the tail that follows.
    pub tail_len: U32,
}

impl Outcome {
    /// Returns the record at the start of `bytes`, whatever follows it.
    pub fn record(bytes: &[u8]) -> Option<&Self> {
        let (outcome, _) = Self::ref_from_prefix(bytes).ok()?;
        (outcome.magic == MAGIC).then_some(outcome)
    }

    /// Splits a result into its record and the tail.
    pub fn parse(bytes: &[u8]) -> Option<(&Self, &[u8])> {
        let outcome = Self::record(bytes)?;
        let rest = bytes.get(size_of::<Self>()..)?;
        Some((outcome, rest.get(..outcome.tail_len.get() as usize)?))
    }
}
