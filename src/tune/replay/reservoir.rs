//! A class-balancing reservoir: which samples stay when more come than fit.
//!
//! CBRS (Chrysakis & Moens, "Online Continual Learning from Imbalanced Data", ICML 2020), each class
//! a reservoir of its own (Vitter, "Random Sampling with a Reservoir", ACM TOMS 1985). With `m`
//! samples of the offered one's class stored, `n` of it offered so far, this one included, and `M`
//! stored of a largest class:
//!
//! ```text
//! room is left                           added
//! m = M, or m = M − 1 and some are lost  replaces one of its own class with probability m/n
//! otherwise                              replaces one of a largest class
//! ```
//!
//! A class that has lost nothing is all there; one that has lost some was a largest one then, and
//! stays within one of them. So classes of which enough was offered end within one of each other,
//! and what is kept of a class is an even choice of all that was offered of it.
//!
//! "Some are lost" stands for the paper's "has been a largest class", and takes no memory.
//! After [`Replay::forget`] the freed room goes to whatever comes next, so the samples that come then
//! weigh more than those before; evenness over the classes comes back as above.
//!
//! Time: an offer to a full buffer counts the labels once per class: `capacity · classes` steps of
//! 2 bytes, and copies one sample at most.

use super::{Draw, Replay, stored};
use crate::model::Features;
use crate::tune::{Buffer, TuneError};

/// What became of an offered sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Offer {
    /// There was room.
    Added,
    /// It has the place of another one, which is lost.
    Replaced {
        /// Where.
        index: usize,
        /// The class of the lost one.
        class: u16,
    },
    /// It was not kept.
    Skipped,
}

/// What a reservoir remembers beside its samples.
#[derive(Debug)]
pub(super) struct Reservoir<'m> {
    /// Samples offered of each class.
    seen: &'m mut [u32],
    draw: Draw,
}

impl Reservoir<'_> {
    /// No memory: nothing can be offered.
    pub(super) const fn none() -> Self {
        Self {
            seen: &mut [],
            draw: Draw::new(0),
        }
    }

    pub(super) const fn clear(&mut self) {
        let mut rest = &mut *self.seen;
        while let Some((first, others)) = rest.split_first_mut() {
            *first = 0;
            rest = others;
        }
    }

    /// Counts a sample and returns how many of its class there were, this one included.
    pub(super) fn count(&mut self, label: u16) -> u32 {
        let Some(seen) = self.seen.get_mut(usize::from(label)) else {
            return 0;
        };
        *seen = seen.saturating_add(1);
        *seen
    }
}

impl<'m> Replay<'m> {
    /// Lends the buffer what it needs to [`offer`](Self::offer): a count for each class there may
    /// be. What is in it counts as offered; the seed decides every choice.
    #[must_use]
    pub fn balanced(mut self, seen: &'m mut [u32], seed: u32) -> Self {
        for (class, seen) in (0..=u16::MAX).zip(seen.iter_mut()) {
            *seen = stored(self.labels(), class);
        }
        self.reservoir = Reservoir {
            seen,
            draw: Draw::new(seed),
        };
        self
    }

    /// Offers a sample: it is kept, with or without another one lost for it, or it is not. `classes`
    /// is the number of classes that labels may name.
    ///
    /// # Errors
    /// As [`push`](Self::push), but for a full buffer; [`TuneError::BufferTooSmall`] if fewer counts
    /// were lent than there are classes. The buffer is as it was.
    pub fn offer(
        &mut self,
        features: &Features<'_>,
        label: u16,
        classes: usize,
    ) -> Result<Offer, TuneError> {
        self.admit(features, label, classes)?;
        let found = self.reservoir.seen.len();
        if found < classes {
            return Err(TuneError::BufferTooSmall {
                buffer: Buffer::Seen,
                needed: classes,
                found,
            });
        }
        let seen = self.reservoir.count(label);
        if self.len < self.capacity() {
            self.append(features, label)?;
            return Ok(Offer::Added);
        }
        let Some((class, nth)) = self.choose(label, seen, classes) else {
            return Ok(Offer::Skipped);
        };
        let places = self.labels().iter().enumerate();
        let mut places = places.filter(|&(_, &found)| found == class);
        let Some((index, _)) = places.nth(nth as usize) else {
            return Ok(Offer::Skipped);
        };
        let replaced = self.write(index, features, label);
        Ok(replaced.map_or(Offer::Skipped, |class| Offer::Replaced { index, class }))
    }

    /// Returns whose sample goes: a class, and which one of its samples.
    fn choose(&mut self, label: u16, seen: u32, classes: usize) -> Option<(u16, u32)> {
        let labels = self.labels.get(..self.len)?;
        let draw = &mut self.reservoir.draw;
        let counts = || (0..=u16::MAX).take(classes).map(|c| (c, stored(labels, c)));
        let largest = counts().map(|(_, count)| count).max()?;
        let own = stored(labels, label);
        let lost = own < seen.saturating_sub(1);
        if own == largest || (own.saturating_add(1) == largest && lost) {
            let nth = draw.below(seen);
            return (nth < own).then_some((label, nth));
        }
        // As many of each: an even choice of class is an even choice of sample.
        let ties = || counts().filter(|&(_, count)| count == largest);
        let class = draw.below(ties().count() as u32);
        let (class, _) = ties().nth(class as usize)?;
        Some((class, draw.below(largest)))
    }

    /// Forgets the samples of a class, and that any were offered, and returns how many there were.
    /// The others keep their order and their labels; the class can be offered again.
    pub fn forget(&mut self, class: u16) -> usize {
        let mut kept = 0;
        for from in 0..self.len {
            let label = self.labels.get(from).copied();
            if label == Some(class) {
                continue;
            }
            self.shift(from, kept);
            kept += 1;
        }
        let forgotten = self.len - kept;
        self.len = kept;
        if let Some(seen) = self.reservoir.seen.get_mut(usize::from(class)) {
            *seen = 0;
        }
        forgotten
    }

    /// Copies a sample to an earlier place.
    fn shift(&mut self, from: usize, to: usize) {
        let d_model = self.d_model;
        let moved = self.labels.get(from).copied();
        if let (Some(label), Some(place)) = (moved, self.labels.get_mut(to)) {
            *place = label;
        }
        let Some((head, tail)) = self.values.split_at_mut_checked(from * d_model) else {
            return;
        };
        let place = head.get_mut(to * d_model..).unwrap_or_default();
        for (to, from) in place.iter_mut().zip(tail).take(d_model) {
            *to = *from;
        }
    }
}
