//! tailtune's application on the NUCLEO-F411RE: LED LD2, button B1.

#![no_std]
#![no_main]

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_stm32::flash::Flash;
use embassy_stm32::gpio::{Input, Level, Output, Pull, Speed};
use embassy_stm32::rcc;
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use panic_probe as _;
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, NoFlash, Regions};

/// Room for keywords and everything smaller: 20 KiB of arena, inputs of 98 × 40, 32 added classes, 128
/// training and 128 test samples, 64 KiB to tune a head in.
static MEMORY: ConstStaticCell<Memory<{ 20 * 1024 }, 4096, 32, 128, { 16 * 1024 }>> =
    ConstStaticCell::new(Memory::new());

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let p = embassy_stm32::init(clocks());
    let device = Device {
        io: LedButton {
            led: Output::new(p.PA5, Level::Low, Speed::Low),
            lit: PinState::High,
            button: Input::new(p.PC13, Pull::Up),
            held: PinState::Low,
        },
        delay: Delay,
        reset: cortex_m::peripheral::SCB::sys_reset,
    };
    // The sectors of 16 KiB, of which the slots are two: offsets are those from the start of the flash.
    let sectors = Flash::new_blocking(p.FLASH)
        .into_blocking_regions()
        .bank1_region1;
    // SAFETY: flash is always readable on this part, and only the slots are ever written.
    let regions = unsafe { Regions::linked() };
    device.boot(MEMORY.take(), regions, sectors, NoFlash)
}

/// 100 MHz from the internal oscillator: 16 MHz / 8 × 100 / 2.
fn clocks() -> embassy_stm32::Config {
    let mut config = embassy_stm32::Config::default();
    config.rcc.hsi = true;
    config.rcc.pll_src = rcc::PllSource::HSI;
    config.rcc.pll = Some(rcc::Pll {
        prediv: rcc::PllPreDiv::DIV8,
        mul: rcc::PllMul::MUL100,
        divp: Some(rcc::PllPDiv::DIV2),
        divq: None,
        divr: None,
    });
    config.rcc.sys = rcc::Sysclk::PLL1_P;
    config.rcc.ahb_pre = rcc::AHBPrescaler::DIV1;
    config.rcc.apb1_pre = rcc::APBPrescaler::DIV2;
    config.rcc.apb2_pre = rcc::APBPrescaler::DIV1;
    config
}
