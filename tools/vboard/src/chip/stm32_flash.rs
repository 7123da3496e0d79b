//! FLASH, the flash controller of STM32F4: key unlock, PSIZE, sector and mass erase.
//!
//! A store counts as programming when CR.PG is set, and must be as wide as CR.PSIZE says. BSY reads
//! zero: the core stands still for the time an operation takes.

use super::{Bus, Stored};
use crate::oplog::Array;

/// Sectors: how many bytes each has, in order.
pub type Sectors = &'static [u32];

/// The controller's registers.
#[derive(Clone, Debug)]
pub struct Flash {
    base: u32,
    sectors: Sectors,
    /// The core clock, which decides how many cycles an operation takes.
    pub hz: u64,
    acr: u32,
    cr: u32,
    sr: u32,
    optcr: u32,
    keys: Keys,
}

/// How far the unlock sequence got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    None,
    First,
    /// A wrong key: locked until reset.
    Wrong,
}

const PG: u32 = 1;
const SER: u32 = 1 << 1;
const MER: u32 = 1 << 2;
const STRT: u32 = 1 << 16;
const LOCK: u32 = 1 << 31;
const EOP: u32 = 1;
const WRPERR: u32 = 1 << 4;
const PGPERR: u32 = 1 << 6;
const PGSERR: u32 = 1 << 7;

impl Flash {
    /// The controller after reset, for flash that begins at `base`; the core runs at `hz`.
    pub fn new(base: u32, sectors: Sectors, hz: u64) -> Self {
        Self {
            base,
            sectors,
            hz,
            acr: 0,
            cr: LOCK,
            sr: 0,
            optcr: 0x0fff_aaed,
            keys: Keys::None,
        }
    }

    /// A system reset.
    pub fn reset(&mut self) {
        *self = Self::new(self.base, self.sectors, self.hz);
    }

    /// Reads a register.
    pub fn read(&self, offset: u32) -> u32 {
        match offset {
            0x00 => self.acr,
            0x0c => self.sr,
            0x10 => self.cr,
            0x14 => self.optcr,
            _ => 0,
        }
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u32, value: u32, bus: &mut Bus) {
        match offset {
            0x00 => self.acr = value,
            0x04 => self.key(value, bus),
            // Write one to clear.
            0x0c => self.sr &= !(value & 0xf3),
            0x10 if self.cr & LOCK == 0 => {
                self.cr = value & 0x8301_037f & !STRT;
                if value & STRT != 0 {
                    self.start(bus);
                }
            }
            // OPTCR stays locked: option bytes are not modelled.
            _ => {}
        }
    }

    fn key(&mut self, value: u32, bus: &Bus) {
        self.keys = match (self.keys, value) {
            (Keys::None, 0x4567_0123) if self.cr & LOCK != 0 => Keys::First,
            (Keys::First, 0xcdef_89ab) => {
                if !bus.flash.faults().write_enable_off {
                    self.cr &= !LOCK;
                }
                Keys::None
            }
            _ => Keys::Wrong,
        };
    }

    /// The first address and the length of a sector.
    fn sector(&self, n: usize) -> Option<(u32, u32)> {
        let len = *self.sectors.get(n)?;
        Some((self.base + self.sectors[..n].iter().sum::<u32>(), len))
    }

    /// Erase with CR.STRT.
    fn start(&mut self, bus: &mut Bus) {
        if self.cr & PG != 0 || self.cr & (SER | MER) == 0 {
            self.sr |= PGSERR;
            return;
        }
        if self.cr & MER != 0 {
            bus.flash
                .erase(Array::Internal, self.base, self.sectors.iter().sum());
            // 8 s at x32.
            *bus.stall += self.hz * 8;
        } else if let Some((addr, len)) = self.sector((self.cr >> 3 & 0xf) as usize) {
            bus.flash.erase(Array::Internal, addr, len);
            // 16 KiB: 250 ms, 64 KiB: 550 ms, 128 KiB: 1 s, typical at x32.
            let ms = match len {
                0x4000 => 250,
                0x1_0000 => 550,
                _ => 1000,
            };
            *bus.stall += self.hz / 1000 * ms;
        } else {
            self.sr |= WRPERR;
            return;
        }
        self.end();
    }

    fn end(&mut self) {
        // EOP shows only with its interrupt enabled.
        if self.cr & 1 << 24 != 0 {
            self.sr |= EOP;
        }
    }

    /// A store to flash.
    pub fn store(&mut self, addr: u32, size: u8, value: u64, bus: &mut Bus) -> Stored {
        if self.cr & LOCK != 0 || self.cr & PG == 0 {
            self.sr |= PGSERR;
            return Stored::Taken;
        }
        if u32::from(size) != 1 << (self.cr >> 8 & 3) {
            self.sr |= PGPERR;
            return Stored::Taken;
        }
        if !addr.is_multiple_of(u32::from(size)) {
            return Stored::Fault;
        }
        bus.flash.program(Array::Internal, addr, size, value);
        // 16 µs.
        *bus.stall += self.hz / 62_500;
        self.end();
        Stored::Taken
    }

    /// The interrupt line.
    pub fn line(&self) -> bool {
        self.sr & EOP != 0 && self.cr & 1 << 24 != 0
            || self.sr & 0xf2 != 0 && self.cr & 1 << 25 != 0
    }
}
