//! The bench: a line a case, `CASE INSTRUCTIONS WORK`. The emulator must run with
//! `-icount shift=S,align=off,sleep=off`, S of board.toml: its timers then count instructions.

#![no_std]
#![no_main]

#[cfg_attr(target_arch = "riscv32", path = "../../qemu-virt-rv32/src/counter.rs")]
mod counter;
#[cfg_attr(target_arch = "riscv32", path = "../../qemu-virt-rv32/src/host.rs")]
mod host;
mod panic;

use counter::Counter;
use host::{entry, println};
use tailtune::model::Arena;
use tailtune_app::bench::{self, Meter, Operands};

static mut OPERANDS: Operands = Operands::new();
static mut ARENA: Arena<{ 48 * 1024 }> = Arena::new();
static mut INPUT: [i8; 4096] = [0; 4096];

unsafe extern "C" {
    static __model_start: u8;
    static __model_bytes: u8;
}

/// The counter and the stack.
struct Bench(Counter);

impl Bench {
    fn start() -> Self {
        Self(Counter::start())
    }
}

/// What unused stack is painted with.
const PAINT: u32 = 0x5aa5_c33c;

/// Bytes below the painter's own frame that are left alone: what it needs itself.
const MARGIN: usize = 256;

unsafe extern "C" {
    static mut __stack_bottom: u32;
}

/// Returns the words between the end of the stack and `MARGIN` below a local.
fn unused() -> (*mut u32, usize) {
    let here = 0u32;
    let bottom = &raw mut __stack_bottom;
    let top = ((&raw const here).addr() - MARGIN) & !3;
    (bottom, top.saturating_sub(bottom.addr()) / 4)
}

impl Meter for Bench {
    fn executed(&mut self) -> u32 {
        self.0.executed()
    }

    #[inline(never)]
    fn paint(&mut self) {
        let (bottom, words) = unused();
        for i in 0..words {
            // SAFETY: the stack grows down to there, and nothing of it lies below its pointer.
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
        println!("{} {} {}", case, instructions, work);
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
    bench::operators(&mut Bench::start(), operands);
    let measured = bench::model(&mut Bench::start(), image, arena.as_mut_slice(), input);
    let heard = bench::front_end(&mut Bench::start(), image, input);
    for why in [measured, heard].into_iter().filter_map(Result::err) {
        println!("not-measured {}", why.0);
    }
    host::exit(true)
}
