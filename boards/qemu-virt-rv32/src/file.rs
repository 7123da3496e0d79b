//! A file of the host, by RISC-V semihosting.

use core::ffi::CStr;
use semihosting::fs;
use semihosting::io::{Read, Seek, SeekFrom, Write};

/// How a file is opened: whether it is made anew.
pub type Mode = bool;
/// Open for reading and writing; fails if it does not exist.
pub const UPDATE: Mode = false;
/// Create for reading and writing.
pub const CREATE_UPDATE: Mode = true;

/// The host refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostError;

/// An open file.
pub struct File(fs::File);

impl File {
    /// Opens `name`, which ends in a zero byte.
    pub fn open(name: &'static str, anew: Mode) -> Result<Self, HostError> {
        let name = CStr::from_bytes_with_nul(name.as_bytes()).map_err(|_| HostError)?;
        let mut options = fs::File::options();
        options.read(true).write(true).create(anew).truncate(anew);
        options.open(name).map(Self).map_err(|_| HostError)
    }

    /// Reads exactly `buffer` from `offset` on.
    pub fn read_at(&mut self, offset: u32, buffer: &mut [u8]) -> Result<(), HostError> {
        self.seek(offset)?;
        self.0.read_exact(buffer).map_err(|_| HostError)
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&mut self, offset: u32, bytes: &[u8]) -> Result<(), HostError> {
        self.seek(offset)?;
        self.0.write_all(bytes).map_err(|_| HostError)
    }

    /// Returns the file's length.
    pub fn len(&self) -> usize {
        self.0.metadata().map_or(0, |found| found.len() as usize)
    }

    fn seek(&mut self, offset: u32) -> Result<(), HostError> {
        let from_start = SeekFrom::Start(offset.into());
        self.0.seek(from_start).map(drop).map_err(|_| HostError)
    }
}
