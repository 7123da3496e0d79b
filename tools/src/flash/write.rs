//! A plan onto a device: tails if they are to go, sectors, bytes, reading back, reset.

use super::device::{Device, DeviceError, Progress, Step};
use super::file::Piece;
use super::plan::Plan;
use super::slots::{self, SlotsError};
use crate::board::Board;
use std::ops::Range;

/// Bytes that are read back at a time.
const BACK: usize = 4096;

/// Why a device was not flashed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The device or the probe.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The tails could not be erased.
    #[error(transparent)]
    Slots(#[from] Box<SlotsError>),
    /// The chip's sectors are not the board's.
    #[error("the chip would erase the sector {:#x}..{:#x} for {what}, board.toml of {board} has none such there: correct `sectors` in its board.toml", sector.start, sector.end)]
    Sectors {
        /// The board.
        board: String,
        /// What is written.
        what: String,
        /// What would be erased.
        sector: Range<u32>,
    },
    /// Flash did not keep what was written.
    #[error(
        "{what}: {found:#04x} was read back at {address:#x}, {expected:#04x} was written; run the same command again, and if it fails at the same address, the flash there is worn out or protected"
    )]
    Differs {
        /// What was written.
        what: String,
        /// The first address that differs.
        address: u32,
        /// What is there.
        found: u8,
        /// What should be.
        expected: u8,
    },
}

/// Does what a plan says. With `verify`, all that was written is read back. Ends with a reset.
///
/// # Errors
/// [`WriteError`]; the same call again repairs what is half written.
pub fn write(
    device: &mut dyn Device,
    board: &Board,
    plan: &Plan,
    verify: bool,
    progress: &mut Progress<'_>,
) -> Result<(), WriteError> {
    let pieces = plan.pieces();
    check_sectors(device, board, &pieces, &plan.sectors())?;
    if plan.chip_erase {
        progress(Step::Erase, 0, 0);
        device.erase_chip()?;
    } else if plan.erase_tails {
        slots::reset(device, board).map_err(Box::new)?;
    }
    device.write(&pieces, progress)?;
    if verify {
        read_back(device, &pieces, progress)?;
    }
    device.reset()?;
    Ok(())
}

/// Refuses to erase what is not planned: the device knows its sectors, the plan the board's.
///
/// # Errors
/// [`WriteError::Sectors`].
pub fn check_sectors(
    device: &dyn Device,
    board: &Board,
    pieces: &[Piece],
    planned: &[Range<u32>],
) -> Result<(), WriteError> {
    for piece in pieces {
        for sector in device.sectors(&piece.range())? {
            let mut at = sector.start;
            // Small sectors of the board may make up a large one of the chip, or the other way round.
            while let Some(block) = planned.iter().find(|b| b.contains(&at)) {
                at = block.end;
                if at >= sector.end {
                    break;
                }
            }
            if at < sector.end {
                return Err(WriteError::Sectors {
                    board: board.name.clone(),
                    what: piece.name.clone(),
                    sector,
                });
            }
        }
    }
    Ok(())
}

/// Reads back what was written.
///
/// # Errors
/// [`WriteError::Differs`] names the first byte that differs.
pub fn read_back(
    device: &mut dyn Device,
    pieces: &[Piece],
    progress: &mut Progress<'_>,
) -> Result<(), WriteError> {
    let total = pieces.iter().map(|p| p.bytes.len() as u64).sum();
    let mut done = 0;
    let mut back = [0; BACK];
    for piece in pieces {
        for (i, chunk) in piece.bytes.chunks(BACK).enumerate() {
            let address = piece.address + (i * BACK) as u32;
            let back = back.get_mut(..chunk.len()).unwrap_or_default();
            device.read(address, back).map_err(after_a_write)?;
            if let Some(at) = back.iter().zip(chunk).position(|(a, b)| a != b) {
                return Err(WriteError::Differs {
                    what: piece.name.clone(),
                    address: address + at as u32,
                    found: back[at],
                    expected: chunk[at],
                });
            }
            done += chunk.len() as u64;
            progress(Step::Verify, done, total);
        }
    }
    Ok(())
}

/// A read that fails behind a write leaves it unknown what was written.
fn after_a_write(error: DeviceError) -> DeviceError {
    match error {
        DeviceError::Failed { doing, reason, .. } => DeviceError::Failed {
            doing,
            reason,
            spoiled: true,
        },
        other => other,
    }
}
