//! The emulated core's registers, by their architectural names.

use unicorn_engine::{RegisterARM, Unicorn};

use crate::board::Board;
use crate::nvic::Masks;

/// The emulator.
pub type Engine<'a> = Unicorn<'a, Board>;

/// Bits of CONTROL.
pub mod control {
    /// Thread mode uses the process stack.
    pub const SPSEL: u32 = 2;
    /// The FPU was used since the last exception.
    pub const FPCA: u32 = 4;
}

const GENERAL: [RegisterARM; 16] = [
    RegisterARM::R0,
    RegisterARM::R1,
    RegisterARM::R2,
    RegisterARM::R3,
    RegisterARM::R4,
    RegisterARM::R5,
    RegisterARM::R6,
    RegisterARM::R7,
    RegisterARM::R8,
    RegisterARM::R9,
    RegisterARM::R10,
    RegisterARM::R11,
    RegisterARM::R12,
    RegisterARM::SP,
    RegisterARM::LR,
    RegisterARM::PC,
];

/// Reads a register of the emulator. All that are asked for here exist.
pub fn get(uc: &Engine, reg: RegisterARM) -> u32 {
    uc.reg_read(reg).map_or(0, |v| v as u32)
}

/// Writes a register of the emulator.
pub fn set(uc: &mut Engine, reg: RegisterARM, value: u32) {
    let done = uc.reg_write(reg, u64::from(value));
    debug_assert!(done.is_ok(), "{reg:?}: {done:?}");
}

/// Reads R0 to R15.
pub fn r(uc: &Engine, n: usize) -> u32 {
    get(uc, GENERAL[n])
}

/// Writes R0 to R14. For the program counter see [`set_pc`].
pub fn set_r(uc: &mut Engine, n: usize, value: u32) {
    set(uc, GENERAL[n], value);
}

/// The program counter, bit 0 clear.
pub fn pc(uc: &Engine) -> u32 {
    r(uc, 15) & !1
}

/// Sets the program counter; the core stays in Thumb state.
pub fn set_pc(uc: &mut Engine, value: u32) {
    set(uc, RegisterARM::PC, value | 1);
}

/// Reads S0 to S31.
pub fn s(uc: &Engine, n: u32) -> u32 {
    uc.reg_read(RegisterARM::S0 as i32 + n as i32)
        .map_or(0, |v| v as u32)
}

/// Writes S0 to S31.
pub fn set_s(uc: &mut Engine, n: u32, value: u32) {
    let done = uc.reg_write(RegisterARM::S0 as i32 + n as i32, u64::from(value));
    debug_assert!(done.is_ok(), "S{n}: {done:?}");
}

/// xPSR: flags, IT state, Thumb bit and exception number.
pub fn xpsr(uc: &Engine) -> u32 {
    get(uc, RegisterARM::XPSR) | 1 << 24
}

/// Sets xPSR, and with it handler or thread mode.
pub fn set_xpsr(uc: &mut Engine, value: u32) {
    set(uc, RegisterARM::XPSR_NZCVQG, value | 1 << 24);
    // Writing xPSR leaves the emulator's cached mode bits behind; writing the flags renews them.
    set(uc, RegisterARM::APSR_NZCV, value);
}

/// The number of the exception under way, zero in thread mode.
pub fn exception(uc: &Engine) -> u32 {
    get(uc, RegisterARM::IPSR) & 0x1ff
}

/// PRIMASK, FAULTMASK and BASEPRI.
pub fn masks(uc: &Engine) -> Masks {
    Masks {
        primask: get(uc, RegisterARM::PRIMASK) & 1 != 0,
        faultmask: get(uc, RegisterARM::FAULTMASK) & 1 != 0,
        basepri: get(uc, RegisterARM::BASEPRI) as u8,
    }
}
