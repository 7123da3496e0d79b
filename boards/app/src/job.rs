//! A job: what a board is to do, as bytes that host and board share.
//!
//! ```text
//! offset size field
//!  0     4    magic          "TTJB"
//!  4     2    version        1
//!  6     2    kind           0 infer, 1 adapt, 2 evaluate, 3 listen
//!  8     4    train samples
//! 12     4    test samples
//! 16     4    sample length  int8 values of one input; to listen, bytes of one clip of i16 samples
//! 20     4    names length   bytes of added class names
//! 24     4    epochs
//! 28     4    learning rate  f32
//! 32     4    momentum       f32
//! 36     4    weight decay   f32
//! 40     4    seed
//! 44     4    reserved       0
//! 48     n    names of added classes: one byte of length, then UTF-8
//!  …          samples, the training ones first: label u16, then the int8 values
//! ```

use tailtune::tune::Schedule;
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first four bytes of a job.
pub const MAGIC: [u8; 4] = *b"TTJB";
/// The version of this layout.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = size_of::<Header>();
/// Bytes of a sample before its values.
pub const LABEL_BYTES: usize = 2;
/// The most bytes that the names of added classes may take.
pub const MAX_NAMES: usize = 1024;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// Run every test sample, whole and in steps, and report both logits.
    Infer,
    /// Measure, learn from the training samples, measure again, save the tail.
    Adapt,
    /// Load the tail that flash holds and measure.
    Evaluate,
    /// Make frames out of every test clip's sound, run the model on the last ones, and report both.
    Listen,
}

/// A job's header as bytes: see the [module](self).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U16,
    kind: U16,
    train: U32,
    test: U32,
    sample_len: U32,
    names_len: U32,
    epochs: U32,
    learning_rate: F32,
    momentum: F32,
    weight_decay: F32,
    seed: U32,
    reserved: U32,
}

/// What a job's header says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// What to do.
    pub kind: Kind,
    /// Training samples.
    pub train: u32,
    /// Test samples.
    pub test: u32,
    /// int8 values of one sample.
    pub sample_len: u32,
    /// Bytes of the names of added classes.
    pub names_len: u32,
    /// How to tune.
    pub schedule: Schedule,
}

impl Job {
    /// Reads a header; none if it is not one of this version or asks for what cannot be.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (h, _) = Header::ref_from_prefix(bytes).ok()?;
        if h.magic != MAGIC || h.version.get() != VERSION || h.names_len.get() as usize > MAX_NAMES
        {
            return None;
        }
        Some(Self {
            kind: match h.kind.get() {
                0 => Kind::Infer,
                1 => Kind::Adapt,
                2 => Kind::Evaluate,
                3 => Kind::Listen,
                _ => return None,
            },
            train: h.train.get(),
            test: h.test.get(),
            sample_len: h.sample_len.get(),
            names_len: h.names_len.get(),
            schedule: Schedule {
                epochs: h.epochs.get(),
                learning_rate: h.learning_rate.get(),
                momentum: h.momentum.get(),
                weight_decay: h.weight_decay.get(),
                seed: h.seed.get(),
                ..Schedule::default()
            },
        })
    }

    /// Returns the header's bytes.
    pub fn emit(&self) -> [u8; HEADER_BYTES] {
        let header = Header {
            magic: MAGIC,
            version: U16::new(VERSION),
            kind: U16::new(match self.kind {
                Kind::Infer => 0,
                Kind::Adapt => 1,
                Kind::Evaluate => 2,
                Kind::Listen => 3,
            }),
            train: U32::new(self.train),
            test: U32::new(self.test),
            sample_len: U32::new(self.sample_len),
            names_len: U32::new(self.names_len),
            epochs: U32::new(self.schedule.epochs),
            learning_rate: F32::new(self.schedule.learning_rate),
            momentum: F32::new(self.schedule.momentum),
            weight_decay: F32::new(self.schedule.weight_decay),
            seed: U32::new(self.schedule.seed),
            reserved: U32::ZERO,
        };
        zerocopy::transmute!(header)
    }

    /// Returns where a sample starts (training samples first), or none beyond 4 GiB.
    pub fn sample_offset(&self, index: u32) -> Option<u32> {
        let record = self.sample_len.checked_add(LABEL_BYTES as u32)?;
        let start = self.names_len.checked_add(HEADER_BYTES as u32)?;
        index.checked_mul(record)?.checked_add(start)
    }
}

/// Returns the names of added classes, in order; stops at one that is malformed.
pub fn names(mut bytes: &[u8]) -> impl Iterator<Item = &str> {
    core::iter::from_fn(move || {
        let (&len, rest) = bytes.split_first()?;
        let (name, rest) = rest.split_at_checked(len.into())?;
        bytes = rest;
        core::str::from_utf8(name).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        let schedule = Schedule {
            epochs: 7,
            seed: 3,
            ..Schedule::default()
        };
        Job {
            kind: Kind::Adapt,
            train: 5,
            test: 9,
            sample_len: 40,
            names_len: 6,
            schedule,
        }
    }

    #[test]
    fn emit_then_parse_gives_the_job() {
        assert_eq!(Job::parse(&job().emit()), Some(job()));
        assert_eq!(job().sample_offset(2), Some(48 + 6 + 2 * 42));
        assert_eq!(job().sample_offset(u32::MAX), None);
    }

    #[test]
    fn what_is_no_job_is_refused() {
        let good = job().emit();
        for len in 0..HEADER_BYTES {
            assert_eq!(Job::parse(&good[..len]), None);
        }
        for (at, value) in [(0, b'X'), (4, 9), (6, 4), (22, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Job::parse(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn names_stop_at_what_is_malformed() {
        assert!(names(b"\x03one\x00\x03two").eq(["one", "", "two"]));
        assert!(names(b"\x03one\x09two").eq(["one"]));
        assert!(names(b"\x02\xff\xff").eq([""; 0]));
    }
}
