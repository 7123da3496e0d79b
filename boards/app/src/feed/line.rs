//! What a board gives the loop.

use super::message::Unit;

/// The line does not work any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LineFailed;

/// A line of bytes to a host, and what else a board has to show. Bytes may be lost.
pub trait Line {
    /// What [`count`](Self::count) counts.
    const UNIT: Unit = Unit::None;

    /// Takes what has come, without waiting, and returns how many bytes that was.
    ///
    /// # Errors
    /// Nothing can come any more.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LineFailed>;

    /// Sends a frame, whole or not at all: what is lost is asked for again.
    ///
    /// # Errors
    /// Nothing can go any more.
    fn write(&mut self, frame: &[u8]) -> Result<(), LineFailed>;

    /// Called when nothing has come: waits a little. Returns whether it is worth waiting on.
    fn wait(&mut self) -> bool;

    /// Returns a counter that wraps around.
    fn count(&mut self) -> u32 {
        0
    }

    /// Runs between two steps of a forward or a fit.
    fn between_steps(&mut self) {}

    /// Told what a clip was taken for.
    fn heard(&mut self, class: u16) {
        let _ = class;
    }
}

/// Any serial line of `embedded-io`, with something that waits.
#[cfg(feature = "serial")]
#[derive(Debug)]
pub struct Serial<S, D> {
    /// The line.
    pub serial: S,
    /// Any delay.
    pub delay: D,
    /// Polls without a byte until it is given up.
    pub patience: u32,
    /// How many there were.
    pub silent: u32,
}

#[cfg(feature = "serial")]
impl<S, D> Serial<S, D> {
    /// Microseconds between two looks at the line: a byte takes 87 at 115,200 baud.
    const POLL_US: u32 = 50;

    /// A line that is given up after so many milliseconds without a byte.
    pub const fn new(serial: S, delay: D, patience_ms: u32) -> Self {
        Self {
            serial,
            delay,
            patience: patience_ms.saturating_mul(1000 / Self::POLL_US),
            silent: 0,
        }
    }
}

#[cfg(feature = "serial")]
impl<S, D> Line for Serial<S, D>
where
    S: embedded_io::Read + embedded_io::ReadReady + embedded_io::Write,
    D: embedded_hal::delay::DelayNs,
{
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LineFailed> {
        let mut len = 0;
        // One byte at a time: a read of more may wait for them.
        while let Some(place) = buffer.get_mut(len..=len)
            && self.serial.read_ready().map_err(|_| LineFailed)?
        {
            match self.serial.read(place) {
                Ok(0) | Err(_) => return Err(LineFailed),
                Ok(_) => len += 1,
            }
        }
        if len > 0 {
            self.silent = 0;
        }
        Ok(len)
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), LineFailed> {
        let written = self.serial.write_all(frame);
        written
            .and_then(|()| self.serial.flush())
            .map_err(|_| LineFailed)
    }

    fn wait(&mut self) -> bool {
        self.delay.delay_us(Self::POLL_US);
        self.silent = self.silent.saturating_add(1);
        self.silent < self.patience
    }
}
