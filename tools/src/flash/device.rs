//! What flashing asks of a chip behind a probe.

use super::file::Piece;
use std::ops::Range;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Sectors are erased.
    Erase,
    /// Bytes are written.
    Program,
    /// Bytes are read back.
    Verify,
}

/// Told after each part of a step: bytes done and bytes in all (0 if that is not known).
pub type Progress<'p> = dyn FnMut(Step, u64, u64) + 'p;

/// A chip, halted, behind a probe. Addresses are as its core sees them.
pub trait Device {
    /// Reads bytes.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Returns the erase blocks that [`write`](Self::write) and [`erase`](Self::erase) take for these
    /// addresses, as the device knows them.
    ///
    /// # Errors
    /// [`DeviceError::NoFlash`] where it has no flash there.
    fn sectors(&self, range: &Range<u32>) -> Result<Vec<Range<u32>>, DeviceError>;

    /// Erases the sectors of the pieces and writes them.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    fn write(&mut self, pieces: &[Piece], progress: &mut Progress<'_>) -> Result<(), DeviceError>;

    /// Erases whole sectors.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    fn erase(&mut self, range: Range<u32>) -> Result<(), DeviceError>;

    /// Erases all of the chip's flash.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    fn erase_chip(&mut self) -> Result<(), DeviceError>;

    /// Resets the chip and lets it run.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    fn reset(&mut self) -> Result<(), DeviceError>;

    /// Lets the core go on from where it was halted.
    ///
    /// # Errors
    /// [`DeviceError::Failed`].
    fn resume(&mut self) -> Result<(), DeviceError>;
}

/// Why a device does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No probe is plugged in.
    #[error(
        "no debug probe was found: plug one in and connect it to the board; `tailtune probes` shows what is seen{hint}"
    )]
    NoProbe {
        /// What else may help, or nothing.
        hint: String,
    },
    /// The probe that was asked for is not there.
    #[error(
        "probe {wanted} was not found: {reason}; found: {found}; name one of them with --probe"
    )]
    ProbeNotFound {
        /// What was asked for.
        wanted: String,
        /// What probe-rs says.
        reason: String,
        /// What there is.
        found: String,
    },
    /// `--probe` is no selector.
    #[error("--probe {found:?}: {reason}; VID:PID or VID:PID:SERIAL in hexadecimal is expected")]
    Selector {
        /// What was given.
        found: String,
        /// Why not.
        reason: String,
    },
    /// More than one probe, and none was named.
    #[error("{} probes were found: {}; name one with --probe", found.len(), found.join(", "))]
    SeveralProbes {
        /// Their selectors.
        found: Vec<String>,
    },
    /// The probe cannot be opened or does not work.
    #[error(
        "probe {probe}: {reason}; unplug it and plug it in again, and close other programs that use it{hint}"
    )]
    Probe {
        /// Which.
        probe: String,
        /// Why.
        reason: String,
        /// What else may help, or nothing.
        hint: String,
    },
    /// probe-rs has no such chip.
    #[error(
        "probe-rs does not know the chip {chip:?} of board {board}: {reason}; correct `chip` in its board.toml"
    )]
    UnknownChip {
        /// The board.
        board: String,
        /// Its chip.
        chip: String,
        /// What probe-rs says.
        reason: String,
    },
    /// Nothing answers at the other end.
    #[error(
        "no {chip} answers on the probe: {reason}; check power, wires and ground, and that this is the board"
    )]
    NoChip {
        /// What was expected.
        chip: String,
        /// What probe-rs says.
        reason: String,
    },
    /// Another chip answers.
    #[error(
        "the chip on the probe is {found}, board {board} has {expected}: connect that board, or name the right one with --board"
    )]
    WrongChip {
        /// The board.
        board: String,
        /// What answers.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The chip does not let a debugger in.
    #[error(
        "the {chip} is protected against debuggers, and only erasing everything on it lets one in: fetch nothing more from it and add --chip-erase --erase-tails, or name another board if this is another chip"
    )]
    Protected {
        /// The chip.
        chip: String,
    },
    /// There is no flash at an address, or nothing that writes it.
    #[error("{address:#x}: {reason}; the regions in board.toml must lie in the chip's flash")]
    NoFlash {
        /// Where.
        address: u32,
        /// Why.
        reason: String,
    },
    /// It went wrong half way.
    #[error("{doing} failed: {reason}; {}", next(*spoiled))]
    Failed {
        /// What was being done, and where.
        doing: String,
        /// What probe-rs says.
        reason: String,
        /// Whether flash may be half written now.
        spoiled: bool,
    },
}

fn next(spoiled: bool) -> &'static str {
    if spoiled {
        "check the cable and the board's power and run the same command again: it repairs what is half written"
    } else {
        "nothing was changed; check the cable and the board's power and run the same command again"
    }
}
