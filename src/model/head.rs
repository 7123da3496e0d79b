//! The linear head that an image ships: pooled feature → int16 logits, or a decoder's row → logits of the
//! next token.

use super::view::linear;
use super::{EncoderError, Features};
use crate::image::{DecoderConfig, Image, NO_LAYER, Tensor, TensorKind};
use crate::kernels::{Linear, linear_row_i16};

/// What a linear head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cut {
    /// An encoder's pooled feature.
    #[default]
    Pooled,
    /// The row that a decoder's output projection reads, after every token.
    Output,
}

/// A linear head, int8, with int16 logits of one scale.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    linear: Linear<'a>,
    logit_scale: f32,
    feature_scale: f32,
    feature_zero_point: i32,
    cut: Cut,
}

impl<'a> Head<'a> {
    /// Returns the image's head.
    ///
    /// # Errors
    /// [`EncoderError::MissingTensor`] if the image has none (`n_classes` is 0).
    pub fn new(image: &Image<'a>) -> Result<Self, EncoderError> {
        use TensorKind::{Head, HeadEpilogue};
        Self::of(image, image.feature(), Head, HeadEpilogue, Cut::Pooled)
            .ok_or(EncoderError::MissingTensor)
    }

    /// Returns the output projection of the image's decoder: its classes are the output's vocabulary.
    ///
    /// # Errors
    /// [`EncoderError::NoDecoder`].
    pub fn output(image: &Image<'a>) -> Result<Self, EncoderError> {
        use TensorKind::{OutputEpilogue, OutputInput};
        let config = image.config().decoder.ok_or(EncoderError::NoDecoder)?;
        let weight = output_weight(&config);
        let input = image.tensor(OutputInput, NO_LAYER);
        Self::of(image, input, weight, OutputEpilogue, Cut::Output)
            .ok_or(EncoderError::MissingTensor)
    }

    fn of(
        image: &Image<'a>,
        input: Option<Tensor<'a>>,
        weight: TensorKind,
        epilogue: TensorKind,
        cut: Cut,
    ) -> Option<Self> {
        let input = input?;
        Some(Self {
            linear: linear(image, weight, epilogue, NO_LAYER)?,
            logit_scale: image.tensor(epilogue, NO_LAYER)?.scale(),
            feature_scale: input.scale(),
            feature_zero_point: input.zero_point(),
            cut,
        })
    }

    /// Returns what it reads.
    pub const fn cut(&self) -> Cut {
        self.cut
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

/// Returns the tensor that holds the output projection's weights.
pub(super) const fn output_weight(config: &DecoderConfig) -> TensorKind {
    match config.tied {
        true => TensorKind::TargetTable,
        false => TensorKind::OutputProjection,
    }
}
