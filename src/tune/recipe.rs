//! What is tuned, and how: a method that is chosen at run time, with all its numbers.

use super::block::{BlockOptions, LoraOptions};
use super::{MethodId, RidgeOptions, Schedule};

/// Where `last-block` trains its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BlockWeights {
    /// In int8, where they lie: see [`in_place`](super::block::in_place).
    #[default]
    InPlace,
    /// In an f32 copy, 4 bytes a weight more: see [`master`](super::block::master).
    Copy,
    /// In an f32 copy with momentum, 8 bytes a weight more.
    CopyMomentum,
}

/// A method and its numbers; those of other methods are not looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Recipe {
    /// The method.
    pub method: MethodId,
    /// The numbers of the fit.
    pub schedule: Schedule,
    /// Of `ridge`.
    pub ridge: RidgeOptions,
    /// Of `lora`; its `block` counts there, the recipe's own for the two others.
    pub lora: LoraOptions,
    /// Of `norm-bias` and `last-block`.
    pub block: BlockOptions,
    /// Of `last-block`.
    pub weights: BlockWeights,
}

impl Recipe {
    /// Returns the recipe that a method starts with: 60 epochs at a learning rate of 0.005, weight
    /// decay 0.001, else the defaults.
    pub fn new(method: MethodId) -> Self {
        Self {
            method,
            schedule: Schedule {
                epochs: 60,
                learning_rate: 0.005,
                weight_decay: 0.001,
                ..Schedule::default()
            },
            ridge: RidgeOptions::default(),
            lora: LoraOptions::default(),
            block: BlockOptions::default(),
            weights: BlockWeights::default(),
        }
    }
}
