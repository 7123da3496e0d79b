//! Reads of flash with error correction. A word whose write a power cut has torn cannot be corrected, and
//! reading it is a bus fault: here it is an error, as the store expects.

use core::arch::asm;
use cortex_m::peripheral::SCB;
use embassy_stm32::flash::Error;
use embassy_stm32::pac;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Bus faults of loads are ignored at the priority of a hard fault.
const CCR_BFHFNMIGN: u32 = 1 << 8;

/// Bank 2 behind its driver.
pub struct Bank2<F>(pub F);

/// Why bank 2 did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub enum Bank2Error {
    /// A word that was read has more wrong bits than can be corrected.
    Torn,
    /// What the driver says.
    Driver(Error),
}

impl NorFlashError for Bank2Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Torn => NorFlashErrorKind::Other,
            Self::Driver(error) => error.kind(),
        }
    }
}

impl<F> ErrorType for Bank2<F> {
    type Error = Bank2Error;
}

impl<F: ReadNorFlash<Error = Error>> ReadNorFlash for Bank2<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Bank2Error> {
        let bank = pac::FLASH.bank(1);
        let clear = || bank.ccr().write(|w| w.set_clr_dbeccerr(true));
        clear();
        let read = without_bus_faults(|| self.0.read(offset, bytes));
        if bank.sr().read().dbeccerr() {
            clear();
            return Err(Bank2Error::Torn);
        }
        read.map_err(Bank2Error::Driver)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<F: NorFlash<Error = Error>> NorFlash for Bank2<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Bank2Error> {
        self.0.erase(from, to).map_err(Bank2Error::Driver)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Bank2Error> {
        self.0.write(offset, bytes).map_err(Bank2Error::Driver)
    }
}

/// Runs `work`, which loads and stores data: a load that the bus refuses gives what it gives, and goes on.
fn without_bus_faults<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the only writer of this register besides is the start-up code.
    let ccr = unsafe { &(*SCB::PTR).ccr };
    // SAFETY: the bit changes what a refused load does, and only while FAULTMASK is set.
    unsafe { ccr.modify(|bits| bits | CCR_BFHFNMIGN) };
    // SAFETY: raises the priority to that of a hard fault, until below; `work` cannot unwind.
    unsafe { asm!("dsb", "isb", "cpsid f") };
    let result = work();
    // SAFETY: a refused load has happened before the barrier; back to the priority of before.
    unsafe { asm!("dsb", "cpsie f", "isb") };
    // SAFETY: as above.
    unsafe { ccr.modify(|bits| bits & !CCR_BFHFNMIGN) };
    result
}
