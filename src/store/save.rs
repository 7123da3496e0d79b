//! One save, in steps of bounded length.

use super::content::{SlotContent, slot_to_replace, why_none};
use super::record::{HEADER_BYTES, checksum, payload_offset};
use super::{CHUNK, Chunk, Record, Saved, Store, StoreError};
use embedded_storage::nor_flash::NorFlash;

/// Which operation comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Erase the block at this offset from the slot's start.
    Erase(u32),
    /// Write the payload from this byte on.
    Payload(usize),
    /// Read back the payload from this byte on.
    Check(usize),
    /// Write the header: from here on the new record counts.
    Header,
    /// Nothing is left.
    Done,
}

/// A save under way: call [`step`](Self::step) until it returns `false`, or
/// [`finish`](Self::finish) at any time for the rest in one go.
///
/// One that is dropped half way has spoiled the slot that did not count; the other still does.
#[derive(Debug)]
pub struct Save<'s, F: NorFlash> {
    store: &'s mut Store<F>,
    payload: &'s [u8],
    slot: usize,
    record: Record,
    phase: Phase,
}

impl<'s, F: NorFlash> Save<'s, F> {
    pub(super) fn new(
        store: &'s mut Store<F>,
        model_id: &[u8; 16],
        payload: &'s [u8],
    ) -> Result<Self, StoreError<F::Error>> {
        let (needed, capacity) = (payload.len(), store.capacity());
        let len = u32::try_from(needed).ok().filter(|_| needed <= capacity);
        let len = len.ok_or(StoreError::Full { needed, capacity })?;
        let mut contents = store.inspect();
        if contents.iter().any(SlotContent::is_unreadable) {
            // A torn slot stays unreadable beside one that is read; a failing flash shows itself.
            contents = store.inspect();
        }
        if contents.iter().all(SlotContent::is_unreadable) {
            return Err(why_none(contents));
        }
        let slot = slot_to_replace(&contents, model_id);
        let kept = contents.get(1 - slot);
        // A damaged payload leaves a header that still tells the wear.
        let headers = [slot, 1 - slot].map(|slot| store.header(slot).ok()?.ok());
        let erases = headers.iter().flatten().next().map_or(0, |h| h.erases);
        let record = Record {
            sequence: kept
                .and_then(SlotContent::sequence)
                .map_or(0, |newest| newest.wrapping_add(1)),
            len,
            model_id: *model_id,
            erases: erases.saturating_add(1),
            payload_crc: checksum(payload),
        };
        Ok(Self {
            store,
            payload,
            slot,
            record,
            phase: Phase::Erase(0),
        })
    }

    /// Does one operation (an erase of one block, a write or a read of one chunk) and returns
    /// whether work remains.
    ///
    /// # Errors
    /// [`StoreError::Worn`] or [`StoreError::Flash`]. The record before still counts. Further calls
    /// do nothing but repeat what failed, which a flash may refuse: start another save instead.
    pub fn step(&mut self) -> Result<bool, StoreError<F::Error>> {
        self.phase = match self.phase {
            Phase::Erase(at) => self.erase(at)?,
            Phase::Payload(at) => self.write_payload(at)?,
            Phase::Check(at) => self.check_payload(at)?,
            Phase::Header => self.write_header()?,
            Phase::Done => Phase::Done,
        };
        Ok(self.phase != Phase::Done)
    }

    /// Does what remains and returns where the record lies.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn finish(mut self) -> Result<Saved, StoreError<F::Error>> {
        while self.step()? {}
        Ok(self.store.saved(self.slot, &self.record))
    }

    /// The header's block goes first: from then on the slot is no record, whatever comes after.
    fn erase(&mut self, at: u32) -> Result<Phase, StoreError<F::Error>> {
        let block = F::ERASE_SIZE as u32;
        let from = self.store.start(self.slot) + at;
        let flash = &mut self.store.flash;
        flash.erase(from, from + block).map_err(StoreError::Flash)?;
        let next = at + block;
        let needed = payload_offset(Store::<F>::WORD) + self.payload.len();
        Ok(if (next as usize) < needed {
            Phase::Erase(next)
        } else {
            Phase::Payload(0)
        })
    }

    fn write_payload(&mut self, at: usize) -> Result<Phase, StoreError<F::Error>> {
        let bytes = self.payload_at(at);
        if bytes.is_empty() {
            return Ok(Phase::Check(0));
        }
        let offset = self.payload_start() + at as u32;
        self.write(offset, bytes)?;
        Ok(Phase::Payload(at + bytes.len()))
    }

    fn check_payload(&mut self, at: usize) -> Result<Phase, StoreError<F::Error>> {
        let bytes = self.payload_at(at);
        if bytes.is_empty() {
            return Ok(Phase::Header);
        }
        self.check(self.payload_start() + at as u32, bytes)?;
        Ok(Phase::Check(at + bytes.len()))
    }

    fn write_header(&mut self) -> Result<Phase, StoreError<F::Error>> {
        let header: [u8; HEADER_BYTES] = self.record.emit();
        let start = self.store.start(self.slot);
        self.write(start, &header)?;
        self.check(start, &header)?;
        Ok(Phase::Done)
    }

    fn payload_start(&self) -> u32 {
        self.store.start(self.slot) + payload_offset(Store::<F>::WORD) as u32
    }

    /// Returns the chunk of payload from a byte on; empty at its end.
    fn payload_at(&self, at: usize) -> &'s [u8] {
        let rest = self.payload.get(at..).unwrap_or(&[]);
        rest.get(..CHUNK).unwrap_or(rest)
    }

    /// Writes up to a chunk, padded to whole words.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StoreError<F::Error>> {
        let mut chunk = Chunk([0xff; CHUNK]);
        for (to, from) in chunk.0.iter_mut().zip(bytes) {
            *to = *from;
        }
        let padded = bytes.len().next_multiple_of(F::WRITE_SIZE);
        let words = chunk.0.get(..padded).unwrap_or(&[]);
        let flash = &mut self.store.flash;
        flash.write(offset, words).map_err(StoreError::Flash)
    }

    /// Reads back what was written.
    fn check(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StoreError<F::Error>> {
        let mut chunk = Chunk([0; CHUNK]);
        let read = self.store.read(offset, bytes.len(), &mut chunk);
        read.map_err(StoreError::Flash)?;
        if chunk.0.get(..bytes.len()) == Some(bytes) {
            return Ok(());
        }
        let slot = self.slot;
        Err(StoreError::Worn { slot, offset })
    }
}
