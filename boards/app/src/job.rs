//! A job: what a board is to do, as bytes that host and board share.
//!
//! ```text
//! offset size field
//!  0     4    magic           "TTJB"
//!  4     2    version         2
//!  6     2    kind            0 infer, 1 adapt, 2 evaluate, 3 listen, 4 decode, 5 tokenize
//!  8     4    train samples
//! 12     4    test samples
//! 16     4    sample length   bytes of one input: int8 values of frames; tokens as below; to listen, a clip
//!                             of i16 samples; to tokenize, a text, zeros after it
//! 20     4    names length    bytes of added class names
//! 24     4    epochs
//! 28     4    learning rate   f32
//! 32     4    momentum        f32
//! 36     4    weight decay    f32
//! 40     4    seed
//! 44     4    batch
//! 48     4    label smoothing f32
//! 52     4    emphasis        f32
//! 56     4    hold back
//! 60     4    patience
//! 64     1    method          as a tail names it
//! 65     1    optimizer       0 SGD, 1 Adam
//! 66     1    rate's decay    0 none, 1 linear, 2 cosine
//! 67     1    class balance   0 or 1
//! 68     4    of ridge: λ     f32
//! 72     4    of a block: its learning rate by the head's, f32
//! 76     4    of LoRA: α      f32
//! 80     4    of LoRA: seed of A
//! 84     1    of LoRA: rank
//! 85     1    of LoRA: projections, a bit each
//! 86     1    of last-block: its weights, 0 in place, 1 a copy, 2 a copy with momentum
//! 87     1    reserved        0
//! 88     n    names of added classes: one byte of length, then UTF-8
//!  …          samples, the training ones first: label u16, then the input
//! ```
//!
//! An input of tokens: their number u32, room for the ids of the longest input, u32 each, and where the
//! model has segments for as many segment ids, u8 each.

use tailtune::tune::block::{BlockOptions, LoraOptions, Projections};
use tailtune::tune::{BlockWeights, Decay, MethodId, Optimizer, Recipe, RidgeOptions, Schedule};
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first four bytes of a job.
pub const MAGIC: [u8; 4] = *b"TTJB";
/// The version of this layout.
pub const VERSION: u16 = 2;
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
    /// Write the decoder's output for every test sample, and what it took.
    Decode,
    /// Report the token ids of every test sample's text.
    Tokenize,
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
    batch: U32,
    label_smoothing: F32,
    emphasis: F32,
    hold_back: U32,
    patience: U32,
    method: u8,
    optimizer: u8,
    decay: u8,
    class_balance: u8,
    lambda: F32,
    block_rate: F32,
    alpha: F32,
    lora_seed: U32,
    rank: u8,
    projections: u8,
    weights: u8,
    reserved: u8,
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
    /// How to tune. Activations are always rounded as the integer runtime does.
    pub recipe: Recipe,
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
                4 => Kind::Decode,
                5 => Kind::Tokenize,
                _ => return None,
            },
            train: h.train.get(),
            test: h.test.get(),
            sample_len: h.sample_len.get(),
            names_len: h.names_len.get(),
            recipe: recipe(h)?,
        })
    }

    /// Returns the header's bytes.
    pub fn emit(&self) -> [u8; HEADER_BYTES] {
        let Recipe {
            method,
            schedule,
            ridge,
            lora,
            block,
            weights,
        } = self.recipe;
        // Rates of a method that the recipe is not of are not carried.
        let block = match method {
            MethodId::Lora => lora.block,
            _ => block,
        };
        let header = Header {
            magic: MAGIC,
            version: U16::new(VERSION),
            kind: U16::new(match self.kind {
                Kind::Infer => 0,
                Kind::Adapt => 1,
                Kind::Evaluate => 2,
                Kind::Listen => 3,
                Kind::Decode => 4,
                Kind::Tokenize => 5,
            }),
            train: U32::new(self.train),
            test: U32::new(self.test),
            sample_len: U32::new(self.sample_len),
            names_len: U32::new(self.names_len),
            epochs: U32::new(schedule.epochs),
            learning_rate: F32::new(schedule.learning_rate),
            momentum: F32::new(schedule.momentum),
            weight_decay: F32::new(schedule.weight_decay),
            seed: U32::new(schedule.seed),
            batch: U32::new(schedule.batch),
            label_smoothing: F32::new(schedule.label_smoothing),
            emphasis: F32::new(schedule.emphasis),
            hold_back: U32::new(schedule.hold_back),
            patience: U32::new(schedule.patience),
            method: method.id(),
            optimizer: match schedule.optimizer {
                Optimizer::Sgd => 0,
                Optimizer::Adam => 1,
            },
            decay: match schedule.decay {
                Decay::Constant => 0,
                Decay::Linear => 1,
                Decay::Cosine => 2,
            },
            class_balance: schedule.class_balance.into(),
            lambda: F32::new(ridge.lambda),
            block_rate: F32::new(block.rate),
            alpha: F32::new(lora.alpha),
            lora_seed: U32::new(lora.seed),
            rank: u8::try_from(lora.rank).unwrap_or(u8::MAX),
            projections: lora.projections.bits(),
            weights: match weights {
                BlockWeights::InPlace => 0,
                BlockWeights::Copy => 1,
                BlockWeights::CopyMomentum => 2,
            },
            reserved: 0,
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

/// Returns what a header says of tuning; none if it names what cannot be.
fn recipe(h: &Header) -> Option<Recipe> {
    let block = BlockOptions {
        rate: h.block_rate.get(),
        ..BlockOptions::default()
    };
    Some(Recipe {
        method: MethodId::from_id(h.method)?,
        schedule: Schedule {
            epochs: h.epochs.get(),
            batch: h.batch.get(),
            optimizer: match h.optimizer {
                0 => Optimizer::Sgd,
                1 => Optimizer::Adam,
                _ => return None,
            },
            learning_rate: h.learning_rate.get(),
            decay: match h.decay {
                0 => Decay::Constant,
                1 => Decay::Linear,
                2 => Decay::Cosine,
                _ => return None,
            },
            momentum: h.momentum.get(),
            weight_decay: h.weight_decay.get(),
            label_smoothing: h.label_smoothing.get(),
            emphasis: h.emphasis.get(),
            class_balance: match h.class_balance {
                0 => false,
                1 => true,
                _ => return None,
            },
            hold_back: h.hold_back.get(),
            patience: h.patience.get(),
            seed: h.seed.get(),
        },
        ridge: RidgeOptions {
            lambda: h.lambda.get(),
        },
        lora: LoraOptions {
            projections: Projections::from_bits(h.projections)?,
            rank: h.rank.into(),
            alpha: h.alpha.get(),
            seed: h.lora_seed.get(),
            block,
        },
        block,
        weights: match h.weights {
            0 => BlockWeights::InPlace,
            1 => BlockWeights::Copy,
            2 => BlockWeights::CopyMomentum,
            _ => return None,
        },
    })
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
        let mut recipe = Recipe::new(MethodId::Lora);
        recipe.schedule = Schedule {
            epochs: 7,
            seed: 3,
            batch: 4,
            optimizer: Optimizer::Adam,
            decay: Decay::Cosine,
            class_balance: true,
            hold_back: 5,
            patience: 2,
            ..recipe.schedule
        };
        recipe.lora.rank = 2;
        recipe.lora.projections = Projections::ALL;
        Job {
            kind: Kind::Adapt,
            train: 5,
            test: 9,
            sample_len: 40,
            names_len: 6,
            recipe,
        }
    }

    #[test]
    fn emit_then_parse_gives_the_job() {
        assert_eq!(Job::parse(&job().emit()), Some(job()));
        assert_eq!(job().sample_offset(2), Some(88 + 6 + 2 * 42));
        assert_eq!(job().sample_offset(u32::MAX), None);
    }

    #[test]
    fn what_is_no_job_is_refused() {
        let good = job().emit();
        for len in 0..HEADER_BYTES {
            assert_eq!(Job::parse(&good[..len]), None);
        }
        let bad = [
            (0, b'X'),
            (4, 9),
            (6, 6),
            (22, 1),
            (64, 0),
            (64, 7),
            (65, 2),
            (66, 3),
            (67, 2),
            (85, 64),
            (86, 3),
        ];
        for (at, value) in bad {
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
