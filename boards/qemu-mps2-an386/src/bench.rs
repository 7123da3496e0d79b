//! The bench: a line a case, `CASE INSTRUCTIONS WORK`. The emulator must run with
//! `-icount shift=6,align=off,sleep=off`: its timers then count instructions.

#![no_std]
#![no_main]

use core::panic::PanicInfo;
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

/// CMSDK TIMER0 (Arm DDI 0479, Cortex-M System Design Kit, table 4-4): 25 MHz, counting down; with
/// the emulator's shift of 6 an instruction takes 64 ns, which are 1.6 ticks.
struct Timer;

impl Timer {
    const CTRL: *mut u32 = 0x4000_0000 as *mut u32;
    const VALUE: *mut u32 = 0x4000_0004 as *mut u32;
    const RELOAD: *mut u32 = 0x4000_0008 as *mut u32;

    fn start() -> Self {
        // SAFETY: the timer's registers, on the only core; nothing else uses the timer.
        unsafe {
            Self::RELOAD.write_volatile(u32::MAX);
            Self::VALUE.write_volatile(u32::MAX);
            Self::CTRL.write_volatile(1);
        }
        Self
    }
}

impl Meter for Timer {
    fn executed(&mut self) -> u32 {
        // SAFETY: a read of the timer's register.
        let left = unsafe { Self::VALUE.read_volatile() };
        (u64::from(u32::MAX - left) * 5 / 8) as u32
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
    // The timer wraps after 2.68 G instructions: each part starts it anew.
    bench::operators(&mut Timer::start(), operands);
    if let Err(why) = bench::model(&mut Timer::start(), image, arena.as_mut_slice(), input) {
        hprintln!("not-measured {}", why.0);
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {
        cortex_m::asm::wfi();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("panic: {}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}
