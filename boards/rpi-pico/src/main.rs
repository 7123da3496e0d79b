//! tailtune's application on the Raspberry Pi Pico: the board's LED, and a button between GP15 and ground.

#![no_std]
#![no_main]

use core::cell::RefCell;
use defmt_rtt as _;
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_executor::Spawner;
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::FLASH;
use embassy_sync::blocking_mutex::NoopMutex;
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use panic_probe as _;
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, Regions};

/// Room for KWT-1 and everything smaller: 32 KiB of arena, inputs of 98 × 40, 32 added classes, 128 training
/// and 128 test samples, 112 KiB to tune in, the last block of KWT-1 included.
static MEMORY: ConstStaticCell<Memory<{ 32 * 1024 }, 4096, 32, 128, { 28 * 1024 }>> =
    ConstStaticCell::new(Memory::new());

/// Bytes of the external flash.
const FLASH_BYTES: usize = 2 * 1024 * 1024;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let p = embassy_rp::init(Default::default());
    let device = Device {
        io: LedButton {
            led: Output::new(p.PIN_25, Level::Low),
            lit: PinState::High,
            button: Input::new(p.PIN_15, Pull::Up),
            held: PinState::Low,
        },
        delay: Delay,
        reset: cortex_m::peripheral::SCB::sys_reset,
    };
    // Slots and latents lie in the same flash: each has the driver for itself while it uses it.
    let flash: Flash<'_, FLASH, Blocking, FLASH_BYTES> = Flash::new_blocking(p.FLASH);
    let flash = NoopMutex::new(RefCell::new(flash));
    let whole = || BlockingPartition::new(&flash, 0, FLASH_BYTES as u32);
    // SAFETY: flash is readable but while the driver erases or writes, and then the core does nothing else;
    // only the slots and the latents are ever written.
    let regions = unsafe { Regions::linked() };
    device.boot(MEMORY.take(), regions, whole(), whole())
}
