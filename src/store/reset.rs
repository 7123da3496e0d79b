//! A factory reset in steps of bounded length: all tails of all models forgotten.
//!
//! ```text
//! 1  erase the slot that does not count, all of it     a cut: the tail still counts
//! 2  write a tombstone there, newer than the tail      from its last word on, nothing counts
//! 3  erase the other slot, all of it                   a cut: the tombstone has forgotten it
//! ```
//!
//! A tombstone is a header with no tail behind it that forgets every older record. It is written
//! before the tail is erased for two reasons: a boot after a cut in step 3 finds nothing, whatever
//! the half-erased slot looks like, and the erase counts of both slots are never without a header
//! that keeps them. It stays until the second save after it: the first one goes to the other slot.
//!
//! No step brings an older tail back: the slot that does not count goes first, and is empty before
//! the one that counts is touched. Where tails of two models lie side by side, the older goes first.

use super::record::Tombstone;
use super::{Store, StoreError};
use embedded_storage::nor_flash::NorFlash;

/// Which operation comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Erase the block at this offset from the start of the slot that does not count.
    Older(u32),
    /// Write the tombstone: from here on nothing counts.
    Tombstone,
    /// Erase the block at this offset from the start of the other slot.
    Newer(u32),
    /// Nothing is left.
    Done,
}

/// A factory reset under way: call [`step`](Self::step) until it returns `false`, or
/// [`finish`](Self::finish) at any time for the rest in one go.
///
/// One that is dropped half way has forgotten all or nothing of what counts; another one ends it.
#[derive(Debug)]
pub struct Reset<'s, F: NorFlash> {
    store: &'s mut Store<F>,
    slot: usize,
    tombstone: Tombstone,
    phase: Phase,
}

impl<F: NorFlash> Store<F> {
    /// Forgets all tails of all models and erases both slots, every block of them. [`load`] answers
    /// [`StoreError::Empty`] from then on; [`wear`] still answers.
    ///
    /// A worn slot keeps no tombstone; then all is erased without one, and the counts are lost.
    ///
    /// # Errors
    /// [`StoreError::Flash`]: the tail that counted still does, or all is forgotten. Where neither
    /// slot can be read nothing is erased: which of them counts is not known.
    ///
    /// [`load`]: Self::load
    /// [`wear`]: Self::wear
    pub fn factory_reset(&mut self) -> Result<(), StoreError<F::Error>> {
        self.begin_factory_reset()?.finish()
    }

    /// Starts a factory reset, to be done in steps of one erase or one chunk each. Erases nothing
    /// yet.
    ///
    /// # Errors
    /// [`StoreError::Flash`] where neither slot can be read.
    pub fn begin_factory_reset(&mut self) -> Result<Reset<'_, F>, StoreError<F::Error>> {
        let contents = self.replaceable()?;
        let next = self.next(&contents, None);
        Ok(Reset {
            slot: next.slot,
            tombstone: Tombstone {
                sequence: next.sequence,
                erases: next.erases,
                // The erase to come is counted ahead: no header will be there to count it.
                other_erases: next.other_erases.saturating_add(1),
            },
            phase: Phase::Older(0),
            store: self,
        })
    }
}

impl<F: NorFlash> Reset<'_, F> {
    /// Does one operation (an erase of one block, or the tombstone) and returns whether work
    /// remains.
    ///
    /// # Errors
    /// [`StoreError::Flash`]. Start another reset instead of calling on.
    pub fn step(&mut self) -> Result<bool, StoreError<F::Error>> {
        self.phase = match self.phase {
            Phase::Older(at) => match self.erase(self.slot, at)? {
                Some(next) => Phase::Older(next),
                None => Phase::Tombstone,
            },
            Phase::Tombstone => {
                match self.store.write_header(self.slot, &self.tombstone.emit()) {
                    // A worn slot keeps no tombstone. What was saved is to be forgotten all the same.
                    Ok(()) | Err(StoreError::Worn { .. }) => Phase::Newer(0),
                    Err(error) => return Err(error),
                }
            }
            Phase::Newer(at) => match self.erase(1 - self.slot, at)? {
                Some(next) => Phase::Newer(next),
                None => Phase::Done,
            },
            Phase::Done => Phase::Done,
        };
        Ok(self.phase != Phase::Done)
    }

    /// Does what remains.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn finish(mut self) -> Result<(), StoreError<F::Error>> {
        while self.step()? {}
        Ok(())
    }

    /// Erases a block and returns where the slot's next one begins, if there is one. The header's
    /// block goes first.
    fn erase(&mut self, slot: usize, at: u32) -> Result<Option<u32>, StoreError<F::Error>> {
        let next = self.store.erase_block(slot, at)?;
        Ok(Some(next).filter(|next| *next < self.store.len(slot)))
    }
}
