//! RTC and TIMER: a counter with compare events.

use crate::counter::Counter;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// 24 bits at 32,768 Hz over a prescaler.
    Rtc,
    /// Up to 32 bits at 16 MHz over a power of two. Counter mode is not modelled.
    Timer,
}

const OVERFLOW: u32 = 1 << 1;

/// An RTC or a TIMER. Events are bits as in INTEN: TICK 0 (never set), OVRFLW 1, COMPARE[n] 16 + n.
pub struct Timer {
    /// First address.
    pub base: u32,
    /// Interrupt.
    pub irq: u32,
    kind: TimerKind,
    hz: u64,
    counter: Counter,
    cc: Vec<u64>,
    events: u32,
    inten: u32,
    evten: u32,
    prescaler: u32,
    bitmode: u32,
    shorts: u32,
}

impl Timer {
    /// A stopped timer.
    pub fn new(base: u32, irq: u32, compares: usize, kind: TimerKind, hz: u64) -> Self {
        let counter = match kind {
            TimerKind::Rtc => Counter::new(1 << 24, 32_768, hz),
            TimerKind::Timer => Counter::new(1 << 16, 16_000_000 >> 4, hz),
        };
        Self {
            base,
            irq,
            kind,
            hz,
            counter,
            cc: vec![0; compares],
            events: 0,
            inten: 0,
            evten: 0,
            prescaler: if kind == TimerKind::Timer { 4 } else { 0 },
            bitmode: 0,
            shorts: 0,
        }
    }

    /// Catches up with time. A COMPARE→CLEAR or →STOP shortcut acts at the moment of its event.
    pub fn advance(&mut self, now: u64) {
        while let Some((at, i)) = self.next_short().filter(|&(at, _)| at <= now) {
            self.count(at);
            if self.shorts >> i & 1 != 0 {
                self.counter.set(at, 0);
            }
            if self.shorts >> (i + 8) & 1 != 0 {
                self.counter.run(at, false);
            }
        }
        self.count(now);
    }

    /// The next compare event that clears or stops the counter.
    fn next_short(&self) -> Option<(u64, usize)> {
        (0..self.cc.len())
            .filter(|&i| self.has_short(i))
            .filter_map(|i| Some((self.counter.next(self.cc[i])?, i)))
            .min()
    }

    fn has_short(&self, cc: usize) -> bool {
        self.kind == TimerKind::Timer && self.shorts >> cc & 0x101 != 0
    }

    fn count(&mut self, now: u64) {
        let mut targets = self.cc.clone();
        targets.push(0);
        let overflow = self.cc.len();
        let mut events = 0;
        self.counter.advance(now, &targets, |i| {
            events |= if i == overflow {
                OVERFLOW
            } else {
                1 << (16 + i)
            };
        });
        if self.kind == TimerKind::Timer {
            events &= !OVERFLOW;
        }
        self.events |= events;
    }

    /// The interrupt line.
    pub fn line(&self) -> bool {
        self.events & self.inten != 0
    }

    /// The next moment at which the line may rise.
    pub fn next(&self) -> Option<u64> {
        let quiet = self.inten & !self.events;
        let compares = self
            .cc
            .iter()
            .enumerate()
            .filter(|(i, _)| quiet >> (16 + i) & 1 == 1 || self.has_short(*i));
        let overflow = (quiet & OVERFLOW != 0).then_some(&0);
        compares
            .map(|(_, cc)| cc)
            .chain(overflow)
            .filter_map(|&target| self.counter.next(target))
            .min()
    }

    /// Reads a register.
    pub fn read(&mut self, offset: u32, now: u64) -> u32 {
        self.advance(now);
        match offset {
            0x104 => self.events >> 1 & 1,
            0x140..0x160 => self.events >> (16 + (offset - 0x140) / 4) & 1,
            0x200 => self.shorts,
            0x304 | 0x308 => self.inten,
            0x340..=0x348 => self.evten,
            0x504 if self.kind == TimerKind::Rtc => self.counter.value(now) as u32,
            0x508 if self.kind == TimerKind::Rtc => self.prescaler,
            0x508 => self.bitmode,
            0x510 => self.prescaler,
            0x540..0x560 => self.compare(offset).map_or(0, |i| self.cc[i] as u32),
            _ => 0,
        }
    }

    fn compare(&self, offset: u32) -> Option<usize> {
        let i = (offset as usize & 0x1f) / 4;
        (i < self.cc.len()).then_some(i)
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u32, value: u32, now: u64) {
        self.advance(now);
        let task = value & 1 != 0;
        match offset {
            0x000 if task => self.counter.run(now, true),
            0x004 if task => self.counter.run(now, false),
            0x008 if task && self.kind == TimerKind::Rtc => self.counter.set(now, 0),
            // TIMER's TASKS_COUNT.
            0x008 => {}
            0x00c if task && self.kind == TimerKind::Rtc => self.counter.set(now, 0x00ff_fff0),
            0x00c if task => self.counter.set(now, 0),
            // TIMER's TASKS_SHUTDOWN.
            0x010 if task => self.counter.run(now, false),
            0x040..0x060 if task && self.kind == TimerKind::Timer => {
                if let Some(i) = self.compare(offset) {
                    self.cc[i] = self.counter.value(now);
                }
            }
            0x104 => self.set_event(1, value),
            0x140..0x160 => self.set_event(16 + (offset - 0x140) / 4, value),
            0x200 => self.shorts = value,
            0x304 => self.inten |= value,
            0x308 => self.inten &= !value,
            0x340 => self.evten = value,
            0x344 => self.evten |= value,
            0x348 => self.evten &= !value,
            0x508 if self.kind == TimerKind::Rtc => {
                self.prescaler = value & 0xfff;
                let den = self.hz * (u64::from(self.prescaler) + 1);
                self.counter.set_rate(now, 32_768, den);
            }
            0x508 => {
                self.bitmode = value & 3;
                let bits = [16, 8, 24, 32][self.bitmode as usize];
                self.counter.set_period(now, 1 << bits);
            }
            0x510 if self.kind == TimerKind::Timer => {
                self.prescaler = value & 0xf;
                self.counter
                    .set_rate(now, 16_000_000, self.hz << self.prescaler.min(9));
            }
            0x540..0x560 => {
                if let Some(i) = self.compare(offset) {
                    let mask = if self.kind == TimerKind::Rtc {
                        0x00ff_ffff
                    } else {
                        !0
                    };
                    self.cc[i] = u64::from(value & mask);
                }
            }
            _ => {}
        }
    }

    fn set_event(&mut self, bit: u32, value: u32) {
        self.events = self.events & !(1 << bit) | (value & 1) << bit;
    }
}
