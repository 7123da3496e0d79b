//! tailtune's application on the nRF52840 DK: LED 1, button 1, latents in the external flash, clips from a
//! host over RTT.

#![no_std]
#![no_main]

mod hal;

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use defmt::error;
use embassy_executor::Spawner;
use embassy_nrf::qspi::{self, Qspi};
use embassy_nrf::{bind_interrupts, peripherals};
use embassy_time::{Duration, Instant, Timer};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use hal::{Board, External};
use static_cell::ConstStaticCell;
use tailtune_app::Memory;
use tailtune_app::device::{Device, LedButton, Regions, RttLine};

/// Room for KWT-1 and everything smaller: 32 KiB of arena, inputs of 98 × 40, 32 added classes, 128 training
/// and 128 test samples, 112 KiB to tune in: with the arena less than 160 KiB, the last block of KWT-1 included.
static MEMORY: ConstStaticCell<Memory<{ 32 * 1024 }, 4096, 32, 128, { 28 * 1024 }>> =
    ConstStaticCell::new(Memory::new());

bind_interrupts!(struct Irqs {
    QSPI => qspi::InterruptHandler<peripherals::QSPI>;
});

/// Milliseconds between two looks at the line.
const TICK_MS: u64 = 20;

/// Bytes of the board's external flash, an MX25R6435F.
const EXTERNAL_FLASH: u32 = 8 * 1024 * 1024;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let Board {
        led,
        button,
        mut flash,
        external: pins,
        up,
        down,
        ..
    } = hal::start();
    let mut line = RttLine {
        up,
        down,
        clock: || Instant::now().as_micros() as u32,
    };
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
        delay: Doze(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await),
        reset: hal::reset,
    };
    // SAFETY: flash is always readable on this part, and only the slots are ever written.
    let regions = unsafe { Regions::linked() };
    let memory = MEMORY.take();
    device.work(memory, regions.clone(), &mut flash, external);
    // The core sleeps between two looks at the line.
    loop {
        for tick in 0..1000 / TICK_MS {
            let lit = tick < 100 / TICK_MS;
            // A pin of this chip does not fail.
            let _ = device
                .io
                .led
                .set_state(if lit { hal::LIT } else { !hal::LIT });
            device.feed(&mut line, memory, regions.model, &mut flash, &regions.slots);
            Timer::after_millis(TICK_MS).await;
        }
    }
}

/// A delay in which the core sleeps, for what is not async; made of the waker of the task that calls it.
struct Doze(Waker);

impl DelayNs for Doze {
    fn delay_ns(&mut self, ns: u32) {
        let mut timer = pin!(Timer::after(Duration::from_nanos(ns.into())));
        // The timer's interrupt ends the sleep; the task that it wakes, too, is this one.
        while timer
            .as_mut()
            .poll(&mut Context::from_waker(&self.0))
            .is_pending()
        {
            cortex_m::asm::wfe();
        }
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
