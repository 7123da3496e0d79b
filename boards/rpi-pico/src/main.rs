//! tailtune's application on the Raspberry Pi Pico: the board's LED, and a button between GP15 and ground.

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

/// Room for KWT-1 and everything smaller: 32 KiB of arena, inputs of 98 × 40, 32 added classes, 128 training
/// and 128 test samples, 112 KiB to tune in, the last block of KWT-1 included.
static MEMORY: ConstStaticCell<Memory<{ 32 * 1024 }, 4096, 32, 128, { 28 * 1024 }>> =
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
