//! Exceptions of a Cortex-M: which are pending, which are active, and which one goes next.
//!
//! Exceptions are numbered as in the vector table: 3 HardFault, 11 SVCall, 14 PendSV, 15 SysTick,
//! 16 + n interrupt n.

/// HardFault's number.
pub const HARD_FAULT: u32 = 3;
/// MemManage's number.
pub const MEM_MANAGE: u32 = 4;
/// BusFault's number.
pub const BUS_FAULT: u32 = 5;
/// UsageFault's number.
pub const USAGE_FAULT: u32 = 6;
/// SVCall's number.
pub const SVCALL: u32 = 11;
/// PendSV's number.
pub const PEND_SV: u32 = 14;
/// SysTick's number.
pub const SYS_TICK: u32 = 15;
/// NMI's number.
pub const NMI: u32 = 2;

/// The mask registers of the core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks {
    /// PRIMASK, one bit.
    pub primask: bool,
    /// FAULTMASK, one bit.
    pub faultmask: bool,
    /// BASEPRI, zero for none.
    pub basepri: u8,
}

/// Pending, active, enabled and priority of up to 112 exceptions.
#[derive(Clone, Debug)]
pub struct Nvic {
    irqs: u32,
    implemented: u8,
    group: u8,
    enabled: u128,
    pending: u128,
    active: u128,
    lines: u128,
    prio: [u8; 128],
}

impl Nvic {
    /// A controller of `irqs` interrupts with `bits` bits of priority, all disabled.
    pub fn new(irqs: u32, bits: u32) -> Self {
        Self {
            irqs,
            implemented: !(0xffu8 >> bits),
            group: 0xff,
            enabled: 1 << NMI | 1 << HARD_FAULT | 1 << SVCALL | 1 << PEND_SV | 1 << SYS_TICK,
            pending: 0,
            active: 0,
            lines: 0,
            prio: [0; 128],
        }
    }

    /// Sets AIRCR.PRIGROUP: the low `group + 1` bits of a priority do not preempt.
    pub fn set_group(&mut self, group: u32) {
        self.group = !(((2u32 << group) - 1) as u8);
    }

    /// Enables or disables an exception.
    pub fn enable(&mut self, exc: u32, on: bool) {
        set(&mut self.enabled, exc, on);
    }

    /// Pends an exception or takes that back.
    pub fn pend(&mut self, exc: u32, on: bool) {
        set(&mut self.pending, exc, on);
    }

    /// Sets all interrupt lines, bit n for interrupt n. A line that is high pends its interrupt
    /// whenever that is not active.
    pub fn set_lines(&mut self, lines: u128) {
        self.lines = lines << 16;
        self.pending |= self.lines & !self.active;
    }

    /// Takes an exception: active, no longer pending.
    pub fn enter(&mut self, exc: u32) {
        set(&mut self.active, exc, true);
        set(&mut self.pending, exc, false);
    }

    /// Ends an exception. A line that is still high pends it again.
    pub fn leave(&mut self, exc: u32) {
        set(&mut self.active, exc, false);
        self.pending |= self.lines & !self.active;
    }

    /// True if the exception is pending.
    pub fn is_pending(&self, exc: u32) -> bool {
        self.pending >> exc & 1 == 1
    }

    /// True if the exception is active.
    pub fn is_active(&self, exc: u32) -> bool {
        self.active >> exc & 1 == 1
    }

    /// True if an exception is enabled.
    pub fn is_enabled(&self, exc: u32) -> bool {
        self.enabled >> exc & 1 == 1
    }

    /// Anything pending, enabled or not.
    pub fn any_pending(&self) -> bool {
        self.pending != 0
    }

    /// The priority that decides who preempts: −3 to −1 for the fixed ones, 0 to 255.
    pub fn group_priority(&self, exc: u32) -> i32 {
        match exc {
            1 => -3,
            NMI => -2,
            HARD_FAULT => -1,
            _ => i32::from(self.prio[exc as usize & 127] & self.group),
        }
    }

    /// The priority the core runs at; 256 in thread mode without masks.
    pub fn execution_priority(&self, masks: Masks) -> i32 {
        let mut priority = 256;
        let mut left = self.active;
        while left != 0 {
            priority = priority.min(self.group_priority(left.trailing_zeros()));
            left &= left - 1;
        }
        if masks.basepri != 0 {
            priority = priority.min(i32::from(masks.basepri & self.group));
        }
        if masks.primask {
            priority = priority.min(0);
        }
        if masks.faultmask {
            priority = priority.min(-1);
        }
        priority
    }

    /// The exception that is next: pending, enabled, of the highest priority.
    pub fn best_pending(&self) -> Option<u32> {
        let mut left = self.pending & self.enabled;
        let mut best: Option<(i32, u32)> = None;
        while left != 0 {
            let exc = left.trailing_zeros();
            let key = match exc {
                NMI | HARD_FAULT => self.group_priority(exc),
                _ => i32::from(self.prio[exc as usize]),
            };
            if best.is_none_or(|(b, _)| key < b) {
                best = Some((key, exc));
            }
            left &= left - 1;
        }
        best.map(|(_, exc)| exc)
    }

    /// The exception to take now, if one preempts what runs.
    pub fn to_take(&self, masks: Masks) -> Option<u32> {
        self.best_pending()
            .filter(|&exc| self.group_priority(exc) < self.execution_priority(masks))
    }

    /// The lowest active exception number but `exc`, zero if it is the only one.
    pub fn others_active(&self, exc: u32) -> bool {
        self.active & !(1 << exc) != 0
    }

    /// Reads ISER, ISPR or IABR word `n`.
    pub fn bits(&self, which: Bits, n: u32) -> u32 {
        if n > 3 {
            return 0;
        }
        let all = match which {
            Bits::Enabled => self.enabled,
            Bits::Pending => self.pending,
            Bits::Active => self.active,
        };
        (all >> 16 >> (32 * n)) as u32
    }

    /// Writes ISER, ICER, ISPR or ICPR word `n`.
    pub fn write_bits(&mut self, which: Bits, n: u32, value: u32, on: bool) {
        if n > 3 {
            return;
        }
        let exist = (1u128 << self.irqs) - 1;
        let bits = ((u128::from(value) << (32 * n)) & exist) << 16;
        let all = match which {
            Bits::Enabled => &mut self.enabled,
            Bits::Pending => &mut self.pending,
            Bits::Active => return,
        };
        if on {
            *all |= bits;
        } else {
            *all &= !bits;
        }
        // A line that is still high wins over a cleared pending bit.
        self.pending |= self.lines & !self.active;
    }

    /// Reads a priority byte.
    pub fn priority(&self, exc: u32) -> u8 {
        self.prio.get(exc as usize).copied().unwrap_or(0)
    }

    /// Writes a priority byte; bits that are not implemented read as zero.
    pub fn set_priority(&mut self, exc: u32, value: u8) {
        if exc < 16 + self.irqs {
            self.prio[exc as usize] = value & self.implemented;
        }
    }
}

/// Which of the bit registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// ISER, ICER.
    Enabled,
    /// ISPR, ICPR.
    Pending,
    /// IABR.
    Active,
}

fn set(bits: &mut u128, n: u32, on: bool) {
    if on {
        *bits |= 1 << n;
    } else {
        *bits &= !(1 << n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_numbers_and_priorities_go_first() {
        let mut n = Nvic::new(32, 3);
        n.write_bits(Bits::Enabled, 0, 0b111, true);
        n.set_priority(16, 0x60);
        n.set_priority(17, 0x40);
        n.set_priority(18, 0x40);
        n.set_lines(0b111);
        assert_eq!(n.to_take(Masks::default()), Some(17));
        n.enter(17);
        assert_eq!(n.to_take(Masks::default()), None);
        // The line is still high: pending again as soon as it is left.
        n.leave(17);
        assert_eq!(n.to_take(Masks::default()), Some(17));
        n.set_lines(0b101);
        n.pend(17, false);
        assert_eq!(n.to_take(Masks::default()), Some(18));
        n.set_priority(18, 0x7f);
        assert_eq!(n.priority(18), 0x60, "three bits are implemented");
    }

    #[test]
    fn masks_hold_interrupts_back() {
        let mut n = Nvic::new(8, 4);
        n.write_bits(Bits::Enabled, 0, 1, true);
        n.set_priority(16, 0x80);
        n.write_bits(Bits::Pending, 0, 1, true);
        let mut m = Masks {
            primask: true,
            ..Masks::default()
        };
        assert_eq!(n.to_take(m), None);
        m.primask = false;
        m.basepri = 0x80;
        assert_eq!(n.to_take(m), None);
        m.basepri = 0x90;
        assert_eq!(n.to_take(m), Some(16));
        n.pend(HARD_FAULT, true);
        m.primask = true;
        assert_eq!(n.to_take(m), Some(HARD_FAULT));
    }
}
