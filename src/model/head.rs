//! The classification head that an image ships: pooled feature → int16 logits.

use super::view::linear;
use super::{EncoderError, Features};
use crate::image::{Image, NO_LAYER, TensorKind};
use crate::kernels::{Linear, linear_row_i16};

/// A linear head, int8, with int16 logits of one scale.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    linear: Linear<'a>,
    logit_scale: f32,
    feature_scale: f32,
    feature_zero_point: i32,
}

impl<'a> Head<'a> {
    /// Returns the image's head.
    ///
    /// # Errors
    /// [`EncoderError::MissingTensor`] if the image has none (`n_classes` is 0).
    pub fn new(image: &Image<'a>) -> Result<Self, EncoderError> {
        use TensorKind::{Head, HeadEpilogue};
        let missing = EncoderError::MissingTensor;
        let feature = image.feature().ok_or(missing)?;
        Ok(Self {
            linear: linear(image, Head, HeadEpilogue, NO_LAYER).ok_or(missing)?,
            logit_scale: image.tensor(HeadEpilogue, NO_LAYER).ok_or(missing)?.scale(),
            feature_scale: feature.scale(),
            feature_zero_point: feature.zero_point(),
        })
    }

    /// Returns the number of classes.
    pub const fn n_classes(&self) -> usize {
        self.linear.epilogue.len()
    }

    /// Returns the width of a feature.
    pub const fn n_features(&self) -> usize {
        self.linear.in_features
    }

    /// Returns the real value of one step of a logit.
    pub const fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// Writes the logits, int16 `[n_classes]`; real value = logit · [`logit_scale`](Self::logit_scale).
    /// A shorter `output` gets the first ones.
    pub fn logits(&self, features: &Features<'_>, output: &mut [i16]) {
        linear_row_i16(&self.linear, features.values, output);
    }

    /// Returns the dequantized weight from feature `column` to `class` (0 where there is none): where
    /// tuning starts from. It multiplies the real value of a feature.
    pub fn weight(&self, class: usize, column: usize) -> f32 {
        f32::from(self.linear.weight(class, column)) * self.weight_scale(class)
    }

    /// Returns the dequantized bias of `class` (0 where there is none).
    pub fn bias(&self, class: usize) -> f32 {
        let columns = 0..self.linear.in_features;
        let sum = columns.fold(0i32, |sum, column| {
            sum.wrapping_add(self.linear.weight(class, column).into())
        });
        let [bias, _] = self.linear.epilogue.get(class).copied().unwrap_or([0; 2]);
        // The zero point of the features was folded into the bias: take it out again.
        let bias = bias.wrapping_add(sum.wrapping_mul(self.feature_zero_point));
        bias as f32 * self.weight_scale(class) * self.feature_scale
    }

    /// The real value of one step of a class's weights, from its requantize factor.
    fn weight_scale(&self, class: usize) -> f32 {
        let [_, mantissa] = self.linear.epilogue.get(class).copied().unwrap_or([0; 2]);
        let exponent =
            i32::from(self.linear.scaling.pre_shift) - i32::from(self.linear.scaling.shift);
        libm::ldexpf(mantissa as f32, exponent) * self.logit_scale / self.feature_scale
    }
}
