//! tailtune's application on the Raspberry Pi Pico 2: the board's LED, and a button between GP15 and ground.

#![no_std]
#![no_main]

mod hal;

use core::cell::RefCell;
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::NoopMutex;
use hal::{Board, FLASH_BYTES};
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, Regions};

/// Room for KWT-1 and more: 64 KiB of arena, inputs of 98 × 40, 64 added classes, 256 training and 256 test
/// samples, 256 KiB to tune in.
static MEMORY: ConstStaticCell<Memory<{ 64 * 1024 }, 4096, 64, 256, { 64 * 1024 }>> =
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
    // Slots and latents lie in the same flash: each has the driver for itself while it uses it.
    let flash = NoopMutex::new(RefCell::new(flash));
    let whole = || BlockingPartition::new(&flash, 0, FLASH_BYTES as u32);
    // SAFETY: flash is readable but while the driver erases or writes, and then the core does nothing else;
    // only the slots and the latents are ever written.
    let regions = unsafe { Regions::linked() };
    device.boot(MEMORY.take(), regions, whole(), whole())
}
