//! One save, in steps of bounded length.

use super::parts::Parts;
use super::record::{HEADER_BYTES, payload_offset};
use super::{Record, Saved, Store, StoreError};
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
    payload: Parts<'s>,
    slot: usize,
    record: Record,
    phase: Phase,
}

impl<F: NorFlash> Store<F> {
    /// Saves a payload: what [`load`](Self::load) gives from now on.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Worn`] or [`StoreError::Flash`]; the record before is
    /// still there and still counts.
    pub fn save(
        &mut self,
        model_id: &[u8; 16],
        payload: &[u8],
    ) -> Result<Saved, StoreError<F::Error>> {
        self.begin_save(model_id, payload)?.finish()
    }

    /// Saves a payload that is given in parts, one behind the other, with no buffer for the whole.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_parts(
        &mut self,
        model_id: &[u8; 16],
        parts: &[&[u8]],
    ) -> Result<Saved, StoreError<F::Error>> {
        self.begin_save_parts(model_id, parts)?.finish()
    }

    /// Starts a save, to be done in steps of one erase or one chunk each. Writes nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Full`], or [`StoreError::Flash`] where neither slot can be read.
    pub fn begin_save<'s>(
        &'s mut self,
        model_id: &[u8; 16],
        payload: &'s [u8],
    ) -> Result<Save<'s, F>, StoreError<F::Error>> {
        Save::new(self, model_id, Parts::one(payload))
    }

    /// Starts a save of a payload that is given in parts, one behind the other.
    ///
    /// # Errors
    /// As [`begin_save`](Self::begin_save).
    pub fn begin_save_parts<'s>(
        &'s mut self,
        model_id: &[u8; 16],
        parts: &'s [&'s [u8]],
    ) -> Result<Save<'s, F>, StoreError<F::Error>> {
        Save::new(self, model_id, Parts::many(parts))
    }
}

impl<'s, F: NorFlash> Save<'s, F> {
    fn new(
        store: &'s mut Store<F>,
        model_id: &[u8; 16],
        payload: Parts<'s>,
    ) -> Result<Self, StoreError<F::Error>> {
        let (needed, capacity) = (payload.len(), store.capacity());
        let len = u32::try_from(needed).ok().filter(|_| needed <= capacity);
        let len = len.ok_or(StoreError::Full { needed, capacity })?;
        let contents = store.replaceable()?;
        let next = store.next(&contents, Some(model_id));
        let record = Record {
            sequence: next.sequence,
            len,
            model_id: *model_id,
            erases: next.erases,
            other_erases: next.other_erases,
            payload_crc: payload.checksum(),
        };
        let slot = next.slot;
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
        let next = self.store.erase_block(self.slot, at)?;
        let needed = payload_offset(Store::<F>::WORD) + self.record.len as usize;
        Ok(if (next as usize) < needed {
            Phase::Erase(next)
        } else {
            Phase::Payload(0)
        })
    }

    fn write_payload(&mut self, at: usize) -> Result<Phase, StoreError<F::Error>> {
        if at >= self.record.len as usize {
            return Ok(Phase::Check(0));
        }
        let offset = self.store.payload_start(self.slot) + at as u32;
        let written = self.store.write(offset, self.payload, at)?;
        Ok(Phase::Payload(at + written))
    }

    fn check_payload(&mut self, at: usize) -> Result<Phase, StoreError<F::Error>> {
        if at >= self.record.len as usize {
            return Ok(Phase::Header);
        }
        let offset = self.store.payload_start(self.slot) + at as u32;
        let same = self.store.check(self.slot, offset, self.payload, at)?;
        Ok(Phase::Check(at + same))
    }

    fn write_header(&mut self) -> Result<Phase, StoreError<F::Error>> {
        let header: [u8; HEADER_BYTES] = self.record.emit();
        self.store.write_header(self.slot, &header)?;
        Ok(Phase::Done)
    }
}
