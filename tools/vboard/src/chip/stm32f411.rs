//! STM32F411RE: Cortex-M4F, 512 KiB of flash in sectors of 16, 64 and 128 KiB, 128 KiB of RAM.
//!
//! Modelled: FLASH, RCC's ready bits and clock switch, PWR's VOSRDY, GPIO, TIM1 to 5 and 9 to 11 as
//! counters with compares, USART1, 2 and 6 without DMA, DBGMCU. Registers of other peripherals keep
//! what is written to them and do nothing. Flash shows at 0x0800_0000 and, as BOOT0 is low, at zero.

use std::collections::BTreeMap;

use super::stm32_flash::{Flash, Sectors};
use super::stm32_rcc::{HSI, Rcc};
use super::stm32_timer::Timer;
use super::{Bus, Chip, Part, Pin, Spec, Stored};
use crate::mem::Map;
use crate::scs::CoreKind;

const BASE: u32 = 0x0800_0000;
const MAIN: Part = Part::flash(BASE, 0x8_0000);
const KIB: u32 = 1024;
const SECTORS: Sectors = &[
    16 * KIB,
    16 * KIB,
    16 * KIB,
    16 * KIB,
    64 * KIB,
    128 * KIB,
    128 * KIB,
    128 * KIB,
];

static SPEC: Spec = Spec {
    name: "stm32f411",
    probe_rs_name: "STM32F411RETx",
    core: CoreKind {
        cpuid: 0x410f_c241,
        v6m: false,
        fpu: true,
        systick: true,
        irqs: 86,
        prio_bits: 4,
    },
    parts: &[
        MAIN,
        MAIN.alias(0),
        // System memory, OTP and the device signature.
        Part::rom(0x1fff_0000, 0x8000),
        // Option bytes.
        Part::rom(0x1fff_c000, 0x1000),
        Part::ram(0x2000_0000, 0x2_0000),
    ],
    registers: &[
        (0x4000_0000, 0x8000),
        (0x4001_0000, 0x8000),
        (0x4002_0000, 0x8000),
        (0x5000_0000, 0x4_0000),
    ],
    dpidr: 0x2ba0_1477,
    ap_idr: 0x2477_0011,
    ap_base: 0xe00f_f003,
    ctrl_ap: false,
};

const RCC: u32 = 0x4002_3800;
const FLASH: u32 = 0x4002_3c00;
const PWR: u32 = 0x4000_7000;
const EXTI: u32 = 0x4001_3c00;
const GPIO: u32 = 0x4002_0000;
const DBGMCU: u32 = 0xe004_2000;
const USARTS: [(u32, u32); 3] = [(0x4000_4400, 38), (0x4001_1000, 37), (0x4001_1400, 71)];

/// The chip.
pub struct Stm32f411 {
    flash: Flash,
    timers: Vec<Timer>,
    usarts: [Usart; 3],
    /// Ports A to H; F and G do not exist and stay untouched.
    ports: [Port; 8],
    rcc: Rcc,
    other: BTreeMap<u32, u32>,
}

#[derive(Clone, Copy, Default)]
struct Usart {
    rxne: bool,
    rdr: u32,
    brr: u32,
    cr: [u32; 3],
}

impl Usart {
    fn poll(&mut self, bus: &mut Bus) {
        let on = self.cr[0] & (1 << 13 | 1 << 2) == 1 << 13 | 1 << 2;
        if on
            && !self.rxne
            && let Some(byte) = bus.uart.receive()
        {
            (self.rdr, self.rxne) = (u32::from(byte), true);
        }
    }

    /// TXE and TC are always set.
    fn sr(&self) -> u32 {
        0xc0 | u32::from(self.rxne) << 5
    }

    fn line(&mut self, bus: &mut Bus) -> bool {
        self.poll(bus);
        self.cr[0] & 1 << 13 != 0 && self.sr() & self.cr[0] & 0xe0 != 0
    }

    fn read(&mut self, offset: u32, bus: &mut Bus) -> u32 {
        self.poll(bus);
        match offset {
            0x00 => self.sr(),
            0x04 => {
                self.rxne = false;
                self.rdr
            }
            0x08 => self.brr,
            0x0c..=0x14 => self.cr[(offset as usize - 0xc) / 4],
            _ => 0,
        }
    }

    fn write(&mut self, offset: u32, value: u32, bus: &mut Bus) {
        match offset {
            0x04 if self.cr[0] & (1 << 13 | 1 << 3) == 1 << 13 | 1 << 3 => {
                bus.uart.send(&[value as u8])
            }
            0x08 => self.brr = value,
            0x0c..=0x14 => self.cr[(offset as usize - 0xc) / 4] = value,
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Port {
    moder: u32,
    pupdr: u32,
    odr: u32,
    other: [u32; 10],
    driven: u16,
    level: u16,
}

impl Port {
    fn output(&self, pin: u32) -> bool {
        self.moder >> (2 * pin) & 3 == 1
    }

    fn high(&self, pin: u32) -> bool {
        if self.output(pin) {
            self.odr >> pin & 1 == 1
        } else if self.driven >> pin & 1 == 1 {
            self.level >> pin & 1 == 1
        } else {
            self.pupdr >> (2 * pin) & 3 == 1
        }
    }

    fn read(&self, offset: u32) -> u32 {
        match offset {
            0x00 => self.moder,
            0x0c => self.pupdr,
            0x10 => (0..16).fold(0, |l, i| l | u32::from(self.high(i)) << i),
            0x14 => self.odr,
            0x18 => 0,
            o => self.other.get(o as usize / 4).copied().unwrap_or(0),
        }
    }

    fn write(&mut self, offset: u32, value: u32) {
        match offset {
            0x00 => self.moder = value,
            0x0c => self.pupdr = value,
            0x10 => {}
            0x14 => self.odr = value & 0xffff,
            0x18 => self.odr = self.odr & !(value >> 16) | value & 0xffff,
            o => {
                if let Some(r) = self.other.get_mut(o as usize / 4) {
                    *r = value;
                }
            }
        }
    }
}

impl Stm32f411 {
    /// The chip at power on.
    pub fn new() -> Self {
        let mut chip = Self {
            flash: Flash::new(BASE, SECTORS, HSI),
            timers: Vec::new(),
            usarts: [Usart::default(); 3],
            ports: [Port::default(); 8],
            rcc: Rcc::RESET,
            other: BTreeMap::new(),
        };
        chip.set_reset_state();
        chip
    }

    fn set_reset_state(&mut self) {
        self.flash.reset();
        self.timers = vec![
            Timer::new(0x4000_0000, true, &[28]),
            Timer::new(0x4000_0400, false, &[29]),
            Timer::new(0x4000_0800, false, &[30]),
            Timer::new(0x4000_0c00, true, &[50]),
            Timer::new(0x4001_0000, false, &[25, 27]),
            Timer::new(0x4001_4000, false, &[24]),
            Timer::new(0x4001_4400, false, &[25]),
            Timer::new(0x4001_4800, false, &[26]),
        ];
        self.usarts = [Usart::default(); 3];
        self.rcc = Rcc::RESET;
        self.other.clear();
        for p in &mut self.ports {
            *p = Port {
                driven: p.driven,
                level: p.level,
                ..Port::default()
            };
        }
        // The debug pins.
        (self.ports[0].moder, self.ports[0].pupdr) = (0xa800_0000, 0x6400_0000);
        (self.ports[1].moder, self.ports[1].pupdr) = (0x0000_0280, 0x0000_0100);
    }

    fn port(addr: u32) -> Option<usize> {
        let n = (addr.checked_sub(GPIO)? / 0x400) as usize;
        matches!(n, 0..=4 | 7).then_some(n)
    }
}

impl Default for Stm32f411 {
    fn default() -> Self {
        Self::new()
    }
}

impl Chip for Stm32f411 {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn fill_rom(&self, map: &Map) {
        for base in [0x1fff_0000, 0x1fff_c000] {
            for (r, _) in map.find(base, 4).into_iter() {
                r.mem.fill(0, r.len as usize, 0xff);
                if base == 0x1fff_0000 {
                    // Unique id, and the flash size in KiB.
                    r.mem.write(0x7a10, b"vboard id 12");
                    r.mem.write(0x7a22, &512u16.to_le_bytes());
                }
            }
        }
    }

    fn reset(&mut self, _map: &Map) {
        self.set_reset_state();
    }

    fn read(&mut self, addr: u32, bus: &mut Bus) -> u32 {
        let offset = addr & 0x3ff;
        if let Some(t) = self.timers.iter_mut().find(|t| t.base == addr & !0x3ff) {
            return t.read(offset, bus.now);
        }
        if let Some(i) = USARTS.iter().position(|u| u.0 == addr & !0x3ff) {
            return self.usarts[i].read(offset, bus);
        }
        if let Some(port) = Self::port(addr) {
            return self.ports[port].read(offset);
        }
        let stored = self.other.get(&addr).copied().unwrap_or(0);
        match addr & !0x3ff {
            FLASH => self.flash.read(offset),
            RCC => self.rcc.read(offset).unwrap_or(stored),
            // VOSRDY.
            PWR if offset == 4 => stored | 1 << 14,
            DBGMCU if offset == 0 => 0x1000_6431,
            _ => stored,
        }
    }

    fn write(&mut self, addr: u32, size: u8, value: u32, bus: &mut Bus) {
        let offset = addr & 0x3ff;
        if let Some(t) = self.timers.iter_mut().find(|t| t.base == addr & !0x3ff) {
            let ratio = self.rcc.timer_ratio(addr >= 0x4001_0000);
            t.write(offset & !3, value, bus.now, ratio);
            return;
        }
        if let Some(i) = USARTS.iter().position(|u| u.0 == addr & !0x3ff) {
            self.usarts[i].write(offset, value, bus);
            return;
        }
        if let Some(port) = Self::port(addr) {
            // BSRR may be written by halves.
            let shift = if size < 4 { 8 * (offset & 3) } else { 0 };
            self.ports[port].write(offset & !3, value << shift);
            return;
        }
        let taken = match addr & !0x3ff {
            FLASH => {
                self.flash.write(offset, value, bus);
                true
            }
            RCC => {
                let taken = self.rcc.write(offset, value);
                self.flash.hz = self.rcc.hz().max(1_000_000);
                taken
            }
            // EXTI's PR: write one to clear.
            EXTI if offset == 0x14 => true,
            _ => false,
        };
        if !taken {
            self.other.insert(addr, value);
        }
    }

    fn store(&mut self, addr: u32, size: u8, value: u64, bus: &mut Bus) -> Stored {
        let addr = if addr < BASE { addr + BASE } else { addr };
        self.flash.store(addr, size, value, bus)
    }

    fn lines(&mut self, bus: &mut Bus) -> u128 {
        let mut lines = u128::from(self.flash.line()) << 4;
        for t in &mut self.timers {
            t.advance(bus.now);
            for irq in t.irqs {
                lines |= u128::from(t.line()) << irq;
            }
        }
        for (u, (_, irq)) in self.usarts.iter_mut().zip(USARTS) {
            lines |= u128::from(u.line(bus)) << irq;
        }
        lines
    }

    fn next_event(&self) -> Option<u64> {
        self.timers.iter().filter_map(Timer::next).min()
    }

    fn pin(&self, port: u8, pin: u8) -> Option<Pin> {
        let p = self.ports.get(usize::from(port)).filter(|_| pin < 16)?;
        Some(Pin {
            output: p.output(u32::from(pin)),
            high: p.high(u32::from(pin)),
        })
    }

    fn drive(&mut self, port: u8, pin: u8, level: Option<bool>) {
        if let Some(p) = self.ports.get_mut(usize::from(port)).filter(|_| pin < 16) {
            let bit = 1 << pin;
            p.driven &= !bit;
            p.level &= !bit;
            if let Some(high) = level {
                p.driven |= bit;
                p.level |= if high { bit } else { 0 };
            }
        }
    }
}
