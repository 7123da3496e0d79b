//! The differential test of the kernels: a line a case, `CASE SIZES HASH`. A host prints the same lines.

#![no_std]
#![no_main]

mod panic;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use tailtune_app::check::{self, Operands};

static mut OPERANDS: Operands = Operands::new();

#[entry]
fn main() -> ! {
    let operands = &raw mut OPERANDS;
    // SAFETY: `main` runs once, on the only core, and no interrupt touches this.
    let operands = unsafe { &mut *operands };
    check::run(operands, &mut |case, [a, b, c, d], hash| {
        hprintln!("{} {} {} {} {} {:08x}", case, a, b, c, d, hash);
    });
    debug::exit(debug::EXIT_SUCCESS);
    loop {
        cortex_m::asm::wfi();
    }
}
