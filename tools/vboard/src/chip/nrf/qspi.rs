//! QSPI, and at its pins an MX25R6435F as on the nRF52840 DK.
//!
//! What a task does to flash and RAM is done at once; READY comes when it would be over, and a core
//! that polls for it stands still until then, or until a timer has something to do. Not modelled: XIP,
//! encryption, long frames of custom instructions, SPI mode, delays, 32-bit addresses of the part.

use std::collections::BTreeMap;

use super::super::Bus;
use crate::mx25r::Mx25r;

/// First address of the registers.
pub const BASE: u32 = 0x4002_9000;
/// Interrupt.
pub const IRQ: u32 = 41;

/// SCK, CSN, IO0 to IO3 on the DK: P0.19, P0.17, P0.20 to P0.23.
const PINS: [(u32, u32); 6] = [
    (0x524, 19),
    (0x528, 17),
    (0x530, 20),
    (0x534, 21),
    (0x538, 22),
    (0x53c, 23),
];
const CYCLES_PER_US: u64 = 64;

/// The registers, and the part behind them.
#[derive(Debug, Default)]
pub struct Qspi {
    /// The external flash.
    pub part: Mx25r,
    /// Registers that keep what is written to them.
    kept: BTreeMap<u32, u32>,
    inten: bool,
    ready: bool,
    /// The interface is activated.
    active: bool,
    /// When READY comes, if it is to come.
    done_at: Option<u64>,
    /// The status register of the part, as last read.
    status: u8,
}

impl Qspi {
    /// Power on.
    pub fn power_on(&mut self) {
        *self = Self::default();
    }

    /// A system reset: the part on the board has none.
    pub fn reset(&mut self) {
        *self = Self {
            part: self.part,
            ..Self::default()
        };
    }

    /// Brings READY up to date.
    pub fn advance(&mut self, now: u64) {
        if self.done_at.is_some_and(|at| at <= now) {
            self.done_at = None;
            self.ready = true;
        }
    }

    /// When READY comes.
    pub fn next(&self) -> Option<u64> {
        self.done_at
    }

    /// Level of the interrupt line.
    pub fn line(&self) -> bool {
        self.ready && self.inten
    }

    fn reg(&self, offset: u32) -> u32 {
        // After reset pins are not connected; IFCONFIG1 and CINSTRCONF have values of their own.
        let reset = match offset {
            0x524..=0x53c => !0,
            0x600 => 0x0004_0480,
            0x634 => 0x0000_2000,
            _ => 0,
        };
        self.kept.get(&offset).copied().unwrap_or(reset)
    }

    fn enabled(&self) -> bool {
        self.reg(0x500) & 1 != 0
    }

    /// Reads a register. `other` is when the chip's next event of another kind comes.
    pub fn read(&mut self, offset: u32, other: Option<u64>, bus: &mut Bus) -> u32 {
        match offset {
            0x100 => {
                if let (false, Some(at)) = (self.ready, self.done_at) {
                    let until = other.map_or(at, |other| other.min(at));
                    *bus.stall += until.saturating_sub(bus.now);
                    self.advance(bus.now + *bus.stall);
                }
                self.ready.into()
            }
            0x300..=0x308 => self.inten.into(),
            0x604 => {
                let idle = self.active && self.done_at.is_none();
                u32::from(self.status) << 24
                    | u32::from(idle) << 3
                    | u32::from(self.part.asleep()) << 2
            }
            _ => self.reg(offset),
        }
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u32, value: u32, bus: &mut Bus) {
        let task = value & 1 != 0;
        match offset {
            0x000..=0x010 => {
                if task && self.enabled() {
                    self.start(offset, bus);
                }
            }
            0x100 => self.ready = task,
            0x300 => self.inten = task,
            0x304 => self.inten |= task,
            0x308 => self.inten &= !task,
            0x500 => {
                self.active &= task;
                self.kept.insert(offset, value);
            }
            0x600 => {
                self.kept.insert(offset, value);
                // DPMEN counts where DPMENABLE allows it.
                if self.active && self.reg(0x544) & 1 << 7 != 0 {
                    let sleep = value & 1 << 24 != 0;
                    if sleep != self.part.asleep() {
                        let opcode = if sleep { 0xb9 } else { 0xab };
                        self.instruction(opcode, &mut [], bus);
                    }
                }
            }
            0x634 => {
                self.kept.insert(offset, value);
                if self.active && self.done_at.is_none() {
                    self.custom(value, bus);
                }
            }
            // STATUS is read only.
            0x604 => {}
            _ => {
                self.kept.insert(offset, value);
            }
        }
    }

    fn start(&mut self, task: u32, bus: &mut Bus) {
        let busy = self.done_at.is_some();
        match task {
            0x000 => {
                self.active = true;
                self.finish_in(0, 0, bus);
            }
            0x004 if self.active && !busy => self.start_read(bus),
            0x008 if self.active && !busy => self.start_write(bus),
            0x00c if self.active && !busy => self.start_erase(bus),
            0x010 => self.active = false,
            _ => {}
        }
    }

    /// READY comes after `us` microseconds and the time of `clocks` on the bus.
    fn finish_in(&mut self, us: u64, clocks: u64, bus: &Bus) {
        // SCK is 32 MHz divided; the core's clock is 64 MHz.
        let divider = u64::from(self.reg(0x600) >> 28) + 1;
        let cycles = us * CYCLES_PER_US + clocks * 2 * divider;
        self.done_at = Some(bus.now + cycles.max(1));
    }

    /// True if all six pins lead to the part.
    fn wired(&self) -> bool {
        PINS.iter().all(|(offset, pin)| self.reg(*offset) == *pin)
    }

    fn start_read(&mut self, bus: &mut Bus) {
        let (src, dst) = (self.reg(0x504), self.reg(0x508));
        let mut bytes = vec![0xff; (self.reg(0x50c) & 0x1f_fffc) as usize];
        let opcode = (self.reg(0x544) & 7) as usize;
        // FASTREAD, READ2O, READ2IO, READ4O, READ4IO.
        let lines = [1, 2, 2, 4].get(opcode).copied().unwrap_or(4);
        if self.wired() {
            let at = src & 0xff_fffc;
            self.part.read(bus.flash, at, lines == 4, &mut bytes);
        }
        if is_ram(dst) {
            bus.map.write_ram(dst & !3, &bytes);
        }
        let clocks = 40 + 8 * bytes.len() as u64 / lines;
        self.finish_in(0, clocks, bus);
    }

    fn start_write(&mut self, bus: &mut Bus) {
        let (dst, src) = (self.reg(0x510), self.reg(0x514));
        // EasyDMA reads RAM only; here anything else is zeros.
        let mut bytes = vec![0; (self.reg(0x518) & 0x1f_fffc) as usize];
        if is_ram(src) {
            bus.map.read(src & !3, &mut bytes);
        }
        let config = self.reg(0x544);
        // PP, PP2O, PP4O, PP4IO: this part has the first and the last.
        let opcode = (config >> 3 & 7) as usize;
        let lines = [1, 2].get(opcode).copied().unwrap_or(4);
        let page = 256 << (config >> 12 & 1);
        let (mut us, mut at) = (0, dst & 0xff_fffc);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let room = (page - at % page) as usize;
            let (part, after) = rest.split_at(room.min(rest.len()));
            if self.wired() {
                self.part.enable_write(bus.flash);
                if matches!(opcode, 0 | 3) {
                    us += self.part.program(bus.flash, at, opcode == 3, part);
                }
            }
            at += part.len() as u32;
            rest = after;
        }
        let clocks = 40 + 8 * bytes.len() as u64 / lines;
        self.finish_in(us, clocks, bus);
    }

    fn start_erase(&mut self, bus: &mut Bus) {
        let at = self.reg(0x51c) & 0xff_ffff;
        let mut us = 0;
        if self.wired() {
            self.part.enable_write(bus.flash);
            us = match self.reg(0x520) & 3 {
                0 => self.part.erase_sector(bus.flash, at),
                1 => self.part.erase_block(bus.flash, at),
                2 => self.part.erase_all(bus.flash),
                _ => 0,
            };
        }
        self.finish_in(us, 40, bus);
    }

    /// CINSTRCONF: an instruction with up to 8 bytes, which lie in CINSTRDAT before and after.
    fn custom(&mut self, config: u32, bus: &mut Bus) {
        let len = (config >> 8 & 0xf).clamp(1, 9) as usize - 1;
        let data = u64::from(self.reg(0x63c)) << 32 | u64::from(self.reg(0x638));
        let mut bytes = data.to_le_bytes();
        if config & 1 << 15 != 0 && self.wired() {
            self.part.enable_write(bus.flash);
        }
        let us = self.instruction(config as u8, &mut bytes[..len], bus);
        let data = u64::from_le_bytes(bytes);
        self.kept.insert(0x638, data as u32);
        self.kept.insert(0x63c, (data >> 32) as u32);
        self.finish_in(us, 8 + 8 * len as u64, bus);
    }

    fn instruction(&mut self, opcode: u8, bytes: &mut [u8], bus: &mut Bus) -> u64 {
        if !self.wired() {
            bytes.fill(0xff);
            return 0;
        }
        let us = self.part.instruction(bus.flash, opcode, bytes);
        if let (0x05, Some(status)) = (opcode, bytes.first()) {
            self.status = *status;
        }
        us
    }
}

/// True where EasyDMA reaches.
fn is_ram(addr: u32) -> bool {
    addr >= 0x2000_0000
}
