//! What a boot finds: the tail that counts, and whether it is the last one that was begun.

use super::content::{SlotContent, newest, why_none};
use super::slot::Chunk;
use super::{CHUNK, Record, Saved, Store, StoreError};
use embedded_storage::nor_flash::NorFlash;

/// Which of the tails that were saved, or begun to be, the one that counts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Recovery {
    /// The newest: the other slot shows nothing that was begun after it.
    Newest,
    /// The one before: the other slot was to become something newer, a tail or a reset, and is torn,
    /// or it was damaged later. Garbage that was there before the first save ever looks the same. The
    /// next save mends it.
    PreviousAfterTornSave,
}

impl<F: NorFlash> Store<F> {
    /// As [`locate`](Self::locate), and says which tail it found: the newest, or the one before it
    /// because a save or a reset was cut short.
    ///
    /// Where the other slot has no header it takes up to one read of that slot more, to tell a slot
    /// that was never used from a payload whose header was still to come.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn boot(&mut self, model_id: &[u8; 16]) -> Result<(Saved, Recovery), StoreError<F::Error>> {
        let contents = self.contents();
        let Some((slot, record)) = newest(&contents, model_id) else {
            return Err(why_none(contents));
        };
        let [a, b] = contents;
        let torn = match if slot == 0 { b } else { a } {
            SlotContent::Corrupted | SlotContent::Unreadable(_) => true,
            SlotContent::Blank => self.was_begun(&record, 1 - slot),
            _ => false,
        };
        let recovery = if torn {
            Recovery::PreviousAfterTornSave
        } else {
            Recovery::Newest
        };
        Ok((self.saved(slot, &record), recovery))
    }

    /// Returns whether something was begun in a slot without a header, beside a record. Every number
    /// but the first is one more than that of a header that stood in the other slot.
    fn was_begun(&mut self, beside: &Record, slot: usize) -> bool {
        beside.sequence != 0 || !self.is_erased(slot)
    }

    /// Returns whether a slot reads as erased, every byte of it.
    fn is_erased(&mut self, slot: usize) -> bool {
        let (start, len) = (self.start(slot), self.len(slot));
        let mut chunk = Chunk([0; CHUNK]);
        (0..len).step_by(CHUNK).all(|at| {
            let count = CHUNK.min((len - at) as usize);
            let read = self.read(start + at, count, &mut chunk);
            let bytes = chunk.0.get(..count).unwrap_or(&[]);
            read.is_ok() && bytes.iter().all(|byte| *byte == 0xff)
        })
    }
}
