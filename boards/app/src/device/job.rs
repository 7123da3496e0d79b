//! A job in flash, its progress on the LED, its result on defmt.

use crate::job::Kind;
use crate::outcome::Outcome;
use crate::{Platform, PlatformError};
use defmt::info;
use embedded_hal::digital::{InputPin, PinState, StatefulOutputPin};
use zerocopy::FromBytes;

/// One LED and one button, each with the level that means "yes".
#[derive(Debug)]
pub struct LedButton<L, B> {
    /// The LED's pin.
    pub led: L,
    /// The level that lights it.
    pub lit: PinState,
    /// The button's pin.
    pub button: B,
    /// Its level while it is held.
    pub held: PinState,
}

impl<L, B: InputPin> LedButton<L, B> {
    /// Returns whether the button is held; a pin that cannot be read is not.
    pub fn is_held(&mut self) -> bool {
        let level = match self.held {
            PinState::Low => self.button.is_low(),
            PinState::High => self.button.is_high(),
        };
        level.unwrap_or(false)
    }
}

/// The job in flash.
#[derive(Debug)]
pub struct FlashJob<'d, L, B> {
    job: &'d [u8],
    io: &'d mut LedButton<L, B>,
    saved: bool,
    kind: Option<Kind>,
}

impl<'d, L, B> FlashJob<'d, L, B> {
    /// Returns the job in these bytes of flash; none, if they hold none.
    pub fn new(job: &'d [u8], io: &'d mut LedButton<L, B>) -> Self {
        Self {
            job,
            io,
            saved: false,
            kind: None,
        }
    }

    /// Returns whether a tail was tuned and saved.
    pub fn tuned(&self) -> bool {
        self.saved && self.kind == Some(Kind::Adapt)
    }
}

impl<L: StatefulOutputPin, B: InputPin> Platform for FlashJob<'_, L, B> {
    fn read_job(&mut self, offset: u32, buffer: &mut [u8]) -> Result<(), PlatformError> {
        let bytes = self.job.get(offset as usize..).ok_or(PlatformError)?;
        buffer.copy_from_slice(bytes.get(..buffer.len()).ok_or(PlatformError)?);
        Ok(())
    }

    fn write_result(&mut self, bytes: &[u8]) -> Result<(), PlatformError> {
        if let Some(o) = Outcome::record(bytes) {
            self.saved = o.tail_len.get() > 0;
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
        } else if self.kind == Some(Kind::Infer)
            && let Ok(logits) = <[i16]>::ref_from_bytes(bytes)
        {
            info!("logits {}", logits);
        }
        Ok(())
    }

    fn progress(&mut self, phase: &str, done: u32, total: u32) {
        info!("{=str} {}/{}", phase, done, total);
    }

    fn choose(&mut self, job: Kind, has_tail: bool) -> Kind {
        let kind = if has_tail && !self.io.is_held() && job == Kind::Adapt {
            Kind::Evaluate
        } else {
            job
        };
        info!("job {}, tail in flash: {}, doing {}", job, has_tail, kind);
        self.kind = Some(kind);
        kind
    }

    fn between_steps(&mut self) {
        // A pin that fails leaves the LED as it is.
        let _ = self.io.led.toggle();
    }
}
