//! Why bytes are not a tail, or a tail was not written.

use core::fmt;

/// Why bytes are not a tail, or a tail was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TailError {
    /// The bytes are fewer or more than the header says.
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes that the header, or the shortest header, takes.
        expected: usize,
    },
    /// Another format version.
    Version {
        /// Its number.
        found: u8,
        /// The version that is read here.
        expected: u8,
    },
    /// A method of no known number.
    Method {
        /// The number.
        found: u8,
    },
    /// A math implementation of no known number.
    Math {
        /// The number.
        found: u8,
    },
    /// The head reads something of no known number.
    Cut {
        /// The number.
        found: u8,
    },
    /// The block's tensors are no whole number of 16 bytes.
    BlockLength {
        /// Their bytes.
        found: u32,
    },
    /// The tail holds tensors of a block and does not start at a multiple of 16 in memory.
    Misaligned,
    /// The tensors of a block could not be made.
    Block,
    /// Features of width 0, or more classes of the image than classes.
    Shape {
        /// Width of a feature.
        d_model: u16,
        /// Classes.
        classes: u16,
        /// The image's own classes.
        model_classes: u16,
    },
    /// The name of an added class is not UTF-8, too long, or runs out of the names.
    Name {
        /// Which added class.
        index: usize,
    },
    /// The names end before or after the last added class, or are not padded with zeros.
    Names,
    /// A parameter is not finite.
    NotFinite {
        /// Its index among weights, then biases.
        index: usize,
    },
    /// The output is too short.
    BufferTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
}

impl fmt::Display for TailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found, expected } => {
                write!(f, "the tail has {found} bytes, it should have {expected}")
            }
            Self::Version { found, expected } => write!(
                f,
                "the tail has format version {found}, {expected} is read here"
            ),
            Self::Method { found } => write!(f, "the tail names the unknown method {found}"),
            Self::Math { found } => write!(f, "the tail names the unknown math {found}"),
            Self::Cut { found } => {
                write!(f, "the tail's head reads the unknown thing {found}")
            }
            Self::BlockLength { found } => write!(
                f,
                "the block's tensors have {found} bytes, no multiple of 16"
            ),
            Self::Misaligned => write!(
                f,
                "the tail holds tensors and does not start at a multiple of 16"
            ),
            Self::Block => write!(f, "the tensors of the block could not be made"),
            Self::Shape {
                d_model,
                classes,
                model_classes,
            } => write!(
                f,
                "the tail has the impossible shape d_model {d_model}, {classes} classes, \
                 {model_classes} of them the image's"
            ),
            Self::Name { index } => write!(f, "the name of added class {index} is malformed"),
            Self::Names => write!(f, "the names of the added classes do not fill their place"),
            Self::NotFinite { index } => {
                write!(f, "parameter {index} of the tail is not a finite number")
            }
            Self::BufferTooSmall { needed, found } => {
                write!(f, "the tail takes {needed} bytes, the buffer has {found}")
            }
        }
    }
}

impl core::error::Error for TailError {}
