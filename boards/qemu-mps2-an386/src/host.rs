//! What the bench and the test need of the core and of the emulator: an entry, lines and an end.

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
