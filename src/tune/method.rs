//! The interface of a way of tuning.

use super::head::argmax;
use super::{Math, Schedule, TailError, TuneError};
use crate::model::Features;

/// A way of tuning, as a tail names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MethodId {
    /// [Nearest class mean](super::ncm).
    Ncm,
    /// [Ridge classifier](super::ridge).
    Ridge,
    /// [Softmax regression](super::softmax).
    Softmax,
    /// [Norms and biases of the last block](super::block::norm_bias).
    NormBias,
    /// [Low-rank adapters of the last block](super::block::lora).
    Lora,
    /// [The whole last block](super::block::in_place).
    LastBlock,
}

impl MethodId {
    /// All methods, cheapest first.
    pub const ALL: [Self; 6] = [
        Self::Ncm,
        Self::Ridge,
        Self::Softmax,
        Self::NormBias,
        Self::Lora,
        Self::LastBlock,
    ];

    /// Returns the number under which a tail stores it.
    pub const fn id(self) -> u8 {
        match self {
            Self::Ncm => 1,
            Self::Ridge => 2,
            Self::Softmax => 3,
            Self::NormBias => 4,
            Self::Lora => 5,
            Self::LastBlock => 6,
        }
    }

    /// Returns the method that has this number.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Ncm),
            2 => Some(Self::Ridge),
            3 => Some(Self::Softmax),
            4 => Some(Self::NormBias),
            5 => Some(Self::Lora),
            6 => Some(Self::LastBlock),
            _ => None,
        }
    }

    /// Returns its name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ncm => "ncm",
            Self::Ridge => "ridge",
            Self::Softmax => "softmax",
            Self::NormBias => "norm-bias",
            Self::Lora => "lora",
            Self::LastBlock => "last-block",
        }
    }

    /// Returns whether it learns from the input of the last block ([`latent`](crate::model::latent)), and
    /// not from the pooled feature.
    pub const fn below_the_block(self) -> bool {
        matches!(self, Self::NormBias | Self::Lora | Self::LastBlock)
    }
}

/// One way of tuning the tail.
///
/// [`Fit`](super::Fit) calls it: `begin_epoch`, then `step` for every sample, then `end_epoch`, and again.
/// What `features` are depends on the cut: the pooled feature, or a
/// [latent](crate::model::latent) of the last block.
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

    /// Learns from one sample that counts `weight` times, and returns its loss from before. A loss
    /// that is not finite changes nothing.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn step(&mut self, features: &Features<'_>, label: u16, weight: f32) -> Result<f32, TuneError>;

    /// Ends an epoch: what is left of a batch becomes a step; a method in closed form solves.
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

    /// Writes the tail and returns its length. `out` starts at a multiple of 16 where the tail holds
    /// tensors of a block.
    ///
    /// # Errors
    /// [`TailError::BufferTooSmall`], or what cannot be written.
    fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError>;
}
