//! tailtune's application on the nRF52840 DK: image, job and tails lie in flash regions of their
//! own, results go to defmt. LED 1 flickers while the encoder works and blinks when all is done.
//!
//! At boot, with a job: if flash holds a tail of this model, load it and measure; else do the job,
//! and after an adapt job reset, so that the next boot loads what was learned. Button 1, held at
//! reset, does the job whatever flash holds.

#![no_std]
#![no_main]

use defmt::{error, info};
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pull};
use embassy_nrf::nvmc::{Error, Nvmc};
use embassy_nrf::qspi::{self, Qspi};
use embassy_nrf::{bind_interrupts, peripherals};
use embassy_time::Timer;
use embedded_hal::digital::{InputPin, StatefulOutputPin};
use panic_probe as _;
use tailtune::store::Store;
use tailtune_app::job::Kind;
use tailtune_app::outcome::Outcome;
use tailtune_app::{AppError, Memory, Platform, PlatformError, ReplayFlash};

/// Room for KWT-1 and everything smaller: 32 KiB of arena, inputs of 98 × 40, 32 added classes, 128 training
/// and 128 test samples, 112 KiB to tune in: with the arena less than 160 KiB, the last block of KWT-1 included.
static mut MEMORY: Memory<{ 32 * 1024 }, 4096, 32, 128, { 28 * 1024 }> = Memory::new();

bind_interrupts!(struct Irqs {
    QSPI => qspi::InterruptHandler<peripherals::QSPI>;
});

/// Bytes of the board's external flash, an MX25R6435F.
const EXTERNAL_FLASH: u32 = 8 * 1024 * 1024;

unsafe extern "C" {
    static __model_start: u8;
    static __model_bytes: u8;
    static __job_start: u8;
    static __job_bytes: u8;
    static __tail0_offset: u8;
    static __tail0_bytes: u8;
    static __tail1_offset: u8;
    static __tail1_bytes: u8;
    static __replay_offset: u8;
    static __replay_bytes: u8;
}

/// Returns a region of flash that the linker script names.
///
/// # Safety
/// The region must lie in flash, and nothing may erase or write it while the slice lives.
unsafe fn region(start: *const u8, bytes: *const u8) -> &'static [u8] {
    // SAFETY: the caller vouches for the region; flash is always readable on this part.
    unsafe { core::slice::from_raw_parts(start, bytes.addr()) }
}

/// The job in flash, the result on defmt.
struct Dk<L, B> {
    job: &'static [u8],
    led: L,
    button: B,
    tuned: bool,
}

impl<L: StatefulOutputPin, B: InputPin> Platform for Dk<L, B> {
    fn read_job(&mut self, offset: u32, buffer: &mut [u8]) -> Result<(), PlatformError> {
        let bytes = self.job.get(offset as usize..).ok_or(PlatformError)?;
        buffer.copy_from_slice(bytes.get(..buffer.len()).ok_or(PlatformError)?);
        Ok(())
    }

    fn write_result(&mut self, bytes: &[u8]) -> Result<(), PlatformError> {
        if let Some(o) = Outcome::record(bytes) {
            info!(
                "{} test samples: {} right before, {} after; {} steps; tail of {} bytes in slot {}, save {}",
                o.test.get(),
                o.right_before.get(),
                o.right_after.get(),
                o.steps.get(),
                o.tail_len.get(),
                o.slot.get(),
                o.sequence.get()
            );
        }
        Ok(())
    }

    fn progress(&mut self, phase: &str, done: u32, total: u32) {
        info!("{=str} {}/{}", phase, done, total);
    }

    fn choose(&mut self, job: Kind, has_tail: bool) -> Kind {
        // The button is active low.
        let held = self.button.is_low().unwrap_or(false);
        let kind = if has_tail && !held && job == Kind::Adapt {
            Kind::Evaluate
        } else {
            job
        };
        info!("job {}, tail in flash: {}, doing {}", job, has_tail, kind);
        self.tuned = kind == Kind::Adapt;
        kind
    }

    fn between_steps(&mut self) {
        // The pins of this part cannot fail.
        let _ = self.led.toggle();
    }
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let p = embassy_nrf::init(Default::default());
    let mut led = Output::new(p.P0_13, Level::High, OutputDrive::Standard);
    let button = Input::new(p.P0_11, Pull::Up);
    let nvmc = Nvmc::new(p.NVMC);
    // SAFETY: both regions lie in flash, outside of code, and only the slots are ever written.
    let (image, job) = unsafe {
        (
            region(&raw const __model_start, &raw const __model_bytes),
            region(&raw const __job_start, &raw const __job_bytes),
        )
    };
    let mut config = qspi::Config::default();
    config.capacity = EXTERNAL_FLASH;
    config.frequency = qspi::Frequency::M32;
    let mut external = Qspi::new(
        p.QSPI, Irqs, p.P0_19, p.P0_17, p.P0_20, p.P0_21, p.P0_22, p.P0_23, config,
    );
    if quad_enable(&mut external).is_err() {
        error!("the external flash does not answer");
    }
    let memory = &raw mut MEMORY;
    // SAFETY: `main` runs once, and no interrupt touches MEMORY.
    let memory = unsafe { &mut *memory };
    let number = |symbol: *const u8| symbol.addr() as u32;
    let offsets = |offset, bytes| number(offset)..number(offset) + number(bytes);
    let slots = [
        offsets(&raw const __tail0_offset, &raw const __tail0_bytes),
        offsets(&raw const __tail1_offset, &raw const __tail1_bytes),
    ];
    let latents = ReplayFlash {
        flash: external,
        region: offsets(&raw const __replay_offset, &raw const __replay_bytes),
    };
    let mut platform = Dk {
        job,
        led: &mut led,
        button,
        tuned: false,
    };
    let result = match Store::with_slots(nvmc, slots) {
        Ok(mut store) => memory.run(&mut platform, image, &mut store, latents),
        Err(e) => Err(AppError::Layout(e)),
    };
    let tuned = platform.tuned;
    match result {
        Ok(()) if tuned => {
            info!("saved; resetting");
            Timer::after_millis(100).await;
            cortex_m::peripheral::SCB::sys_reset();
        }
        Ok(()) => info!("done"),
        Err(AppError::Job) => match memory.sign_of_life::<Error>(image) {
            Ok(class) => info!("no job in flash; on silence the model says class {}", class),
            Err(e) => error!("no job in flash, and the model does not run: {}", e),
        },
        Err(e) => error!("failed: {}", e),
    }
    loop {
        led.set_low();
        Timer::after_millis(100).await;
        led.set_high();
        Timer::after_millis(900).await;
    }
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
