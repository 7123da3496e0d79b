//! The private peripheral bus of a Cortex-M: system control block, NVIC registers, SysTick, DWT's
//! cycle counter, breakpoint unit and debug registers.
//!
//! What needs the core itself (registers by DCRSR, halting, resetting) is left as a request for
//! [`crate::machine`].

use crate::nvic::{self, Bits, Nvic};
use crate::systick::SysTick;

/// What the core is, as far as its registers tell.
#[derive(Clone, Copy, Debug)]
pub struct CoreKind {
    /// CPUID.
    pub cpuid: u32,
    /// ARMv6-M: no fault status, no configurable faults, four breakpoints.
    pub v6m: bool,
    /// Single-precision FPU.
    pub fpu: bool,
    /// SysTick.
    pub systick: bool,
    /// Interrupts.
    pub irqs: u32,
    /// Bits of priority.
    pub prio_bits: u32,
}

/// Something a register write asked of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// DCRSR: read a register into DCRDR.
    ReadRegister(u32),
    /// DCRSR: write DCRDR to a register.
    WriteRegister(u32),
    /// Run one instruction.
    Step,
}

/// Why the core is halted: bits of DFSR.
pub mod dfsr {
    /// A halt request or a step.
    pub const HALTED: u32 = 1;
    /// A BKPT instruction or a hardware breakpoint.
    pub const BKPT: u32 = 2;
    /// A vector catch.
    pub const VCATCH: u32 = 8;
}

/// All registers of the bus.
#[derive(Clone, Debug)]
pub struct Scs {
    kind: CoreKind,
    /// Exceptions.
    pub nvic: Nvic,
    /// The system timer.
    pub systick: SysTick,
    /// Where vectors are read from.
    pub vtor: u32,
    prigroup: u32,
    scr: u32,
    ccr: u32,
    shcsr: u32,
    /// CFSR, write one to clear.
    pub cfsr: u32,
    /// HFSR, write one to clear.
    pub hfsr: u32,
    /// Address of the last MemManage fault.
    pub mmfar: u32,
    /// Address of the last bus fault.
    pub bfar: u32,
    cpacr: u32,
    fpccr: u32,
    /// A reset was asked for by AIRCR.
    pub reset_request: bool,
    /// The event register of WFE.
    pub event: bool,
    // Debug.
    /// DHCSR.C_DEBUGEN.
    pub debug_enabled: bool,
    /// The core is halted.
    pub halted: bool,
    /// The core is locked up.
    pub lockup: bool,
    /// The core sleeps.
    pub sleeping: bool,
    mask_ints: bool,
    reset_seen: bool,
    retired: bool,
    /// DCRDR.
    pub dcrdr: u32,
    demcr: u32,
    /// DFSR.
    pub dfsr: u32,
    fp_enabled: bool,
    fp_comp: [u32; 8],
    /// The set of hardware breakpoints changed.
    pub breakpoints_changed: bool,
    dwt_ctrl: u32,
    cycle_base: u64,
}

impl Scs {
    /// The registers at power on.
    pub fn new(kind: CoreKind) -> Self {
        Self {
            kind,
            nvic: Nvic::new(kind.irqs, kind.prio_bits),
            systick: SysTick::default(),
            vtor: 0,
            prigroup: 0,
            scr: 0,
            ccr: if kind.v6m { 0x208 } else { 0x200 },
            shcsr: 0,
            cfsr: 0,
            hfsr: 0,
            mmfar: 0,
            bfar: 0,
            cpacr: 0,
            fpccr: 0xc000_0000,
            reset_request: false,
            event: false,
            debug_enabled: false,
            halted: false,
            lockup: false,
            sleeping: false,
            mask_ints: false,
            reset_seen: true,
            retired: false,
            dcrdr: 0,
            demcr: 0,
            dfsr: 0,
            fp_enabled: false,
            fp_comp: [0; 8],
            breakpoints_changed: false,
            dwt_ctrl: 0,
            cycle_base: 0,
        }
    }

    /// A system reset: all but the debug registers.
    pub fn reset(&mut self) {
        let old = std::mem::replace(self, Self::new(self.kind));
        self.debug_enabled = old.debug_enabled;
        self.demcr = old.demcr;
        self.dcrdr = old.dcrdr;
        self.dfsr = old.dfsr;
        self.fp_enabled = old.fp_enabled;
        self.fp_comp = old.fp_comp;
        self.mask_ints = old.mask_ints;
        if self.debug_enabled && self.demcr & 1 != 0 {
            self.halt(dfsr::VCATCH);
        }
    }

    /// Halts the core for a reason. That ends sleep and lockup.
    pub fn halt(&mut self, why: u32) {
        self.halted = true;
        self.sleeping = false;
        self.lockup = false;
        self.dfsr |= why;
    }

    /// True if a HardFault is caught by the debugger (DEMCR.VC_HARDERR).
    pub fn catches_hard_fault(&self) -> bool {
        self.debug_enabled && self.demcr & 1 << 10 != 0
    }

    /// Interrupts are masked by the debugger.
    pub fn ints_masked(&self) -> bool {
        self.debug_enabled && self.mask_ints
    }

    /// SCR.SLEEPONEXIT.
    pub fn sleep_on_exit(&self) -> bool {
        self.scr & 2 != 0
    }

    /// SCR.SEVONPEND.
    pub fn event_on_pend(&self) -> bool {
        self.scr & 16 != 0
    }

    /// CCR.DIV_0_TRP and UNALIGN_TRP are kept but not acted on.
    pub fn ccr(&self) -> u32 {
        self.ccr
    }

    /// Notes that an instruction ran since DHCSR was read.
    pub fn note_retired(&mut self) {
        self.retired = true;
    }

    /// Addresses of the hardware breakpoints that are on.
    pub fn breakpoints(&self) -> Vec<u32> {
        if !self.fp_enabled {
            return Vec::new();
        }
        self.fp_comp[..self.comparators()]
            .iter()
            .filter(|c| **c & 1 != 0)
            .flat_map(|c| {
                let at = c & 0x1fff_fffc;
                let (low, high) = (c >> 30 & 1 != 0, c >> 31 & 1 != 0);
                [low.then_some(at), high.then_some(at + 2)]
            })
            .flatten()
            .collect()
    }

    fn comparators(&self) -> usize {
        if self.kind.v6m { 4 } else { 6 }
    }

    /// Reads a word. `exception` is IPSR.
    pub fn read(&mut self, addr: u32, now: u64, exception: u32) -> u32 {
        match addr {
            0xe000_1000 => self.dwt_ctrl,
            0xe000_1004 => now.wrapping_sub(self.cycle_base) as u32,
            0xe000_2000 => {
                let n = self.comparators() as u32;
                n << 4 | if self.kind.v6m { 0 } else { 2 << 8 } | u32::from(self.fp_enabled)
            }
            0xe000_2008..0xe000_2028 => self.fp_comp[(addr as usize - 0xe000_2008) / 4],
            0xe000_e004 => (self.kind.irqs - 1) / 32,
            0xe000_e010..0xe000_e020 if self.kind.systick => {
                if self.systick.advance(now) {
                    self.nvic.pend(nvic::SYS_TICK, true);
                }
                self.systick.read(addr & 0xf)
            }
            0xe000_e100..0xe000_e200 => self.nvic.bits(Bits::Enabled, addr >> 2 & 31),
            0xe000_e200..0xe000_e300 => self.nvic.bits(Bits::Pending, addr >> 2 & 31),
            0xe000_e300..0xe000_e380 => self.nvic.bits(Bits::Active, addr >> 2 & 31),
            0xe000_e400..0xe000_e4f0 => self.priorities(16 + (addr - 0xe000_e400)),
            0xe000_ed00 => self.kind.cpuid,
            0xe000_ed04 => self.icsr(exception),
            0xe000_ed08 => self.vtor,
            0xe000_ed0c => 0xfa05_0000 | self.prigroup << 8,
            0xe000_ed10 => self.scr,
            0xe000_ed14 => self.ccr,
            0xe000_ed18..0xe000_ed24 => self.priorities(4 + (addr - 0xe000_ed18)),
            0xe000_ed24 => self.shcsr(),
            0xe000_ed28 if !self.kind.v6m => self.cfsr,
            0xe000_ed2c if !self.kind.v6m => self.hfsr,
            0xe000_ed30 => self.dfsr,
            0xe000_ed34 => self.mmfar,
            0xe000_ed38 => self.bfar,
            0xe000_ed88 if self.kind.fpu => self.cpacr,
            0xe000_edf0 => self.dhcsr(),
            0xe000_edf8 => self.dcrdr,
            0xe000_edfc => self.demcr,
            0xe000_ef34 if self.kind.fpu => self.fpccr,
            0xe000_ef40 if self.kind.fpu => 0x1011_0021,
            0xe000_ef44 if self.kind.fpu => 0x1100_0011,
            _ => 0,
        }
    }

    fn icsr(&self, exception: u32) -> u32 {
        let next = self.nvic.best_pending().unwrap_or(0);
        exception
            | next << 12
            | u32::from(!self.nvic.others_active(exception)) << 11
            | u32::from(next >= 16) << 22
            | u32::from(self.nvic.is_pending(nvic::SYS_TICK)) << 26
            | u32::from(self.nvic.is_pending(nvic::PEND_SV)) << 28
            | u32::from(self.nvic.is_pending(nvic::NMI)) << 31
    }

    fn shcsr(&self) -> u32 {
        let active = |exc, bit| u32::from(self.nvic.is_active(exc)) << bit;
        self.shcsr & 0x0007_0000
            | active(nvic::MEM_MANAGE, 0)
            | active(nvic::BUS_FAULT, 1)
            | active(nvic::USAGE_FAULT, 3)
            | active(nvic::SVCALL, 7)
            | active(nvic::PEND_SV, 10)
            | active(nvic::SYS_TICK, 11)
            | u32::from(self.nvic.is_pending(nvic::SVCALL)) << 15
    }

    /// DHCSR; reading clears the two sticky bits.
    fn dhcsr(&mut self) -> u32 {
        let reset = std::mem::take(&mut self.reset_seen);
        let retired = std::mem::take(&mut self.retired);
        u32::from(self.debug_enabled)
            | u32::from(self.halted) << 1
            | u32::from(self.mask_ints) << 3
            | 1 << 16
            | u32::from(self.halted) << 17
            | u32::from(self.sleeping) << 18
            | u32::from(self.lockup) << 19
            | u32::from(retired) << 24
            | u32::from(reset) << 25
    }

    fn priorities(&self, exc: u32) -> u32 {
        (0..4).fold(0, |w, i| {
            w | u32::from(self.nvic.priority(exc + i)) << (8 * i)
        })
    }

    /// Writes a word. Returns what is asked of the core, if anything.
    pub fn write(&mut self, addr: u32, value: u32, now: u64) -> Option<Request> {
        match addr {
            0xe000_1000 => self.dwt_ctrl = value,
            0xe000_1004 => self.cycle_base = now.wrapping_sub(u64::from(value)),
            0xe000_2000 if value & 2 != 0 => {
                self.fp_enabled = value & 1 != 0;
                self.breakpoints_changed = true;
            }
            0xe000_2008..0xe000_2028 => {
                self.fp_comp[(addr as usize - 0xe000_2008) / 4] = value;
                self.breakpoints_changed = true;
            }
            0xe000_e010..0xe000_e020 if self.kind.systick => {
                if self.systick.advance(now) {
                    self.nvic.pend(nvic::SYS_TICK, true);
                }
                self.systick.write(addr & 0xf, value);
            }
            0xe000_e100..0xe000_e180 => {
                self.nvic
                    .write_bits(Bits::Enabled, addr >> 2 & 31, value, true)
            }
            0xe000_e180..0xe000_e200 => {
                self.nvic
                    .write_bits(Bits::Enabled, addr >> 2 & 31, value, false)
            }
            0xe000_e200..0xe000_e280 => {
                self.nvic
                    .write_bits(Bits::Pending, addr >> 2 & 31, value, true)
            }
            0xe000_e280..0xe000_e300 => {
                self.nvic
                    .write_bits(Bits::Pending, addr >> 2 & 31, value, false)
            }
            0xe000_e400..0xe000_e4f0 => self.set_priorities(16 + (addr - 0xe000_e400), value),
            0xe000_ed04 => self.write_icsr(value),
            // ARMv6-M of the nRF51 has no VTOR.
            0xe000_ed08 if !self.kind.v6m => self.vtor = value & 0xffff_ff80,
            0xe000_ed0c if value >> 16 == 0x05fa => {
                if !self.kind.v6m {
                    self.prigroup = value >> 8 & 7;
                    self.nvic.set_group(self.prigroup);
                }
                self.reset_request |= value & 4 != 0;
            }
            0xe000_ed10 => self.scr = value & 0x16,
            0xe000_ed14 if !self.kind.v6m => self.ccr = value,
            0xe000_ed18..0xe000_ed24 => self.set_priorities(4 + (addr - 0xe000_ed18), value),
            0xe000_ed24 => {
                self.shcsr = value;
                if !self.kind.v6m {
                    self.nvic.enable(nvic::MEM_MANAGE, value & 1 << 16 != 0);
                    self.nvic.enable(nvic::BUS_FAULT, value & 1 << 17 != 0);
                    self.nvic.enable(nvic::USAGE_FAULT, value & 1 << 18 != 0);
                }
            }
            0xe000_ed28 => self.cfsr &= !value,
            0xe000_ed2c => self.hfsr &= !value,
            0xe000_ed30 => self.dfsr &= !value,
            0xe000_ed88 => self.cpacr = value,
            0xe000_edf0 => return self.write_dhcsr(value),
            0xe000_edf4 => {
                let register = value & 0x7f;
                return Some(if value & 1 << 16 != 0 {
                    Request::WriteRegister(register)
                } else {
                    Request::ReadRegister(register)
                });
            }
            0xe000_edf8 => self.dcrdr = value,
            0xe000_edfc => self.demcr = value,
            0xe000_ef00 => {
                self.nvic
                    .write_bits(Bits::Pending, (value & 0x1ff) / 32, 1 << (value % 32), true)
            }
            0xe000_ef34 => self.fpccr = value,
            _ => {}
        }
        None
    }

    fn write_icsr(&mut self, value: u32) {
        let n = &mut self.nvic;
        if value & 1 << 31 != 0 {
            n.pend(nvic::NMI, true);
        }
        for (exc, set, clear) in [(nvic::PEND_SV, 28, 27), (nvic::SYS_TICK, 26, 25)] {
            if value & 1 << set != 0 {
                n.pend(exc, true);
            }
            if value & 1 << clear != 0 {
                n.pend(exc, false);
            }
        }
    }

    fn write_dhcsr(&mut self, value: u32) -> Option<Request> {
        if value >> 16 != 0xa05f {
            return None;
        }
        self.debug_enabled = value & 1 != 0;
        if !self.debug_enabled {
            self.halted = false;
            return None;
        }
        self.mask_ints = value & 8 != 0;
        let was_halted = self.halted;
        if value & 2 != 0 {
            if !was_halted {
                self.halt(dfsr::HALTED);
            }
            return None;
        }
        self.halted = false;
        (was_halted && value & 4 != 0).then_some(Request::Step)
    }

    fn set_priorities(&mut self, exc: u32, value: u32) {
        for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
            let exc = exc + i as u32;
            // The configurable faults of ARMv6-M do not exist.
            if !(self.kind.v6m && exc < nvic::SVCALL) {
                self.nvic.set_priority(exc, byte);
            }
        }
    }
}
