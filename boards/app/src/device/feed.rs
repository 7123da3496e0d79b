//! Clips from a host over RTT: channel 0 up is defmt's, channel 1 up and channel 0 down are the host's.

use super::Device;
use crate::Memory;
use crate::feed::message::Unit;
use crate::feed::{Line, LineFailed};
use core::ops::Range;
use defmt::info;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::StatefulOutputPin;
use embedded_storage::nor_flash::NorFlash;
use rtt_target::{DownChannel, UpChannel};

/// Microseconds between two looks at the line while a host is there.
const POLL_US: u32 = 100;

/// Polls without a byte until a host counts as gone: half a minute.
const PATIENCE: u32 = 30_000_000 / POLL_US;

/// Two channels of RTT. Frames are read in place of the host's, and written whole or not at all.
pub struct RttLine {
    /// To the host: in the mode `NoBlockSkip`, with room for an answer.
    pub up: UpChannel,
    /// From the host.
    pub down: DownChannel,
    /// Returns microseconds, and wraps around.
    pub clock: fn() -> u32,
}

/// The line, and what is seen of it.
struct Shown<'s, L, D> {
    line: &'s mut RttLine,
    led: &'s mut L,
    delay: &'s mut D,
    silent: u32,
}

impl<L: StatefulOutputPin, D: DelayNs> Line for Shown<'_, L, D> {
    const UNIT: Unit = Unit::Microseconds;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LineFailed> {
        let n = self.line.down.read(buffer);
        if n > 0 {
            self.silent = 0;
        }
        Ok(n)
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), LineFailed> {
        self.line.up.write(frame);
        Ok(())
    }

    fn wait(&mut self) -> bool {
        self.delay.delay_us(POLL_US);
        self.silent += 1;
        self.silent < PATIENCE
    }

    fn count(&mut self) -> u32 {
        (self.line.clock)()
    }

    fn between_steps(&mut self) {
        // A pin that fails leaves the LED as it is.
        let _ = self.led.toggle();
    }

    fn heard(&mut self, class: u16) {
        info!("class {}", class);
    }
}

impl<L: StatefulOutputPin, B, D: DelayNs> Device<L, B, D> {
    /// Answers a host over RTT until it says goodbye or is silent for half a minute; at once where none is
    /// there. Clips are answered by the newest tail in `flash`; what is learned from them is saved there.
    pub fn feed<
        const A: usize,
        const I: usize,
        const C: usize,
        const N: usize,
        const W: usize,
        F: NorFlash,
    >(
        &mut self,
        line: &mut RttLine,
        memory: &mut Memory<A, I, C, N, W>,
        model: &[u8],
        flash: F,
        slots: &[Range<u32>; 2],
    ) {
        let Ok(mut store) = super::store(flash, slots.clone()) else {
            // The job before it has said so.
            return;
        };
        let mut shown = Shown {
            line,
            led: &mut self.io.led,
            delay: &mut self.delay,
            silent: 0,
        };
        // RTT does not fail.
        let _ = memory.feed(&mut shown, model, &mut store);
    }
}
