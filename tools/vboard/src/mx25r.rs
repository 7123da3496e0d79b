//! Macronix MX25R6435F: 8 MiB of serial NOR flash in sectors of 4 KiB, as on the nRF52840 DK.
//!
//! Every change needs the write-enable latch, which it clears; programming clears bits; what uses all
//! four lines needs the quad-enable bit of the status register. That register outlives a power cycle:
//! it lies behind the array as [`crate::flash`] keeps it, inverted, so that an erased one reads zero.
//! An operation is over at once; how long it takes goes back to the controller, in microseconds.
//!
//! Not modelled: block protection, the configuration registers (they read zero), the security
//! register, SFDP, suspend and resume.

use crate::flash::Flash;
use crate::oplog::Array::External;

/// Bytes of the array.
pub const LEN: u32 = 0x80_0000;
/// Where the status register is kept.
const STATUS: u32 = LEN;
/// The array, and the status register behind it.
pub const PARTS: &[(u32, u32)] = &[(0, LEN), (STATUS, 4)];

const PAGE: u32 = 256;
const SECTOR: u32 = 0x1000;
const BLOCK_32K: u32 = 0x8000;
const BLOCK_64K: u32 = 0x1_0000;

/// Bits of the status register.
const WRITE_ENABLED: u8 = 1 << 1;
const QUAD_ENABLED: u8 = 1 << 6;
/// Those that are kept: block protection, quad enable, write protection of the register.
const KEPT: u8 = 0xfc;

const ID: [u8; 3] = [0xc2, 0x28, 0x17];

/// The longest times, in microseconds.
mod us {
    pub const STATUS: u64 = 30_000;
    pub const PAGE: u64 = 10_000;
    pub const SECTOR: u64 = 240_000;
    pub const BLOCK: u64 = 3_500_000;
    pub const CHIP: u64 = 150_000_000;
}

/// The part's volatile state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mx25r {
    write_enabled: bool,
    asleep: bool,
    /// The instruction before was RSTEN.
    reset_enabled: bool,
}

impl Mx25r {
    /// True in deep power-down.
    pub fn asleep(&self) -> bool {
        self.asleep
    }

    /// The status register.
    pub fn status(&self, flash: &Flash) -> u8 {
        let mut kept = [0xff];
        flash.read(External, STATUS, &mut kept);
        (!kept[0] & KEPT) | if self.write_enabled { WRITE_ENABLED } else { 0 }
    }

    fn quad(&self, flash: &Flash) -> bool {
        self.status(flash) & QUAD_ENABLED != 0
    }

    /// WREN.
    pub fn enable_write(&mut self, flash: &Flash) {
        // In deep power-down this only wakes it.
        if !self.wakes() {
            self.write_enabled = !flash.faults().write_enable_off;
        }
    }

    /// Fills `out` from an address on, as any of the read instructions does; `quad` says that it is one
    /// that answers on four lines. Ones where the part does not answer.
    pub fn read(&mut self, flash: &Flash, addr: u32, quad: bool, out: &mut [u8]) {
        out.fill(0xff);
        if self.wakes() || quad && !self.quad(flash) {
            return;
        }
        for (at, byte) in (addr..).zip(out.chunks_mut(1)) {
            flash.read(External, at % LEN, byte);
        }
    }

    /// Programs bytes within the page that holds `addr`: at its end they go on at its start, and of
    /// those that come to the same place the last counts. Returns how long it takes.
    pub fn program(&mut self, flash: &mut Flash, addr: u32, quad: bool, bytes: &[u8]) -> u64 {
        if self.wakes() || !self.take_latch() || quad && !self.quad(flash) {
            return 0;
        }
        let start = (addr % LEN) & !(PAGE - 1);
        let mut page = [0xff; PAGE as usize];
        let mut touched = [false; PAGE as usize];
        for (at, byte) in (addr % PAGE..).zip(bytes) {
            page[(at % PAGE) as usize] = *byte;
            touched[(at % PAGE) as usize] = true;
        }
        let words = (start..).step_by(4).zip(page.as_chunks::<4>().0);
        for ((at, word), touched) in words.zip(touched.as_chunks::<4>().0) {
            if touched.contains(&true) {
                flash.program(External, at, 4, u32::from_le_bytes(*word).into());
            }
        }
        us::PAGE
    }

    /// Erases the sector of 4 KiB that holds `addr`. Returns how long it takes.
    pub fn erase_sector(&mut self, flash: &mut Flash, addr: u32) -> u64 {
        self.erase(flash, addr, SECTOR, us::SECTOR)
    }

    /// Erases the block of 64 KiB that holds `addr`. Returns how long it takes.
    pub fn erase_block(&mut self, flash: &mut Flash, addr: u32) -> u64 {
        self.erase(flash, addr, BLOCK_64K, us::BLOCK)
    }

    /// Erases all. Returns how long it takes.
    pub fn erase_all(&mut self, flash: &mut Flash) -> u64 {
        self.erase(flash, 0, LEN, us::CHIP)
    }

    fn erase(&mut self, flash: &mut Flash, addr: u32, len: u32, time: u64) -> u64 {
        if self.wakes() || !self.take_latch() {
            return 0;
        }
        flash.erase(External, addr % LEN / len * len, len);
        time
    }

    /// Takes an instruction of one opcode and the bytes after it, whose places then hold what came
    /// back. Returns how long it takes. One that the part does not have changes nothing.
    pub fn instruction(&mut self, flash: &mut Flash, opcode: u8, bytes: &mut [u8]) -> u64 {
        let reset = std::mem::take(&mut self.reset_enabled);
        if self.wakes() {
            bytes.fill(0xff);
            return 0;
        }
        let sent = bytes.to_vec();
        bytes.fill(0xff);
        let addr = sent
            .first_chunk()
            .map_or(0, |&[a, b, c]| u32::from_be_bytes([0, a, b, c]));
        let whole = sent.len() >= 3;
        match opcode {
            0x06 => self.enable_write(flash),
            0x04 => self.write_enabled = false,
            0x05 => bytes.fill(self.status(flash)),
            // The configuration and the security register.
            0x15 | 0x2b => bytes.fill(0),
            0x01 => return self.write_status(flash, &sent),
            0x9f => {
                for (byte, id) in bytes.iter_mut().zip(ID.iter().cycle()) {
                    *byte = *id;
                }
            }
            0x03 if whole => self.read(flash, addr, false, &mut bytes[3..]),
            0x02 if whole => return self.program(flash, addr, false, &sent[3..]),
            0x20 if whole => return self.erase_sector(flash, addr),
            0x52 if whole => return self.erase(flash, addr, BLOCK_32K, us::BLOCK),
            0xd8 if whole => return self.erase_block(flash, addr),
            0x60 | 0xc7 => return self.erase_all(flash),
            0xb9 => self.asleep = true,
            0x66 => self.reset_enabled = true,
            0x99 if reset => *self = Self::default(),
            _ => {}
        }
        0
    }

    /// WRSR. Of its bytes the first is the status register.
    fn write_status(&mut self, flash: &mut Flash, bytes: &[u8]) -> u64 {
        let Some(first) = bytes.first() else {
            return 0;
        };
        if !self.take_latch() {
            return 0;
        }
        let old = self.status(flash) & KEPT;
        let new = first & KEPT;
        if old & !new != 0 {
            flash.erase(External, STATUS, 4);
        }
        flash.program(External, STATUS, 4, (!u32::from(new)).into());
        us::STATUS
    }

    fn take_latch(&mut self) -> bool {
        std::mem::take(&mut self.write_enabled)
    }

    /// Ends deep power-down, as any instruction does, which is then not carried out.
    fn wakes(&mut self) -> bool {
        std::mem::take(&mut self.asleep)
    }
}
