//! How often the slots have been erased, and the slot that is written next.
//!
//! Every header counts the erases of both slots, so the count of a slot that has none (blank, torn,
//! half erased) is known from the other one. Erases whose header was never written, those of saves
//! that power cut short, are not in it.

use super::Store;
use super::content::{SlotContent, slot_to_replace};
use super::record::HeaderError;
use embedded_storage::nor_flash::NorFlash;

/// The slot that a save or a reset writes, and its header's numbers.
pub(super) struct Next {
    pub slot: usize,
    pub sequence: u32,
    pub erases: u32,
    pub other_erases: u32,
}

impl<F: NorFlash> Store<F> {
    /// Returns how often each slot has been erased, as far as its header or the other slot's tells;
    /// `None` where neither does. A damaged payload leaves a header that still tells.
    pub fn wear(&mut self) -> [Option<u32>; 2] {
        let [a, b] = [0, 1].map(|slot| self.counts(slot));
        let own = |[own, _]: [u32; 2]| own;
        let other = |[_, other]: [u32; 2]| other;
        [a.map(own).or(b.map(other)), b.map(own).or(a.map(other))]
    }

    /// Returns the erases of a slot and of the other one, as its header tells them.
    fn counts(&mut self, slot: usize) -> Option<[u32; 2]> {
        match self.header(slot).ok()? {
            Ok(record) => Some([record.erases, record.other_erases]),
            Err(HeaderError::Tombstone(t)) => Some([t.erases, t.other_erases]),
            Err(_) => None,
        }
    }

    /// Chooses the slot to write, given what both slots hold; with no model, for a reset.
    pub(super) fn next(
        &mut self,
        contents: &[SlotContent<F::Error>; 2],
        model_id: Option<&[u8; 16]>,
    ) -> Next {
        let slot = slot_to_replace(contents, model_id);
        let kept = contents.get(1 - slot).and_then(SlotContent::sequence);
        let [a, b] = self.wear().map(Option::unwrap_or_default);
        let (erases, other_erases) = if slot == 0 { (a, b) } else { (b, a) };
        Next {
            slot,
            sequence: kept.map_or(0, |newest| newest.wrapping_add(1)),
            erases: erases.saturating_add(1),
            other_erases,
        }
    }
}
