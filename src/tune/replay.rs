//! Replay: labelled features kept to train on, int8 as the encoder gave them.
//!
//! The trunk is frozen, so it runs once per sample and its output is all that training needs
//! (latent replay). [`Samples`] is what a fit reads from: [`Replay`] keeps them in RAM; a partition
//! of flash can be another.
//!
//! RAM: `d_model + 2` bytes a sample. Nothing allocates or panics.

use super::head::check;
use super::{Buffer, TuneError};
use crate::model::Features;

/// Labelled samples that can be visited in any order, many times.
pub trait Samples {
    /// Returns the number of samples.
    fn len(&self) -> usize;

    /// Returns whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a sample and its label; `None` if it cannot be read.
    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)>;

    /// Returns a sample's label; `None` if it cannot be read.
    fn label(&mut self, index: usize) -> Option<u16> {
        self.get(index).map(|(_, label)| label)
    }
}

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
#[derive(Debug)]
pub struct Replay<'m> {
    values: &'m mut [i8],
    labels: &'m mut [u16],
    d_model: usize,
    len: usize,
    scale: f32,
    zero_point: i8,
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
        })
    }

    /// Returns how many samples fit.
    pub const fn capacity(&self) -> usize {
        self.labels.len()
    }

    /// Returns the labels of the samples, in the order in which they came.
    pub fn labels(&self) -> &[u16] {
        self.labels.get(..self.len).unwrap_or(&[])
    }

    /// Forgets every sample.
    pub const fn clear(&mut self) {
        self.len = 0;
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
        let place = self
            .values
            .get_mut(self.len * self.d_model..)
            .and_then(|free| free.get_mut(..self.d_model));
        let (Some(place), Some(place_label)) = (place, self.labels.get_mut(self.len)) else {
            return Err(TuneError::ReplayFull {
                capacity: self.capacity(),
            });
        };
        for (to, &from) in place.iter_mut().zip(features.values) {
            *to = from;
        }
        *place_label = label;
        (self.scale, self.zero_point) = found;
        self.len += 1;
        Ok(())
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
