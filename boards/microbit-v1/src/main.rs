//! tailtune's application on the micro:bit V1: the top left light of its matrix, button A.

#![no_std]
#![no_main]

mod hal;
mod nvmc;

use embassy_executor::Spawner;
use hal::Board;
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, NoFlash, Regions};

/// Room for keywords-micro: 8,064 bytes of arena, in which its head is tuned and its tail read as well, inputs of 33 × 32, 2
/// added classes, 12 training and 12 test samples, 1.25 KiB for their features.
static MEMORY: ConstStaticCell<Memory<8064, 1056, 2, 12, 320>> =
    ConstStaticCell::new(Memory::new());

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let Board {
        led,
        button,
        delay,
        flash,
        _column,
    } = hal::start();
    let device = Device {
        io: LedButton {
            led,
            lit: hal::LIT,
            button,
            held: hal::HELD,
        },
        delay,
        reset: hal::reset,
    };
    // SAFETY: flash is always readable on this part, and only the slots are ever written.
    let regions = unsafe { Regions::linked() };
    device.boot(MEMORY.take(), regions, flash, NoFlash)
}
