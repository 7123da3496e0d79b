//! How a fit goes about it: the numbers that every method shares.

use super::math::cos_half_turn;
use super::{ScheduleField, TuneError};

/// What turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Optimizer {
    /// Stochastic gradient descent, with momentum where the schedule has some.
    #[default]
    Sgd,
    /// Adam (Kingma and Ba, arXiv 1412.6980) with β1 0.9, β2 0.999, ε 1e-8, its weight decay decoupled
    /// (Loshchilov and Hutter, arXiv 1711.05101).
    Adam,
}

/// How the learning rate falls over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// By the same amount an epoch, to a last one of `1 / epochs` of the first.
    Linear,
    /// Half a cosine (Loshchilov and Hutter, arXiv 1608.03983).
    Cosine,
}

/// How a fit goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Schedule {
    /// Passes over the samples, at least 1. Methods in closed form make one, whatever this says.
    pub epochs: u32,
    /// Samples whose gradients are averaged for one step, at least 1. More than one needs memory for a
    /// gradient: the momentum's serves.
    pub batch: u32,
    /// What turns gradients into steps.
    pub optimizer: Optimizer,
    /// How far a step goes, in the first epoch.
    pub learning_rate: f32,
    /// How the learning rate falls.
    pub decay: Decay,
    /// Share of the last step that the next one keeps, in `0..1`. Adam does not use it.
    pub momentum: f32,
    /// Pull of the weights (not the biases) towards 0.
    pub weight_decay: f32,
    /// Share of a label that is spread evenly over all classes, in `0..1` (Szegedy et al.,
    /// arXiv 1512.00567).
    pub label_smoothing: f32,
    /// How often a sample counts, above 0: where a method goes on from the sums that a tail holds (ncm, ridge),
    /// above 1 what is learned now outweighs them. Elsewhere it multiplies the learning rate.
    pub emphasis: f32,
    /// Whether every class counts alike, however many samples it has: a sample weighs
    /// `n / (classes present · n of its class)`.
    pub class_balance: bool,
    /// One sample in this many of each class is held back and decides whether the tune stays; 0 for
    /// none. See [`Fit`](super::Fit).
    pub hold_back: u32,
    /// Epochs without a lower loss (of the samples held back, if any) after which a fit ends; 0 for
    /// never.
    pub patience: u32,
    /// Decides the order of the samples, and whatever else is random.
    pub seed: u32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Schedule {
    /// The default, in constants too.
    pub const DEFAULT: Self = Self {
        epochs: 20,
        batch: 1,
        optimizer: Optimizer::Sgd,
        learning_rate: 0.01,
        decay: Decay::Constant,
        momentum: 0.9,
        weight_decay: 0.0,
        label_smoothing: 0.0,
        emphasis: 1.0,
        class_balance: false,
        hold_back: 0,
        patience: 0,
        seed: 1,
    };

    /// Returns how many numbers beside each of the head's a fit keeps: velocities (which also gather a batch),
    /// and for Adam the gradient and the second moment.
    pub(super) const fn head_moments(&self) -> usize {
        match self.optimizer {
            Optimizer::Adam => 3,
            Optimizer::Sgd if self.momentum > 0.0 || self.batch > 1 => 1,
            Optimizer::Sgd => 0,
        }
    }

    /// Returns how many moments of each of a block's parameters a fit keeps, beside the gradient.
    pub(super) const fn flat_moments(&self) -> usize {
        match self.optimizer {
            Optimizer::Adam => 2,
            Optimizer::Sgd if self.momentum > 0.0 => 1,
            Optimizer::Sgd => 0,
        }
    }

    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// [`TuneError::Schedule`] with the first one that is not.
    #[inline(never)]
    pub fn validate(&self) -> Result<(), TuneError> {
        let rate = self.learning_rate;
        let decay = self.weight_decay;
        let decay_ok = decay.is_finite() && decay >= 0.0 && rate * decay < 1.0;
        let unit = 0.0..1.0;
        let ranges = [
            (self.epochs >= 1, ScheduleField::Epochs),
            (self.batch >= 1, ScheduleField::Batch),
            (rate.is_finite() && rate > 0.0, ScheduleField::LearningRate),
            (unit.contains(&self.momentum), ScheduleField::Momentum),
            (decay_ok, ScheduleField::WeightDecay),
            (
                unit.contains(&self.label_smoothing),
                ScheduleField::LabelSmoothing,
            ),
            (
                self.emphasis.is_finite() && self.emphasis > 0.0,
                ScheduleField::Emphasis,
            ),
            (self.hold_back != 1, ScheduleField::HoldBack),
        ];
        match ranges.into_iter().find(|(ok, _)| !ok) {
            Some((_, field)) => Err(TuneError::Schedule(field)),
            None => Ok(()),
        }
    }

    /// Returns the learning rate of an epoch, from 0.
    #[inline(never)]
    pub fn rate(&self, epoch: u32) -> f32 {
        let done = epoch as f32 / self.epochs.max(1) as f32;
        let share = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - done,
            Decay::Cosine => 0.5 + 0.5 * cos_half_turn(done),
        };
        self.learning_rate * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_fall_as_they_say() {
        let mut s = Schedule {
            epochs: 4,
            learning_rate: 8.0,
            ..Schedule::default()
        };
        let rates = |s: &Schedule| [0, 1, 2, 3].map(|epoch| s.rate(epoch));
        assert_eq!(rates(&s), [8.0; 4]);
        s.decay = Decay::Linear;
        assert_eq!(rates(&s), [8.0, 6.0, 4.0, 2.0]);
        s.decay = Decay::Cosine;
        let [first, _, half, last] = rates(&s);
        assert!((first - 8.0).abs() < 1e-5);
        assert!((half - 4.0).abs() < 1e-5 && last < 1.2 && last > 1.1);
    }
}
