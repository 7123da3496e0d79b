//! RCC of STM32F4: oscillators that are ready at once, the clock switch, and the rates that follow.

/// The internal oscillator.
pub const HSI: u64 = 16_000_000;
/// The external clock of a Nucleo board.
const HSE: u64 = 8_000_000;

/// The registers, as written.
pub struct Rcc {
    cr: u32,
    pllcfgr: u32,
    cfgr: u32,
    bdcr: u32,
    csr: u32,
}

impl Rcc {
    /// After reset.
    pub const RESET: Self = Self {
        cr: 0x83,
        pllcfgr: 0x2400_3010,
        cfgr: 0,
        bdcr: 0,
        // Power-on and pin reset.
        csr: 0x0e00_0000,
    };

    /// Timer clocks for a core clock, on APB1 or APB2: the bus clock, twice that where it is divided.
    pub fn timer_ratio(&self, apb2: bool) -> (u64, u64) {
        let field = if apb2 {
            self.cfgr >> 13
        } else {
            self.cfgr >> 10
        } & 7;
        match field {
            0..4 => (1, 1),
            n => (2, 1 << (n - 3)),
        }
    }

    /// The core clock in Hz.
    pub fn hz(&self) -> u64 {
        let field = |shift: u32, mask: u32| u64::from(self.pllcfgr >> shift & mask);
        let sysclk = match self.cfgr & 3 {
            0 => HSI,
            1 => HSE,
            _ => {
                let input = if field(22, 1) == 1 { HSE } else { HSI };
                let (m, n, p) = (field(0, 0x3f).max(1), field(6, 0x1ff), 2 * field(16, 3) + 2);
                input / m * n / p
            }
        };
        match self.cfgr >> 4 & 0xf {
            0..8 => sysclk,
            // 2, 4, 8, 16, then 64 to 512.
            n if n < 12 => sysclk >> (n - 7),
            n => sysclk >> (n - 6),
        }
    }

    /// Reads a register; none if it is not modelled.
    pub fn read(&self, offset: u32) -> Option<u32> {
        let ready = |reg: u32, bits: u32| reg & !(bits << 1) | (reg & bits) << 1;
        Some(match offset {
            // HSI, HSE, PLL and PLLI2S are ready as soon as they are on.
            0x00 => ready(self.cr, 1 | 1 << 16 | 1 << 24 | 1 << 26),
            0x04 => self.pllcfgr,
            // SWS follows SW.
            0x08 => self.cfgr & !0xc | (self.cfgr & 3) << 2,
            0x70 => ready(self.bdcr, 1),
            0x74 => ready(self.csr, 1),
            _ => return None,
        })
    }

    /// Writes a register; false if it is not modelled.
    pub fn write(&mut self, offset: u32, value: u32) -> bool {
        match offset {
            0x00 => self.cr = value,
            0x04 => self.pllcfgr = value,
            0x08 => self.cfgr = value,
            0x70 => self.bdcr = value,
            0x74 => {
                // RMVF clears the reset flags.
                let flags = if value & 1 << 24 != 0 {
                    0
                } else {
                    self.csr & 0xfe00_0000
                };
                self.csr = flags | value & 1;
            }
            _ => return false,
        }
        true
    }
}
