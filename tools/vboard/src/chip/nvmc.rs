//! NVMC, the flash controller of Nordic's nRF51 and nRF52.
//!
//! CONFIG.WEN gates stores and CONFIG.EEN erases, as in the reference manuals; a store clears bits
//! and sets none. The core stands still for the time an operation takes, and READY then reads one.

use super::{Bus, Stored};
use crate::flash::Flash;
use crate::oplog::Array;

/// Where things are and how long they take.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Bytes of main flash, which begins at zero.
    pub flash: u32,
    /// Bytes of a page.
    pub page: u32,
    /// First address of UICR.
    pub uicr: u32,
    /// Bytes of UICR.
    pub uicr_len: u32,
    /// Core cycles to program a word.
    pub write_cycles: u64,
    /// Core cycles to erase a page.
    pub erase_cycles: u64,
}

/// The controller's registers.
#[derive(Clone, Debug)]
pub struct Nvmc {
    params: Params,
    config: u32,
    icache: u32,
}

const WRITE: u32 = 1;
const ERASE: u32 = 2;

impl Nvmc {
    /// The controller after reset.
    pub fn new(params: Params) -> Self {
        Self {
            params,
            config: 0,
            icache: 0,
        }
    }

    /// A system reset.
    pub fn reset(&mut self) {
        *self = Self::new(self.params);
    }

    /// Reads a register.
    pub fn read(&self, offset: u32) -> u32 {
        match offset {
            // READY, READYNEXT.
            0x400 | 0x408 => 1,
            0x504 => self.config,
            0x540 => self.icache,
            _ => 0,
        }
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u32, value: u32, bus: &mut Bus) {
        match offset {
            0x504 if bus.flash.faults().write_enable_off => self.config = 0,
            0x504 => self.config = value & 3,
            0x540 => self.icache = value,
            // ERASEPAGE, and ERASEPCR0 which is the same where no code region 0 is set.
            0x508 | 0x510 if self.config == ERASE && value < self.params.flash => {
                bus.flash.erase(
                    Array::Internal,
                    value - value % self.params.page,
                    self.params.page,
                );
                *bus.stall += self.params.erase_cycles;
            }
            0x50c if self.config == ERASE && value & 1 != 0 => self.erase_all(bus),
            0x514 if self.config == ERASE && value & 1 != 0 => {
                bus.flash
                    .erase(Array::Internal, self.params.uicr, self.params.uicr_len);
                *bus.stall += self.params.erase_cycles;
            }
            _ => {}
        }
    }

    /// ERASEALL: main flash and UICR, as two operations.
    pub fn erase_all(&self, bus: &mut Bus) {
        bus.flash.erase(Array::Internal, 0, self.params.flash);
        bus.flash
            .erase(Array::Internal, self.params.uicr, self.params.uicr_len);
        *bus.stall += 2 * self.params.erase_cycles;
    }

    /// A store to flash: whole words only; ignored where writing is not enabled.
    pub fn store(&self, addr: u32, size: u8, value: u64, bus: &mut Bus) -> Stored {
        if size != 4 || !addr.is_multiple_of(4) {
            return Stored::Fault;
        }
        if self.config == WRITE {
            bus.flash
                .program(Array::Internal, addr, 4, value & 0xffff_ffff);
            *bus.stall += self.params.write_cycles;
        }
        Stored::Taken
    }

    /// The word of UICR at an offset.
    pub fn uicr(&self, flash: &Flash, offset: u32) -> u32 {
        flash.word(self.params.uicr + offset).unwrap_or(!0)
    }
}
