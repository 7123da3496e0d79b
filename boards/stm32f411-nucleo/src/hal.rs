//! What the NUCLEO-F411RE has: LED LD2, button B1, the chip's flash.

use defmt_rtt as _;
use embassy_stm32::flash::{Bank1Region1, Blocking, Flash};
use embassy_stm32::gpio::{Input, Level, Output, Pull, Speed};
use embassy_stm32::rcc;
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use panic_probe as _;

/// The level that lights the LED.
pub const LIT: PinState = PinState::High;
/// The button's level while it is held.
pub const HELD: PinState = PinState::Low;

/// The board, started.
pub struct Board {
    pub led: Output<'static>,
    pub button: Input<'static>,
    pub delay: Delay,
    /// The sectors of 16 KiB, of which the slots are two: offsets are those from the start of the flash.
    pub flash: Bank1Region1<'static, Blocking>,
}

/// Starts clocks and pins. To be called once.
pub fn start() -> Board {
    let p = embassy_stm32::init(clocks());
    Board {
        led: Output::new(p.PA5, Level::Low, Speed::Low),
        button: Input::new(p.PC13, Pull::Up),
        delay: Delay,
        flash: Flash::new_blocking(p.FLASH)
            .into_blocking_regions()
            .bank1_region1,
    }
}

/// Resets the chip.
pub fn reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
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
