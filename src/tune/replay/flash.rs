//! A ring of samples in flash: what a reset leaves, and far more than RAM holds.
//!
//! The region is a ring of units (erase blocks, or as many of them as one record needs). Samples go
//! to the newest unit until it is full; then the oldest one is erased, its samples are forgotten, and
//! it becomes the newest. Flash cannot replace one sample, so balance comes from what is accepted.
//! With `m` samples of the offered one's class stored, `n` of it offered so far, and for each class
//! of which any was offered the same share, capacity / classes:
//!
//! ```text
//! m below the share                      accepted
//! m at it, another class below           not: the room is that class's
//! every class at its share               accepted with probability m/n
//! ```
//!
//! A ring keeps what was accepted last, so even shares need even rates of acceptance. At m/n the rates
//! are even, however rare a class is among what is offered, since n grows as fast as offers come; it
//! is a reservoir's choice, too (see [`Replay::offer`](super::Replay::offer)). Acceptance, and wear
//! with it, falls off as 1/n. The second line keeps a class that stopped coming: what it lacks stops
//! the ring until it comes again. Where it never does, its share stays free.
//!
//! With a rest `r` of the division and `s` records a unit, a class of which enough was offered has its
//! share − r − s to share + r + 1. So a region of few units serves few classes: have shares above s.
//! Torn records take room until their unit is erased.
//!
//! Power cuts: a record counts from its last word on, and a unit from its mark on, which is written
//! when the erase is over. A cut loses the sample being written, or, in an erase, those of that unit.
//! Every word is written at most once between two erases.
//!
//! Flash: 28 bytes a sample beside its values, 20 a unit, each part padded to words. RAM: 2 bytes a
//! sample, 4 a class, one sample to read to. Stack: one chunk of 256 bytes, aligned to 16, through
//! which every read and write goes. Time: an offer erases one unit and writes one record at most.

use super::io::CHUNK;
use super::record::{Grid, Head, Mark};
use super::{Draw, ReplayError, Samples, stored};
use crate::model::Features;
use crate::tune::head::check;
use crate::tune::{Buffer, TuneError};
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use zerocopy::IntoBytes;

/// Stands for the label of a slot that holds no sample.
pub(super) const NONE: u16 = u16::MAX;

/// Memory that a [`FlashReplay`] borrows.
#[derive(Debug)]
pub struct FlashBuffers<'m> {
    /// A label for each record that fits: [`FlashReplay::slots`] of them.
    pub labels: &'m mut [u16],
    /// A count for each class there may be.
    pub seen: &'m mut [u32],
    /// One sample; its length is the width of all.
    pub values: &'m mut [i8],
}

/// What became of an offered sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FlashOffer {
    /// It is in flash.
    Added {
        /// Samples that were erased to make room.
        lost: usize,
    },
    /// It was not kept.
    Skipped,
}

/// A ring of labelled samples in a region of flash.
#[derive(Debug)]
pub struct FlashReplay<'m, F> {
    pub(super) flash: F,
    pub(super) start: u32,
    pub(super) grid: Grid,
    pub(super) tag: [u8; 4],
    pub(super) buffers: FlashBuffers<'m>,
    draw: Draw,
    /// The newest unit, if there is any, and its sequence number.
    pub(super) unit: Option<u32>,
    pub(super) sequence: u32,
    /// Its slots that were begun; all if there is none.
    pub(super) begun: u32,
}

impl<'m, F: NorFlash> FlashReplay<'m, F> {
    /// What reads and writes are multiples of.
    pub(super) const WORD: usize = if F::READ_SIZE > F::WRITE_SIZE {
        F::READ_SIZE
    } else {
        F::WRITE_SIZE
    };

    /// Returns how many samples of a width fit a region of so many bytes.
    pub const fn slots(region: u32, d_model: usize) -> usize {
        match Grid::new(Self::WORD, F::ERASE_SIZE, region, d_model) {
            Some(grid) => grid.capacity(),
            None => 0,
        }
    }

    /// Opens a region of flash, offsets in bytes from the flash's start, and finds the samples that
    /// it holds: all of it is read, nothing written. Samples of another tag or width are not seen,
    /// and are overwritten in their turn. The tag stands for the model and the cut that the samples
    /// are of; the seed decides every choice.
    ///
    /// What cannot be read holds no sample (ECC flash faults on torn words), as long as some unit's
    /// start can. How many samples were offered is known up to the last kept one of each class.
    ///
    /// # Errors
    /// A region that is misaligned, out of range or too small for two units; a buffer that is;
    /// [`ReplayError::Flash`] if no unit can be read.
    pub fn open(
        flash: F,
        region: Range<u32>,
        tag: [u8; 4],
        buffers: FlashBuffers<'m>,
        seed: u32,
    ) -> Result<Self, ReplayError<F::Error>> {
        let grid = check_region(&flash, &region, Self::WORD, buffers.values.len())?;
        let FlashBuffers {
            labels,
            seen,
            values,
        } = buffers;
        let (needed, found) = (grid.capacity(), labels.len());
        let labels = labels.get_mut(..needed).ok_or(TuneError::BufferTooSmall {
            buffer: Buffer::Labels,
            needed,
            found,
        })?;
        let mut replay = Self {
            flash,
            start: region.start,
            grid,
            tag,
            buffers: FlashBuffers {
                labels,
                seen,
                values,
            },
            draw: Draw::new(seed),
            unit: None,
            sequence: 0,
            begun: grid.slots.get(),
        };
        replay.scan()?;
        Ok(replay)
    }

    /// Returns how many samples fit.
    pub const fn capacity(&self) -> usize {
        self.grid.capacity()
    }

    /// Returns the labels of the samples, in the order in which they are visited.
    pub fn labels(&self) -> impl Iterator<Item = u16> {
        let labels = self.buffers.labels.iter().copied();
        labels.filter(|&label| label != NONE)
    }

    /// Returns how many samples of a class are kept.
    pub fn stored(&self, class: u16) -> usize {
        self.labels().filter(|&label| label == class).count()
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Keeps a sample, whatever the balance of the classes: for samples that were chosen, not for a stream.
    /// `classes` is as for [`offer`](Self::offer), but no counts need be lent.
    ///
    /// # Errors
    /// As [`offer`](Self::offer); [`TuneError::ReplayFull`] where an older sample would have to go.
    pub fn push(
        &mut self,
        features: &Features<'_>,
        label: u16,
        classes: usize,
    ) -> Result<(), ReplayError<F::Error>> {
        check(features, self.grid.width as usize)?;
        let classes = classes.min(usize::from(NONE));
        if usize::from(label) >= classes {
            let found = label;
            return Err(TuneError::LabelOutOfRange { found, classes }.into());
        }
        let slots = self.grid.slots.get();
        if self.begun >= slots {
            let next = self.next_unit() as usize;
            let mut labels = self.buffers.labels.chunks(slots as usize);
            let next = labels.nth(next).unwrap_or_default();
            if next.iter().any(|&label| label != NONE) {
                let capacity = self.capacity();
                return Err(TuneError::ReplayFull { capacity }.into());
            }
            self.turn()?;
        }
        let seen = self.buffers.seen.get_mut(usize::from(label));
        let seen = seen.map_or(0, |seen| {
            *seen = seen.saturating_add(1);
            *seen
        });
        self.append(features, label, seen)
    }

    /// Offers a sample, which is written or not. `classes` is the number of classes that labels may
    /// name.
    ///
    /// # Errors
    /// [`ReplayError::Sample`]: the label is out of range (65535 always is), the feature does not
    /// suit, or fewer counts were lent than there are classes; nothing was done. [`ReplayError::Flash`]
    /// or [`ReplayError::Worn`]: the sample is not kept; the next offer goes to another place, or
    /// erases the same unit again.
    pub fn offer(
        &mut self,
        features: &Features<'_>,
        label: u16,
        classes: usize,
    ) -> Result<FlashOffer, ReplayError<F::Error>> {
        check(features, self.grid.width as usize)?;
        let (classes, lent) = (classes.min(usize::from(NONE)), self.buffers.seen.len());
        if usize::from(label) >= classes {
            let found = label;
            return Err(TuneError::LabelOutOfRange { found, classes }.into());
        }
        let seen = match self.buffers.seen.get_mut(usize::from(label)) {
            Some(seen) if lent >= classes => seen,
            _ => {
                let (buffer, needed, found) = (Buffer::Seen, classes, lent);
                return Err(TuneError::BufferTooSmall {
                    buffer,
                    needed,
                    found,
                }
                .into());
            }
        };
        *seen = seen.saturating_add(1);
        let seen = *seen;
        if !self.accepts(label, seen) {
            return Ok(FlashOffer::Skipped);
        }
        let mut lost = 0;
        if self.begun >= self.grid.slots.get() {
            lost = self.turn()?;
        }
        self.append(features, label, seen)?;
        Ok(FlashOffer::Added { lost })
    }

    /// Erases the region: no sample is left, and none counts as offered.
    ///
    /// # Errors
    /// [`ReplayError::Flash`]: what was not yet erased comes back when the region is opened again.
    pub fn clear(&mut self) -> Result<(), ReplayError<F::Error>> {
        self.buffers.labels.fill(NONE);
        self.buffers.seen.fill(0);
        self.unit = None;
        self.begun = self.grid.slots.get();
        (0..self.grid.units).try_for_each(|unit| self.erase(unit))
    }

    /// Returns whether an offered sample is to be kept: see the module.
    fn accepts(&mut self, label: u16, seen: u32) -> bool {
        let labels = &*self.buffers.labels;
        let offered = || (0..NONE).zip(&*self.buffers.seen).filter(|(_, n)| **n > 0);
        let share = labels.len().checked_div(offered().count()).unwrap_or(0);
        let share = share.max(1) as u32;
        let own = stored(labels, label);
        if own < share {
            return true;
        }
        if offered().any(|(class, _)| stored(labels, class) < share) {
            return false;
        }
        self.draw.below(seen) < own
    }

    /// Makes the oldest unit the newest and returns how many samples went with it. Nothing but its
    /// samples is forgotten until that is done.
    fn turn(&mut self) -> Result<usize, ReplayError<F::Error>> {
        let unit = self.next_unit();
        let slots = self.grid.slots.get() as usize;
        let labels = self.buffers.labels.chunks_mut(slots).nth(unit as usize);
        let labels = labels.unwrap_or_default();
        let lost = labels.iter().filter(|&&label| label != NONE).count();
        labels.fill(NONE);
        self.erase(unit)?;
        let sequence = self.sequence.wrapping_add(1);
        let mark = Mark::new(self.tag, sequence, self.grid.width);
        let at = self.unit_start(unit);
        self.write(at, mark.as_bytes())?;
        let written = self.mark(unit).map_err(ReplayError::Flash)?;
        if written.is_none_or(|found| found.as_bytes() != mark.as_bytes()) {
            return Err(ReplayError::Worn { offset: at });
        }
        (self.unit, self.sequence, self.begun) = (Some(unit), sequence, 0);
        Ok(lost)
    }

    /// Returns the oldest unit.
    fn next_unit(&self) -> u32 {
        let next = self.unit.map_or(0, |unit| unit + 1);
        if next < self.grid.units { next } else { 0 }
    }

    /// The block with the mark goes first: from then on the unit holds nothing.
    fn erase(&mut self, unit: u32) -> Result<(), ReplayError<F::Error>> {
        let start = self.unit_start(unit);
        let (end, block) = (start + self.grid.unit, F::ERASE_SIZE as u32);
        for at in (start..end).step_by(F::ERASE_SIZE) {
            let erased = self.flash.erase(at, at + block);
            erased.map_err(ReplayError::Flash)?;
        }
        Ok(())
    }

    /// Writes a record to the next slot of the newest unit.
    fn append(
        &mut self,
        features: &Features<'_>,
        label: u16,
        seen: u32,
    ) -> Result<(), ReplayError<F::Error>> {
        let (slot, slots) = (self.begun, self.grid.slots.get());
        let index = self.unit.unwrap_or(0) * slots + slot;
        let sequence = self.record_sequence(self.sequence, slot);
        let head = Head::new(features, label, self.tag, sequence, seen);
        let [at, mut to, seal] = self.grid.record(index).map(|at| self.start + at);
        // Whatever comes of it, its words are not written again.
        self.begun += 1;
        self.write(at, head.as_bytes())?;
        for values in features.values.chunks(CHUNK) {
            self.write(to, values.as_bytes())?;
            to += values.len() as u32;
        }
        self.write(seal, &head.seal(features.values))?;
        let kept = self.record(index).map(|found| found.sequence());
        match self.buffers.labels.get_mut(index as usize) {
            Some(place) if kept == Some(sequence) => *place = label,
            _ => return Err(ReplayError::Worn { offset: at }),
        }
        Ok(())
    }

    /// Returns the number that the record in a slot has.
    pub(super) fn record_sequence(&self, unit: u32, slot: u32) -> u32 {
        unit.wrapping_mul(self.grid.slots.get()).wrapping_add(slot)
    }

    pub(super) fn unit_start(&self, unit: u32) -> u32 {
        self.start + unit * self.grid.unit
    }
}

impl<F: NorFlash> Samples for FlashReplay<'_, F> {
    fn len(&self) -> usize {
        self.labels().count()
    }

    fn label(&mut self, index: usize) -> Option<u16> {
        self.labels().nth(index)
    }

    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)> {
        let labels = self.buffers.labels.iter().enumerate();
        let (slot, _) = labels.filter(|(_, label)| **label != NONE).nth(index)?;
        let head = self.record(slot as u32)?;
        let features = Features {
            values: self.buffers.values,
            scale: head.scale(),
            zero_point: head.zero_point,
        };
        Some((features, head.label()))
    }
}

/// Checks words, region and width, and divides the region.
fn check_region<F: NorFlash>(
    flash: &F,
    region: &Range<u32>,
    word: usize,
    width: usize,
) -> Result<Grid, ReplayError<F::Error>> {
    let (read, write, erase) = (F::READ_SIZE, F::WRITE_SIZE, F::ERASE_SIZE);
    let fits = |size: usize, of: usize| size > 0 && of.is_multiple_of(size);
    if !(fits(read, word) && fits(write, word) && fits(word, erase) && fits(word, CHUNK))
        || erase == 0
    {
        return Err(ReplayError::WordSize { read, write, erase });
    }
    let Range { start, end } = *region;
    let aligned = |offset: u32| (offset as usize).is_multiple_of(erase);
    if start > end || !aligned(start) || !aligned(end) {
        return Err(ReplayError::Misaligned { start, end, erase });
    }
    if end as usize > flash.capacity() {
        let capacity = flash.capacity();
        return Err(ReplayError::OutOfRange { end, capacity });
    }
    if width == 0 {
        return Err(TuneError::NoFeatures.into());
    }
    let found = end - start;
    let grid = Grid::new(word, erase, found, width);
    let needed = grid.map_or(0, |grid| grid.unit.saturating_mul(2));
    grid.filter(|grid| grid.units >= 2)
        .ok_or(ReplayError::TooSmall { needed, found })
}
