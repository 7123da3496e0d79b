//! tailtune's application on the NUCLEO-F411RE: LED LD2, button B1.

#![no_std]
#![no_main]

mod hal;

use embassy_executor::Spawner;
use hal::Board;
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, NoFlash, Regions};

/// Room for keywords and everything smaller: 20 KiB of arena, inputs of 98 × 40, 32 added classes, 128
/// training and 128 test samples, 64 KiB to tune a head in.
static MEMORY: ConstStaticCell<Memory<{ 20 * 1024 }, 4096, 32, 128, { 16 * 1024 }>> =
    ConstStaticCell::new(Memory::new());

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let Board {
        led,
        button,
        delay,
        flash,
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
