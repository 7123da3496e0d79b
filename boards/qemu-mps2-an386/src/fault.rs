//! Faults in the way that the first byte of the model's region says, to see that a fault ends the emulator:
//! 0 an instruction that is none, 1 a stack that is used up.

#![no_std]
#![no_main]

#[cfg_attr(target_arch = "riscv32", path = "../../qemu-virt-rv32/src/host.rs")]
mod host;
mod panic;

use core::arch::asm;
use core::hint::black_box;
use host::{entry, println};

unsafe extern "C" {
    static __model_start: u8;
}

#[entry]
fn main() -> ! {
    // SAFETY: the region lies in the machine's memory, and the loader filled it before reset.
    let how = unsafe { (&raw const __model_start).read_volatile() };
    match how {
        // SAFETY: it faults, and what it faults into does not come back.
        #[cfg(not(target_arch = "riscv32"))]
        0 => unsafe { asm!("udf #0") },
        // SAFETY: as above.
        #[cfg(target_arch = "riscv32")]
        0 => unsafe { asm!("unimp") },
        _ => println!("came back with {}", deeper(0)),
    }
    host::exit(true)
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "it is there to use the stack up")]
fn deeper(depth: u32) -> u32 {
    let frame = black_box([depth; 40]);
    deeper(frame[0] + 1) + frame[1]
}
