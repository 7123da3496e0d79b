//! What the bench and the test need of the core and of the emulator: an entry, lines and an end.

pub use riscv_rt::entry;
pub use semihosting::println;

/// Ends the emulator.
pub fn exit(success: bool) -> ! {
    semihosting::process::exit(i32::from(!success))
}
