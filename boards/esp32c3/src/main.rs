//! tailtune's application on an ESP32-C3: an LED between GPIO7 and ground, a button between GPIO6 and ground.

#![no_std]
#![no_main]

mod map;

use core::cell::RefCell;
use defmt_rtt as _;
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_sync::blocking_mutex::NoopMutex;
use embedded_hal::digital::PinState;
use esp_backtrace as _;
use esp_hal::clock::CpuClock;
use esp_hal::delay::Delay;
use esp_hal::gpio::{Input, InputConfig, Level, Output, OutputConfig, Pull};
use esp_storage::FlashStorage;
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, Regions};

esp_bootloader_esp_idf::esp_app_desc!();

/// Room for KWT-1 and everything smaller: 32 KiB of arena, inputs of 98 × 40, 32 added classes, 128 training
/// and 128 test samples, 112 KiB to tune in, the last block of KWT-1 included.
static MEMORY: ConstStaticCell<Memory<{ 32 * 1024 }, 4096, 32, 128, { 28 * 1024 }>> =
    ConstStaticCell::new(Memory::new());

/// Bytes of the flash.
const FLASH_BYTES: u32 = 4 * 1024 * 1024;

/// What is read where it lies: model and job.
const READ_IN_PLACE: core::ops::Range<usize> = 0x10_0000..0x28_0000;

#[esp_hal::main]
fn main() -> ! {
    let p = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let device = Device {
        io: LedButton {
            led: Output::new(p.GPIO7, Level::Low, OutputConfig::default()),
            lit: PinState::High,
            button: Input::new(p.GPIO6, InputConfig::default().with_pull(Pull::Up)),
            held: PinState::Low,
        },
        delay: Delay::new(),
        reset: esp_hal::system::software_reset,
    };
    // Slots and latents lie in the same flash: each has the driver for itself while it uses it.
    let flash = NoopMutex::new(RefCell::new(FlashStorage::new(p.FLASH)));
    let whole = || BlockingPartition::new(&flash, 0, FLASH_BYTES);
    // SAFETY: `main` runs once, and the firmware's segments take none of these entries.
    unsafe { map::map(READ_IN_PLACE) };
    // SAFETY: flash is readable but while the driver erases or writes, and then the core does nothing else;
    // only the slots and the latents are ever written.
    let regions = unsafe { Regions::mapped(map::BASE) };
    device.boot(MEMORY.take(), regions, whole(), whole())
}
