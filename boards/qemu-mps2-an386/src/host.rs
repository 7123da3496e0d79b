//! What the bench and the test need of the core and of the emulator: an entry, lines and an end.

use core::arch::global_asm;
pub use cortex_m_rt::entry;
pub use cortex_m_semihosting::hprintln as println;

/// Ends the emulator.
pub fn exit(success: bool) -> ! {
    use cortex_m_semihosting::debug;
    debug::exit(match success {
        true => debug::EXIT_SUCCESS,
        false => debug::EXIT_FAILURE,
    });
    loop {
        cortex_m::asm::wfi();
    }
}

unsafe extern "C" {
    static _stack_start: u8;
    static _stack_end: u8;
}

// Below RAM lie addresses where the MPS2 images of Cortex-M3 and M4 (CPUID part numbers 0xc23 and 0xc24) answer
// every access, so their MPU refuses the 64 KiB there: a stack that is used up faults, as elsewhere.
global_asm!(
    ".section .text.__pre_init, \"ax\", %progbits",
    ".global __pre_init",
    ".type __pre_init, %function",
    ".thumb_func",
    "__pre_init:",
    "ldr r0, =0xe000ed00",
    "ldr r1, [r0]",
    "lsls r1, r1, #16",
    "lsrs r1, r1, #20",
    "ldr r2, =0xc23",
    "subs r1, r1, r2",
    "cmp r1, #1",
    "bhi 1f",
    // RBAR, of region 0; RASR: never executed, no access, 2^16 bytes; CTRL: everything else as ever.
    "ldr r0, =0xe000ed94",
    "ldr r1, =_stack_end - 0x10000 + 0x10",
    "str r1, [r0, #8]",
    "ldr r1, =0x1000001f",
    "str r1, [r0, #12]",
    "movs r1, #5",
    "str r1, [r0]",
    "dsb",
    "isb",
    "1: bx lr",
    ".pool",
    ".size __pre_init, . - __pre_init",
    ".previous",
);

// Every fault comes here: no other handler is enabled. With less than 1 KiB left, the stack begins anew.
global_asm!(
    ".section .HardFault.user, \"ax\", %progbits",
    ".global HardFault",
    ".type HardFault, %function",
    ".thumb_func",
    "HardFault:",
    "mov r0, sp",
    "ldr r1, =_stack_end + 1024",
    "cmp r0, r1",
    "bhs 1f",
    "ldr r1, =_stack_start",
    "mov sp, r1",
    "1: bl {fault}",
    ".pool",
    ".size HardFault, . - HardFault",
    ".previous",
    fault = sym fault,
);

/// Says where a fault came from and ends the emulator. `frame` is where the core has stacked r0 to r3, r12, lr,
/// pc and xPSR, unless the stack was used up.
extern "C" fn fault(frame: *const u32) -> ! {
    let (bottom, top) = (
        (&raw const _stack_end).addr(),
        (&raw const _stack_start).addr(),
    );
    let at = frame.addr();
    // A push that fails leaves the stack pointer above what it would have written.
    if at < bottom + 32 {
        println!(
            "fault: the stack is used up, its {} bytes end at {:#010x}",
            top - bottom,
            bottom
        );
    } else if at <= top - 32 {
        // SAFETY: eight words that lie within the stack; no one else runs.
        let [lr, pc] = [5, 6].map(|i| unsafe { frame.add(i).read_volatile() });
        println!("fault: at {:#010x}, with {:#010x} to return to", pc, lr);
    } else {
        println!(
            "fault: with the stack pointer at {:#010x}, outside of the stack",
            at
        );
    }
    exit(false)
}
