//! tailtune's application on the NUCLEO-H743ZI: LED LD1, button B1, slots and latents in bank 2.

#![no_std]
#![no_main]

mod torn;

use core::cell::RefCell;
use core::mem::MaybeUninit;
use defmt_rtt as _;
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_executor::Spawner;
use embassy_stm32::flash::Flash;
use embassy_stm32::gpio::{Input, Level, Output, Pull, Speed};
use embassy_stm32::rcc;
use embassy_sync::blocking_mutex::NoopMutex;
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use panic_probe as _;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, Regions, zeroed};
use torn::Bank2;

/// Room for KWT-1 and more: 64 KiB of arena, inputs of 98 × 40, 64 added classes, 256 training and 256 test
/// samples, 256 KiB to tune in.
#[unsafe(link_section = ".arena")]
static mut MEMORY: MaybeUninit<Memory<{ 64 * 1024 }, 4096, 64, 256, { 64 * 1024 }>> =
    MaybeUninit::uninit();

/// Bytes of a bank.
const BANK_BYTES: u32 = 1024 * 1024;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let p = embassy_stm32::init(clocks());
    // SAFETY: nobody else has the core's peripherals. Code is written by no one, so caching it is safe; data
    // stays uncached, since the driver reads back what it has written.
    unsafe { cortex_m::Peripherals::steal() }
        .SCB
        .enable_icache();
    let device = Device {
        io: LedButton {
            led: Output::new(p.PB0, Level::Low, Speed::Low),
            lit: PinState::High,
            button: Input::new(p.PC13, Pull::Down),
            held: PinState::High,
        },
        delay: Delay,
        reset: cortex_m::peripheral::SCB::sys_reset,
    };
    let bank2 = Flash::new_blocking(p.FLASH)
        .into_blocking_regions()
        .bank2_region;
    // Slots and latents lie in the same bank: each has the driver for itself while it uses it.
    let bank2 = NoopMutex::new(RefCell::new(Bank2(bank2)));
    let memory = &raw mut MEMORY;
    // SAFETY: `main` runs once, and no interrupt touches MEMORY.
    let memory = zeroed(unsafe { &mut *memory });
    // SAFETY: flash is always readable on this part, and only slots and latents are ever written.
    let regions = unsafe { Regions::linked() };
    let whole = || BlockingPartition::new(&bank2, 0, BANK_BYTES);
    device.boot(memory, regions, whole(), whole())
}

/// 400 MHz from the internal oscillator: 64 MHz / 4 × 50 / 2.
fn clocks() -> embassy_stm32::Config {
    let mut config = embassy_stm32::Config::default();
    config.rcc.hsi = Some(rcc::HSIPrescaler::DIV1);
    config.rcc.pll1 = Some(rcc::Pll {
        source: rcc::PllSource::HSI,
        prediv: rcc::PllPreDiv::DIV4,
        mul: rcc::PllMul::MUL50,
        fracn: None,
        divp: Some(rcc::PllDiv::DIV2),
        divq: None,
        divr: None,
    });
    config.rcc.sys = rcc::Sysclk::PLL1_P;
    config.rcc.ahb_pre = rcc::AHBPrescaler::DIV2;
    config.rcc.apb1_pre = rcc::APBPrescaler::DIV2;
    config.rcc.apb2_pre = rcc::APBPrescaler::DIV2;
    config.rcc.apb3_pre = rcc::APBPrescaler::DIV2;
    config.rcc.apb4_pre = rcc::APBPrescaler::DIV2;
    config.rcc.voltage_scale = rcc::VoltageScale::Scale1;
    config
}
