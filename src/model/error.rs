//! Why an encoder cannot be made, or cannot take an input.

use core::fmt;

/// Why [`Encoder::new`](super::Encoder::new) failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncoderError {
    /// The arena is too small.
    ArenaTooSmall {
        /// Bytes that the model needs.
        needed: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The arena does not start at a multiple of four bytes: see [`Arena`](super::Arena).
    ArenaMisaligned,
    /// The image lacks a tensor that its configuration asks for (a parsed image never does).
    MissingTensor,
    /// The model has no encoder: it is a decoder only.
    NoEncoder,
    /// The model has no decoder.
    NoDecoder,
    /// A head that is to stand in for the output projection does not fit the decoder.
    OutputHead {
        /// Its width and its outputs.
        found: (usize, usize),
        /// The decoder's width, and its vocabulary: the fewest outputs.
        expected: (usize, usize),
    },
}

/// Why an input was refused. The encoder is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InputError {
    /// The model reads tokens and got frames, or the reverse.
    Kind,
    /// The input is empty, too long, or not a whole number of frames.
    Length {
        /// Elements (numbers of frames' features, or token ids) that were given.
        found: usize,
        /// Elements of one frame, or one.
        multiple_of: usize,
        /// The most elements that the model takes.
        max: usize,
    },
    /// A token id lies outside the vocabulary.
    Token {
        /// Its place in the input.
        index: usize,
        /// The id.
        found: u32,
        /// Ids are below this.
        vocab_size: u32,
    },
    /// A segment id is out of range, or segment ids are missing or superfluous.
    Segment {
        /// The place in the input where it goes wrong.
        index: usize,
        /// Segment ids are below this.
        n_segments: u8,
    },
    /// A number to be quantized is not finite.
    NotFinite {
        /// Its place in the input.
        index: usize,
    },
    /// The buffer of a latent, or the latent, has another length than the model's.
    Latent {
        /// Its bytes.
        found: usize,
        /// The model's: see [`latent_bytes`](super::latent::latent_bytes).
        expected: usize,
    },
    /// The model pools the mean over all rows: the last block cannot be cut off at one row.
    PoolsMean,
    /// The model has a decoder, which reads all rows: its encoder has no latent.
    Decodes,
    /// The decoder reads an encoder's rows, and none were made: see
    /// [`Decoder::encode`](super::Decoder::encode).
    NothingEncoded,
    /// A sequence that the decoder does not have.
    Lane {
        /// Its number, or how many were given.
        found: usize,
        /// Sequences of the decoder.
        lanes: usize,
    },
}

impl fmt::Display for EncoderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ArenaTooSmall { needed, found } => {
                write!(f, "the arena has {found} bytes, the model needs {needed}")
            }
            Self::ArenaMisaligned => write!(f, "the arena does not start at a multiple of 4 bytes"),
            Self::MissingTensor => write!(f, "the image lacks a tensor of its configuration"),
            Self::NoEncoder => write!(f, "the model is a decoder only"),
            Self::NoDecoder => write!(f, "the model is an encoder only"),
            Self::OutputHead {
                found: (width, outputs),
                expected: (d_model, vocab),
            } => write!(
                f,
                "a head of width {width} with {outputs} outputs cannot stand in for an output projection of \
                 width {d_model} with {vocab}"
            ),
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => write!(f, "frames were given to a model of tokens, or the reverse"),
            Self::Length {
                found,
                multiple_of,
                max,
            } => {
                write!(
                    f,
                    "{found} elements given; the model takes 1 to {max}, in multiples of {multiple_of}"
                )
            }
            Self::Token {
                index,
                found,
                vocab_size,
            } => {
                write!(
                    f,
                    "token {index} is {found}, the vocabulary has {vocab_size}"
                )
            }
            Self::Segment { index, n_segments } => {
                write!(
                    f,
                    "segment id {index} is missing, superfluous or not below {n_segments}"
                )
            }
            Self::NotFinite { index } => write!(f, "input {index} is not a finite number"),
            Self::Latent { found, expected } => {
                write!(
                    f,
                    "the latent has {found} bytes, the model's have {expected}"
                )
            }
            Self::PoolsMean => write!(
                f,
                "the model pools the mean of all rows: only its head can be tuned"
            ),
            Self::Decodes => write!(
                f,
                "the model has a decoder: its encoder is tuned and read as a whole"
            ),
            Self::NothingEncoded => write!(
                f,
                "the decoder reads an encoder's rows, and nothing was encoded yet"
            ),
            Self::Lane { found, lanes } => {
                write!(f, "sequence {found} of a decoder that has {lanes}")
            }
        }
    }
}

impl core::error::Error for EncoderError {}
impl core::error::Error for InputError {}
