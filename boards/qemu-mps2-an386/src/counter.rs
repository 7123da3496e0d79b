//! Executed instructions by the counter of board.toml, a 32-bit CMSDK timer (Arm DDI 0479, table 4-4) or
//! the core's SysTick, of 24 bits. It counts down in the emulator's time, of which an instruction takes
//! 2^shift ns.

/// Returns a number of board.toml.
const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("the build script hands on decimal numbers"),
    }
}

const BASE: usize = number(env!("TAILTUNE_COUNTER_ADDRESS")) as usize;
const TICKS: u64 = number(env!("TAILTUNE_COUNTER_TICKS")) as u64;
const INSTRUCTIONS: u64 = number(env!("TAILTUNE_COUNTER_INSTRUCTIONS")) as u64;

/// The value and the reload register, the control register's bits and the counter's mask.
const REGISTERS: (usize, usize, u32, u32) = match BASE {
    SYSTICK => (8, 4, 5, 0x00ff_ffff),
    _ => (4, 8, 1, u32::MAX),
};
const SYSTICK: usize = 0xe000_e010;

/// Counts from its start on.
pub struct Counter;

impl Counter {
    pub fn start() -> Self {
        let (value, reload, control, mask) = REGISTERS;
        let register = |offset| (BASE + offset) as *mut u32;
        // SAFETY: the counter's registers, on the only core; nothing else uses the counter.
        unsafe {
            register(0).write_volatile(0);
            register(reload).write_volatile(mask);
            register(value).write_volatile(mask);
            register(0).write_volatile(control);
        }
        Self
    }

    pub fn executed(&self) -> u32 {
        let (value, _, _, mask) = REGISTERS;
        // SAFETY: a read of the counter's register.
        let left = unsafe { ((BASE + value) as *const u32).read_volatile() };
        (u64::from(mask.wrapping_sub(left) & mask) * INSTRUCTIONS / TICKS) as u32
    }
}
