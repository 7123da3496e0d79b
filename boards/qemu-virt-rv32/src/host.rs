//! What the bench and the test need of the core and of the emulator: an entry, lines and an end.

use core::arch::global_asm;
use riscv::register::{Permission, Range, mcause, mepc, mtval, pmpaddr0, pmpcfg0};
pub use riscv_rt::entry;
pub use semihosting::println;

/// Ends the emulator.
pub fn exit(success: bool) -> ! {
    semihosting::process::exit(i32::from(!success))
}

unsafe extern "C" {
    static _stext: u8;
    static _stack_start: u8;
    static __stack_bottom: u8;
    fn main(hart: usize, a1: usize, a2: usize) -> !;
}

/// What the start-up code calls, and calls `main` in its turn. The code's region lies below the stack:
/// nothing may be written there, so that a stack that is used up faults.
#[unsafe(no_mangle)]
extern "C" fn hal_main(hart: usize, a1: usize, a2: usize) -> ! {
    let code = (&raw const _stext).addr();
    let bytes = (&raw const __stack_bottom).addr() - code;
    // A region whose size is a power of two (RISC-V privileged specification, 3.7.1): one bits below the
    // size's, in units of 4 bytes. Locked, it binds machine mode too.
    // SAFETY: nothing writes to code, and `main` has not run before.
    unsafe {
        pmpaddr0::write((code >> 2) | ((bytes >> 3) - 1));
        pmpcfg0::set_pmp(0, Range::NAPOT, Permission::RX, true);
        main(hart, a1, a2)
    }
}

// Every trap comes here, and none is expected. The stack may be used up, so it begins anew.
global_asm!(
    ".section .trap.start, \"ax\"",
    ".global _start_trap",
    ".balign 4",
    "_start_trap:",
    "mv a0, sp",
    "la sp, _stack_start",
    "call {trap}",
    ".previous",
    trap = sym trap,
);

/// Says what a trap was and ends the emulator. `stack` is where the stack had come to.
extern "C" fn trap(stack: usize) -> ! {
    let (bottom, top) = (
        (&raw const __stack_bottom).addr(),
        (&raw const _stack_start).addr(),
    );
    let (at, cause, value) = (mepc::read(), mcause::read().bits(), mtval::read());
    if stack < bottom {
        println!(
            "fault: the stack is used up, its {} bytes end at {:#010x}",
            top - bottom,
            bottom
        );
    } else {
        println!(
            "fault: at {:#010x}, mcause {:#x}, mtval {:#010x}",
            at, cause, value
        );
    }
    exit(false)
}
