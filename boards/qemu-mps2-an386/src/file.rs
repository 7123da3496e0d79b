//! A file of the host, by Arm semihosting (Semihosting for AArch32 and AArch64, 2.0).

use cortex_m_semihosting::{nr, syscall};

/// Open for reading.
pub const READ: usize = nr::open::R_BINARY;
/// Create, or empty what is there, for writing.
pub const CREATE: usize = nr::open::W_TRUNC_BINARY;
/// Open for reading and writing; fails if it does not exist.
pub const UPDATE: usize = nr::open::RW_BINARY;
/// Create for reading and writing.
pub const CREATE_UPDATE: usize = nr::open::RW_TRUNC_BINARY;

/// The host refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostError;

/// An open file.
pub struct File(usize);

impl File {
    /// Opens `name`, which ends in a zero byte.
    pub fn open(name: &'static str, mode: usize) -> Result<Self, HostError> {
        // SAFETY: OPEN reads `len` bytes at the name's address, which is a static string.
        let handle = unsafe { syscall!(OPEN, name.as_ptr(), mode, name.len() - 1) };
        if handle as isize == -1 {
            Err(HostError)
        } else {
            Ok(Self(handle))
        }
    }

    /// Reads exactly `buffer` from `offset` on.
    pub fn read_at(&mut self, offset: u32, buffer: &mut [u8]) -> Result<(), HostError> {
        self.seek(offset)?;
        // SAFETY: READ writes at most `buffer.len()` bytes to the buffer, which is borrowed mutably.
        let missing = unsafe { syscall!(READ, self.0, buffer.as_mut_ptr(), buffer.len()) };
        if missing == 0 { Ok(()) } else { Err(HostError) }
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&mut self, offset: u32, bytes: &[u8]) -> Result<(), HostError> {
        self.seek(offset)?;
        self.append(bytes)
    }

    /// Writes all of `bytes` where the file stands.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        // SAFETY: WRITE reads `bytes.len()` bytes of the slice.
        let missing = unsafe { syscall!(WRITE, self.0, bytes.as_ptr(), bytes.len()) };
        if missing == 0 { Ok(()) } else { Err(HostError) }
    }

    /// Returns the file's length.
    pub fn len(&self) -> usize {
        // SAFETY: FLEN takes a handle alone.
        unsafe { syscall!(FLEN, self.0) }
    }

    fn seek(&mut self, offset: u32) -> Result<(), HostError> {
        // SAFETY: SEEK takes a handle and a number.
        let result = unsafe { syscall!(SEEK, self.0, offset) };
        if result == 0 { Ok(()) } else { Err(HostError) }
    }
}
