//! Ridge classifier: least squares on one-hot labels in closed form, streaming.
//!
//! With x̃ = (x, 1), n = d_model + 1, and a one-hot row y for each sample of weight w:
//!
//! ```text
//! A = λI + Σ w·x̃·x̃ᵀ,   B = Σ w·x̃·yᵀ,   W = A⁻¹·B                    (λ = 0.001 for the last row: the bias)
//!
//! gathering, a fit of many samples at once:
//!     A, B in place of R, W   ←  Rᵀ·R, A·W         so that a fit goes on from what is there
//!     every sample            A += w·x̃·x̃ᵀ, B += w·x̃·yᵀ
//!     at the end              A = Rᵀ·R by Cholesky in place, W = R⁻¹·R⁻ᵀ·B in place
//! recursive, one sample at a time (`learn`): the same W, up to rounding, after every sample
//!     R ← the factor of Rᵀ·R + w·x̃·x̃ᵀ             by n Givens-like rotations
//!     k = R⁻¹·R⁻ᵀ·x̃,   W ← W + w·k·(y − x̃ᵀ·W)ᵀ
//! ```
//!
//! (Golub and Van Loan, Matrix Computations, 4.2 and 6.5.4.) A and R are one packed triangle, W and B one
//! place. The tail holds W as a linear head and R after it: tuning goes on after a reset as if there had
//! been none. From another method's head it starts from nothing: logits of a softmax are on no one-hot
//! scale.
//!
//! RAM beside the [head](super::LinearHead): `2 · n · (n + 1) + 4 · (d_model + n + capacity)` bytes. For
//! d_model 64 and 16 classes, names included: 14.5 KiB. Multiply-accumulates of a sample: n²/2 gathering and
//! n³/6 at the end; 3·n² recursive. On a Cortex-M4 with FPU, 12 classes: 19,500 instructions a sample gathered,
//! 760,000 at the end. [`TunePlan`](super::TunePlan) gives RAM and instructions for any model.

use super::head::{LinearHead, check, dequantize};
use super::math::{Math, sqrt};
use super::softmax::enough;
use super::vector::{add_scaled, dot};
use super::{Buffer, Method, MethodId, Schedule, TailError, TuneError, tail};
use crate::model::Features;
use crate::rows::{rows, rows_mut};

/// What λ of the bias is: enough for a factor to exist.
const BIAS_LAMBDA: f32 = 1e-3;

/// Returns the elements of a packed triangle for features of this width.
pub const fn factor_len(d_model: usize) -> usize {
    (d_model + 1) * (d_model + 2) / 2
}

/// Returns the elements of [`RidgeBuffers::features`]: a feature and its work, each with a 1 behind it.
pub const fn feature_len(d_model: usize) -> usize {
    2 * (d_model + 1)
}

/// The buffers of a [`Ridge`], lent by the caller.
#[derive(Debug)]
pub struct RidgeBuffers<'m> {
    /// Dequantized features, [`feature_len`].
    pub features: &'m mut [f32],
    /// `[capacity of the head]`.
    pub logits: &'m mut [f32],
    /// The packed triangle, [`factor_len`].
    pub factor: &'m mut [f32],
}

/// How a [`Ridge`] weighs what.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RidgeOptions {
    /// Pull of the weights towards 0, in squared units of the features.
    pub lambda: f32,
}

impl Default for RidgeOptions {
    fn default() -> Self {
        Self { lambda: 10.0 }
    }
}

/// Whether the triangle and the head's place hold R and W, or A and B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Solution,
    Sums,
}

/// Ridge classifier: see the [module](self).
pub struct Ridge<'m> {
    head: LinearHead<'m>,
    x: &'m mut [f32],
    scratch: &'m mut [f32],
    logits: &'m mut [f32],
    factor: &'m mut [f32],
    options: RidgeOptions,
    origin: Option<&'m [[u8; 4]]>,
    holds: Holds,
}

impl<'m> Ridge<'m> {
    /// Returns the method over a head. Where the head's origin is a tail of this method, `origin` is
    /// that tail's [state](tail::Tail::state); else it starts from nothing.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`].
    pub fn new(
        head: LinearHead<'m>,
        buffers: RidgeBuffers<'m>,
        options: RidgeOptions,
        origin: Option<&'m [[u8; 4]]>,
    ) -> Result<Self, TuneError> {
        let (n, len) = (head.d_model() + 1, factor_len(head.d_model()));
        let features = feature_len(head.d_model());
        enough(Buffer::Features, buffers.features.len(), features)?;
        enough(Buffer::Logits, buffers.logits.len(), head.capacity())?;
        enough(Buffer::Factor, buffers.factor.len(), len)?;
        let (x, scratch) = buffers.features.split_at_mut_checked(n).unwrap_or_default();
        let mut ridge = Self {
            head,
            x,
            scratch: scratch.get_mut(..n).unwrap_or_default(),
            logits: buffers.logits,
            factor: buffers.factor.get_mut(..len).unwrap_or_default(),
            options,
            origin: origin.filter(|factor| factor.len() == len),
            holds: Holds::Solution,
        };
        ridge.restore();
        Ok(ridge)
    }

    /// Returns the head.
    pub const fn head(&self) -> &LinearHead<'m> {
        &self.head
    }

    /// Adds a class and returns its label. No sample so far was of it: its weights are 0, exactly.
    ///
    /// # Errors
    /// See [`LinearHead::add_class`].
    pub fn add_class(&mut self, name: &str) -> Result<u16, TuneError> {
        let class = self.head.add_class(name)?;
        self.clear_classes(class.into());
        Ok(class)
    }

    fn clear_classes(&mut self, from: usize) {
        let d = self.head.d_model();
        let rows = rows_mut(self.head.weights, d).zip(self.head.bias.iter_mut());
        for (row, bias) in rows.skip(from) {
            row.fill(0.0);
            *bias = 0.0;
        }
    }

    fn take(&mut self, features: &Features<'_>) -> Result<(), TuneError> {
        check(features, self.head.d_model())?;
        let (last, x) = self.x.split_last_mut().ok_or(TuneError::NoFeatures)?;
        *last = 1.0;
        for (x, &v) in x.iter_mut().zip(features.values) {
            *x = dequantize(v, features.scale, features.zero_point);
        }
        let rows = rows(self.head.weights, self.head.d_model()).zip(self.head.bias.iter());
        let rows = rows.take(self.head.classes());
        for (logit, (row, bias)) in self.logits.iter_mut().zip(rows) {
            *logit = dot(*bias, row, x);
        }
        Ok(())
    }

    /// Learns from one sample that counts `weight` times: W is the solution again afterwards. Returns half the squared error
    /// from before.
    ///
    /// # Errors
    /// As [`Method::check`]; [`TuneError::NotFinite`], with nothing changed, for a feature that overflows.
    pub fn learn(
        &mut self,
        features: &Features<'_>,
        label: u16,
        weight: f32,
    ) -> Result<f32, TuneError> {
        self.head.check(features, label)?;
        self.solve()?;
        self.take(features)?;
        let norm = dot(0.0, self.x, self.x) * weight;
        if !norm.is_finite() {
            return Err(TuneError::NotFinite { epoch: 0, step: 0 });
        }
        let root = sqrt(Math::Exact, weight);
        for (s, x) in self.scratch.iter_mut().zip(self.x.iter()) {
            *s = root * x;
        }
        rotate_in(self.factor, self.scratch);
        self.scratch.copy_from_slice(self.x);
        solve_transposed(self.factor, self.scratch);
        solve(self.factor, self.scratch);
        let (d, classes) = (self.head.d_model(), self.head.classes());
        let (last, k) = self.scratch.split_last().ok_or(TuneError::NoFeatures)?;
        let rows = rows_mut(self.head.weights, d).zip(self.head.bias.iter_mut());
        let rows = rows.zip(self.logits.iter()).take(classes);
        let mut loss = 0.0;
        for (class, ((row, bias), logit)) in rows.enumerate() {
            let target = if class == usize::from(label) {
                1.0
            } else {
                0.0
            };
            let error = target - logit;
            loss += error * error;
            add_scaled(row, weight * error, k);
            *bias += weight * error * last;
        }
        Ok(0.5 * loss)
    }

    /// Replaces each class's column, its bias last, by what `f` makes of it and of the triangle.
    fn each_class(&mut self, f: impl Fn(&[f32], &mut [f32])) {
        let (d, classes) = (self.head.d_model(), self.head.classes());
        let rows = rows_mut(self.head.weights, d).zip(self.head.bias.iter_mut());
        for (row, bias) in rows.take(classes) {
            self.scratch
                .iter_mut()
                .zip(&*row)
                .for_each(|(s, w)| *s = *w);
            if let Some(last) = self.scratch.last_mut() {
                *last = *bias;
            }
            f(self.factor, self.scratch);
            row.iter_mut()
                .zip(&*self.scratch)
                .for_each(|(w, s)| *w = *s);
            *bias = self.scratch.last().copied().unwrap_or(0.0);
        }
    }

    /// Makes sums of the solution: A = Rᵀ·R and B = A·W, in place.
    fn unsolve(&mut self) {
        if self.holds == Holds::Sums {
            return;
        }
        self.each_class(|r, w| {
            multiply(r, w);
            multiply_transposed(r, w);
        });
        square(self.factor, self.x.len());
        self.holds = Holds::Sums;
    }

    /// Makes the solution of sums.
    fn solve(&mut self) -> Result<(), TuneError> {
        if self.holds == Holds::Solution {
            return Ok(());
        }
        if !cholesky(self.factor, self.x.len()) {
            return Err(TuneError::NotFinite { epoch: 0, step: 0 });
        }
        self.each_class(|r, b| {
            solve_transposed(r, b);
            solve(r, b);
        });
        self.holds = Holds::Solution;
        Ok(())
    }
}

impl Method for Ridge<'_> {
    fn id(&self) -> MethodId {
        MethodId::Ridge
    }

    fn math(&self) -> Math {
        Math::Exact
    }

    fn classes(&self) -> usize {
        self.head.classes()
    }

    fn check(&self, features: &Features<'_>, label: u16) -> Result<(), TuneError> {
        self.head.check(features, label)
    }

    fn epochs(&self, _schedule: &Schedule) -> u32 {
        1
    }

    fn begin_epoch(&mut self, schedule: &Schedule, _epoch: u32) -> Result<(), TuneError> {
        schedule.validate()?;
        self.unsolve();
        Ok(())
    }

    /// Gathers a sample. The loss is 0: what it was is known after the last one.
    fn step(&mut self, features: &Features<'_>, label: u16, weight: f32) -> Result<f32, TuneError> {
        self.check(features, label)?;
        self.take(features)?;
        let mut rest = &mut *self.factor;
        let mut tail = &*self.x;
        while let Some((&x, _)) = tail.split_first() {
            let (row, after) = rest.split_at_mut_checked(tail.len()).unwrap_or_default();
            add_scaled(row, weight * x, tail);
            rest = after;
            tail = tail.get(1..).unwrap_or(&[]);
        }
        let class = usize::from(label);
        let row = rows_mut(self.head.weights, self.head.d_model()).nth(class);
        if let (Some(row), Some(bias)) = (row, self.head.bias.get_mut(class)) {
            // Without the 1 at its end.
            add_scaled(row, weight, self.x.get(..row.len()).unwrap_or(&[]));
            *bias += weight;
        }
        Ok(0.0)
    }

    fn end_epoch(&mut self) -> Result<(), TuneError> {
        self.solve()
    }

    fn is_finite(&self) -> bool {
        self.head.is_finite() && self.factor.iter().all(|r| r.is_finite())
    }

    fn restore(&mut self) {
        self.holds = Holds::Solution;
        self.head.restore();
        match self.origin {
            Some(origin) => {
                for (r, bytes) in self.factor.iter_mut().zip(origin) {
                    *r = f32::from_le_bytes(*bytes);
                }
                self.clear_classes(self.head.origin_classes());
            }
            None => {
                self.clear_classes(0);
                self.factor.fill(0.0);
                let root = sqrt(Math::Exact, self.options.lambda);
                let mut rest = &mut *self.factor;
                for len in (1..=self.x.len()).rev() {
                    let (row, after) = rest.split_at_mut_checked(len).unwrap_or_default();
                    if let Some(diagonal) = row.first_mut() {
                        *diagonal = if len == 1 {
                            sqrt(Math::Exact, BIAS_LAMBDA)
                        } else {
                            root
                        };
                    }
                    rest = after;
                }
            }
        }
    }

    fn logits(&mut self, features: &Features<'_>) -> Result<&[f32], TuneError> {
        self.take(features)?;
        Ok(self.logits.get(..self.head.classes()).unwrap_or(&[]))
    }

    fn tail_bytes(&self) -> usize {
        tail::head_bytes(&self.head) + 4 * self.factor.len()
    }

    fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError> {
        tail::Parts {
            head: &self.head,
            method: self.id(),
            math: self.math(),
            block_bytes: 0,
            state: self.factor,
        }
        .emit(out, |_| Ok(()))
    }
}

/// Returns row `i` of a packed upper triangle of `n` rows: its elements from the diagonal on.
fn row(factor: &[f32], n: usize, i: usize) -> &[f32] {
    let start = i * n - i * i.saturating_sub(1) / 2;
    factor
        .get(start..)
        .and_then(|r| r.get(..n - i))
        .unwrap_or(&[])
}

/// Splits row `i` off: it, and the rows after it.
fn row_and_rest(factor: &mut [f32], n: usize, i: usize) -> (&mut [f32], &mut [f32]) {
    let start = i * n - i * i.saturating_sub(1) / 2;
    let rows = factor.get_mut(start..).unwrap_or_default();
    rows.split_at_mut_checked(n - i).unwrap_or_default()
}

/// A ← R with Rᵀ·R = A; false where A is not positive definite.
fn cholesky(a: &mut [f32], n: usize) -> bool {
    for i in 0..n {
        let (pivot, mut rest) = row_and_rest(a, n, i);
        let diagonal = pivot.first().copied().unwrap_or(0.0);
        if !(diagonal.is_finite() && diagonal > 0.0) {
            return false;
        }
        let root = sqrt(Math::Exact, diagonal);
        pivot.iter_mut().for_each(|r| *r /= root);
        // The rows below lose what this one explains.
        for j in 1..n - i {
            let right = pivot.get(j..).unwrap_or(&[]);
            let factor = right.first().copied().unwrap_or(0.0);
            let (below, after) = rest.split_at_mut_checked(n - i - j).unwrap_or_default();
            add_scaled(below, -factor, right);
            rest = after;
        }
    }
    true
}

/// R ← A = Rᵀ·R, from the last row up: a row of A needs the rows of R above it.
fn square(r: &mut [f32], n: usize) {
    for i in (0..n).rev() {
        let start = i * n - i * i.saturating_sub(1) / 2;
        let (above, rest) = r.split_at_mut_checked(start).unwrap_or_default();
        let (own, _) = rest.split_at_mut_checked(n - i).unwrap_or_default();
        let diagonal = own.first().copied().unwrap_or(0.0);
        own.iter_mut().for_each(|x| *x *= diagonal);
        for k in 0..i {
            let right = row(above, n, k).get(i - k..).unwrap_or(&[]);
            let factor = right.first().copied().unwrap_or(0.0);
            add_scaled(own, factor, right);
        }
    }
}

/// v ← R·v
fn multiply(r: &[f32], v: &mut [f32]) {
    let n = v.len();
    for i in 0..n {
        let tail = v.get(i..).unwrap_or(&[]);
        let sum = dot(0.0, row(r, n, i), tail);
        if let Some(x) = v.get_mut(i) {
            *x = sum;
        }
    }
}

/// v ← Rᵀ·v
fn multiply_transposed(r: &[f32], v: &mut [f32]) {
    let n = v.len();
    for i in (0..n).rev() {
        let (own, after) = v.split_at_mut_checked(i + 1).unwrap_or_default();
        let Some(x) = own.last_mut() else { continue };
        if let Some((diagonal, right)) = row(r, n, i).split_first() {
            add_scaled(after, *x, right);
            *x *= diagonal;
        }
    }
}

/// v ← R⁻ᵀ·v
fn solve_transposed(r: &[f32], v: &mut [f32]) {
    let n = v.len();
    for i in 0..n {
        let (own, after) = v.split_at_mut_checked(i + 1).unwrap_or_default();
        let Some(x) = own.last_mut() else { continue };
        if let Some((diagonal, right)) = row(r, n, i).split_first() {
            *x /= diagonal;
            add_scaled(after, -*x, right);
        }
    }
}

/// v ← R⁻¹·v
fn solve(r: &[f32], v: &mut [f32]) {
    let n = v.len();
    for i in (0..n).rev() {
        let (own, after) = v.split_at_mut_checked(i + 1).unwrap_or_default();
        let Some(x) = own.last_mut() else { continue };
        if let Some((diagonal, right)) = row(r, n, i).split_first() {
            let below = dot(0.0, right, after);
            *x = (*x - below) / diagonal;
        }
    }
}

/// R ← the factor of Rᵀ·R + x·xᵀ; x is used up.
fn rotate_in(r: &mut [f32], x: &mut [f32]) {
    let n = x.len();
    let mut rest = r;
    let mut x = x;
    for i in 0..n {
        let (row, after) = rest.split_at_mut_checked(n - i).unwrap_or_default();
        let Some((diagonal, right)) = row.split_first_mut() else {
            return;
        };
        let Some((first, below)) = x.split_first_mut() else {
            return;
        };
        let length = sqrt(Math::Exact, *diagonal * *diagonal + *first * *first);
        let (c, s) = (*diagonal / length, *first / length);
        *diagonal = length;
        for (r, x) in right.iter_mut().zip(below.iter_mut()) {
            let old = *r;
            *r = c * old + s * *x;
            *x = c * *x - s * old;
        }
        rest = after;
        x = below;
    }
}
