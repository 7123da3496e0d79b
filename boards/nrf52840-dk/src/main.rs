//! tailtune's application on the nRF52840 DK: LED 1, button 1, latents in the external flash.

#![no_std]
#![no_main]

mod hal;

use defmt::error;
use embassy_executor::Spawner;
use embassy_nrf::qspi::{self, Qspi};
use embassy_nrf::{bind_interrupts, peripherals};
use embassy_time::Timer;
use hal::{Board, External};
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, Regions};

/// Room for KWT-1 and everything smaller: 32 KiB of arena, inputs of 98 × 40, 32 added classes, 128 training
/// and 128 test samples, 112 KiB to tune in: with the arena less than 160 KiB, the last block of KWT-1 included.
static MEMORY: ConstStaticCell<Memory<{ 32 * 1024 }, 4096, 32, 128, { 28 * 1024 }>> =
    ConstStaticCell::new(Memory::new());

bind_interrupts!(struct Irqs {
    QSPI => qspi::InterruptHandler<peripherals::QSPI>;
});

/// Bytes of the board's external flash, an MX25R6435F.
const EXTERNAL_FLASH: u32 = 8 * 1024 * 1024;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let Board {
        led,
        button,
        delay,
        flash,
        external: pins,
    } = hal::start();
    let mut external = external(pins);
    if quad_enable(&mut external).is_err() {
        error!("the external flash does not answer");
    }
    let mut device = Device {
        io: LedButton {
            led,
            lit: hal::LIT,
            button,
            held: hal::HELD,
        },
        delay,
        reset: hal::reset,
    };
    // SAFETY: flash is always readable on this part, and only the slots are ever written.
    let regions = unsafe { Regions::linked() };
    device.work(MEMORY.take(), regions, flash, external);
    // The core sleeps between blinks.
    let mut led = device.io.led;
    loop {
        led.set_low();
        Timer::after_millis(100).await;
        led.set_high();
        Timer::after_millis(900).await;
    }
}

fn external(pins: External) -> Qspi<'static> {
    let External {
        qspi,
        sck,
        csn,
        io0,
        io1,
        io2,
        io3,
    } = pins;
    let mut config = qspi::Config::default();
    config.capacity = EXTERNAL_FLASH;
    config.frequency = qspi::Frequency::M32;
    Qspi::new(qspi, Irqs, sck, csn, io0, io1, io2, io3, config)
}

/// Lets the external flash use all four of its lines: bit 6 of its status register, which it keeps.
fn quad_enable(flash: &mut Qspi<'_>) -> Result<(), qspi::Error> {
    const READ_STATUS: u8 = 0x05;
    const WRITE_STATUS: u8 = 0x01;
    const QUAD: u8 = 1 << 6;
    let mut status = [0];
    flash.blocking_custom_instruction(READ_STATUS, &[], &mut status)?;
    let [bits] = status;
    if bits & QUAD == 0 {
        flash.blocking_custom_instruction(WRITE_STATUS, &[bits | QUAD], &mut [])?;
    }
    Ok(())
}
