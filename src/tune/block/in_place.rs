//! The whole last block, its int8 weights trained where they lie.
//!
//! ```text
//! q[c][k] ← q[c][k] + ⌊−rate·g[c]·x[k]/s[c] + ξ⌋     clipped to ±127; ξ uniform in 0..1
//! ```
//!
//! q is a weight in int8, `s[c]` its channel's scale, g·x its gradient in real units. In units of the integer
//! weight the gradient is s·g·x, and a step of it would be s² times too small against the weight: dividing by
//! s² is the quantization-aware scaling of Lin et al. ("On-Device Training Under 256KB Memory",
//! arXiv 2206.15472), which is the formula above. Most steps are below one unit: stochastic rounding (Gupta
//! et al., arXiv 1502.02551) keeps their mean. ξ comes from a linear congruential generator seeded by the
//! schedule: the same on host and device. A weight's step also moves its channel's bias, into which the
//! input's zero point is folded. Norms and biases are trained beside it, in f32, as `norm-bias` does.
//!
//! No gradient of a weight is kept, so a batch is one sample for the weights: schedules with more are
//! refused.
//!
//! RAM beside the head: the block itself (`patch_bytes`; KWT-1: 54.0 KiB), and that of `norm-bias`. Where there
//! is RAM for the weights in f32 too: [`master`](super::master).
//! Multiply-accumulates of a step: as `norm-bias`, and `4·d² + 2·d·d_ff` steps of weights; KWT-1 on a Cortex-M4
//! with FPU: 3.9 million instructions. [`TunePlan`](crate::tune::TunePlan) gives both for any model.

use super::last::{LastBlockPart, Rule, Tensors};
use super::method::{BlockBuffers, BlockMethod, BlockOptions};
use super::view::{Projection, Scaled};
use crate::image::Image;
use crate::tune::shuffle::mix;
use crate::tune::softmax::Softmax;
use crate::tune::{Schedule, ScheduleField, TuneError};
use core::ops::Range;

/// Moves int8 weights by chance.
pub struct InPlace {
    rate: f32,
    share: f32,
    state: u32,
}

impl Rule for InPlace {
    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        if schedule.batch != 1 {
            return Err(TuneError::Schedule(ScheduleField::Batch));
        }
        self.rate = schedule.rate(epoch);
        if epoch == 0 {
            // Neighbouring seeds must not start alike.
            self.state = mix(schedule.seed);
        }
        Ok(())
    }

    fn gradient(
        &mut self,
        tensors: &mut Tensors<'_>,
        projection: Projection,
        channels: Range<usize>,
        dy: &[f32],
        x: Scaled<'_>,
    ) {
        let scales = tensors.view.scales(projection);
        let (rate, mut state) = (self.rate * self.share * x.scale, self.state);
        let Some(mut packed) = tensors.packed(projection) else {
            return;
        };
        for (channel, &g) in channels.zip(dy) {
            let scale = scales.weight(packed.epilogue(channel).unwrap_or([0; 2]));
            if g == 0.0 || scale <= 0.0 {
                continue;
            }
            let slope = -rate * g / scale;
            let zero = scales.input.zero as i32;
            packed.change(channel, zero, x.values.iter(), |w, v| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let uniform = (state >> 8) as f32 * (1.0 / 16_777_216.0);
                let step = (slope * (v - x.zero)).clamp(-254.0, 254.0) + uniform;
                // Rounded down: the sum is above −256.
                let step = (step + 256.0) as i32 - 256;
                (i32::from(w) + step).clamp(-127, 127) as i8
            });
        }
        self.state = state;
    }
}

/// Trains the whole last block in place, and the head: see the [module](self).
pub type LastBlock<'m> = BlockMethod<'m, LastBlockPart<'m, InPlace>>;

impl<'m> LastBlock<'m> {
    /// Returns the method over an image (a [patched](Image::patched) one, to go on from a tail) and a
    /// head. `block` holds the weights that are trained: [`block_bytes`](super::block_bytes), from a multiple
    /// of 16 on.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`]; [`TuneError::NoBlock`] for a model that pools the mean, or where
    /// `block` is misaligned.
    pub fn new(
        image: &Image<'m>,
        head: Softmax<'m>,
        block: &'m mut [u8],
        buffers: BlockBuffers<'m>,
        options: BlockOptions,
    ) -> Result<Self, TuneError> {
        let rule = InPlace {
            rate: 0.0,
            share: options.rate,
            state: 1,
        };
        Self::with_rule(image, head, block, buffers, options, |_| Ok(rule))
    }
}
