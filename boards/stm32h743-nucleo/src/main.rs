//! tailtune's application on the NUCLEO-H743ZI: LED LD1, button B1, slots and latents in bank 2.

#![no_std]
#![no_main]

mod hal;
mod torn;

use core::cell::RefCell;
use core::mem::MaybeUninit;
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::NoopMutex;
use hal::{BANK_BYTES, Board};
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, Regions, zeroed};

/// Room for KWT-1 and more: 64 KiB of arena, inputs of 98 × 40, 64 added classes, 256 training and 256 test
/// samples, 256 KiB to tune in.
#[unsafe(link_section = ".arena")]
static mut MEMORY: MaybeUninit<Memory<{ 64 * 1024 }, 4096, 64, 256, { 64 * 1024 }>> =
    MaybeUninit::uninit();

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
    // Slots and latents lie in the same bank: each has the driver for itself while it uses it.
    let bank2 = NoopMutex::new(RefCell::new(flash));
    let memory = &raw mut MEMORY;
    // SAFETY: `main` runs once, and no interrupt touches MEMORY.
    let memory = zeroed(unsafe { &mut *memory });
    // SAFETY: flash is always readable on this part, and only slots and latents are ever written.
    let regions = unsafe { Regions::linked() };
    let whole = || BlockingPartition::new(&bank2, 0, BANK_BYTES);
    device.boot(memory, regions, whole(), whole())
}
