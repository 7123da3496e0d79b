//! All of a chip but its core: what the emulator's callbacks work on.

use std::collections::HashSet;
use std::rc::Rc;

use crate::chip::{Bus, Chip, Stored};
use crate::flash::{Bank, Flash};
use crate::mem::{HostMem, Kind, Map, Region};
use crate::nvic::Masks;
use crate::oplog::Array;
use crate::scs::{Request, Scs};
use crate::uart::Uart;

/// The private peripheral bus.
pub const PPB: (u32, u32) = (0xe000_0000, 0x10_0000);
/// Vendor registers within it: STM32's DBGMCU.
const PPB_VENDOR: u32 = 0xe004_2000;
const PAGE: u32 = 1024;

/// Why the core left the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Time or attention.
    None,
    /// An exception, by the emulator's number.
    Exception(u32),
    /// An access that nothing answers.
    Bus(Access),
    /// An instruction that does not exist.
    Undefined,
    /// WFE.
    WaitEvent,
    /// A hardware breakpoint.
    Breakpoint,
}

/// A failed access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Address.
    pub addr: u32,
    /// What was tried.
    pub kind: AccessKind,
}

/// Kinds of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Fetch,
}

/// What a block of instructions ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Something else.
    No,
    /// WFI.
    Interrupt,
    /// WFE.
    Event,
    /// YIELD.
    Yield,
}

#[derive(Clone, Copy)]
struct Block {
    addr: u32,
    size: u32,
    count: u32,
    sends_event: bool,
    wait: Wait,
}

/// Everything around the core.
pub struct Board {
    /// The chip's registers.
    pub chip: Box<dyn Chip>,
    /// The core's own registers.
    pub scs: Scs,
    /// Non-volatile memory.
    pub flash: Flash,
    /// The memory map.
    pub map: Map,
    /// The serial line.
    pub uart: Uart,
    /// Core cycles since power on: one an instruction, and those the core stood still or slept.
    pub now: u64,
    /// Instructions since power on.
    pub instructions: u64,
    /// When the core must leave the emulator.
    pub deadline: u64,
    /// The end of this run.
    pub end: u64,
    /// Why it left.
    pub exit: Exit,
    /// Translated code is out of date.
    pub code_changed: bool,
    /// The block under way ends with this, at that address.
    pub wait: (Wait, u32),
    /// A single step is under way.
    pub stepping: bool,
    blocks: Vec<Option<Block>>,
    executed: HashSet<u32>,
}

const BLOCKS: usize = 1 << 14;

impl Board {
    /// A chip with erased flash and, if given, another size of its main RAM.
    pub fn new(chip: Box<dyn Chip>, ram: Option<u32>) -> Self {
        let spec = chip.spec();
        let mut map = Map::default();
        let mut banks = Vec::new();
        for part in spec.parts {
            let len = match ram {
                Some(len) if part.kind == Kind::Ram => len,
                _ => part.len,
            };
            let original = part
                .alias_of
                .and_then(|base| map.regions.iter().find(|r: &&Region| r.base == base));
            let mem = match original {
                Some(r) => Rc::clone(&r.mem),
                None => HostMem::new(len as usize),
            };
            if part.kind == Kind::Flash && part.alias_of.is_none() {
                banks.push(Bank {
                    array: Array::Internal,
                    base: part.base,
                    len,
                    mem: Rc::clone(&mem),
                });
            }
            map.regions.push(Region {
                base: part.base,
                len,
                kind: part.kind,
                mem,
            });
        }
        for &(base, len) in chip.external() {
            banks.push(Bank {
                array: Array::External,
                base,
                len,
                mem: HostMem::new(len as usize),
            });
        }
        let flash = Flash::new(banks);
        chip.fill_rom(&map);
        Self {
            scs: Scs::new(spec.core),
            chip,
            flash,
            map,
            uart: Uart::default(),
            now: 0,
            instructions: 0,
            deadline: 0,
            end: 0,
            exit: Exit::None,
            code_changed: false,
            wait: (Wait::No, 0),
            stepping: false,
            blocks: vec![None; BLOCKS],
            executed: HashSet::new(),
        }
    }

    /// Runs `f` on the chip with the bus around it, and lets the core stand still as long as asked.
    pub fn with_bus<T>(&mut self, f: impl FnOnce(&mut dyn Chip, &mut Bus) -> T) -> T {
        let mut stall = 0;
        let mut bus = Bus {
            now: self.now,
            flash: &mut self.flash,
            map: &self.map,
            uart: &mut self.uart,
            stall: &mut stall,
        };
        let value = f(&mut *self.chip, &mut bus);
        self.now += stall;
        value
    }

    /// Brings interrupt lines and the deadline up to date.
    pub fn sync(&mut self) {
        let lines = self.with_bus(|chip, bus| chip.lines(bus));
        let pended = self.scs.nvic.any_pending();
        self.scs.nvic.set_lines(lines);
        if self.scs.systick.advance(self.now) {
            self.scs.nvic.pend(crate::nvic::SYS_TICK, true);
        }
        if !pended && self.scs.nvic.any_pending() && self.scs.event_on_pend() {
            self.scs.event = true;
        }
        self.deadline = self
            .next_event()
            .map_or(self.end, |at| at.max(self.now + 1).min(self.end));
        if self.code_changed {
            self.deadline = 0;
        }
    }

    /// When a timer will next change something by itself.
    pub fn next_event(&self) -> Option<u64> {
        [self.chip.next_event(), self.scs.systick.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// True where registers are.
    pub fn is_register(&self, addr: u32) -> bool {
        let within = |(base, len): (u32, u32)| addr.wrapping_sub(base) < len;
        within(PPB) || self.chip.spec().registers.iter().any(|r| within(*r))
    }

    /// Reads 1, 2 or 4 bytes of a register. `exception` is IPSR.
    pub fn read_register(&mut self, addr: u32, size: u8, exception: u32) -> u32 {
        let aligned = addr & !3;
        let word = if is_core(aligned) {
            let now = self.now;
            self.scs.read(aligned, now, exception)
        } else {
            let word = self.with_bus(|chip, bus| chip.read(aligned, bus));
            self.sync();
            word
        };
        let shifted = word >> (8 * (addr & 3));
        match size {
            1 => shifted & 0xff,
            2 => shifted & 0xffff,
            _ => shifted,
        }
    }

    /// Writes 1, 2 or 4 bytes of a register.
    pub fn write_register(&mut self, addr: u32, size: u8, value: u32) -> Option<Request> {
        let request = if is_core(addr) {
            let aligned = addr & !3;
            let now = self.now;
            let word = if size == 4 {
                value
            } else {
                let shift = 8 * (addr & 3);
                let mask = if size == 1 { 0xff } else { 0xffff } << shift;
                // Priorities keep their neighbours; elsewhere these bits are write-one registers.
                let old = match aligned {
                    0xe000_e400..0xe000_e4f0 | 0xe000_ed18..0xe000_ed24 => {
                        self.scs.read(aligned, now, 0)
                    }
                    _ => 0,
                };
                old & !mask | value << shift & mask
            };
            self.scs.write(aligned, word, now)
        } else {
            let before = self.flash.own_operations();
            self.with_bus(|chip, bus| chip.write(addr, size, value, bus));
            if self.flash.own_operations() != before {
                // An erase: anything may have changed.
                self.code_changed = true;
            }
            None
        };
        self.sync();
        request
    }

    /// A store to flash.
    pub fn store(&mut self, addr: u32, size: u8, value: u64) -> Stored {
        let stored = self.with_bus(|chip, bus| chip.store(addr, size, value, bus));
        self.code_changed |= self.executed.contains(&(addr / PAGE));
        self.sync();
        stored
    }

    /// Forgets what was learned of the code.
    pub fn forget_code(&mut self) {
        self.blocks.fill(None);
        self.executed.clear();
        self.code_changed = false;
    }

    /// Counts a block that is about to run.
    pub fn count_block(&mut self, addr: u32, size: u32) {
        let slot = (addr >> 1) as usize % BLOCKS;
        let block = match self.blocks[slot] {
            Some(b) if b.addr == addr && b.size == size => b,
            _ => {
                let b = self.scan(addr, size);
                self.blocks[slot] = Some(b);
                b
            }
        };
        let count = if self.stepping {
            1
        } else {
            u64::from(block.count)
        };
        self.now += count;
        self.instructions += count;
        self.scs.event |= block.sends_event;
        self.wait = (block.wait, addr + size);
    }

    /// Reads a block's instructions: how many they are, and whether SEV, WFE or WFI is among them.
    fn scan(&mut self, addr: u32, size: u32) -> Block {
        self.executed.insert(addr / PAGE);
        self.executed.insert((addr + size) / PAGE);
        let mut block = Block {
            addr,
            size,
            count: 0,
            sends_event: false,
            wait: Wait::No,
        };
        let mut at = addr;
        while at < addr + size {
            let Some(half) = self.map.half(at) else { break };
            block.wait = match half {
                0xbf20 => Wait::Event,
                0xbf30 => Wait::Interrupt,
                0xbf10 => Wait::Yield,
                _ => Wait::No,
            };
            block.sends_event |= half == 0xbf40;
            block.count += 1;
            // 32-bit encodings begin with 0b11101, 0b11110 or 0b11111.
            at += if half >> 11 >= 0x1d { 4 } else { 2 };
        }
        block
    }

    /// True if the core must leave the emulator before the next block.
    pub fn wants_attention(&self, masks: impl FnOnce() -> Masks) -> bool {
        if self.stepping {
            return false;
        }
        self.now >= self.deadline
            || self.scs.reset_request
            || !self.flash.powered()
            || self.scs.nvic.best_pending().is_some() && self.scs.nvic.to_take(masks()).is_some()
    }
}

/// True for the core's own registers.
fn is_core(addr: u32) -> bool {
    addr.wrapping_sub(PPB.0) < PPB.1 && addr & 0xffff_f000 != PPB_VENDOR
}
