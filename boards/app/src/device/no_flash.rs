//! The latents' flash of a board that tunes heads only.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// A flash of no bytes: everything lies outside of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFlash;

/// Every access to [`NoFlash`]: out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfBounds;

impl NorFlashError for OutOfBounds {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::OutOfBounds
    }
}

impl ErrorType for NoFlash {
    type Error = OutOfBounds;
}

impl ReadNorFlash for NoFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, _offset: u32, _bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }

    fn capacity(&self) -> usize {
        0
    }
}

impl NorFlash for NoFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, _from: u32, _to: u32) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }

    fn write(&mut self, _offset: u32, _bytes: &[u8]) -> Result<(), OutOfBounds> {
        Err(OutOfBounds)
    }
}
