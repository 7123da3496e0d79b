//! Softmax regression on the pooled feature: cross-entropy, one sample at a time.
//!
//! ```text
//! l = W·x + b                        logits
//! p = exp(l − max l) / Σ exp(l − max l)
//! t[c] = (1 − ε)·(1 if c = y) + ε/C  the label, smoothed by ε
//! loss = ln Σ exp(l − max l) − Σ t[c]·(l[c] − max l)
//! g[c] = p[c] − t[c]                 gradient of the loss by l[c]; by W[c][k] it is g[c]·x[k]
//!
//! plain:     W[c][k] ← W[c][k]·(1 − rate·decay) − (rate·g[c])·x[k]
//! momentum:  V[c][k] ← momentum·V[c][k] − ((rate·g[c])·x[k] + (rate·decay)·W[c][k])
//!            W[c][k] ← W[c][k] + V[c][k]
//! ```
//!
//! The same with x = 1 and no decay for the biases; Adam as in `optimizer`. A sample's weight multiplies
//! loss and g. With a batch of B samples the g are divided by B and gathered, where there is momentum
//! in the velocities themselves, and one step is made of them all. Every product and sum is rounded
//! once, in the order written (without decay or smoothing its terms are left out); sums over k and over
//! classes ascend.
//!
//! RAM beside the [head](super::LinearHead): `4 · (d_model + capacity)` bytes; with momentum
//! `4 · capacity · (d_model + 1)` more, for Adam three times that. For d_model 64 and 16 classes, names
//! included: 5.7 KiB plain, 9.8 KiB with momentum, 17.9 KiB with Adam.
//!
//! Instructions of a step on a Cortex-M4 with FPU, d_model 64 and 12 classes: `tailtune bench` counts
//! them (`head-step-sgd`, `head-step-momentum`, `adam-step`). Of these, an exponential takes 67; Adam's square root
//! and division make a weight's step twelve times as long as momentum's. [`TunePlan`](super::TunePlan) gives RAM and
//! instructions for any model.

use super::head::{LinearHead, check, dequantize};
use super::math::{Math, exp, ln};
use super::optimizer::{Step, adam_step, momentum_step};
use super::vector::{dot, each, each_moving};
use super::{Buffer, Method, MethodId, Schedule, TailError, TuneError, tail};
use crate::model::Features;
use crate::rows::{rows, rows_mut};

/// The buffers of a [`Softmax`], lent by the caller.
#[derive(Debug)]
pub struct SoftmaxBuffers<'m> {
    /// One dequantized feature, `[d_model]`.
    pub features: &'m mut [f32],
    /// `[capacity of the head]`.
    pub logits: &'m mut [f32],
    /// What momentum and batches need; without it only schedules with momentum 0 and batches of one
    /// are accepted.
    pub velocity: Option<Velocity<'m>>,
    /// What Adam needs beside the velocities, which hold its first moments.
    pub adam: Option<AdamState<'m>>,
}

/// The velocities of SGD with momentum, or what else stands beside every weight.
#[derive(Debug)]
pub struct Velocity<'m> {
    /// `[capacity][d_model]`.
    pub weights: &'m mut [f32],
    /// `[capacity]`.
    pub bias: &'m mut [f32],
}

impl Velocity<'_> {
    fn fill_zero(&mut self) {
        self.weights.fill(0.0);
        self.bias.fill(0.0);
    }

    fn check(&self, capacity: usize, d_model: usize) -> Result<(), TuneError> {
        let weights = capacity.saturating_mul(d_model);
        enough(Buffer::Velocity, self.weights.len(), weights)?;
        enough(Buffer::Velocity, self.bias.len(), capacity)
    }
}

/// What Adam needs beside the velocities.
#[derive(Debug)]
pub struct AdamState<'m> {
    gradient: Velocity<'m>,
    second: Velocity<'m>,
    /// Adam's own code, which firmware without such a state does not link.
    descend: fn(&Step, [&mut [f32]; 4], f32),
}

impl<'m> AdamState<'m> {
    /// Returns the state over memory for the batch's gradient and for the second moments.
    pub const fn new(gradient: Velocity<'m>, second: Velocity<'m>) -> Self {
        Self {
            gradient,
            second,
            descend: adam_descend,
        }
    }
}

/// One step of Adam of every weight; `pull` is rate times decay.
fn adam_descend(step: &Step, [weights, first, second, gradient]: [&mut [f32]; 4], pull: f32) {
    let weights = weights.iter_mut().zip(first).zip(second);
    for (((w, m), s), &mut g) in weights.zip(gradient) {
        adam_step(step, w, m, s, g, pull);
    }
}

/// Softmax regression: see the [module](self).
pub struct Softmax<'m> {
    head: LinearHead<'m>,
    features: &'m mut [f32],
    logits: &'m mut [f32],
    velocity: Option<Velocity<'m>>,
    adam: Option<AdamState<'m>>,
    step: Step,
    smoothing: f32,
    batch: u32,
    /// Samples of the batch so far.
    gathered: u32,
}

impl<'m> Softmax<'m> {
    /// Returns the method over a head.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`] for buffers that do not fit the head's width and capacity.
    pub fn new(
        head: LinearHead<'m>,
        buffers: SoftmaxBuffers<'m>,
        math: Math,
    ) -> Result<Self, TuneError> {
        let (d_model, capacity) = (head.d_model(), head.capacity());
        let SoftmaxBuffers {
            features,
            logits,
            velocity,
            adam,
        } = buffers;
        enough(Buffer::Features, features.len(), d_model)?;
        enough(Buffer::Logits, logits.len(), capacity)?;
        if let Some(velocity) = &velocity {
            velocity.check(capacity, d_model)?;
        }
        if let Some(adam) = &adam {
            adam.gradient.check(capacity, d_model)?;
            adam.second.check(capacity, d_model)?;
        }
        let features = features.get_mut(..d_model).unwrap_or_default();
        Ok(Self {
            head,
            features,
            logits,
            velocity,
            adam,
            step: Step::new(math),
            smoothing: 0.0,
            batch: 1,
            gathered: 0,
        })
    }

    /// Returns the head.
    pub const fn head(&self) -> &LinearHead<'m> {
        &self.head
    }

    /// Returns the head, to add classes to it.
    pub const fn head_mut(&mut self) -> &mut LinearHead<'m> {
        &mut self.head
    }

    /// Gives the head back.
    pub fn into_head(self) -> LinearHead<'m> {
        self.head
    }

    /// Takes the feature as it is.
    fn take(&mut self, features: &Features<'_>) -> Result<(), TuneError> {
        check(features, self.head.d_model())?;
        for (x, &v) in self.features.iter_mut().zip(features.values) {
            *x = dequantize(v, features.scale, features.zero_point);
        }
        Ok(())
    }

    /// Fills in the logits of the feature that was taken.
    fn forward(&mut self) {
        let rows = rows(self.head.weights, self.head.d_model());
        let rows = rows.zip(self.head.bias.iter()).take(self.head.classes());
        for (logit, (row, bias)) in self.logits.iter_mut().zip(rows) {
            *logit = dot(*bias, row, self.features);
        }
    }

    /// Lends the place of the real feature, `[d_model]`: what comes from a block that is tuned too.
    pub(super) fn features_mut(&mut self) -> &mut [f32] {
        self.features
    }

    /// Returns the logits of the feature in [`features_mut`](Self::features_mut).
    pub(super) fn logits_of_features(&mut self) -> &[f32] {
        self.forward();
        self.logits.get(..self.head.classes()).unwrap_or(&[])
    }

    /// Learns from the feature in [`features_mut`](Self::features_mut), and leaves the gradient of the loss
    /// by it in `by_feature`, `[d_model]`. Returns the loss.
    pub(super) fn step_features(&mut self, label: u16, weight: f32, by_feature: &mut [f32]) -> f32 {
        let loss = self.slope(label, weight);
        by_feature.fill(0.0);
        if loss.is_finite() {
            let rows = rows(self.head.weights, self.head.d_model());
            for (row, &g) in rows.zip(self.logits.iter()).take(self.head.classes()) {
                super::vector::add_scaled(by_feature, g, row);
            }
            self.descend();
        }
        loss
    }

    /// Makes logits, and of them the gradient by the logits; returns the loss.
    fn slope(&mut self, label: u16, weight: f32) -> f32 {
        self.forward();
        let logits = self.logits.get_mut(..self.head.classes());
        let logits = logits.unwrap_or_default();
        let loss = cross_entropy(self.step.math, logits, label.into(), self.smoothing);
        if weight != 1.0 {
            logits.iter_mut().for_each(|g| *g *= weight);
        }
        loss * weight
    }

    /// Moves the weights against the gradient by the logits, which stands in `self.logits`, or gathers it.
    fn descend(&mut self) {
        let (classes, d_model) = (self.head.classes(), self.head.d_model());
        if self.batch > 1 || self.step.adam {
            self.gather(classes, d_model);
            if self.gathered >= self.batch {
                self.flush();
            }
            return;
        }
        let Step {
            rate,
            momentum,
            decay,
            ..
        } = self.step;
        let x = &*self.features;
        let rows = rows_mut(self.head.weights, d_model);
        let rows = rows.zip(self.head.bias.iter_mut());
        let rows = rows.zip(self.logits.iter()).take(classes);
        match &mut self.velocity {
            Some(velocity) if momentum > 0.0 => {
                let moving = rows_mut(velocity.weights, d_model);
                let moving = moving.zip(velocity.bias.iter_mut());
                let pull = rate * decay;
                for (((row, bias), &g), (v_row, v_bias)) in rows.zip(moving) {
                    let step = rate * g;
                    momentum_step(bias, v_bias, step, momentum);
                    if decay > 0.0 {
                        update_decayed_momentum(row, v_row, x, step, pull, momentum);
                    } else {
                        update_momentum(row, v_row, x, step, momentum);
                    }
                }
            }
            _ => {
                let keep = 1.0 - rate * decay;
                for ((row, bias), &g) in rows {
                    let step = rate * g;
                    *bias -= step;
                    if decay > 0.0 {
                        update_decayed(row, x, step, keep);
                    } else {
                        update(row, x, step);
                    }
                }
            }
        }
    }

    /// Gathers a sample's gradient: Adam's in its place, else `−rate/B · g` in the velocities.
    #[inline(never)]
    fn gather(&mut self, classes: usize, d_model: usize) {
        let first = self.gathered == 0;
        self.gathered = self.gathered.saturating_add(1);
        let share = 1.0 / self.batch as f32;
        let x = &*self.features;
        let (moving, factor, keep) = match (&mut self.adam, &mut self.velocity) {
            (Some(adam), _) if self.step.adam => (&mut adam.gradient, share, 0.0),
            (_, Some(velocity)) => (velocity, -self.step.rate * share, self.step.momentum),
            _ => return,
        };
        let rows = rows_mut(moving.weights, d_model).zip(moving.bias.iter_mut());
        for ((row, bias), &g) in rows.zip(self.logits.iter()).take(classes) {
            let step = factor * g;
            if first {
                *bias = keep * *bias + step;
                row.iter_mut()
                    .zip(x)
                    .for_each(|(v, x)| *v = keep * *v + step * x);
            } else {
                *bias += step;
                row.iter_mut().zip(x).for_each(|(v, x)| *v += step * x);
            }
        }
    }

    /// Makes a step of what was gathered.
    #[inline(never)]
    fn flush(&mut self) {
        if self.gathered == 0 {
            return;
        }
        self.gathered = 0;
        let classes = self.head.classes();
        let used = classes * self.head.d_model();
        let pull = self.step.rate * self.step.decay;
        let Some(velocity) = &mut self.velocity else {
            return;
        };
        if self.step.adam {
            let Some(adam) = &mut self.adam else { return };
            self.step.advance();
            let part = |all| first_of(all, used);
            let weights = [
                part(&mut *self.head.weights),
                part(&mut *velocity.weights),
                part(&mut *adam.second.weights),
                part(&mut *adam.gradient.weights),
            ];
            (adam.descend)(&self.step, weights, pull);
            let part = |all| first_of(all, classes);
            let biases = [
                part(&mut *self.head.bias),
                part(&mut *velocity.bias),
                part(&mut *adam.second.bias),
                part(&mut *adam.gradient.bias),
            ];
            (adam.descend)(&self.step, biases, 0.0);
            return;
        }
        for (w, v) in self.head.weights.iter_mut().zip(&mut *velocity.weights) {
            if pull > 0.0 {
                *v -= pull * *w;
            }
            *w += *v;
        }
        for (b, v) in self.head.bias.iter_mut().zip(&*velocity.bias) {
            *b += *v;
        }
    }
}

impl Method for Softmax<'_> {
    fn id(&self) -> MethodId {
        MethodId::Softmax
    }

    fn math(&self) -> Math {
        self.step.math
    }

    fn classes(&self) -> usize {
        self.head.classes()
    }

    fn check(&self, features: &Features<'_>, label: u16) -> Result<(), TuneError> {
        self.head.check(features, label)
    }

    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        schedule.validate()?;
        self.step.begin_epoch(schedule, epoch);
        (self.batch, self.gathered) = (schedule.batch, 0);
        self.smoothing = schedule.label_smoothing;
        let needed = self.head.capacity() * self.head.d_model();
        let missing = |buffer| TuneError::BufferTooSmall {
            buffer,
            needed,
            found: 0,
        };
        let moments = schedule.head_moments();
        if moments > 0 && self.velocity.is_none() {
            return Err(missing(Buffer::Velocity));
        }
        if moments > 1 && self.adam.is_none() {
            return Err(missing(Buffer::Adam));
        }
        if epoch == 0 {
            if let Some(velocity) = &mut self.velocity {
                velocity.fill_zero();
            }
            if let Some(adam) = &mut self.adam {
                adam.second.fill_zero();
            }
        }
        Ok(())
    }

    fn step(&mut self, features: &Features<'_>, label: u16, weight: f32) -> Result<f32, TuneError> {
        self.check(features, label)?;
        self.take(features)?;
        let loss = self.slope(label, weight);
        if loss.is_finite() {
            self.descend();
        }
        Ok(loss)
    }

    fn end_epoch(&mut self) -> Result<(), TuneError> {
        self.flush();
        Ok(())
    }

    fn is_finite(&self) -> bool {
        self.head.is_finite()
    }

    fn restore(&mut self) {
        self.head.restore();
    }

    fn logits(&mut self, features: &Features<'_>) -> Result<&[f32], TuneError> {
        self.take(features)?;
        self.forward();
        Ok(self.logits.get(..self.head.classes()).unwrap_or(&[]))
    }

    fn tail_bytes(&self) -> usize {
        tail::head_bytes(&self.head)
    }

    fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError> {
        tail::emit_head(&self.head, self.id(), self.step.math, out)
    }
}

fn first_of(all: &mut [f32], n: usize) -> &mut [f32] {
    all.get_mut(..n).unwrap_or_default()
}

/// Returns an error if a buffer is too small.
pub(super) fn enough(buffer: Buffer, found: usize, needed: usize) -> Result<(), TuneError> {
    if found < needed {
        return Err(TuneError::BufferTooSmall {
            buffer,
            needed,
            found,
        });
    }
    Ok(())
}

/// Turns logits into the gradient of the loss by them, and returns the loss.
fn cross_entropy(math: Math, logits: &mut [f32], label: usize, smoothing: f32) -> f32 {
    // A NaN is passed over here; it comes back through `exp` and makes the loss NaN.
    let greater = |m, &l: &f32| if l > m { l } else { m };
    let greatest = logits.iter().fold(f32::NEG_INFINITY, greater);
    let spread = smoothing / logits.len().max(1) as f32;
    let mut sum = 0.0;
    let mut of_label = 0.0;
    let mut of_all = 0.0;
    for (class, logit) in logits.iter_mut().enumerate() {
        let below = *logit - greatest;
        if class == label {
            of_label = below;
        }
        if smoothing > 0.0 {
            of_all += below;
        }
        *logit = exp(math, below);
        sum += *logit;
    }
    let share = 1.0 / sum;
    for p in logits.iter_mut() {
        *p *= share;
    }
    let target = if smoothing > 0.0 {
        logits.iter_mut().for_each(|p| *p -= spread);
        of_label = (1.0 - smoothing) * of_label + spread * of_all;
        1.0 - smoothing
    } else {
        1.0
    };
    if let Some(p) = logits.get_mut(label) {
        *p -= target;
    }
    ln(math, sum) - of_label
}

fn update(row: &mut [f32], x: &[f32], step: f32) {
    each(row, x, |w, x| *w -= step * x);
}

fn update_decayed(row: &mut [f32], x: &[f32], step: f32, keep: f32) {
    row.iter_mut()
        .zip(x)
        .for_each(|(w, x)| *w = *w * keep - step * x);
}

fn update_momentum(row: &mut [f32], v: &mut [f32], x: &[f32], step: f32, momentum: f32) {
    each_moving(row, v, x, |w, v, x| momentum_step(w, v, step * x, momentum));
}

fn update_decayed_momentum(
    row: &mut [f32],
    v: &mut [f32],
    x: &[f32],
    step: f32,
    pull: f32,
    momentum: f32,
) {
    for ((w, v), x) in row.iter_mut().zip(v).zip(x) {
        momentum_step(w, v, step * x + pull * *w, momentum);
    }
}
