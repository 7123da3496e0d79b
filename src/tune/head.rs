//! The linear head in RAM: f32 weights that training moves and inference reads.
//!
//! ```text
//! logit[c] = bias[c] + Σ_k weight[c][k] · x[k],   x[k] = (v[k] − zero_point) · scale
//! ```
//!
//! The sum starts at the bias and runs over `k` in ascending order, one rounding for the product and
//! one for the sum. A [`Tail`](super::Tail) read in place sums the same way: the same bits.
//!
//! A head begins as a copy of its [`HeadOrigin`] (the image's head, or a stored tail) and can go
//! back to it at any time, since the origin stays where it is, usually in flash. That is how an
//! aborted tune keeps the old tail without a second copy in RAM.
//!
//! RAM: `4 · capacity · (d_model + 1)` bytes, and 64 bytes a class for its name. Nothing allocates
//! or panics.

use super::{Buffer, HeadOrigin, TuneError};
use crate::model::{Cut, Features};
use crate::rows::{rows, rows_mut};

/// Bytes of UTF-8 that the name of an added class may have.
pub const NAME_BYTES: usize = 63;

/// The name of a class that was added at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassName(heapless::String<NAME_BYTES, u8>);

impl ClassName {
    /// An empty name: what unused places hold.
    pub const EMPTY: Self = Self(heapless::String::new());

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<&str> for ClassName {
    type Error = TuneError;

    /// # Errors
    /// [`TuneError::NameTooLong`] above [`NAME_BYTES`].
    fn try_from(name: &str) -> Result<Self, TuneError> {
        let text = name.try_into().map_err(|_| TuneError::NameTooLong {
            found: name.len(),
            capacity: NAME_BYTES,
        })?;
        Ok(Self(text))
    }
}

/// The buffers of a head, lent by the caller. The smallest decides how many classes fit.
#[derive(Debug)]
pub struct HeadBuffers<'m> {
    /// `[capacity][d_model]`, row-major without gaps.
    pub weights: &'m mut [f32],
    /// `[capacity]`.
    pub bias: &'m mut [f32],
    /// One for each class that may be added.
    pub names: &'m mut [ClassName],
}

/// A linear head over lent memory.
pub struct LinearHead<'m> {
    pub(super) weights: &'m mut [f32],
    pub(super) bias: &'m mut [f32],
    names: &'m mut [ClassName],
    d_model: usize,
    capacity: usize,
    classes: usize,
    model_classes: usize,
    origin: &'m dyn HeadOrigin,
}

impl<'m> LinearHead<'m> {
    /// Returns a head that is a copy of `origin`.
    ///
    /// # Errors
    /// A buffer that does not hold the origin's classes, a width of 0, or an added class whose name
    /// is too long.
    pub fn new(buffers: HeadBuffers<'m>, origin: &'m dyn HeadOrigin) -> Result<Self, TuneError> {
        let HeadBuffers {
            weights,
            bias,
            names,
        } = buffers;
        let (d_model, classes) = (origin.d_model(), origin.classes());
        let model_classes = origin.model_classes().min(classes);
        let Some(rows) = weights.len().checked_div(d_model) else {
            return Err(TuneError::NoFeatures);
        };
        let named = names.len().saturating_add(model_classes);
        // Labels are 16 bits wide.
        let capacity = rows.min(bias.len()).min(named).min(u16::MAX.into());
        if capacity < classes {
            let (buffer, needed, found) = if rows < classes {
                let needed = classes.saturating_mul(d_model);
                (Buffer::Weights, needed, weights.len())
            } else if bias.len() < classes {
                (Buffer::Bias, classes, bias.len())
            } else {
                (Buffer::Names, classes - model_classes, names.len())
            };
            return Err(TuneError::BufferTooSmall {
                buffer,
                needed,
                found,
            });
        }
        for (index, place) in names.iter_mut().enumerate().take(classes - model_classes) {
            *place = origin.added_name(index).unwrap_or("").try_into()?;
        }
        let mut head = Self {
            weights,
            bias,
            names,
            d_model,
            capacity,
            classes,
            model_classes,
            origin,
        };
        head.restore();
        Ok(head)
    }

    /// Returns the width of a feature.
    pub const fn d_model(&self) -> usize {
        self.d_model
    }

    /// Returns what the head reads.
    pub fn cut(&self) -> Cut {
        self.origin.cut()
    }

    /// Returns the number of classes, added ones included.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// Returns the number of the image's own classes.
    pub const fn model_classes(&self) -> usize {
        self.model_classes
    }

    /// Returns how many classes fit.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the name of an added class; `None` for the image's own, whose names it holds itself.
    pub fn added_name(&self, class: usize) -> Option<&str> {
        let index = class.checked_sub(self.model_classes)?;
        let names = self.names.get(..self.classes - self.model_classes)?;
        names.get(index).map(ClassName::as_str)
    }

    /// Returns the names of the added classes, in order.
    pub fn added_names(&self) -> impl Iterator<Item = &str> {
        let added = self.classes - self.model_classes;
        self.names.iter().take(added).map(ClassName::as_str)
    }

    /// Returns the weights of a class.
    pub fn weights(&self, class: usize) -> Option<&[f32]> {
        self.rows().nth(class)
    }

    /// Returns the bias of every class.
    pub fn bias(&self) -> &[f32] {
        self.bias.get(..self.classes).unwrap_or(&[])
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        rows(self.weights, self.d_model).take(self.classes)
    }

    /// Adds a class and returns its label.
    ///
    /// It starts as the mean of the classes before it: its logit is the mean of theirs, so until it
    /// is trained it wins no decision that one of them would have won.
    ///
    /// # Errors
    /// [`TuneError::ClassesFull`], [`TuneError::NameTooLong`], [`TuneError::NameTaken`].
    pub fn add_class(&mut self, name: &str) -> Result<u16, TuneError> {
        if let Some(index) = self.added_names().position(|known| known == name) {
            let class = (self.model_classes + index) as u16;
            return Err(TuneError::NameTaken { class });
        }
        let name = ClassName::try_from(name)?;
        let class = self.classes;
        let full = TuneError::ClassesFull {
            capacity: self.capacity,
        };
        if class >= self.capacity {
            return Err(full);
        }
        *self.names.get_mut(class - self.model_classes).ok_or(full)? = name;
        self.classes = class + 1;
        self.set_to_mean(class);
        Ok(class as u16)
    }

    /// Puts all numbers back to the origin's. Classes added since stay, untrained.
    pub fn restore(&mut self) {
        let known = self.origin.classes().min(self.classes);
        let rows = rows_mut(self.weights, self.d_model);
        for (class, (row, bias)) in rows.zip(self.bias.iter_mut()).enumerate().take(known) {
            *bias = self.origin.bias(class);
            for (k, weight) in row.iter_mut().enumerate() {
                *weight = self.origin.weight(class, k);
            }
        }
        for class in known..self.classes {
            self.set_to_mean(class);
        }
    }

    /// Makes `origin` the place to go back to. The numbers stay as they are.
    ///
    /// Call it after a tail was saved: what was saved is the old tail from then on.
    ///
    /// # Errors
    /// [`TuneError::Cut`], [`TuneError::FeatureLength`] or [`TuneError::ClassesFull`] if it is not a head of
    /// this shape with at most as many classes.
    pub fn set_origin(&mut self, origin: &'m dyn HeadOrigin) -> Result<(), TuneError> {
        if origin.d_model() != self.d_model {
            return Err(TuneError::FeatureLength {
                found: origin.d_model(),
                expected: self.d_model,
            });
        }
        let (found, expected) = (origin.cut(), self.cut());
        if found != expected {
            return Err(TuneError::Cut { found, expected });
        }
        if origin.classes() > self.classes {
            return Err(TuneError::ClassesFull {
                capacity: self.classes,
            });
        }
        self.origin = origin;
        Ok(())
    }

    /// Returns how many of the classes the origin has.
    pub(super) fn origin_classes(&self) -> usize {
        self.origin.classes().min(self.classes)
    }

    /// Lowers the bias of every class that the origin does not have.
    pub(super) fn lower_added(&mut self, by: f32) {
        let classes = self.origin_classes()..self.classes;
        let added = self.bias.get_mut(classes).unwrap_or_default();
        added.iter_mut().for_each(|bias| *bias -= by);
    }

    /// Returns an error unless a feature has the head's width and a usable scale, and a label names one
    /// of its classes.
    pub(super) fn check(&self, features: &Features<'_>, label: u16) -> Result<(), TuneError> {
        self.check_label(label)?;
        check(features, self.d_model)
    }

    /// Returns an error unless a label names a class.
    pub(super) fn check_label(&self, label: u16) -> Result<(), TuneError> {
        let (found, classes) = (label, self.classes);
        if usize::from(label) >= classes {
            return Err(TuneError::LabelOutOfRange { found, classes });
        }
        Ok(())
    }

    /// Sets a class to the mean of those before it.
    fn set_to_mean(&mut self, class: usize) {
        let factor = if class == 0 { 0.0 } else { 1.0 / class as f32 };
        let start = class * self.d_model;
        let Some((before, rest)) = self.weights.split_at_mut_checked(start) else {
            return;
        };
        for (k, weight) in rest.iter_mut().take(self.d_model).enumerate() {
            let column = before.iter().skip(k).step_by(self.d_model.max(1));
            *weight = column.fold(0.0, |sum, w| sum + w) * factor;
        }
        let biases = self.bias.get_mut(..=class);
        if let Some((last, before)) = biases.and_then(<[f32]>::split_last_mut) {
            *last = before.iter().fold(0.0, |sum, b| sum + b) * factor;
        }
    }

    /// Writes the logits of the first `out.len()` classes.
    ///
    /// # Errors
    /// [`TuneError::FeatureLength`] or [`TuneError::FeatureScale`].
    pub fn logits(&self, features: &Features<'_>, out: &mut [f32]) -> Result<(), TuneError> {
        check(features, self.d_model)?;
        for ((out, row), bias) in out.iter_mut().zip(self.rows()).zip(self.bias.iter()) {
            *out = logit(*bias, row.iter().copied(), features);
        }
        Ok(())
    }

    /// Returns whether every weight and bias is finite.
    pub fn is_finite(&self) -> bool {
        self.bias().iter().all(|b| b.is_finite()) && self.rows().flatten().all(|w| w.is_finite())
    }
}

/// Returns an error unless the feature has the head's width and a usable scale.
pub(super) fn check(features: &Features<'_>, d_model: usize) -> Result<(), TuneError> {
    if features.values.len() != d_model {
        return Err(TuneError::FeatureLength {
            found: features.values.len(),
            expected: d_model,
        });
    }
    if !(features.scale.is_finite() && features.scale > 0.0) {
        return Err(TuneError::FeatureScale {
            found: features.scale,
        });
    }
    Ok(())
}

/// Returns the real value of one element of a feature.
#[inline(always)]
pub(super) fn dequantize(value: i8, scale: f32, zero_point: i8) -> f32 {
    (i32::from(value) - i32::from(zero_point)) as f32 * scale
}

/// Returns one logit, summed in the order that the module documents.
#[inline]
pub(super) fn logit(bias: f32, row: impl Iterator<Item = f32>, features: &Features<'_>) -> f32 {
    row.zip(features.values).fold(bias, |sum, (w, &v)| {
        sum + w * dequantize(v, features.scale, features.zero_point)
    })
}

/// Returns the index of the greatest value, the first of equals; `None` if there is none or one is
/// NaN.
pub fn argmax(values: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, &value) in values.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, greatest)| value > greatest) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}
