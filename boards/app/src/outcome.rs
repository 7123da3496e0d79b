//! What a job gave, as bytes.
//!
//! Infer: for each test sample the logits of the whole forward and those of the forward in steps,
//! i16 `[n_classes]` each. Listen: for each test clip its frames, f32 `[n_frames, n_features]`, then the
//! logits, i16 `[n_classes]`. Decode: for each test sample, u32 each, what its encoder took by the board's
//! clock, what its decoder took, the number of tokens, and these. Tokenize: for each test text the number of
//! its tokens, then their ids, u32. Adapt and evaluate: this record, then the tail's bytes.
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
//! 40     4    tail length, bytes; 0 where the tune was rolled back and nothing was saved
//! 44     4    held back: samples, 0 without a guard
//! 48     4    of them right before
//! 52     4    of them right after
//! ```

use crate::job::Job;
use crate::tune::Done;
use tailtune::store::Saved;
use tailtune::tune::Verdict;
use zerocopy::little_endian::{F32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of a record.
pub const MAGIC: [u8; 4] = *b"TTRS";

/// The record of an adapt or evaluate job: see the [module](self).
#[derive(
    Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
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
    /// Bytes of the tail that follows; 0 where the tune was rolled back and nothing was saved.
    pub tail_len: U32,
    /// Samples held back; 0 without a guard.
    pub held_back: U32,
    /// Of them right before the tune.
    pub held_right_before: U32,
    /// Of them right after it.
    pub held_right_after: U32,
}

impl Outcome {
    pub(crate) fn new(job: &Job, [before, after]: [u32; 2], done: &Done) -> Self {
        let report = &done.report;
        let held = |score: fn(&Verdict) -> u32| U32::new(report.guard.as_ref().map_or(0, score));
        let saved = |of: fn(&Saved) -> u32| U32::new(done.saved.as_ref().map_or(0, of));
        Self {
            magic: MAGIC,
            test: U32::new(job.test),
            right_before: U32::new(before),
            right_after: U32::new(after),
            steps: U32::new(report.steps),
            first_loss: F32::new(report.first_loss),
            last_loss: F32::new(report.last_loss),
            epochs: U32::new(report.epochs),
            sequence: saved(|s| s.sequence),
            slot: saved(|s| s.slot as u32),
            tail_len: saved(|s| s.len as u32),
            held_back: held(|v| v.before.total),
            held_right_before: held(|v| v.before.right),
            held_right_after: held(|v| v.after.right),
        }
    }

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
