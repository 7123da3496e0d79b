//! Why a store cannot be made, saved to or loaded from.

use super::ExportError;
use core::fmt;

/// Why a region of flash cannot hold a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayoutError {
    /// The flash has word or block sizes that do not divide each other, or too large words.
    WordSize {
        /// `READ_SIZE` of the flash, bytes.
        read: usize,
        /// `WRITE_SIZE` of the flash, bytes.
        write: usize,
        /// `ERASE_SIZE` of the flash, bytes.
        erase: usize,
    },
    /// A slot does not start or end at an erase block, or ends before it starts.
    Misaligned {
        /// First byte.
        start: u32,
        /// Byte after the last.
        end: u32,
        /// Bytes of an erase block.
        erase: usize,
    },
    /// The region ends beyond the flash.
    OutOfRange {
        /// Byte after the region's last.
        end: u32,
        /// Bytes of the flash.
        capacity: usize,
    },
    /// The two slots share bytes.
    Overlap,
    /// The region has no room for two slots, each a header and one word of payload at least.
    TooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
}

/// Why nothing was saved or loaded. What was saved before is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StoreError<E> {
    /// The payload is larger than a slot.
    Full {
        /// Bytes of payload.
        needed: usize,
        /// Bytes that fit.
        capacity: usize,
    },
    /// The buffer is smaller than the saved payload.
    BufferTooSmall {
        /// Bytes of payload.
        needed: usize,
        /// Bytes of the buffer.
        found: usize,
    },
    /// Nothing was ever saved here, or nothing since the last factory reset.
    Empty,
    /// What was saved, or is to be imported, belongs to another model.
    WrongModel {
        /// The id of that model.
        found: [u8; 16],
    },
    /// What was saved has an older format.
    OlderFormat {
        /// Its version.
        found: u16,
        /// The version that is read here.
        expected: u16,
    },
    /// What was saved has a newer format.
    NewerFormat {
        /// Its version.
        found: u16,
        /// The version that is read here.
        expected: u16,
    },
    /// Neither slot holds a sound record, and one at least is not blank.
    Corrupted,
    /// Flash did not keep what was written to it.
    Worn {
        /// The slot, 0 or 1.
        slot: usize,
        /// Where in flash the difference begins, to the nearest chunk.
        offset: u32,
    },
    /// What is to be imported is not a sound export.
    Export(ExportError),
    /// The flash reported an error.
    Flash(E),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WordSize { read, write, erase } => write!(
                f,
                "flash with reads of {read}, writes of {write} and erases of {erase} bytes is not \
                 supported"
            ),
            Self::Misaligned { start, end, erase } => write!(
                f,
                "the slot {start:#x}..{end:#x} is no whole number of erase blocks of {erase} bytes"
            ),
            Self::OutOfRange { end, capacity } => {
                write!(f, "the region ends at {end:#x}, the flash at {capacity:#x}")
            }
            Self::Overlap => write!(f, "the two slots overlap"),
            Self::TooSmall { needed, found } => {
                write!(f, "the region has {found} bytes, {needed} are needed")
            }
        }
    }
}

impl<E: fmt::Debug> fmt::Display for StoreError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { needed, capacity } => {
                write!(f, "{needed} bytes do not fit a slot of {capacity} bytes")
            }
            Self::BufferTooSmall { needed, found } => {
                write!(f, "the buffer has {found} bytes, {needed} were saved")
            }
            Self::Empty => write!(f, "nothing was saved"),
            Self::WrongModel { found } => {
                write!(f, "the tail belongs to the model ")?;
                found.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::OlderFormat { found, expected } => write!(
                f,
                "what was saved has the older format {found}, {expected} is read here"
            ),
            Self::NewerFormat { found, expected } => write!(
                f,
                "what was saved has the newer format {found}, {expected} is read here"
            ),
            Self::Corrupted => write!(f, "what was saved is damaged"),
            Self::Worn { slot, offset } => write!(
                f,
                "slot {slot} did not keep what was written at {offset:#x}: worn flash"
            ),
            Self::Export(error) => error.fmt(f),
            Self::Flash(error) => write!(f, "flash error: {error:?}"),
        }
    }
}

impl core::error::Error for LayoutError {}
impl<E: fmt::Debug> core::error::Error for StoreError<E> {}
