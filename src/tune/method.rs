//! The interface of a way of tuning, and the schedule of a fit.

use super::head::argmax;
use super::{Math, ScheduleField, TailError, TuneError};
use crate::model::Features;

/// A way of tuning, as a tail names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MethodId {
    /// [Softmax regression](super::softmax).
    Softmax,
}

impl MethodId {
    /// Returns the number under which a tail stores it.
    pub const fn id(self) -> u8 {
        match self {
            Self::Softmax => 3,
        }
    }

    /// Returns the method that has this number.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            3 => Some(Self::Softmax),
            _ => None,
        }
    }

    /// Returns its name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
        }
    }
}

/// How a fit goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Schedule {
    /// Passes over the samples.
    pub epochs: u32,
    /// How far a step goes.
    pub learning_rate: f32,
    /// Share of the last step that the next one keeps, in `0..1`.
    pub momentum: f32,
    /// Pull of the weights (not the biases) towards 0.
    pub weight_decay: f32,
    /// Decides the order of the samples, and whatever else is random.
    pub seed: u32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            epochs: 20,
            learning_rate: 0.01,
            momentum: 0.9,
            weight_decay: 0.0,
            seed: 1,
        }
    }
}

impl Schedule {
    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// [`TuneError::Schedule`] with the first one that is not.
    pub fn validate(&self) -> Result<(), TuneError> {
        let Self {
            epochs,
            learning_rate: rate,
            momentum,
            weight_decay: decay,
            seed: _,
        } = *self;
        let decay_ok = decay.is_finite() && decay >= 0.0 && rate * decay < 1.0;
        let ranges = [
            (epochs >= 1, ScheduleField::Epochs),
            (rate.is_finite() && rate > 0.0, ScheduleField::LearningRate),
            ((0.0..1.0).contains(&momentum), ScheduleField::Momentum),
            (decay_ok, ScheduleField::WeightDecay),
        ];
        match ranges.into_iter().find(|(ok, _)| !ok) {
            Some((_, field)) => Err(TuneError::Schedule(field)),
            None => Ok(()),
        }
    }
}

/// One way of tuning the tail.
///
/// [`Fit`](super::Fit) calls it: `begin_epoch`, then `step` for every sample, then `end_epoch`, and again.
pub trait Method {
    /// Returns which method it is.
    fn id(&self) -> MethodId;

    /// Returns which implementation of exp, ln and square root it uses.
    fn math(&self) -> Math;

    /// Returns the number of classes.
    fn classes(&self) -> usize;

    /// Returns an error unless a sample has the right shape and a label in range.
    ///
    /// # Errors
    /// [`TuneError::LabelOutOfRange`], [`TuneError::FeatureLength`], [`TuneError::FeatureScale`].
    fn check(&self, features: &Features<'_>, label: u16) -> Result<(), TuneError>;

    /// Returns how many passes it makes: one, for a method that needs no more.
    fn epochs(&self, schedule: &Schedule) -> u32 {
        schedule.epochs
    }

    /// Takes the schedule's numbers for an epoch; in epoch 0 also forgets earlier fits' momentum.
    ///
    /// # Errors
    /// A schedule out of range, or one that needs memory that was not lent.
    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError>;

    /// Learns from one sample, and returns its loss from before. A loss that is not finite changes
    /// nothing.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn step(&mut self, features: &Features<'_>, label: u16) -> Result<f32, TuneError>;

    /// Ends an epoch: where a method solves for its parameters, if it does so.
    ///
    /// # Errors
    /// A system that cannot be solved.
    fn end_epoch(&mut self) -> Result<(), TuneError> {
        Ok(())
    }

    /// Returns whether every parameter is finite.
    fn is_finite(&self) -> bool;

    /// Puts every parameter back to where the method started.
    fn restore(&mut self);

    /// Returns the logits of a feature.
    ///
    /// # Errors
    /// [`TuneError::FeatureLength`] or [`TuneError::FeatureScale`].
    fn logits(&mut self, features: &Features<'_>) -> Result<&[f32], TuneError>;

    /// Returns the class with the greatest logit.
    ///
    /// # Errors
    /// As [`logits`](Self::logits); [`TuneError::NoClasses`], or [`TuneError::NotFinite`] where a
    /// logit is NaN.
    fn predict(&mut self, features: &Features<'_>) -> Result<u16, TuneError> {
        let logits = self.logits(features)?;
        match argmax(logits) {
            // A head has at most `u16::MAX` classes.
            Some(class) => Ok(class as u16),
            None if logits.is_empty() => Err(TuneError::NoClasses),
            None => Err(TuneError::NotFinite { epoch: 0, step: 0 }),
        }
    }

    /// Returns how many bytes [`emit_tail`](Self::emit_tail) writes.
    fn tail_bytes(&self) -> usize;

    /// Writes the tail and returns its length.
    ///
    /// # Errors
    /// [`TailError::BufferTooSmall`], or what cannot be written.
    fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError>;
}
