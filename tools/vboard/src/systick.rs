//! SysTick: 24 bits, counting down at the core clock.

/// The timer's registers. Time comes in as core cycles and is caught up with when asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SysTick {
    enabled: bool,
    interrupt: bool,
    source: bool,
    flag: bool,
    reload: u32,
    value: u32,
    seen: u64,
}

impl SysTick {
    /// Counts to `now`. Returns true if the counter got to zero with its interrupt enabled.
    pub fn advance(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.seen);
        self.seen = now;
        if !self.enabled || passed == 0 {
            return false;
        }
        if self.reload == 0 && self.value == 0 {
            return false;
        }
        let value = u64::from(self.value);
        // A value of zero is loaded anew with the next tick.
        let to_zero = if value == 0 {
            u64::from(self.reload) + 1
        } else {
            value
        };
        if passed < to_zero {
            self.value = (to_zero - passed) as u32;
            return false;
        }
        let over = (passed - to_zero) % (u64::from(self.reload) + 1);
        self.value = if over == 0 {
            0
        } else {
            (u64::from(self.reload) + 1 - over) as u32
        };
        self.flag = true;
        self.interrupt
    }

    /// When the next interrupt comes.
    pub fn next(&self) -> Option<u64> {
        let to_zero = if self.value == 0 {
            self.reload + 1
        } else {
            self.value
        };
        (self.enabled && self.interrupt && (self.reload != 0 || self.value != 0))
            .then(|| self.seen + u64::from(to_zero))
    }

    /// Reads CSR (0), RVR (4), CVR (8) or CALIB (12).
    pub fn read(&mut self, offset: u32) -> u32 {
        match offset {
            0 => {
                let flag = std::mem::take(&mut self.flag);
                u32::from(self.enabled)
                    | u32::from(self.interrupt) << 1
                    | u32::from(self.source) << 2
                    | u32::from(flag) << 16
            }
            4 => self.reload,
            8 => self.value,
            _ => 0xc000_0000,
        }
    }

    /// Writes CSR, RVR or CVR.
    pub fn write(&mut self, offset: u32, value: u32) {
        match offset {
            0 => {
                self.enabled = value & 1 != 0;
                self.interrupt = value & 2 != 0;
                self.source = value & 4 != 0;
            }
            4 => self.reload = value & 0x00ff_ffff,
            8 => {
                self.value = 0;
                self.flag = false;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SysTick;

    #[test]
    fn counts_down_and_reloads() {
        let mut t = SysTick::default();
        t.write(4, 9);
        t.write(0, 3);
        assert_eq!(t.next(), Some(10));
        assert!(!t.advance(9));
        assert!(t.advance(10));
        assert_eq!(t.read(8), 0);
        assert!(!t.advance(11));
        assert_eq!(t.read(8), 9);
        assert_eq!(t.next(), Some(20));
        assert!(t.advance(45));
        assert_eq!(t.read(0) >> 16, 1);
        assert_eq!(t.read(0) >> 16, 0, "COUNTFLAG clears on read");
    }
}
