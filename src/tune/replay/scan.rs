//! What a reset left of a flash replay: which slots hold samples, and where the ring goes on.

use super::flash::{FlashReplay, NONE};
use super::record::Mark;
use super::{ReplayError, stored};
use embedded_storage::nor_flash::NorFlash;

impl<F: NorFlash> FlashReplay<'_, F> {
    /// Rebuilds labels and counts from flash.
    ///
    /// A unit counts if its mark is sound, so an erase that was cut short is done again. The newest
    /// one goes on after the last slot that was begun, sound or torn.
    pub(super) fn scan(&mut self) -> Result<(), ReplayError<F::Error>> {
        self.buffers.labels.fill(NONE);
        self.buffers.seen.fill(0);
        let slots = self.grid.slots.get();
        let mut newest: Option<Mark> = None;
        let (mut failed, mut readable) = (None, false);
        for unit in 0..self.grid.units {
            let mark = match self.mark(unit) {
                Ok(mark) => mark,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            readable = true;
            let Some(mark) = mark else { continue };
            let suits = mark.suits(self.tag, self.grid.width);
            let begun = if suits {
                self.scan_unit(unit, mark.sequence())
            } else {
                slots
            };
            if newest.is_none_or(|newest| mark.is_newer(&newest)) {
                newest = Some(mark);
                (self.unit, self.sequence, self.begun) = (Some(unit), mark.sequence(), begun);
            }
        }
        if let (Some(error), false) = (failed, readable) {
            // Erasing what only now cannot be read would lose it.
            return Err(ReplayError::Flash(error));
        }
        let labels = &*self.buffers.labels;
        for (class, seen) in (0..NONE).zip(self.buffers.seen.iter_mut()) {
            *seen = stored(labels, class).max(*seen);
        }
        Ok(())
    }

    /// Finds the samples of one unit and returns how many of its slots were begun.
    fn scan_unit(&mut self, unit: u32, sequence: u32) -> u32 {
        let (slots, mut begun) = (self.grid.slots.get(), 0);
        for slot in 0..slots {
            let index = unit * slots + slot;
            if self.is_blank(index) {
                continue;
            }
            begun = slot + 1;
            let Some(head) = self.record(index) else {
                continue;
            };
            let expected = self.record_sequence(sequence, slot);
            let seen = self.buffers.seen.get_mut(usize::from(head.label()));
            let place = self.buffers.labels.get_mut(index as usize);
            // Labels beyond the counts are of classes that there are no more.
            if let (Some(seen), Some(place), true) = (seen, place, head.sequence() == expected) {
                *place = head.label();
                *seen = head.seen().max(*seen);
            }
        }
        begun
    }
}
