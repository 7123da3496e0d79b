//! Nearest class mean: one pass, new classes at any time, one class forgotten on request.
//!
//! ```text
//! n[c] ← n[c] + w,   μ[c] ← μ[c] + (w / n[c])·(x − μ[c])          for a sample x of class c, weight w
//! argmin_c ‖x − μ[c]‖² = argmax_c μ[c]·x − ‖μ[c]‖²/2
//! ```
//!
//! (Mensink et al., TPAMI 2013.) The second form is a linear head: weights μ, biases −‖μ‖²/2, and so is the
//! tail. It also holds n, so that means go on growing after a reset. A class without a sample is never
//! named: its weights are 0 and its bias is [`NEVER`]. That goes for the image's own classes too, whose
//! head holds no means; show a few samples of those that are still to be told apart.
//!
//! RAM beside the [head](super::LinearHead): `4 · (d_model + 2 · capacity)` bytes. For d_model 64 and 16
//! classes, names included: 5.6 KiB. Instructions of a sample, logits included: about `25 · d_model +
//! classes · (3.8 · d_model + 95)`. [`TunePlan`](super::TunePlan) gives both for any model.

use super::head::{LinearHead, check, dequantize};
use super::math::Math;
use super::softmax::enough;
use super::vector::{dot, each};
use super::{Buffer, Method, MethodId, Schedule, TailError, TuneError, tail};
use crate::model::Features;
use crate::rows::{rows, rows_mut};

/// The bias of a class without a sample.
pub const NEVER: f32 = -1e30;

/// The buffers of an [`Ncm`], lent by the caller.
#[derive(Debug)]
pub struct NcmBuffers<'m> {
    /// One dequantized feature, `[d_model]`.
    pub features: &'m mut [f32],
    /// `[capacity of the head]`.
    pub logits: &'m mut [f32],
    /// Weight of each class's samples, `[capacity of the head]`.
    pub counts: &'m mut [f32],
}

/// Nearest class mean: see the [module](self).
pub struct Ncm<'m> {
    head: LinearHead<'m>,
    features: &'m mut [f32],
    logits: &'m mut [f32],
    counts: &'m mut [f32],
    /// Counts of the tail that the head started from; none where it was no tail of this method.
    origin: Option<&'m [[u8; 4]]>,
}

impl<'m> Ncm<'m> {
    /// Returns the method over a head. Where the head's origin is a tail of this method, `origin` is
    /// that tail's [state](tail::Tail::state); else the means start from nothing.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`].
    pub fn new(
        head: LinearHead<'m>,
        buffers: NcmBuffers<'m>,
        origin: Option<&'m [[u8; 4]]>,
    ) -> Result<Self, TuneError> {
        let (d_model, capacity) = (head.d_model(), head.capacity());
        enough(Buffer::Features, buffers.features.len(), d_model)?;
        enough(Buffer::Logits, buffers.logits.len(), capacity)?;
        enough(Buffer::Counts, buffers.counts.len(), capacity)?;
        let mut ncm = Self {
            head,
            features: buffers.features.get_mut(..d_model).unwrap_or_default(),
            logits: buffers.logits,
            counts: buffers.counts,
            origin,
        };
        ncm.restore();
        Ok(ncm)
    }

    /// Returns the head.
    pub const fn head(&self) -> &LinearHead<'m> {
        &self.head
    }

    /// Adds a class and returns its label.
    ///
    /// # Errors
    /// See [`LinearHead::add_class`].
    pub fn add_class(&mut self, name: &str) -> Result<u16, TuneError> {
        let class = self.head.add_class(name)?;
        self.forget(class);
        Ok(class)
    }

    /// Forgets everything of a class: it is not named again before its next sample.
    pub fn forget(&mut self, class: u16) {
        let class = usize::from(class);
        if let Some(count) = self.counts.get_mut(class) {
            *count = 0.0;
        }
        if let Some(row) = rows_mut(self.head.weights, self.head.d_model()).nth(class) {
            row.fill(0.0);
        }
        if let Some(bias) = self.head.bias.get_mut(class) {
            *bias = NEVER;
        }
    }

    /// Returns how much a class's samples weigh together.
    pub fn count(&self, class: u16) -> f32 {
        self.counts.get(usize::from(class)).copied().unwrap_or(0.0)
    }

    fn take(&mut self, features: &Features<'_>) -> Result<(), TuneError> {
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

    /// Returns the squared distances to the nearest class and to the second nearest, and the nearest
    /// class; none with fewer than two classes that have samples.
    ///
    /// # Errors
    /// As [`Method::logits`].
    pub fn nearest(&mut self, features: &Features<'_>) -> Result<Option<Nearest>, TuneError> {
        self.take(features)?;
        let norm = dot(0.0, self.features, self.features);
        let (mut best, mut second) = (None, None);
        let classes = self.logits.iter().zip(self.counts.iter()).enumerate();
        for (class, (&logit, &count)) in classes.take(self.head.classes()) {
            // Rounding may leave a distance just below 0.
            let distance = norm - 2.0 * logit;
            let distance = if distance > 0.0 { distance } else { 0.0 };
            if count <= 0.0 {
                continue;
            }
            match best {
                Some((_, least)) if distance >= least => {
                    if second.is_none_or(|s| distance < s) {
                        second = Some(distance);
                    }
                }
                _ => {
                    second = best.map(|(_, least)| least);
                    best = Some((class as u16, distance));
                }
            }
        }
        Ok(best.zip(second).map(|((class, distance), second)| Nearest {
            class,
            distance,
            second,
        }))
    }
}

/// What is nearest to a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Nearest {
    /// The nearest class.
    pub class: u16,
    /// Squared distance to its mean.
    pub distance: f32,
    /// Squared distance to the mean of the second nearest.
    pub second: f32,
}

impl Method for Ncm<'_> {
    fn id(&self) -> MethodId {
        MethodId::Ncm
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
        schedule.validate()
    }

    /// The loss is half the squared distance to the class's mean from before; 0 for its first sample.
    fn step(&mut self, features: &Features<'_>, label: u16, weight: f32) -> Result<f32, TuneError> {
        self.check(features, label)?;
        self.take(features)?;
        let class = usize::from(label);
        let norm = dot(0.0, self.features, self.features);
        let logit = self.logits.get(class).copied().unwrap_or(0.0);
        let row = rows_mut(self.head.weights, self.head.d_model()).nth(class);
        let places = (
            row,
            self.counts.get_mut(class),
            self.head.bias.get_mut(class),
        );
        let (Some(row), Some(count), Some(bias)) = places else {
            return Ok(0.0);
        };
        let loss = if *count > 0.0 {
            norm / 2.0 - logit
        } else {
            0.0
        };
        let total = *count + weight;
        if !(norm.is_finite() && total > 0.0) {
            return Ok(if norm.is_finite() { 0.0 } else { norm });
        }
        *count = total;
        let share = weight / total;
        each(row, self.features, |mean, x| *mean += share * (x - *mean));
        *bias = -0.5 * dot(0.0, row, row);
        Ok(loss)
    }

    fn is_finite(&self) -> bool {
        self.head.is_finite()
    }

    fn restore(&mut self) {
        self.head.restore();
        let known = self.origin.map_or(0, <[_]>::len);
        for class in 0..self.head.classes() {
            if class >= known {
                self.forget(class as u16);
            }
        }
        for (count, bytes) in self.counts.iter_mut().zip(self.origin.unwrap_or(&[])) {
            *count = f32::from_le_bytes(*bytes);
        }
    }

    fn logits(&mut self, features: &Features<'_>) -> Result<&[f32], TuneError> {
        self.take(features)?;
        Ok(self.logits.get(..self.head.classes()).unwrap_or(&[]))
    }

    fn tail_bytes(&self) -> usize {
        tail::head_bytes(&self.head) + 4 * self.head.classes()
    }

    fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError> {
        let counts = self.counts.get(..self.head.classes()).unwrap_or(&[]);
        tail::Parts {
            head: &self.head,
            method: self.id(),
            math: self.math(),
            block_bytes: 0,
            state: counts,
        }
        .emit(out, |_| Ok(()))
    }
}
