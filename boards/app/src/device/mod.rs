//! The application on a real board: image, job and tails lie in flash regions of their own, results
//! go to defmt, one LED and one button are all that is seen and touched.
//!
//! ```text
//! regions    where everything lies, from the linker script
//! job        a job in flash, its progress on the LED, its result on defmt
//! feed       clips from a host over RTT (feature `feed`)
//! place      memory in a RAM of its own
//! no_flash   the latents' flash of a board that tunes heads only
//! ```
//!
//! At boot, with a job: if flash holds a tail of this model, load it and measure; else do the job,
//! and after an adapt job reset, so that the next boot loads what was learned. The button, held at
//! reset, does the job whatever flash holds. The LED flickers while the encoder works and blinks when
//! all is done.

#[cfg(feature = "feed")]
mod feed;
mod job;
mod no_flash;
mod place;
mod regions;

#[cfg(feature = "feed")]
pub use feed::RttLine;
pub use job::{FlashJob, LedButton};
pub use no_flash::NoFlash;
pub use place::zeroed;
pub use regions::Regions;

use crate::{AppError, Memory, ReplayFlash};
use core::ops::Range;
use defmt::{error, info};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, StatefulOutputPin};
use embedded_storage::nor_flash::NorFlash;
use tailtune::store::Store;

/// What a board's `main` hands over once its clocks and pins are set.
#[derive(Debug)]
pub struct Device<L, B, D> {
    /// The LED and the button.
    pub io: LedButton<L, B>,
    /// Any delay.
    pub delay: D,
    /// Resets the chip.
    pub reset: fn() -> !,
}

impl<L: StatefulOutputPin, B: InputPin, D: DelayNs> Device<L, B, D> {
    /// Does what flash asks for as [`work`](Self::work), and blinks for ever, waiting in a loop.
    pub fn boot<
        const A: usize,
        const I: usize,
        const C: usize,
        const N: usize,
        const W: usize,
        F,
        R,
    >(
        mut self,
        memory: &mut Memory<A, I, C, N, W>,
        regions: Regions,
        flash: F,
        latents: R,
    ) -> !
    where
        F: NorFlash<Error: defmt::Format>,
        R: NorFlash,
    {
        self.work(memory, regions, flash, latents);
        self.blink()
    }

    /// Does what flash asks for, and resets after a tune. The slots in `flash` and the latents in `latents`
    /// lie at the offsets that the regions say.
    pub fn work<
        const A: usize,
        const I: usize,
        const C: usize,
        const N: usize,
        const W: usize,
        F,
        R,
    >(
        &mut self,
        memory: &mut Memory<A, I, C, N, W>,
        regions: Regions,
        flash: F,
        latents: R,
    ) where
        F: NorFlash<Error: defmt::Format>,
        R: NorFlash,
    {
        let latents = ReplayFlash {
            flash: latents,
            region: regions.replay.clone(),
        };
        let mut job = FlashJob::new(regions.job, &mut self.io);
        let result = match store(flash, regions.slots) {
            Ok(mut store) => memory.run(&mut job, regions.model, &mut store, latents),
            Err(e) => Err(e),
        };
        let tuned = job.tuned();
        match result {
            Ok(()) if tuned => {
                info!("saved; resetting");
                self.delay.delay_ms(100);
                (self.reset)();
            }
            Ok(()) => info!("done"),
            Err(AppError::Job) => match memory.sign_of_life::<F::Error>(regions.model) {
                Ok(class) => info!("no job in flash; on silence the model says class {}", class),
                Err(e) => error!("no job in flash, and the model does not run: {}", e),
            },
            Err(e) => error!("failed: {}", e),
        }
    }

    fn blink(mut self) -> ! {
        let lit = self.io.lit;
        loop {
            // A pin that fails leaves the LED as it is: there is nobody to tell.
            let _ = self.io.led.set_state(lit);
            self.delay.delay_ms(100);
            let _ = self.io.led.set_state(!lit);
            self.delay.delay_ms(900);
        }
    }
}

fn store<F: NorFlash>(flash: F, slots: [Range<u32>; 2]) -> Result<Store<F>, AppError<F::Error>> {
    Ok(Store::with_slots(flash, slots)?)
}
