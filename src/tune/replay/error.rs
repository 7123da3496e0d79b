//! Why flash keeps no samples, or not this one.

use crate::tune::TuneError;
use core::fmt;

/// Why a flash replay could not be opened, or a sample not be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReplayError<E> {
    /// The flash has word or block sizes that do not divide each other, or too large words.
    WordSize {
        /// `READ_SIZE` of the flash, bytes.
        read: usize,
        /// `WRITE_SIZE` of the flash, bytes.
        write: usize,
        /// `ERASE_SIZE` of the flash, bytes.
        erase: usize,
    },
    /// The region does not start or end at an erase block, or ends before it starts.
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
    /// The region has no room for a record in one erase block while another one is erased.
    TooSmall {
        /// Bytes needed; 0 if no region is large enough.
        needed: u32,
        /// Bytes found.
        found: u32,
    },
    /// The sample or a lent buffer does not suit.
    Sample(TuneError),
    /// Flash did not keep what was written to it.
    Worn {
        /// Where the record or the block's mark starts.
        offset: u32,
    },
    /// The flash reported an error.
    Flash(E),
}

impl<E> ReplayError<E> {
    /// Returns the same with what the flash reported turned into something else.
    pub fn map_flash<T>(self, f: impl FnOnce(E) -> T) -> ReplayError<T> {
        match self {
            Self::WordSize { read, write, erase } => ReplayError::WordSize { read, write, erase },
            Self::Misaligned { start, end, erase } => ReplayError::Misaligned { start, end, erase },
            Self::OutOfRange { end, capacity } => ReplayError::OutOfRange { end, capacity },
            Self::TooSmall { needed, found } => ReplayError::TooSmall { needed, found },
            Self::Sample(error) => ReplayError::Sample(error),
            Self::Worn { offset } => ReplayError::Worn { offset },
            Self::Flash(error) => ReplayError::Flash(f(error)),
        }
    }
}

impl<E> From<TuneError> for ReplayError<E> {
    fn from(error: TuneError) -> Self {
        Self::Sample(error)
    }
}

impl<E: fmt::Debug> fmt::Display for ReplayError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WordSize { read, write, erase } => write!(
                f,
                "flash with reads of {read}, writes of {write} and erases of {erase} bytes is not \
                 supported"
            ),
            Self::Misaligned { start, end, erase } => write!(
                f,
                "the region {start:#x}..{end:#x} is no whole number of erase blocks of {erase} bytes"
            ),
            Self::OutOfRange { end, capacity } => {
                write!(f, "the region ends at {end:#x}, the flash at {capacity:#x}")
            }
            Self::TooSmall { needed, found } => {
                write!(f, "the region has {found} bytes, {needed} are needed")
            }
            Self::Sample(error) => write!(f, "{error}"),
            Self::Worn { offset } => {
                write!(f, "flash did not keep what was written at {offset:#x}")
            }
            Self::Flash(error) => write!(f, "flash error: {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for ReplayError<E> {}
