//! General-purpose timers of STM32: an up counter with prescaler, auto-reload and four compares.
//! Capture, PWM outputs, slave modes and DMA are not modelled.

use crate::counter::Counter;

const UIF: u32 = 1;

/// A timer. Flags are bits as in SR and DIER: update 0, compares 1 to 4.
pub struct Timer {
    /// First address.
    pub base: u32,
    /// Interrupts that the flags are connected to.
    pub irqs: &'static [u32],
    wide: bool,
    counter: Counter,
    regs: [u32; 24],
    sr: u32,
    prescaler: u32,
}

impl Timer {
    /// A stopped timer of 32 or 16 bits.
    pub fn new(base: u32, wide: bool, irqs: &'static [u32]) -> Self {
        let top = if wide { 0xffff_ffff } else { 0xffff };
        let mut regs = [0; 24];
        regs[0x2c / 4] = top;
        Self {
            base,
            irqs,
            wide,
            counter: Counter::new(u64::from(top) + 1, 1, 1),
            regs,
            sr: 0,
            prescaler: 0,
        }
    }

    fn reg(&self, offset: usize) -> u32 {
        self.regs[offset / 4]
    }

    fn targets(&self) -> [u64; 5] {
        // An update comes when the counter wraps to zero.
        [0, self.cc(0), self.cc(1), self.cc(2), self.cc(3)]
    }

    fn cc(&self, n: usize) -> u64 {
        u64::from(self.reg(0x34 + 4 * n))
    }

    /// Catches up with time.
    pub fn advance(&mut self, now: u64) {
        let mut flags = 0;
        self.counter
            .advance(now, &self.targets(), |i| flags |= 1 << i);
        if self.reg(0) & 2 != 0 {
            // CR1.UDIS.
            flags &= !UIF;
        }
        self.sr |= flags;
        if flags & UIF != 0 && self.reg(0) & 8 != 0 {
            // One-pulse mode.
            self.counter.run(now, false);
            self.regs[0] &= !1;
        }
    }

    /// The interrupt line.
    pub fn line(&self) -> bool {
        self.sr & self.reg(0x0c) & 0x1f != 0
    }

    /// The next moment at which the line may rise.
    pub fn next(&self) -> Option<u64> {
        let quiet = self.reg(0x0c) & !self.sr;
        self.targets()
            .into_iter()
            .enumerate()
            .filter(|(i, _)| quiet >> i & 1 == 1)
            .filter_map(|(_, target)| self.counter.next(target))
            .min()
    }

    /// Reads a register.
    pub fn read(&mut self, offset: u32, now: u64) -> u32 {
        self.advance(now);
        match offset {
            0x10 => self.sr,
            0x24 => self.counter.value(now) as u32,
            o => self.regs.get(o as usize / 4).copied().unwrap_or(0),
        }
    }

    /// Writes a register. `ratio`: timer clocks for a core clock.
    pub fn write(&mut self, offset: u32, value: u32, now: u64, ratio: (u64, u64)) {
        self.advance(now);
        let value = match offset {
            0x24 | 0x2c | 0x34..0x44 if !self.wide => value & 0xffff,
            _ => value,
        };
        match offset {
            0x10 => self.sr &= value,
            0x14 => self.generate(value, now, ratio),
            0x24 => self.counter.set(now, u64::from(value)),
            o => {
                if let Some(r) = self.regs.get_mut(o as usize / 4) {
                    *r = value;
                }
            }
        }
        match offset {
            0x00 if (value & 1 != 0) != self.counter.running() => {
                self.counter.run(now, value & 1 != 0)
            }
            0x2c => self.counter.set_period(now, u64::from(value) + 1),
            _ => {}
        }
    }

    /// EGR. An update event loads the prescaler and starts the count anew.
    fn generate(&mut self, value: u32, now: u64, (num, den): (u64, u64)) {
        self.sr |= value & 0x1e;
        if value & 1 != 0 && self.reg(0) & 2 == 0 {
            self.prescaler = self.reg(0x28) & 0xffff;
            self.counter
                .set_rate(now, num, den * (u64::from(self.prescaler) + 1));
            self.counter.set(now, 0);
            // CR1.URS: only a wrap sets the flag.
            if self.reg(0) & 4 == 0 {
                self.sr |= UIF;
            }
        }
    }
}
