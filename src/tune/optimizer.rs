//! From a gradient to a step: SGD, momentum, Adam.
//!
//! ```text
//! momentum   V ← momentum·V − (rate·g + rate·decay·W),   W ← W + V
//! Adam       M ← 0.9·M + 0.1·g,   S ← 0.999·S + 0.001·g²
//!            W ← W − (rate / (1 − 0.9^t) · M) / (√(S / (1 − 0.999^t)) + 1e-8) − rate·decay·W
//! ```
//!
//! Every product and sum is rounded once, in the order written. Adam's √ is that of
//! [`math`](super::math); the powers are kept as running products.

use super::math::{Math, sqrt};
use super::schedule::{Optimizer, Schedule};

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// The numbers of one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub math: Math,
    pub adam: bool,
    pub rate: f32,
    pub momentum: f32,
    pub decay: f32,
    /// `0.9^t` and `0.999^t` of Adam's step t.
    powers: (f32, f32),
    /// `rate / (1 − 0.9^t)` and `1 / (1 − 0.999^t)`.
    corrections: (f32, f32),
}

impl Step {
    /// Returns the numbers before any step.
    pub const fn new(math: Math) -> Self {
        Self {
            math,
            adam: false,
            rate: 0.0,
            momentum: 0.0,
            decay: 0.0,
            powers: (1.0, 1.0),
            corrections: (1.0, 1.0),
        }
    }

    /// Takes the numbers of an epoch.
    pub fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) {
        self.adam = schedule.optimizer == Optimizer::Adam;
        self.rate = schedule.rate(epoch);
        self.momentum = schedule.momentum;
        self.decay = schedule.weight_decay;
        if epoch == 0 {
            self.powers = (1.0, 1.0);
        }
    }

    /// Goes on to the next step.
    pub fn advance(&mut self) {
        if self.adam {
            self.powers.0 *= BETA1;
            self.powers.1 *= BETA2;
            self.corrections.0 = self.rate / (1.0 - self.powers.0);
            self.corrections.1 = 1.0 / (1.0 - self.powers.1);
        }
    }
}

/// Flat parameters and what an optimizer keeps of them; each as long as the parameters, or empty where
/// the optimizer does not use it.
pub(super) struct State<'s> {
    pub parameters: &'s mut [f32],
    pub gradient: &'s mut [f32],
    /// Velocities, or Adam's first moments.
    pub first: &'s mut [f32],
    /// Adam's second moments.
    pub second: &'s mut [f32],
}

/// One parameter's step with momentum, against `slope` (rate and decay included).
#[inline(always)]
pub(super) fn momentum_step(w: &mut f32, v: &mut f32, slope: f32, momentum: f32) {
    *v = momentum * *v - slope;
    *w += *v;
}

/// One parameter's step of Adam; `pull` is rate times decay.
#[inline(always)]
pub(super) fn adam_step(step: &Step, w: &mut f32, m: &mut f32, s: &mut f32, g: f32, pull: f32) {
    *m = BETA1 * *m + (1.0 - BETA1) * g;
    *s = BETA2 * *s + (1.0 - BETA2) * (g * g);
    let (by_rate, by_square) = step.corrections;
    let root = sqrt(step.math, *s * by_square) + EPSILON;
    *w -= by_rate * *m / root + pull * *w;
}
