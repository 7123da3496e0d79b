//! From a row of the last block to the logits of the next token: by the image's output projection, or by a
//! head that stands in for it.

use super::super::plan::bytes_mut;
use super::super::view::{global_norm, requantize};
use super::super::{Features, InputError};
use super::Decoder;
use super::plan::Regions;
use crate::image::{Image, Tensor, TensorKind};
use crate::kernels::{Panel, layer_norm_i16, linear_i16, requantize_row};
use core::fmt;

/// Real value of one step of a logit of an [`OutputHead`].
pub const OUTPUT_HEAD_SCALE: f32 = 1.0 / 2048.0;

/// A head that stands in for a decoder's output projection, a tuned one for instance.
///
/// Its outputs are the vocabulary's tokens, and after them tokens that were added. An added token has a
/// logit and no embedding: where it is fed, a token of the vocabulary is fed in its place.
pub trait OutputHead: fmt::Debug {
    /// Returns the width of a row.
    fn width(&self) -> usize;

    /// Returns the number of outputs, at least the vocabulary's.
    fn outputs(&self) -> usize;

    /// Returns one output's logit of a row.
    fn logit(&self, output: usize, row: &Features<'_>) -> f32;

    /// Returns the token of the vocabulary that is fed for an output.
    fn fed_as(&self, output: u32) -> u32;
}

/// Writes a head's logits of a row as their distance from the greatest, which is [`i16::MAX`]: one step is
/// [`OUTPUT_HEAD_SCALE`], so that 32 below the greatest and more are all alike. Neither a search nor a
/// softmax sees what all logits have in common. Each logit is computed twice, which needs no f32 memory.
fn write_logits(head: &dyn OutputHead, row: &Features<'_>, logits: &mut [i16]) {
    let outputs = 0..logits.len();
    let all = outputs.map(|output| head.logit(output, row));
    let greatest = all.fold(f32::NEG_INFINITY, |m, l| if l > m { l } else { m });
    for (output, place) in logits.iter_mut().enumerate() {
        let steps = (head.logit(output, row) - greatest) / OUTPUT_HEAD_SCALE;
        // What is no number is the least.
        let steps = libm::rintf(steps + 32767.0).max(-32768.0);
        *place = steps as i16;
    }
}

impl Decoder<'_> {
    /// Feeds the next tokens of the first sequence and calls `each(i, row)` with the row that the output
    /// projection reads after every token: teacher forcing, where `tokens` are what should have been
    /// written. Each row with the token after it is a labelled sample for [tuning](crate::tune). Writes no
    /// logits.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn extend_rows(
        &mut self,
        tokens: &[u32],
        mut each: impl FnMut(usize, &Features<'_>),
    ) -> Result<(), InputError> {
        self.feed(tokens, None, |decoder, index, row| {
            if let Some(features) = decoder.output_row(row) {
                each(index, &features);
            }
        })
    }

    fn output_row(&mut self, row: usize) -> Option<Features<'_>> {
        let d = usize::from(self.image.config().d_model);
        let r = Regions::split(&self.plan, self.arena).ok()?;
        let residual = r.residual.get_mut(row * d..(row + 1) * d)?;
        let tensor = self.output_input;
        features(&self.image, &tensor, residual, bytes_mut(r.scratch))
    }

    /// Writes the logits of a sequence from a row of the residual.
    pub(super) fn project(&mut self, row: usize, lane: usize) -> Option<()> {
        let d = usize::from(self.image.config().d_model);
        let place = lane * self.outputs..(lane + 1) * self.outputs;
        let r = Regions::split(&self.plan, self.arena).ok()?;
        let residual = r.residual.get_mut(row * d..(row + 1) * d)?;
        let logits = r.logits.get_mut(place)?;
        let tensor = self.output_input;
        let features = features(&self.image, &tensor, residual, bytes_mut(r.scratch))?;
        match self.head {
            Some(head) => write_logits(head, &features, logits),
            None => {
                let mut input = Panel::new(r.rows, 1, d);
                input.fill(features.values);
                linear_i16(&self.output, &input, logits);
            }
        }
        Some(())
    }
}

/// Normalises a row of the residual, and returns what the output projection reads of it.
fn features<'r>(
    image: &Image<'_>,
    input: &Tensor<'_>,
    residual: &mut [i16],
    out: &'r mut [i8],
) -> Option<Features<'r>> {
    if let Some(norm) = global_norm(image, TensorKind::DecoderNorm) {
        layer_norm_i16(&norm, residual);
    }
    let values = out.get_mut(..residual.len())?;
    requantize_row(&requantize(input), residual, values);
    Some(Features {
        values,
        scale: input.scale(),
        zero_point: input.entry().zero_point,
    })
}
