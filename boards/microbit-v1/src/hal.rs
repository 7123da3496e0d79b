//! What the micro:bit V1 has: the top left light of its matrix, button A, the chip's flash.

use crate::nvmc::Nvmc;
use defmt_rtt as _;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pull};
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use panic_probe as _;

/// The level that lights the LED.
pub const LIT: PinState = PinState::High;
/// The button's level while it is held.
pub const HELD: PinState = PinState::Low;

/// The board, started.
pub struct Board {
    pub led: Output<'static>,
    pub button: Input<'static>,
    pub delay: Delay,
    /// Tails lie in it.
    pub flash: Nvmc<'static>,
    /// The first column's line: low, it lets current through the first row's lights.
    pub _column: Output<'static>,
}

/// Starts clocks and pins. To be called once.
pub fn start() -> Board {
    let p = embassy_nrf::init(Default::default());
    Board {
        led: Output::new(p.P0_13, Level::Low, OutputDrive::Standard),
        button: Input::new(p.P0_17, Pull::Up),
        delay: Delay,
        flash: Nvmc::new(p.NVMC),
        _column: Output::new(p.P0_04, Level::Low, OutputDrive::Standard),
    }
}

/// Resets the chip.
pub fn reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
