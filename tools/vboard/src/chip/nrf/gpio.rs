//! GPIO ports of nRF51 and nRF52. SENSE, LATCH and GPIOTE are not modelled.

use crate::chip::Pin;

/// A port of 32 pins.
#[derive(Clone, Default)]
pub struct Gpio {
    out: u32,
    config: [u32; 32],
    configured: u32,
    driven: u32,
    level: u32,
}

/// The port of a register, by its offset from port 0, and the register's offset in that port.
pub fn port(offset: u32) -> Option<(usize, u32)> {
    match offset {
        0x504..0x780 => Some((0, offset)),
        0x804..0xa80 => Some((1, offset - 0x300)),
        _ => None,
    }
}

impl Gpio {
    /// A system reset; what drives the pins from outside goes on.
    pub fn reset(&mut self) {
        *self = Self {
            driven: self.driven,
            level: self.level,
            ..Self::default()
        };
    }

    fn config(&self, pin: usize) -> u32 {
        // After reset: input, buffer disconnected, no pull.
        if self.configured >> pin & 1 == 1 {
            self.config[pin]
        } else {
            2
        }
    }

    fn dir(&self) -> u32 {
        (0..32).fold(0, |d, i| d | (self.config(i) & 1) << i)
    }

    fn set_dir(&mut self, dir: u32) {
        for i in 0..32 {
            self.config[i] = self.config(i) & !1 | dir >> i & 1;
        }
        self.configured = !0;
    }

    /// The levels of all pins.
    fn levels(&self) -> u32 {
        let mut levels = 0;
        for i in 0..32 {
            let config = self.config(i);
            let high = if config & 1 == 1 {
                self.out >> i & 1 == 1
            } else if self.driven >> i & 1 == 1 {
                self.level >> i & 1 == 1
            } else {
                config >> 2 & 3 == 3
            };
            levels |= u32::from(high) << i;
        }
        levels
    }

    /// What IN reads: pins whose input buffer is connected.
    fn input(&self) -> u32 {
        (0..32).fold(self.levels(), |l, i| {
            if self.config(i) & 2 != 0 {
                l & !(1 << i)
            } else {
                l
            }
        })
    }

    /// Reads a register.
    pub fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x504..=0x50c => self.out,
            0x510 => self.input(),
            0x514..=0x51c => self.dir(),
            0x700..0x780 => self.config((offset as usize - 0x700) / 4),
            _ => return None,
        })
    }

    /// Writes a register; false if it is none of these.
    pub fn write(&mut self, offset: u32, value: u32) -> bool {
        match offset {
            0x504 => self.out = value,
            0x508 => self.out |= value,
            0x50c => self.out &= !value,
            0x514 => self.set_dir(value),
            0x518 => self.set_dir(self.dir() | value),
            0x51c => self.set_dir(self.dir() & !value),
            0x700..0x780 => {
                let pin = (offset as usize - 0x700) / 4;
                self.config[pin] = value;
                self.configured |= 1 << pin;
            }
            _ => return false,
        }
        true
    }

    /// A pin as the world sees it.
    pub fn pin(&self, pin: u8) -> Option<Pin> {
        (pin < 32).then(|| Pin {
            output: self.dir() >> pin & 1 == 1,
            high: self.levels() >> pin & 1 == 1,
        })
    }

    /// Drives a pin from outside.
    pub fn drive(&mut self, pin: u8, level: Option<bool>) {
        let bit = 1u32.checked_shl(u32::from(pin)).unwrap_or(0);
        self.driven &= !bit;
        self.level &= !bit;
        if let Some(high) = level {
            self.driven |= bit;
            self.level |= if high { bit } else { 0 };
        }
    }
}
