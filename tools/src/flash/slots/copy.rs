//! Both slots in RAM: the runtime's store works on them, and what changed goes back.

use super::SlotsError;
use crate::board::Board;
use crate::flash::device::Device;
use crate::flash::file::Piece;
use crate::flash::plan::{mapped, real, sectors_of};
use crate::flash::write::{check_sectors, read_back};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use std::ops::Range;
use tailtune::store::{LayoutError, Record, Recovery, Saved, SlotContent, Store, StoreError};

/// Both slots in RAM, one behind the other.
pub(super) struct Copy {
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

pub(super) enum Operation<'o> {
    Newest(Option<[u8; 16]>),
    Import(&'o [u8; 16], &'o [u8]),
    Reset,
}

pub(super) enum Outcome {
    Tail((Vec<u8>, Saved, [u8; 16], Option<Recovery>)),
    Saved(Saved),
    Done,
}

impl Copy {
    pub(super) fn read(device: &mut dyn Device, board: &Board) -> Result<Self, SlotsError> {
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
    pub(super) fn operate(
        &mut self,
        board: &Board,
        operation: Operation<'_>,
    ) -> Result<Outcome, SlotsError> {
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
    pub(super) fn flush(&self, device: &mut dyn Device, board: &Board) -> Result<(), SlotsError> {
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
