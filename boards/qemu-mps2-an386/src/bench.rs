//! The bench: a line a case, `CASE INSTRUCTIONS WORK`. The emulator must run with
//! `-icount shift=S,align=off,sleep=off`, S of board.toml: its timers then count instructions.

#![no_std]
#![no_main]

mod panic;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use tailtune::model::Arena;
use tailtune_app::bench::{self, Meter, Operands};

static mut OPERANDS: Operands = Operands::new();
static mut ARENA: Arena<{ 48 * 1024 }> = Arena::new();
static mut INPUT: [i8; 4096] = [0; 4096];

unsafe extern "C" {
    static __model_start: u8;
    static __model_bytes: u8;
}

/// The counter of board.toml, a 32-bit CMSDK timer (Arm DDI 0479, table 4-4) or the core's SysTick, of
/// 24 bits. It counts down in the emulator's time, of which an instruction takes 2^shift ns.
struct Counter;

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

impl Counter {
    fn start() -> Self {
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
}

/// What unused stack is painted with.
const PAINT: u32 = 0x5aa5_c33c;

/// Bytes below the painter's own frame that are left alone: what it needs itself.
const MARGIN: usize = 256;

unsafe extern "C" {
    static mut __sheap: u32;
}

/// Returns the words between the end of the statics and `MARGIN` below a local.
fn unused() -> (*mut u32, usize) {
    let here = 0u32;
    let bottom = &raw mut __sheap;
    let top = ((&raw const here).addr() - MARGIN) & !3;
    (bottom, top.saturating_sub(bottom.addr()) / 4)
}

impl Meter for Counter {
    fn executed(&mut self) -> u32 {
        let (value, _, _, mask) = REGISTERS;
        // SAFETY: a read of the counter's register.
        let left = unsafe { ((BASE + value) as *const u32).read_volatile() };
        (u64::from(mask.wrapping_sub(left) & mask) * INSTRUCTIONS / TICKS) as u32
    }

    #[inline(never)]
    fn paint(&mut self) {
        let (bottom, words) = unused();
        for i in 0..words {
            // SAFETY: below the stack pointer and above the statics lies nothing; there is no heap.
            unsafe { bottom.add(i).write_volatile(PAINT) };
        }
    }

    #[inline(never)]
    fn painted_over(&mut self) -> u32 {
        let (bottom, words) = unused();
        // SAFETY: as in `paint`.
        let painted = |i: &usize| unsafe { bottom.add(*i).read_volatile() } == PAINT;
        let clean = (0..words).take_while(painted).count();
        ((words - clean) * 4 + MARGIN) as u32
    }

    fn report(&mut self, case: &str, instructions: u32, work: u32) {
        hprintln!("{} {} {}", case, instructions, work);
    }
}

#[entry]
fn main() -> ! {
    let model = &raw const __model_start;
    let model_bytes = (&raw const __model_bytes).addr();
    // SAFETY: the region lies outside of what the linker placed code or data in; the loader filled
    // it before reset and nothing writes to it.
    let image = unsafe { core::slice::from_raw_parts(model, model_bytes) };
    let (operands, arena, input) = (&raw mut OPERANDS, &raw mut ARENA, &raw mut INPUT);
    // SAFETY: `main` runs once, on the only core, and no interrupt touches these.
    let (operands, arena, input) = unsafe { (&mut *operands, &mut *arena, &mut *input) };
    let mut seed = 0;
    // SAFETY: a write to a local, so that the compiler cannot know the seed.
    unsafe { (&raw mut seed).write_volatile(0x5eed) };
    operands.fill(seed);
    // The counter wraps: each part starts it anew.
    bench::operators(&mut Counter::start(), operands);
    let measured = bench::model(&mut Counter::start(), image, arena.as_mut_slice(), input);
    let heard = bench::front_end(&mut Counter::start(), image, input);
    for why in [measured, heard].into_iter().filter_map(Result::err) {
        hprintln!("not-measured {}", why.0);
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {
        cortex_m::asm::wfi();
    }
}
