//! What the board has: an LED between GPIO7 and ground, a button between GPIO6 and ground, its flash.

use crate::map;
use defmt_rtt as _;
use embedded_hal::digital::PinState;
use esp_backtrace as _;
use esp_hal::clock::CpuClock;
use esp_hal::delay::Delay;
use esp_hal::gpio::{Input, InputConfig, Level, Output, OutputConfig, Pull};
use esp_storage::FlashStorage;

esp_bootloader_esp_idf::esp_app_desc!();

/// Bytes of the flash.
pub const FLASH_BYTES: u32 = 4 * 1024 * 1024;
/// What is read where it lies: model and job.
const READ_IN_PLACE: core::ops::Range<usize> = 0x10_0000..0x28_0000;
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
    pub flash: FlashStorage<'static>,
}

/// Starts clocks and pins, and maps what is read in place. To be called once.
pub fn start() -> Board {
    let p = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    // SAFETY: `start` is called once, and the firmware's segments take none of these entries.
    unsafe { map::map(READ_IN_PLACE) };
    Board {
        led: Output::new(p.GPIO7, Level::Low, OutputConfig::default()),
        button: Input::new(p.GPIO6, InputConfig::default().with_pull(Pull::Up)),
        delay: Delay::new(),
        flash: FlashStorage::new(p.FLASH),
    }
}

/// Resets the chip.
pub fn reset() -> ! {
    esp_hal::system::software_reset()
}
