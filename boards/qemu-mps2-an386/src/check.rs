//! The differential test of the kernels: a line a case, `CASE SIZES HASH`. A host prints the same lines.

#![no_std]
#![no_main]

#[cfg_attr(target_arch = "riscv32", path = "../../qemu-virt-rv32/src/host.rs")]
mod host;
mod panic;

use host::{entry, println};
use tailtune_app::check::{self, Operands};

static mut OPERANDS: Operands = Operands::new();

#[entry]
fn main() -> ! {
    let operands = &raw mut OPERANDS;
    // SAFETY: `main` runs once, on the only core, and no interrupt touches this.
    let operands = unsafe { &mut *operands };
    check::run(operands, &mut |case, [a, b, c, d], hash| {
        println!("{} {} {} {} {} {:08x}", case, a, b, c, d, hash);
    });
    host::exit(true)
}
