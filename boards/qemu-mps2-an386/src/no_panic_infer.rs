//! Links only if no panic is reachable from parsing an image, making its encoder, running it, and its
//! head. What is in it besides is the reset code, so its .text is what an encoder with a softmax head takes.

#![no_std]
#![no_main]

#[path = "no_panic/mod.rs"]
mod no_panic;

#[cfg(not(target_arch = "riscv32"))]
use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;

#[entry]
fn main() -> ! {
    no_panic::finish(no_panic::infer(|_, _, _| Some(())))
}
