//! Samples in RAM that the caller lends: `d_model + 2` bytes each.

use super::reservoir::Reservoir;
use super::{Samples, stored};
use crate::model::Features;
use crate::tune::head::check;
use crate::tune::{Buffer, TuneError};

/// Owns the buffers of a [`Replay`] of up to `N` samples, up to `D` wide.
#[derive(Debug)]
pub struct ReplayMemory<const D: usize, const N: usize> {
    values: [[i8; D]; N],
    labels: [u16; N],
}

impl<const D: usize, const N: usize> ReplayMemory<D, N> {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            values: [[0; D]; N],
            labels: [0; N],
        }
    }

    /// Returns an empty replay buffer for features of this width.
    ///
    /// # Errors
    /// See [`Replay::new`].
    pub fn replay(&mut self, d_model: usize) -> Result<Replay<'_>, TuneError> {
        Replay::new(self.values.as_flattened_mut(), &mut self.labels, d_model)
    }
}

impl<const D: usize, const N: usize> Default for ReplayMemory<D, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A buffer of labelled features in lent memory.
///
/// [`push`](Self::push) keeps samples until it is full. [`offer`](Self::offer) goes on from there and
/// keeps the classes even; it needs the memory that [`balanced`](Self::balanced) takes.
#[derive(Debug)]
pub struct Replay<'m> {
    pub(super) values: &'m mut [i8],
    pub(super) labels: &'m mut [u16],
    pub(super) d_model: usize,
    pub(super) len: usize,
    scale: f32,
    zero_point: i8,
    pub(super) reservoir: Reservoir<'m>,
}

impl<'m> Replay<'m> {
    /// Returns an empty buffer over `values` (`[capacity][d_model]`) and `labels` (`[capacity]`);
    /// the smaller one decides how many samples fit.
    ///
    /// # Errors
    /// [`TuneError::NoFeatures`] for a width of 0, [`TuneError::BufferTooSmall`] if not even one
    /// sample fits.
    pub fn new(
        values: &'m mut [i8],
        labels: &'m mut [u16],
        d_model: usize,
    ) -> Result<Self, TuneError> {
        let Some(rows) = values.len().checked_div(d_model) else {
            return Err(TuneError::NoFeatures);
        };
        let capacity = rows.min(labels.len());
        if capacity == 0 {
            return Err(TuneError::BufferTooSmall {
                buffer: Buffer::Replay,
                needed: d_model,
                found: values.len().min(labels.len().saturating_mul(d_model)),
            });
        }
        let labels = labels.get_mut(..capacity).unwrap_or_default();
        Ok(Self {
            values,
            labels,
            d_model,
            len: 0,
            scale: 1.0,
            zero_point: 0,
            reservoir: Reservoir::none(),
        })
    }

    /// Returns how many samples fit.
    pub const fn capacity(&self) -> usize {
        self.labels.len()
    }

    /// Returns the labels of the samples, in the order in which they came; one that replaced another
    /// has its place.
    pub fn labels(&self) -> &[u16] {
        self.labels.get(..self.len).unwrap_or(&[])
    }

    /// Forgets every sample, and how many were offered.
    pub const fn clear(&mut self) {
        self.len = 0;
        self.reservoir.clear();
    }

    /// Keeps a sample. `classes` is the number of classes that labels may name.
    ///
    /// # Errors
    /// The buffer is full, the label is out of range, or the feature has another width, scale or
    /// zero point than the buffer. The buffer is as it was.
    pub fn push(
        &mut self,
        features: &Features<'_>,
        label: u16,
        classes: usize,
    ) -> Result<(), TuneError> {
        self.admit(features, label, classes)?;
        self.append(features, label)?;
        self.reservoir.count(label);
        Ok(())
    }

    /// Checks a sample against the buffer and the number of classes.
    pub(super) fn admit(
        &self,
        features: &Features<'_>,
        label: u16,
        classes: usize,
    ) -> Result<(), TuneError> {
        check(features, self.d_model)?;
        if usize::from(label) >= classes {
            let found = label;
            return Err(TuneError::LabelOutOfRange { found, classes });
        }
        let found = (features.scale, features.zero_point);
        let expected = (self.scale, self.zero_point);
        if self.len > 0 && found != expected {
            return Err(TuneError::FeatureQuantization { found, expected });
        }
        Ok(())
    }

    /// Adds a sample that was admitted.
    pub(super) fn append(&mut self, features: &Features<'_>, label: u16) -> Result<(), TuneError> {
        if self.write(self.len, features, label).is_none() {
            return Err(TuneError::ReplayFull {
                capacity: self.capacity(),
            });
        }
        (self.scale, self.zero_point) = (features.scale, features.zero_point);
        self.len += 1;
        Ok(())
    }

    /// Puts a sample in a place, whatever is there, and returns the label that was; `None` if there
    /// is no such place.
    pub(super) fn write(
        &mut self,
        index: usize,
        features: &Features<'_>,
        label: u16,
    ) -> Option<u16> {
        let place_label = self.labels.get_mut(index)?;
        let place = self.values.get_mut(index * self.d_model..)?;
        let place = place.get_mut(..self.d_model)?;
        for (to, &from) in place.iter_mut().zip(features.values) {
            *to = from;
        }
        Some(core::mem::replace(place_label, label))
    }

    /// Returns how many samples of a class are kept.
    pub fn stored(&self, class: u16) -> usize {
        stored(self.labels(), class) as usize
    }
}

impl Samples for Replay<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn label(&mut self, index: usize) -> Option<u16> {
        self.labels().get(index).copied()
    }

    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)> {
        let label = *self.labels.get(..self.len)?.get(index)?;
        let values = self
            .values
            .get(index * self.d_model..)?
            .get(..self.d_model)?;
        let features = Features {
            values,
            scale: self.scale,
            zero_point: self.zero_point,
        };
        Some((features, label))
    }
}
