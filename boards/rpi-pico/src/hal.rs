//! What the Raspberry Pi Pico has: its LED, a button between GP15 and ground, its flash.

use defmt_rtt as _;
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::FLASH;
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use panic_probe as _;

/// Bytes of the flash.
pub const FLASH_BYTES: usize = 2 * 1024 * 1024;
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
    pub flash: Flash<'static, FLASH, Blocking, FLASH_BYTES>,
}

/// Starts clocks and pins. To be called once.
pub fn start() -> Board {
    let p = embassy_rp::init(Default::default());
    Board {
        led: Output::new(p.PIN_25, Level::Low),
        button: Input::new(p.PIN_15, Pull::Up),
        delay: Delay,
        flash: Flash::new_blocking(p.FLASH),
    }
}

/// Resets the chip.
pub fn reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
