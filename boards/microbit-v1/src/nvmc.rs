//! The flash of the nRF51822. embassy-nrf's driver takes pages for 4 KiB and flash for 128 KiB; this
//! part has pages of 1 KiB and, as xxAA, 256 KiB.

use core::{ptr, slice};
use embassy_nrf::nvmc::Error;
use embassy_nrf::pac;
use embassy_nrf::pac::nvmc::vals::Wen;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

const FLASH_BYTES: usize = 256 * 1024;
const PAGE_BYTES: usize = 1024;

/// The flash controller. The core stands still while it works.
pub struct Nvmc<'d> {
    _p: embassy_nrf::Peri<'d, embassy_nrf::peripherals::NVMC>,
}

impl<'d> Nvmc<'d> {
    pub fn new(p: embassy_nrf::Peri<'d, embassy_nrf::peripherals::NVMC>) -> Self {
        Self { _p: p }
    }

    /// Lets writes or erases through while `work` runs.
    fn enabled(&mut self, enable: Wen, work: impl FnOnce()) {
        set(enable);
        work();
        set(Wen::Ren);
    }
}

fn set(enable: Wen) {
    pac::NVMC.config().write(|w| w.set_wen(enable));
    wait();
}

fn wait() {
    while !pac::NVMC.ready().read().ready() {}
}

fn refused(kind: NorFlashErrorKind) -> Error {
    match kind {
        NorFlashErrorKind::NotAligned => Error::Unaligned,
        _ => Error::OutOfBounds,
    }
}

impl ErrorType for Nvmc<'_> {
    type Error = Error;
}

impl ReadNorFlash for Nvmc<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        check_read(self, offset, bytes.len()).map_err(refused)?;
        // SAFETY: the range lies in flash, which is always readable, and nobody writes it: `self` is borrowed.
        let flash = unsafe { slice::from_raw_parts(offset as *const u8, bytes.len()) };
        bytes.copy_from_slice(flash);
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_BYTES
    }
}

impl NorFlash for Nvmc<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        check_erase(self, from, to).map_err(refused)?;
        self.enabled(Wen::Een, || {
            for page in (from..to).step_by(PAGE_BYTES) {
                pac::NVMC.erasepage().write_value(page);
                wait();
            }
        });
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        check_write(self, offset, bytes.len()).map_err(refused)?;
        self.enabled(Wen::Wen, || {
            let (words, _) = bytes.as_chunks();
            for (address, word) in (offset..).step_by(4).zip(words) {
                // SAFETY: the word lies in flash, aligned, and the controller takes writes.
                unsafe { ptr::write_volatile(address as *mut u32, u32::from_le_bytes(*word)) };
                wait();
            }
        });
        Ok(())
    }
}
