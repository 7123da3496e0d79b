//! tailtune's application on the micro:bit V1: the top left light of its matrix, button A.

#![no_std]
#![no_main]

mod nvmc;

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pull};
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use nvmc::Nvmc;
use panic_probe as _;
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, NoFlash, Regions};

/// Room for keywords-micro: 8,064 bytes of arena, in which its head is tuned and its tail read as well, inputs of 33 × 32, 2
/// added classes, 12 training and 12 test samples, 1.25 KiB for their features.
static MEMORY: ConstStaticCell<Memory<8064, 1056, 2, 12, 320>> =
    ConstStaticCell::new(Memory::new());

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let p = embassy_nrf::init(Default::default());
    // The first column's line, low, lets current through the first row's lights.
    let _column = Output::new(p.P0_04, Level::Low, OutputDrive::Standard);
    let device = Device {
        io: LedButton {
            led: Output::new(p.P0_13, Level::Low, OutputDrive::Standard),
            lit: PinState::High,
            button: Input::new(p.P0_17, Pull::Up),
            held: PinState::Low,
        },
        delay: Delay,
        reset: cortex_m::peripheral::SCB::sys_reset,
    };
    // SAFETY: flash is always readable on this part, and only the slots are ever written.
    let regions = unsafe { Regions::linked() };
    device.boot(MEMORY.take(), regions, Nvmc::new(p.NVMC), NoFlash)
}
