//! The two slots of the tails: copied to RAM, worked on there by the runtime's own store, and written
//! back, only the sectors that changed.
//!
//! Sectors go back in the order in which the store touched them last: of a save, the payload's before the
//! one with the header, so that a cut leaves the tail that counted; of a reset, the tombstone's before the
//! slot that it forgets.

use super::device::{Device, DeviceError};
use super::file::Piece;
use super::plan::{PlanError, mapped, real, sectors_of};
use super::write::{WriteError, check_sectors, read_back};
use crate::board::Board;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use std::ops::Range;
use tailtune::image::{FORMAT_MAJOR, HEADER_LEN, Header, MAGIC};
use tailtune::store::{
    ExportError, LayoutError, Record, Recovery, Saved, SlotContent, Store, StoreError, export,
};
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
    Board(#[from] PlanError),
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

/// Both slots in RAM, one behind the other.
struct Copy {
    memory: Memory,
    original: Vec<u8>,
    /// Where each sector lies on the device.
    addresses: Vec<u32>,
    slots: [Range<u32>; 2],
}

#[derive(Debug, Clone)]
struct Memory {
    bytes: Vec<u8>,
    /// Sectors, as ranges of `bytes`.
    sectors: Vec<Range<usize>>,
    /// Sectors in the order in which they were touched last.
    touched: Vec<usize>,
}

enum Operation<'o> {
    Newest(Option<[u8; 16]>),
    Import(&'o [u8; 16], &'o [u8]),
    Reset,
}

enum Outcome {
    Tail((Vec<u8>, Saved, [u8; 16], Option<Recovery>)),
    Saved(Saved),
    Done,
}

impl Copy {
    fn read(device: &mut dyn Device, board: &Board) -> Result<Self, SlotsError> {
        real(board)?;
        let mut memory = Memory {
            bytes: Vec::new(),
            sectors: Vec::new(),
            touched: Vec::new(),
        };
        let mut addresses = Vec::new();
        let mut slots = [0..0, 0..0];
        let named = ["tails[0]", "tails[1]"]
            .into_iter()
            .zip(&board.regions.tails);
        for ((name, region), slot) in named.zip(&mut slots) {
            mapped(board, name, region)?;
            let start = memory.bytes.len();
            for sector in sectors_of(board, region, &region.range()) {
                let from = memory.bytes.len();
                memory.bytes.resize(from + sector.len(), 0);
                device.read(sector.start, &mut memory.bytes[from..])?;
                memory.sectors.push(from..memory.bytes.len());
                addresses.push(sector.start);
            }
            *slot = start as u32..memory.bytes.len() as u32;
        }
        Ok(Self {
            original: memory.bytes.clone(),
            memory,
            addresses,
            slots,
        })
    }

    /// Works on the copy with the word that the firmware's flash has: payloads start at a multiple of it.
    fn operate(&mut self, board: &Board, operation: Operation<'_>) -> Result<Outcome, SlotsError> {
        let word = board
            .flash_of(&board.regions.tails[0])
            .map_or(0, |flash| flash.write_bytes);
        match word {
            1 => self.operate_in::<1>(board, operation),
            2 => self.operate_in::<2>(board, operation),
            4 => self.operate_in::<4>(board, operation),
            8 => self.operate_in::<8>(board, operation),
            16 => self.operate_in::<16>(board, operation),
            32 => self.operate_in::<32>(board, operation),
            64 => self.operate_in::<64>(board, operation),
            128 => self.operate_in::<128>(board, operation),
            256 => self.operate_in::<256>(board, operation),
            other => Err(SlotsError::Layout {
                board: board.name.clone(),
                source: LayoutError::WordSize {
                    read: 1,
                    write: other as usize,
                    erase: other as usize,
                },
            }),
        }
    }

    fn operate_in<const WORD: usize>(
        &mut self,
        board: &Board,
        operation: Operation<'_>,
    ) -> Result<Outcome, SlotsError> {
        let flash = Ram::<WORD>(&mut self.memory);
        let layout = |source| SlotsError::Layout {
            board: board.name.clone(),
            source,
        };
        let mut store = Store::with_slots(flash, self.slots.clone()).map_err(layout)?;
        let done = match operation {
            Operation::Newest(image) => newest(&mut store, image).map(Outcome::Tail),
            Operation::Import(id, bytes) => store.import(id, bytes).map(Outcome::Saved),
            Operation::Reset => store.factory_reset().map(|()| Outcome::Done),
        };
        done.map_err(|source| SlotsError::Store {
            board: board.name.clone(),
            source,
        })
    }

    /// Writes the sectors that changed, and reads them back.
    fn flush(&self, device: &mut dyn Device, board: &Board) -> Result<(), SlotsError> {
        for run in self.runs() {
            let Some((first, last)) = run.first().zip(run.last()) else {
                continue;
            };
            let within = self.memory.sectors[*first].start..self.memory.sectors[*last].end;
            let bytes = &self.memory.bytes[within];
            let address = self.addresses[*first];
            let whole = address..address + bytes.len() as u32;
            let planned: Vec<Range<u32>> = run.iter().map(|s| self.range(*s)).collect();
            let piece = |bytes: &[u8]| Piece {
                address,
                bytes: bytes.to_vec(),
                name: "the tail's slot".into(),
            };
            check_sectors(device, board, &[piece(bytes)], &planned)?;
            // What is erased already needs no write.
            let used = bytes.iter().rposition(|b| *b != 0xff).map_or(0, |i| i + 1);
            let used = used.next_multiple_of(256).min(bytes.len());
            if used == 0 {
                device.erase(whole)?;
            } else {
                device.write(&[piece(&bytes[..used])], &mut |_, _, _| {})?;
            }
            read_back(device, &[piece(bytes)], &mut |_, _, _| {})?;
        }
        Ok(())
    }

    fn range(&self, sector: usize) -> Range<u32> {
        let start = self.addresses[sector];
        start..start + self.memory.sectors[sector].len() as u32
    }

    /// Returns the changed sectors in order, those in one that go in one write: neighbours in one slot,
    /// all of them with bytes to write or all without.
    fn runs(&self) -> Vec<Vec<usize>> {
        let mut runs: Vec<Vec<usize>> = Vec::new();
        let blank = |s: usize| {
            let sector = self.memory.sectors[s].clone();
            self.memory.bytes[sector].iter().all(|b| *b == 0xff)
        };
        let slot = |s: usize| {
            let start = self.memory.sectors[s].start as u32;
            self.slots[0].contains(&start)
        };
        for &sector in &self.memory.touched {
            let range = self.memory.sectors[sector].clone();
            if self.memory.bytes[range.clone()] == self.original[range] {
                continue;
            }
            match runs.last_mut() {
                Some(run)
                    if run.last().is_some_and(|&last| {
                        last + 1 == sector
                            && self.range(last).end == self.range(sector).start
                            && slot(last) == slot(sector)
                            && blank(last) == blank(sector)
                    }) =>
                {
                    run.push(sector);
                }
                _ => runs.push(vec![sector]),
            }
        }
        runs
    }
}

type Newest = (Vec<u8>, Saved, [u8; 16], Option<Recovery>);

fn newest<F: NorFlash<Error = NorFlashErrorKind>>(
    store: &mut Store<F>,
    image: Option<[u8; 16]>,
) -> Result<Newest, StoreError<NorFlashErrorKind>> {
    let booted = image.map(|id| (id, store.boot(&id)));
    let (id, (saved, recovery)) = match booted {
        Some((id, Ok((saved, recovery)))) => (id, (saved, Some(recovery))),
        other => {
            // Of no image that is there: still worth fetching.
            let mut best: Option<Record> = None;
            for content in store.inspect() {
                if let SlotContent::Record(record) = content
                    && best.is_none_or(|b| Record::is_newer(record.sequence, b.sequence))
                {
                    best = Some(record);
                }
            }
            let id = match (best, other) {
                (Some(record), _) => record.model_id,
                (None, Some((_, Err(error)))) => return Err(error),
                (None, _) => [0; 16],
            };
            (id, (store.locate(&id)?, None))
        }
    };
    let mut export = store.export(&id)?;
    let mut bytes = vec![0; export.total()];
    let len = export.read(&mut bytes)?;
    bytes.truncate(len);
    Ok((bytes, saved, id, recovery))
}

/// NOR flash in RAM whose erase takes the board's own sectors, of whatever size.
struct Ram<'m, const WORD: usize>(&'m mut Memory);

impl<const WORD: usize> Ram<'_, WORD> {
    fn touch(&mut self, range: &Range<usize>, erase: bool) {
        let memory = &mut *self.0;
        for (i, sector) in memory.sectors.iter().enumerate() {
            if sector.start < range.end && range.start < sector.end {
                if erase {
                    memory.bytes[sector.clone()].fill(0xff);
                }
                memory.touched.retain(|&t| t != i);
                memory.touched.push(i);
            }
        }
    }
}

impl<const WORD: usize> ErrorType for Ram<'_, WORD> {
    type Error = NorFlashErrorKind;
}

impl<const WORD: usize> ReadNorFlash for Ram<'_, WORD> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let at = offset as usize;
        bytes.copy_from_slice(&self.0.bytes[at..at + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.bytes.len()
    }
}

impl<const WORD: usize> NorFlash for Ram<'_, WORD> {
    const WRITE_SIZE: usize = WORD;
    /// A divisor of every sector: the store erases what it needs, and whole sectors go.
    const ERASE_SIZE: usize = if WORD > 128 { WORD } else { 128 };

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.touch(&(from as usize..to as usize), true);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let range = offset as usize..offset as usize + bytes.len();
        self.touch(&range, false);
        for (to, from) in self.0.bytes[range].iter_mut().zip(bytes) {
            *to &= from;
        }
        Ok(())
    }
}
