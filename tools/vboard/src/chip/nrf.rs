//! What nRF51 and nRF52 have in common: CLOCK, POWER, GPIO, RTC, TIMER, UART(E), NVMC; and QSPI.
//!
//! Registers of other peripherals keep what is written to them and do nothing.

use std::collections::BTreeMap;

use super::nvmc::{Nvmc, Params};
use super::{Bus, Chip, Pin, Spec, Stored};
use crate::mem::Map;
use crate::mx25r;

mod gpio;
mod qspi;
mod timer;
mod uarte;

use gpio::Gpio;
use qspi::Qspi;
use timer::{Timer, TimerKind};
use uarte::Uarte;

/// How one Nordic part differs from another.
pub struct Variant {
    /// The facts.
    pub spec: &'static Spec,
    /// The flash controller.
    pub nvmc: Params,
    /// Core clock in Hz.
    pub hz: u64,
    /// GPIO ports.
    pub ports: usize,
    /// Offset in UICR of the access port protection word; none on nRF51 here.
    pub approtect: Option<u32>,
    /// Words of FICR: address, value. The rest reads as ones.
    pub ficr: &'static [(u32, u32)],
    /// RTCs and TIMERs: base address, interrupt, compare registers, RTC or TIMER.
    pub timers: &'static [(u32, u32, usize, TimerKind)],
    /// QSPI, with the external flash of the DK.
    pub qspi: bool,
}

pub use timer::TimerKind as Kind;

const CLOCK: u32 = 0x4000_0000;
const UART: u32 = 0x4000_2000;
const NVMC: u32 = 0x4001_e000;
const GPIO: u32 = 0x5000_0000;

/// A Nordic chip.
pub struct Nrf {
    variant: &'static Variant,
    nvmc: Nvmc,
    gpio: Vec<Gpio>,
    timers: Vec<Timer>,
    uart: Uarte,
    qspi: Option<Qspi>,
    clock: Clock,
    other: BTreeMap<u32, u32>,
    protected: bool,
}

/// Oscillators: both are stable at once.
#[derive(Default)]
struct Clock {
    hf: bool,
    lf: bool,
    events: [u32; 2],
    inten: u32,
    source: u32,
}

impl Clock {
    fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x100 => self.events[0],
            0x104 => self.events[1],
            0x304 | 0x308 => self.inten,
            0x408 => u32::from(self.hf),
            0x40c => u32::from(self.hf) << 16 | u32::from(self.hf),
            0x414 => u32::from(self.lf),
            0x418 => u32::from(self.lf) << 16 | self.source & 3,
            0x41c => self.source & 3,
            0x518 => self.source,
            _ => return None,
        })
    }

    fn write(&mut self, offset: u32, value: u32) -> bool {
        let task = value & 1 != 0;
        match offset {
            0x000 if task => (self.hf, self.events[0]) = (true, 1),
            0x004 if task => self.hf = false,
            0x008 if task => (self.lf, self.events[1]) = (true, 1),
            0x00c if task => self.lf = false,
            0x100 => self.events[0] = value & 1,
            0x104 => self.events[1] = value & 1,
            0x304 => self.inten |= value,
            0x308 => self.inten &= !value,
            0x518 => self.source = value,
            _ => return false,
        }
        true
    }

    fn line(&self) -> bool {
        (self.events[0] | self.events[1] << 1) & self.inten != 0
    }
}

impl Nrf {
    /// The chip at power on.
    pub fn new(variant: &'static Variant) -> Self {
        Self {
            variant,
            nvmc: Nvmc::new(variant.nvmc),
            gpio: vec![Gpio::default(); variant.ports],
            timers: Self::timers(variant),
            uart: Uarte::default(),
            qspi: variant.qspi.then(Qspi::default),
            clock: Clock::default(),
            other: BTreeMap::new(),
            protected: false,
        }
    }

    fn timers(variant: &Variant) -> Vec<Timer> {
        let one = |&(base, irq, compares, kind)| Timer::new(base, irq, compares, kind, variant.hz);
        variant.timers.iter().map(one).collect()
    }
}

impl Chip for Nrf {
    fn spec(&self) -> &'static Spec {
        self.variant.spec
    }

    fn fill_rom(&self, map: &Map) {
        for (r, _) in map.find(0x1000_0000, 4).into_iter() {
            r.mem.fill(0, r.len as usize, 0xff);
            for (addr, value) in self.variant.ficr {
                r.mem.write((addr - r.base) as usize, &value.to_le_bytes());
            }
        }
    }

    fn external(&self) -> &'static [(u32, u32)] {
        match self.qspi {
            Some(_) => mx25r::PARTS,
            None => &[],
        }
    }

    fn power_on(&mut self) {
        self.qspi.iter_mut().for_each(Qspi::power_on);
    }

    fn reset(&mut self, map: &Map) {
        self.nvmc.reset();
        self.qspi.iter_mut().for_each(Qspi::reset);
        self.timers = Self::timers(self.variant);
        self.uart = Uarte::default();
        self.clock = Clock::default();
        self.other.clear();
        for g in &mut self.gpio {
            g.reset();
        }
        self.protected = self
            .variant
            .approtect
            .and_then(|offset| map.word(self.variant.nvmc.uicr + offset))
            .is_some_and(|word| word & 0xff != 0xff);
    }

    fn read(&mut self, addr: u32, bus: &mut Bus) -> u32 {
        let offset = addr & 0xfff;
        if let Some(t) = self.timers.iter_mut().find(|t| t.base == addr & !0xfff) {
            return t.read(offset, bus.now);
        }
        if let (qspi::BASE, Some(q)) = (addr & !0xfff, &mut self.qspi) {
            let other = self.timers.iter().filter_map(Timer::next).min();
            return q.read(offset, other, bus);
        }
        match addr & !0xfff {
            NVMC => return self.nvmc.read(offset),
            UART => {
                if let Some(value) = self.uart.read(offset, bus) {
                    return value;
                }
            }
            CLOCK => {
                if let Some(value) = self.clock.read(offset) {
                    return value;
                }
            }
            GPIO => {
                if let Some(value) =
                    gpio::port(offset).and_then(|(port, offset)| self.gpio.get(port)?.read(offset))
                {
                    return value;
                }
            }
            _ => {}
        }
        self.other.get(&addr).copied().unwrap_or(0)
    }

    fn write(&mut self, addr: u32, _size: u8, value: u32, bus: &mut Bus) {
        let offset = addr & 0xfff;
        if let Some(t) = self.timers.iter_mut().find(|t| t.base == addr & !0xfff) {
            t.write(offset, value, bus.now);
            return;
        }
        if let (qspi::BASE, Some(q)) = (addr & !0xfff, &mut self.qspi) {
            q.write(offset, value, bus);
            return;
        }
        let taken = match addr & !0xfff {
            NVMC => {
                self.nvmc.write(offset, value, bus);
                true
            }
            UART => self.uart.write(offset, value, bus),
            CLOCK => self.clock.write(offset, value),
            GPIO => gpio::port(offset)
                .and_then(|(port, offset)| Some(self.gpio.get_mut(port)?.write(offset, value)))
                .unwrap_or(false),
            _ => false,
        };
        if !taken {
            self.other.insert(addr, value);
        }
    }

    fn store(&mut self, addr: u32, size: u8, value: u64, bus: &mut Bus) -> Stored {
        self.nvmc.store(addr, size, value, bus)
    }

    fn lines(&mut self, bus: &mut Bus) -> u128 {
        let mut lines = u128::from(self.clock.line());
        lines |= u128::from(self.uart.line(bus)) << 2;
        if let Some(q) = &mut self.qspi {
            q.advance(bus.now);
            lines |= u128::from(q.line()) << qspi::IRQ;
        }
        for t in &mut self.timers {
            t.advance(bus.now);
            lines |= u128::from(t.line()) << t.irq;
        }
        lines
    }

    fn next_event(&self) -> Option<u64> {
        let timers = self.timers.iter().filter_map(Timer::next);
        timers.chain(self.qspi.as_ref().and_then(Qspi::next)).min()
    }

    fn pin(&self, port: u8, pin: u8) -> Option<Pin> {
        self.gpio.get(usize::from(port)).and_then(|g| g.pin(pin))
    }

    fn drive(&mut self, port: u8, pin: u8, level: Option<bool>) {
        if let Some(g) = self.gpio.get_mut(usize::from(port)) {
            g.drive(pin, level);
        }
    }

    fn protected(&self) -> bool {
        self.protected
    }

    fn erase_all(&mut self, bus: &mut Bus) -> bool {
        self.nvmc.erase_all(bus);
        self.protected = false;
        true
    }
}
