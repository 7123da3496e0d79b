//! NOR flash in a file of the host: blocks of 4 KiB, words of 4 bytes, writes that can only clear
//! bits. It outlives the emulator's process, as flash outlives a reset.

use crate::file::{CREATE_UPDATE, File, HostError, UPDATE};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

const BLOCK: usize = 4096;

/// Why the flash refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashError {
    /// An address or a length that the flash does not have.
    Access(NorFlashErrorKind),
    /// The host did not read or write its file.
    Host,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Access(kind) => *kind,
            Self::Host => NorFlashErrorKind::Other,
        }
    }
}

impl From<NorFlashErrorKind> for FlashError {
    fn from(kind: NorFlashErrorKind) -> Self {
        Self::Access(kind)
    }
}

impl From<HostError> for FlashError {
    fn from(_: HostError) -> Self {
        Self::Host
    }
}

/// The flash.
pub struct FileFlash {
    file: File,
    capacity: usize,
}

impl FileFlash {
    /// Opens the file; one that is missing or of another size is made anew, erased.
    pub fn open(name: &'static str, capacity: u32) -> Result<Self, FlashError> {
        let capacity = capacity as usize;
        if let Ok(file) = File::open(name, UPDATE)
            && file.len() == capacity
        {
            return Ok(Self { file, capacity });
        }
        let mut flash = Self {
            file: File::open(name, CREATE_UPDATE)?,
            capacity,
        };
        flash.erase(0, capacity as u32)?;
        Ok(flash)
    }
}

impl ErrorType for FileFlash {
    type Error = FlashError;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        check_read(self, offset, bytes.len())?;
        if !bytes.is_empty() {
            self.file.read_at(offset, bytes)?;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        check_erase(self, from, to)?;
        for block in (from..to).step_by(BLOCK) {
            self.file.write_at(block, &[0xff; BLOCK])?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check_write(self, offset, bytes.len())?;
        for (at, word) in (offset..).step_by(4).zip(bytes.chunks_exact(4)) {
            let mut old = [0; 4];
            self.file.read_at(at, &mut old)?;
            for (old, new) in old.iter_mut().zip(word) {
                *old &= new;
            }
            self.file.write_at(at, &old)?;
        }
        Ok(())
    }
}
