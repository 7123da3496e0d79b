//! The two slots of the tails: copied to RAM, worked on there by the runtime's own store, and written
//! back, only the sectors that changed.
//!
//! Sectors go back in the order in which the store touched them last: of a save, the payload's before the
//! one with the header, so that a cut leaves the tail that counted; of a reset, the tombstone's before the
//! slot that it forgets.

mod copy;

use super::device::{Device, DeviceError};
use super::plan::{PlanError, mapped};
use super::write::WriteError;
use crate::board::Board;
use copy::{Copy, Operation, Outcome};
use embedded_storage::nor_flash::NorFlashErrorKind;
use tailtune::image::{FORMAT_MAJOR, HEADER_LEN, Header, MAGIC};
use tailtune::store::{ExportError, LayoutError, Recovery, Saved, StoreError, export};
use tailtune::tune::{Tail, TailError};
use zerocopy::FromBytes;

/// Why the tails of a device were not read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotsError {
    /// The device or the probe.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The board cannot be asked.
    #[error(transparent)]
    Board(Box<PlanError>),
    /// Writing the sectors back.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The board's slots are none.
    #[error("regions.tails of board {board}: {source}; correct its board.toml")]
    Layout {
        /// The board.
        board: String,
        /// Why.
        source: LayoutError,
    },
    /// No tail to read.
    #[error("regions.tails of board {board}: {source}; {}", what_next(source))]
    Store {
        /// The board.
        board: String,
        /// Why.
        source: StoreError<NorFlashErrorKind>,
    },
    /// A file is no tail.
    #[error("not an exported tail: {0}; `tailtune tail read` makes one")]
    Export(ExportError),
    /// An export's payload is no tail.
    #[error("the export is sound and what is in it is not: {0}; read it from its device again")]
    Tail(TailError),
    /// There is no image to have a tail of.
    #[error(
        "regions.model of board {board} holds no image (its first bytes are {found}): flash the image that the tail belongs to first, `tailtune flash IMAGE --board {board}`"
    )]
    NoImage {
        /// The board.
        board: String,
        /// What is there.
        found: String,
    },
    /// The tail is of another model than the image.
    #[error(
        "the tail belongs to the model {found}, the device holds the image of {expected}: flash that model's image first, or take a tail of this one"
    )]
    OtherModel {
        /// Of the tail.
        found: String,
        /// Of the image.
        expected: String,
    },
}

impl From<PlanError> for SlotsError {
    fn from(error: PlanError) -> Self {
        Self::Board(error.into())
    }
}

fn what_next(error: &StoreError<NorFlashErrorKind>) -> &'static str {
    match error {
        StoreError::Empty => {
            "let the device tune and save first, or put one there with `tailtune tail write`"
        }
        StoreError::Full { .. } => {
            "take a method with a smaller tail (`tailtune plan --tune`) or larger slots"
        }
        StoreError::NewerFormat { .. } => "a newer tailtune reads it",
        StoreError::Corrupted => {
            "nothing sound is left to read: tune again, or `tailtune tail erase`"
        }
        _ => "`tailtune tail erase` makes the slots anew",
    }
}

/// Returns a model id in hexadecimal.
pub fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

/// Which tail was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The tail, as the runtime exports it.
    pub export: Vec<u8>,
    /// Where and what it is.
    pub saved: Saved,
    /// Its model.
    pub model_id: [u8; 16],
    /// Whether a later save was cut short; none where no image says which model counts.
    pub recovery: Option<Recovery>,
    /// The device's image; none where there is none.
    pub image: Option<[u8; 16]>,
}

/// Reads the newest sound tail: of the model whose image the device holds, or of any where it holds no
/// image or no tail of it.
///
/// # Errors
/// [`SlotsError`].
pub fn read(device: &mut dyn Device, board: &Board) -> Result<Found, SlotsError> {
    let image = image_id(device, board)?.ok();
    let mut copy = Copy::read(device, board)?;
    let found = copy.operate(board, Operation::Newest(image))?;
    let (export, saved, model_id, recovery) = match found {
        Outcome::Tail(tail) => tail,
        _ => unreachable!("an operation gives its own outcome"),
    };
    Ok(Found {
        export,
        saved,
        model_id,
        recovery,
        image,
    })
}

/// Saves an exported tail as the device itself would, in the slot that does not count.
///
/// # Errors
/// [`SlotsError`]; the tail that counted still does.
pub fn write(device: &mut dyn Device, board: &Board, bytes: &[u8]) -> Result<Saved, SlotsError> {
    let exported = parse(bytes)?;
    let expected = match image_id(device, board)? {
        Ok(id) => id,
        Err(found) => {
            let board = board.name.clone();
            return Err(SlotsError::NoImage { board, found });
        }
    };
    if exported.record.model_id != expected {
        return Err(SlotsError::OtherModel {
            found: hex(&exported.record.model_id),
            expected: hex(&expected),
        });
    }
    let mut copy = Copy::read(device, board)?;
    let saved = match copy.operate(board, Operation::Import(&expected, bytes))? {
        Outcome::Saved(saved) => saved,
        _ => unreachable!("an operation gives its own outcome"),
    };
    copy.flush(device, board)?;
    Ok(saved)
}

/// Forgets all tails, as the runtime's factory reset does.
///
/// # Errors
/// [`SlotsError`]; the tail that counted still does, or none.
pub fn reset(device: &mut dyn Device, board: &Board) -> Result<(), SlotsError> {
    let mut copy = Copy::read(device, board)?;
    copy.operate(board, Operation::Reset)?;
    copy.flush(device, board)
}

/// Checks an exported tail, and the tail in it.
///
/// # Errors
/// [`SlotsError::Export`] or [`SlotsError::Tail`].
pub fn parse(bytes: &[u8]) -> Result<export::Exported<'_>, SlotsError> {
    let exported = export::parse(bytes).map_err(SlotsError::Export)?;
    let payload = crate::image_writer::AlignedBytes::new(exported.payload);
    Tail::parse(&payload).map_err(SlotsError::Tail)?;
    Ok(exported)
}

/// Returns the model of the image in the device's model region, or the bytes that are there instead.
fn image_id(
    device: &mut dyn Device,
    board: &Board,
) -> Result<Result<[u8; 16], String>, SlotsError> {
    let region = &board.regions.model;
    mapped(board, "model", region)?;
    let mut bytes = [0; HEADER_LEN];
    device.read(region.address, &mut bytes)?;
    match Header::read_from_bytes(&bytes) {
        Ok(header) if header.magic == MAGIC && header.major.get() == FORMAT_MAJOR => {
            Ok(Ok(header.model_id))
        }
        _ => {
            let first = bytes.iter().take(8).map(|b| format!("{b:02x}"));
            Ok(Err(first.collect::<Vec<_>>().join(" ")))
        }
    }
}
