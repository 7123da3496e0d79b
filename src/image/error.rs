//! Why bytes are not an image.

use super::tensor::TensorKind;
use core::fmt;

/// Why [`Image::parse`](super::Image::parse) refused its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ImageError {
    /// The buffer ends before the image does.
    TooShort {
        /// Bytes that the image needs, as far as is known.
        needed: usize,
        /// Bytes in the buffer.
        found: usize,
    },
    /// The buffer does not start at a multiple of [`ALIGNMENT`](super::ALIGNMENT).
    Misaligned,
    /// The first four bytes are not those of an image.
    Magic {
        /// What stands there.
        found: [u8; 4],
    },
    /// The image was written by a newer (or an unknown) format.
    Version {
        /// The major version found.
        found: u16,
        /// The one that this crate reads.
        supported: u16,
    },
    /// The checksum does not match the bytes: the image is damaged.
    Checksum {
        /// The CRC-32 in the header.
        expected: u32,
        /// The CRC-32 of the bytes.
        found: u32,
    },
    /// A value of the model configuration is out of range or contradicts another.
    Config {
        /// The field's name.
        field: &'static str,
        /// What it holds.
        found: u32,
    },
    /// A section lies outside the image, is misaligned, or overlaps another.
    Section {
        /// The section's name.
        section: &'static str,
        /// Its offset from the start of the image.
        offset: u32,
        /// Its length in bytes.
        len: u32,
    },
    /// The tensor directory has the wrong number of entries.
    TensorCount {
        /// Entries found.
        found: u32,
        /// Entries that the configuration asks for.
        expected: u32,
    },
    /// A tensor's directory entry is not the one that the configuration asks for at this place.
    Tensor {
        /// The tensor expected here.
        kind: TensorKind,
        /// Its encoder block.
        layer: u16,
        /// What is wrong with the entry.
        reason: TensorFault,
    },
    /// A label is not UTF-8, or the labels do not fill their section.
    Labels {
        /// The first label that is wrong.
        index: u16,
    },
    /// The provenance is not UTF-8.
    Provenance,
    /// A value of the front end is out of range or contradicts another or the model.
    FrontEnd {
        /// The field's name.
        field: &'static str,
        /// What it holds; the bits of a float.
        found: u32,
    },
}

/// What is wrong with a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TensorFault {
    /// Another tensor stands here: the code of its kind.
    Kind(u8),
    /// It belongs to another block.
    Layer(u16),
    /// Its data type is another: the code found.
    DataType(u8),
    /// Its weights are packed in an order that this crate does not know: the code found.
    Packing(u8),
    /// Its shape is another: rows and columns found.
    Shape(u32, u32),
    /// It lies outside the image, is misaligned or overlaps the tensor before it: its offset.
    Offset(u32),
    /// A shift is out of range: the shift found.
    Shift(u8),
    /// A scale is not a positive finite number.
    Scale,
    /// A value is out of range: the value found.
    Value(i32),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { needed, found } => {
                write!(f, "the image is cut short: {found} bytes, {needed} needed")
            }
            Self::Misaligned => {
                write!(
                    f,
                    "the image does not start at a multiple of {} bytes",
                    super::ALIGNMENT
                )
            }
            Self::Magic { found } => write!(f, "not a tailtune image: it starts with {found:02x?}"),
            Self::Version { found, supported } => {
                write!(
                    f,
                    "image format {found}, this build reads format {supported}"
                )
            }
            Self::Checksum { expected, found } => {
                write!(
                    f,
                    "damaged image: CRC-32 {found:#010x}, its header says {expected:#010x}"
                )
            }
            Self::Config { field, found } => {
                write!(f, "model configuration: {field} = {found} is out of range")
            }
            Self::Section {
                section,
                offset,
                len,
            } => {
                write!(
                    f,
                    "section {section} ({len} bytes at {offset}) does not fit the image"
                )
            }
            Self::TensorCount { found, expected } => {
                write!(f, "{found} tensors, the configuration needs {expected}")
            }
            Self::Tensor {
                kind,
                layer,
                reason,
            } => {
                write!(f, "tensor {} of block {layer}: {reason}", kind.name())
            }
            Self::Labels { index } => write!(f, "label {index} is malformed"),
            Self::Provenance => write!(f, "the provenance is not UTF-8"),
            Self::FrontEnd { field, found } => {
                write!(f, "front end: {field} = {found:#x} is out of range")
            }
        }
    }
}

impl fmt::Display for TensorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(found) => write!(f, "tensor kind {found} stands in its place"),
            Self::Layer(found) => write!(f, "it says block {found}"),
            Self::DataType(found) => write!(f, "data type {found}"),
            Self::Packing(found) => write!(f, "unknown packing {found}"),
            Self::Shape(rows, cols) => write!(f, "shape {rows}×{cols}"),
            Self::Offset(found) => write!(f, "bad offset {found}"),
            Self::Shift(found) => write!(f, "shift {found} is out of range"),
            Self::Scale => write!(f, "a scale is not a positive finite number"),
            Self::Value(found) => write!(f, "value {found} is out of range"),
        }
    }
}

impl core::error::Error for ImageError {}
