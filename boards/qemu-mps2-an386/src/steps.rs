//! The bench of tuning: a line a case, as the [other one](../bench.rs) prints them. It links every method,
//! so what they share is compiled once for all of them.

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
use tailtune_app::bench::{self, Meter, StepMemory};

static mut ARENA: Arena<{ 48 * 1024 }> = Arena::new();
static mut INPUT: [i8; 4096] = [0; 4096];
static mut STEPS: StepMemory = StepMemory::new();

unsafe extern "C" {
    static __model_start: u8;
    static __model_bytes: u8;
}

/// The counter.
struct Steps(Counter);

impl Meter for Steps {
    fn executed(&mut self) -> u32 {
        self.0.executed()
    }

    fn paint(&mut self) {}

    fn painted_over(&mut self) -> u32 {
        0
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
    let (arena, input, steps) = (&raw mut ARENA, &raw mut INPUT, &raw mut STEPS);
    // SAFETY: `main` runs once, on the only core, and no interrupt touches these.
    let (arena, input, steps) = unsafe { (&mut *arena, &mut *input, &mut *steps) };
    let mut meter = Steps(Counter::start());
    if let Err(why) = bench::steps(&mut meter, image, arena.as_mut_slice(), input, steps) {
        println!("not-measured {}", why.0);
    }
    host::exit(true)
}
