//! Softmax regression on the pooled feature: cross-entropy, SGD, one sample a step.
//!
//! ```text
//! l = W·x + b                        logits
//! p = exp(l − max l) / Σ exp(l − max l)
//! loss = ln Σ exp(l − max l) − (l[y] − max l)
//! g[c] = p[c] − (1 if c = y)         gradient of the loss by l[c]; by W[c][k] it is g[c]·x[k]
//!
//! plain:     W[c][k] ← W[c][k]·(1 − rate·decay) − (rate·g[c])·x[k]
//! momentum:  V[c][k] ← momentum·V[c][k] − ((rate·g[c])·x[k] + (rate·decay)·W[c][k])
//!            W[c][k] ← W[c][k] + V[c][k]
//! ```
//!
//! The same with x = 1 and no decay for the biases. Every product and sum is rounded once, in the
//! order written (without decay its terms are left out); sums over k and over classes ascend.
//!
//! RAM beside the [head](super::LinearHead): `4 · (d_model + capacity)` bytes, and with momentum
//! `4 · capacity · (d_model + 1)` more. For d_model 64 and 16 classes, names included: 5.6 KiB
//! plain, 9.7 KiB with momentum.
//!
//! Instructions of a step on a Cortex-M4 with FPU, d_model 64 and 12 classes, opt-level 3: about
//! 9,700 plain, 13,200 with momentum; weight decay adds 1 or 2 per weight. Of these, an
//! exponential takes 67.

use super::head::{LinearHead, check, dequantize};
use super::math::{Math, exp, ln};
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
    /// What momentum needs; without it only schedules with momentum 0 are accepted.
    pub velocity: Option<Velocity<'m>>,
}

/// The velocities of SGD with momentum.
#[derive(Debug)]
pub struct Velocity<'m> {
    /// `[capacity][d_model]`.
    pub weights: &'m mut [f32],
    /// `[capacity]`.
    pub bias: &'m mut [f32],
}

/// Softmax regression: see the [module](self).
pub struct Softmax<'m> {
    head: LinearHead<'m>,
    features: &'m mut [f32],
    logits: &'m mut [f32],
    velocity: Option<Velocity<'m>>,
    math: Math,
    rate: f32,
    momentum: f32,
    decay: f32,
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
        } = buffers;
        let enough = |buffer, found, needed| {
            let error = TuneError::BufferTooSmall {
                buffer,
                needed,
                found,
            };
            if found < needed { Err(error) } else { Ok(()) }
        };
        enough(Buffer::Features, features.len(), d_model)?;
        enough(Buffer::Logits, logits.len(), capacity)?;
        if let Some(v) = &velocity {
            let weights = capacity.saturating_mul(d_model);
            enough(Buffer::Velocity, v.weights.len(), weights)?;
            enough(Buffer::Velocity, v.bias.len(), capacity)?;
        }
        let features = features.get_mut(..d_model).unwrap_or_default();
        Ok(Self {
            head,
            features,
            logits,
            velocity,
            math,
            rate: 0.0,
            momentum: 0.0,
            decay: 0.0,
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

    /// Fills in the real features and the logits.
    fn forward(&mut self, features: &Features<'_>) -> Result<(), TuneError> {
        check(features, self.head.d_model())?;
        for (x, &v) in self.features.iter_mut().zip(features.values) {
            *x = dequantize(v, features.scale, features.zero_point);
        }
        let rows = rows(self.head.weights, self.head.d_model());
        let rows = rows.zip(self.head.bias.iter()).take(self.head.classes());
        for (logit, (row, bias)) in self.logits.iter_mut().zip(rows) {
            *logit = dot(*bias, row, self.features);
        }
        Ok(())
    }

    /// Moves the weights against the gradient by the logits, which stands in `self.logits`.
    fn descend(&mut self) {
        let (rate, momentum, decay) = (self.rate, self.momentum, self.decay);
        let (classes, d_model) = (self.head.classes(), self.head.d_model());
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
                    *v_bias = momentum * *v_bias - step;
                    *bias += *v_bias;
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
}

impl Method for Softmax<'_> {
    fn id(&self) -> MethodId {
        MethodId::Softmax
    }

    fn math(&self) -> Math {
        self.math
    }

    fn classes(&self) -> usize {
        self.head.classes()
    }

    fn check(&self, features: &Features<'_>, label: u16) -> Result<(), TuneError> {
        let classes = self.head.classes();
        if usize::from(label) >= classes {
            let found = label;
            return Err(TuneError::LabelOutOfRange { found, classes });
        }
        check(features, self.head.d_model())
    }

    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        schedule.validate()?;
        self.rate = schedule.learning_rate;
        self.momentum = schedule.momentum;
        self.decay = schedule.weight_decay;
        match &mut self.velocity {
            None if self.momentum > 0.0 => {
                let (buffer, found) = (Buffer::Velocity, 0);
                let needed = self.head.capacity() * self.head.d_model();
                return Err(TuneError::BufferTooSmall {
                    buffer,
                    needed,
                    found,
                });
            }
            Some(velocity) if epoch == 0 => {
                velocity.weights.fill(0.0);
                velocity.bias.fill(0.0);
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, features: &Features<'_>, label: u16) -> Result<f32, TuneError> {
        self.check(features, label)?;
        self.forward(features)?;
        let logits = self.logits.get_mut(..self.head.classes());
        let loss = cross_entropy(self.math, logits.unwrap_or_default(), label.into());
        if loss.is_finite() {
            self.descend();
        }
        Ok(loss)
    }

    fn is_finite(&self) -> bool {
        self.head.is_finite()
    }

    fn restore(&mut self) {
        self.head.restore();
    }

    fn logits(&mut self, features: &Features<'_>) -> Result<&[f32], TuneError> {
        self.forward(features)?;
        Ok(self.logits.get(..self.head.classes()).unwrap_or(&[]))
    }

    fn tail_bytes(&self) -> usize {
        tail::head_bytes(&self.head)
    }

    fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError> {
        tail::emit_head(&self.head, self.id(), self.math, out)
    }
}

/// Turns logits into the gradient of the loss by them, and returns the loss.
fn cross_entropy(math: Math, logits: &mut [f32], label: usize) -> f32 {
    // A NaN is passed over here; it comes back through `exp` and makes the loss NaN.
    let greater = |m, &l: &f32| if l > m { l } else { m };
    let greatest = logits.iter().fold(f32::NEG_INFINITY, greater);
    let mut sum = 0.0;
    let mut of_label = 0.0;
    for (class, logit) in logits.iter_mut().enumerate() {
        let below = *logit - greatest;
        if class == label {
            of_label = below;
        }
        *logit = exp(math, below);
        sum += *logit;
    }
    let share = 1.0 / sum;
    for p in logits.iter_mut() {
        *p *= share;
    }
    if let Some(p) = logits.get_mut(label) {
        *p -= 1.0;
    }
    ln(math, sum) - of_label
}

/// Elements that one turn of the inner loops handles.
const UNROLL: usize = 8;

/// Returns `bias + Σ row[k] · x[k]`, in ascending order.
#[inline]
fn dot(bias: f32, row: &[f32], x: &[f32]) -> f32 {
    let (rows, row_rest) = row.as_chunks::<UNROLL>();
    let (xs, x_rest) = x.as_chunks::<UNROLL>();
    let mut sum = bias;
    for (row, x) in rows.iter().zip(xs) {
        for (w, x) in row.iter().zip(x) {
            sum += w * x;
        }
    }
    for (w, x) in row_rest.iter().zip(x_rest) {
        sum += w * x;
    }
    sum
}

/// Calls `f(w, x)` for every weight of a row and its feature.
#[inline(always)]
fn each(row: &mut [f32], x: &[f32], f: impl Fn(&mut f32, f32)) {
    let (rows, row_rest) = row.as_chunks_mut::<UNROLL>();
    let (xs, x_rest) = x.as_chunks::<UNROLL>();
    for (row, x) in rows.iter_mut().zip(xs) {
        for (w, &x) in row.iter_mut().zip(x) {
            f(w, x);
        }
    }
    for (w, &x) in row_rest.iter_mut().zip(x_rest) {
        f(w, x);
    }
}

/// Calls `f(w, v, x)` for every weight of a row, its velocity and its feature.
#[inline(always)]
fn each_moving(
    row: &mut [f32],
    velocity: &mut [f32],
    x: &[f32],
    f: impl Fn(&mut f32, &mut f32, f32),
) {
    let (rows, row_rest) = row.as_chunks_mut::<UNROLL>();
    let (vs, v_rest) = velocity.as_chunks_mut::<UNROLL>();
    let (xs, x_rest) = x.as_chunks::<UNROLL>();
    for ((row, v), x) in rows.iter_mut().zip(vs).zip(xs) {
        for ((w, v), &x) in row.iter_mut().zip(v).zip(x) {
            f(w, v, x);
        }
    }
    for ((w, v), &x) in row_rest.iter_mut().zip(v_rest).zip(x_rest) {
        f(w, v, x);
    }
}

fn update(row: &mut [f32], x: &[f32], step: f32) {
    each(row, x, |w, x| *w -= step * x);
}

fn update_decayed(row: &mut [f32], x: &[f32], step: f32, keep: f32) {
    each(row, x, |w, x| *w = *w * keep - step * x);
}

fn update_momentum(row: &mut [f32], v: &mut [f32], x: &[f32], step: f32, momentum: f32) {
    each_moving(row, v, x, |w, v, x| {
        *v = momentum * *v - step * x;
        *w += *v;
    });
}

fn update_decayed_momentum(
    row: &mut [f32],
    v: &mut [f32],
    x: &[f32],
    step: f32,
    pull: f32,
    momentum: f32,
) {
    each_moving(row, v, x, |w, v, x| {
        *v = momentum * *v - (step * x + pull * *w);
        *w += *v;
    });
}
