//! What the NUCLEO-H743ZI has: LED LD1, button B1, bank 2 of the chip's flash.

use crate::torn::Bank2;
use defmt_rtt as _;
use embassy_stm32::flash::{Bank2Region, Blocking, Flash};
use embassy_stm32::gpio::{Input, Level, Output, Pull, Speed};
use embassy_stm32::rcc;
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use panic_probe as _;

/// Bytes of a bank.
pub const BANK_BYTES: u32 = 1024 * 1024;
/// The level that lights the LED.
pub const LIT: PinState = PinState::High;
/// The button's level while it is held.
pub const HELD: PinState = PinState::High;

/// The board, started.
pub struct Board {
    pub led: Output<'static>,
    pub button: Input<'static>,
    pub delay: Delay,
    /// Bank 2, in which tails lie: offsets are those from its start.
    pub flash: Bank2<Bank2Region<'static, Blocking>>,
}

/// Starts clocks and pins. To be called once.
pub fn start() -> Board {
    let p = embassy_stm32::init(clocks());
    // SAFETY: nobody else has the core's peripherals. Code is written by no one, so caching it is safe; data
    // stays uncached, since the driver reads back what it has written.
    unsafe { cortex_m::Peripherals::steal() }
        .SCB
        .enable_icache();
    let bank2 = Flash::new_blocking(p.FLASH)
        .into_blocking_regions()
        .bank2_region;
    Board {
        led: Output::new(p.PB0, Level::Low, Speed::Low),
        button: Input::new(p.PC13, Pull::Down),
        delay: Delay,
        flash: Bank2(bank2),
    }
}

/// Resets the chip.
pub fn reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
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
