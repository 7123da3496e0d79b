//! Why tuning was refused or given up.

use crate::model::Cut;
use core::fmt;

/// A buffer that the caller lends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Buffer {
    /// Weights of the head, `[capacity][d_model]`.
    Weights,
    /// Biases of the head, `[capacity]`.
    Bias,
    /// Names of added classes.
    Names,
    /// One dequantized feature, `[d_model]`.
    Features,
    /// Logits, `[capacity]`.
    Logits,
    /// The momentum's velocities, as large as weights and biases.
    Velocity,
    /// Values of the replay buffer.
    Replay,
    /// What Adam needs beside the velocities.
    Adam,
    /// The Cholesky factor of a ridge classifier.
    Factor,
    /// Samples of each class, counted.
    Counts,
    /// Parameters of a block's tuning, with their gradients and moments.
    Parameters,
    /// Scratch of a block's forward and backward.
    Scratch,
    /// The block's tensors, as bytes.
    Block,
    /// Samples offered of each class, `[classes]`.
    Seen,
    /// Labels of the samples in flash, one for each slot.
    Labels,
    /// The memory of which all others are cut.
    Workspace,
}

/// A number of a [`Schedule`](super::Schedule).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ScheduleField {
    /// Must be at least 1.
    Epochs,
    /// Must be finite and above 0.
    LearningRate,
    /// Must lie in 0..1.
    Momentum,
    /// Must be finite, at least 0, and less than 1 when multiplied by the learning rate.
    WeightDecay,
    /// Must be at least 1; 1 for a method that steps at every sample.
    Batch,
    /// Must lie in 0..1.
    LabelSmoothing,
    /// Must be finite and above 0.
    Emphasis,
    /// Must not be 1: that would hold every sample back.
    HoldBack,
}

/// Why tuning was refused or given up.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TuneError {
    /// A lent buffer is too small.
    BufferTooSmall {
        /// Which one.
        buffer: Buffer,
        /// Elements needed.
        needed: usize,
        /// Elements found.
        found: usize,
    },
    /// The starting point has features of width 0.
    NoFeatures,
    /// A feature has another length than the head is made for.
    FeatureLength {
        /// Its length.
        found: usize,
        /// `d_model` of the head.
        expected: usize,
    },
    /// The scale of a feature is not a positive finite number.
    FeatureScale {
        /// The scale.
        found: f32,
    },
    /// Scale or zero point differ from the samples that are already kept.
    FeatureQuantization {
        /// Scale and zero point of the new sample.
        found: (f32, i8),
        /// Scale and zero point of the samples before.
        expected: (f32, i8),
    },
    /// A head reads something else than what is wanted: an encoder's tail is none of a decoder.
    Cut {
        /// What it reads.
        found: Cut,
        /// What it should read.
        expected: Cut,
    },
    /// A tail is of another vocabulary than the decoder.
    Vocabulary {
        /// Tokens of the tail, without added ones.
        found: usize,
        /// The decoder's.
        vocab_size: u32,
    },
    /// The name of an added token does not give the token that is fed in its place: see
    /// [`output`](super::output).
    FedAs {
        /// Which added token.
        index: usize,
    },
    /// A label names no class.
    LabelOutOfRange {
        /// The label.
        found: u16,
        /// Labels are below this.
        classes: usize,
    },
    /// The head has no class at all.
    NoClasses,
    /// No room for another class.
    ClassesFull {
        /// Classes that fit.
        capacity: usize,
    },
    /// The name of a new class is too long.
    NameTooLong {
        /// Its length in bytes of UTF-8.
        found: usize,
        /// Bytes that fit.
        capacity: usize,
    },
    /// An added class has this name already.
    NameTaken {
        /// The class that has it.
        class: u16,
    },
    /// No room for another sample.
    ReplayFull {
        /// Samples that fit.
        capacity: usize,
    },
    /// There is no sample to learn from.
    NoSamples,
    /// A sample could not be read back.
    SampleMissing {
        /// Its index.
        index: usize,
    },
    /// A number of the schedule is out of its range.
    Schedule(ScheduleField),
    /// There is no last block to tune: the model pools the mean of all rows, or has a pooler between the block
    /// and its feature. Or the block's memory starts at no multiple of 16, or a rank is out of its range.
    NoBlock,
    /// The method, or the tail, is one below the pooled feature, and the firmware is built for heads only.
    HeadsOnly,
    /// A loss, a logit or a parameter stopped being finite. A fit has put the old tail back.
    NotFinite {
        /// Epoch in which it happened.
        epoch: u32,
        /// Steps of that epoch that had gone well.
        step: u32,
    },
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => "weight",
            Self::Bias => "bias",
            Self::Names => "class name",
            Self::Features => "feature",
            Self::Logits => "logit",
            Self::Velocity => "velocity",
            Self::Replay => "replay",
            Self::Adam => "Adam",
            Self::Factor => "Cholesky factor",
            Self::Counts => "class count",
            Self::Parameters => "parameter",
            Self::Scratch => "scratch",
            Self::Block => "block",
            Self::Seen => "sample count",
            Self::Labels => "label",
            Self::Workspace => "working memory",
        })
    }
}

impl fmt::Display for ScheduleField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epochs => "epochs must be at least 1",
            Self::LearningRate => "the learning rate must be finite and above 0",
            Self::Momentum => "momentum must be at least 0 and below 1",
            Self::WeightDecay => {
                "weight decay must be at least 0, and below 1 when multiplied by the learning rate"
            }
            Self::Batch => "a batch must have at least 1 sample, and only 1 for this method",
            Self::LabelSmoothing => "label smoothing must be at least 0 and below 1",
            Self::Emphasis => "emphasis must be finite and above 0",
            Self::HoldBack => "one sample in 1 cannot be held back: none is left to learn from",
        })
    }
}

impl fmt::Display for TuneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall {
                buffer,
                needed,
                found,
            } => write!(
                f,
                "the {buffer} buffer has {found} elements, {needed} are needed"
            ),
            Self::NoFeatures => write!(f, "the head has features of width 0"),
            Self::FeatureLength { found, expected } => {
                write!(
                    f,
                    "the feature has {found} values, the head takes {expected}"
                )
            }
            Self::FeatureScale { found } => {
                write!(
                    f,
                    "the scale of a feature is {found}, not a positive finite number"
                )
            }
            Self::FeatureQuantization { found, expected } => write!(
                f,
                "the sample has scale {} and zero point {}, those before it {} and {}",
                found.0, found.1, expected.0, expected.1
            ),
            Self::Cut { found, expected } => {
                let of = |cut: &Cut| match cut {
                    Cut::Pooled => "an encoder's pooled feature",
                    Cut::Output => "what a decoder's output projection reads",
                };
                write!(
                    f,
                    "the head reads {}, wanted is one of {}",
                    of(found),
                    of(expected)
                )
            }
            Self::Vocabulary { found, vocab_size } => write!(
                f,
                "the tail is of a vocabulary of {found} tokens, the decoder's has {vocab_size}"
            ),
            Self::FedAs { index } => write!(
                f,
                "the name of added token {index} does not end in =ID, a token of the vocabulary"
            ),
            Self::LabelOutOfRange { found, classes } => {
                write!(f, "label {found} was given, the head has {classes} classes")
            }
            Self::NoClasses => write!(f, "the head has no class"),
            Self::ClassesFull { capacity } => {
                write!(f, "all {capacity} places for classes are taken")
            }
            Self::NameTooLong { found, capacity } => write!(
                f,
                "the class name has {found} bytes, at most {capacity} are kept"
            ),
            Self::NameTaken { class } => write!(f, "class {class} has this name already"),
            Self::ReplayFull { capacity } => {
                write!(f, "all {capacity} places for samples are taken")
            }
            Self::NoSamples => write!(f, "there is no sample to learn from"),
            Self::SampleMissing { index } => write!(f, "sample {index} could not be read back"),
            Self::NoBlock => write!(
                f,
                "the last block cannot be tuned: the model pools the mean or has a pooler, or its memory or rank do not fit"
            ),
            Self::HeadsOnly => write!(f, "this firmware tunes heads only, not the last block"),
            Self::Schedule(field) => write!(f, "{field}"),
            Self::NotFinite { epoch, step } => write!(
                f,
                "training diverged in epoch {epoch} after {step} steps: lower the learning rate"
            ),
        }
    }
}

impl core::error::Error for TuneError {}
