//! What the nRF52840 DK has: LED 1, button 1, the chip's own flash, an external one, and channels over RTT.

use embassy_nrf::Peri;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pull};
use embassy_nrf::nvmc::Nvmc;
use embassy_nrf::peripherals::{P0_17, P0_19, P0_20, P0_21, P0_22, P0_23, QSPI};
use embassy_time::Delay;
use embedded_hal::digital::PinState;
use panic_probe as _;
use rtt_target::{ChannelMode, DownChannel, UpChannel, rtt_init, set_defmt_channel};

/// The level that lights the LED.
pub const LIT: PinState = PinState::Low;
/// The button's level while it is held.
pub const HELD: PinState = PinState::Low;

/// The board, started.
pub struct Board {
    pub led: Output<'static>,
    pub button: Input<'static>,
    /// For what waits; the board's own application sleeps instead.
    #[allow(dead_code)]
    pub delay: Delay,
    /// Tails lie in it.
    pub flash: Nvmc<'static>,
    pub external: External,
    /// To the host that feeds it.
    pub up: UpChannel,
    /// From that host.
    pub down: DownChannel,
}

/// The pins of the external flash, an MX25R6435F, in the order of its driver.
pub struct External {
    pub qspi: Peri<'static, QSPI>,
    pub sck: Peri<'static, P0_19>,
    pub csn: Peri<'static, P0_17>,
    pub io0: Peri<'static, P0_20>,
    pub io1: Peri<'static, P0_21>,
    pub io2: Peri<'static, P0_22>,
    pub io3: Peri<'static, P0_23>,
}

/// Starts clocks, pins and the channels over RTT. To be called once.
pub fn start() -> Board {
    let channels = rtt_init! {
        up: {
            0: { size: 1024, mode: ChannelMode::NoBlockTrim, name: "defmt" }
            1: { size: 2048, mode: ChannelMode::NoBlockSkip, name: "tailtune feed" }
        }
        down: {
            0: { size: 2048, name: "tailtune feed" }
        }
    };
    set_defmt_channel(channels.up.0);
    let p = embassy_nrf::init(Default::default());
    Board {
        led: Output::new(p.P0_13, Level::High, OutputDrive::Standard),
        button: Input::new(p.P0_11, Pull::Up),
        delay: Delay,
        flash: Nvmc::new(p.NVMC),
        external: External {
            qspi: p.QSPI,
            sck: p.P0_19,
            csn: p.P0_17,
            io0: p.P0_20,
            io1: p.P0_21,
            io2: p.P0_22,
            io3: p.P0_23,
        },
        up: channels.up.1,
        down: channels.down.0,
    }
}

/// Resets the chip.
pub fn reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
