//! The whole last block, its weights trained in f32 beside the int8 ones that the forward uses.
//!
//! ```text
//! u[c][k]   the weight by its channel's scale, s[c]: real weight = s·u; from q on
//! plain:     u ← u − rate·g[c]·x[k]/s[c]                    clipped to ±127
//! momentum:  V ← momentum·V − (rate/B)·g[c]·x[k]/s[c]       for the first sample of a batch of B,
//!            V ← V − (rate/B)·g[c]·x[k]/s[c]                for each other one; then
//!            u ← u + V                                      clipped to ±127
//! after a step:  q[c][k] ← u[c][k] rounded, half to even
//! ```
//!
//! g·x is a weight's gradient in real units, taken through the int8 weights q as if they had not been rounded
//! (straight-through): u is what is called a master copy in mixed-precision training (Micikevicius et al.,
//! arXiv 1710.03740). Steps far below a unit of q add up in u, so nothing is left to chance as it is
//! [in place](super::in_place), and weights can have momentum. The scales stay those of the image. Norms
//! and biases are trained beside it, in f32, as `norm-bias` does. The tail is that of `last-block`, and holds
//! int8 weights only: what u has beyond q is lost when training ends. Weight decay does not pull the weights,
//! and where the optimizer is Adam they still step as above.
//!
//! RAM beside that of `in_place`: the copy, `4 · (4·d² + 2·d·d_ff)` bytes, and as much again for velocities
//! where there is momentum or a batch of more than one. KWT-1: 192 KiB, or 384 KiB.
//! Multiply-accumulates of a step: as `in_place`; the weights' steps are twice as many with velocities.

use super::last::{LastBlockPart, Rule, Tensors};
use super::method::{BlockBuffers, BlockMethod, BlockOptions};
use super::view::{BlockView, Projection, Scaled};
use crate::image::{Image, ModelConfig};
use crate::rows::rows_mut;
use crate::tune::softmax::{Softmax, enough};
use crate::tune::{Buffer, Schedule, TuneError};
use core::ops::Range;

/// Returns the number of weights.
pub const fn master_len(config: &ModelConfig) -> usize {
    let (d, ff) = (config.d_model as usize, config.d_ff as usize);
    4 * d * d + 2 * d * ff
}

/// The memory of the copy, lent by the caller.
#[derive(Debug, Default)]
pub struct MasterBuffers<'m> {
    /// The copy: [`master_len`].
    pub weights: &'m mut [f32],
    /// Velocities: as long, or empty for weights without momentum and schedules with batches of one.
    pub velocity: &'m mut [f32],
}

/// Moves a copy of the weights, and the int8 weights after it.
pub struct Master<'m> {
    weights: &'m mut [f32],
    velocity: &'m mut [f32],
    view: BlockView<'m>,
    share: f32,
    /// What a sample's step is multiplied by.
    rate: f32,
    momentum: f32,
    batch: u32,
    gathered: u32,
}

/// The largest weight, in units.
const LIMIT: f32 = 127.0;

/// Adds to a weight, and returns it rounded.
fn moved(u: &mut f32, by: f32) -> i8 {
    *u = (*u + by).clamp(-LIMIT, LIMIT);
    libm::rintf(*u) as i8
}

impl Master<'_> {
    /// Returns where a projection's weights lie, `[out][in]`.
    fn place(&self, projection: Projection) -> Range<usize> {
        let size = |p| {
            let (rows, columns) = self.view.shape(p);
            rows * columns
        };
        let before = Projection::ALL.into_iter().take(projection as usize);
        let start = before.map(size).sum();
        start..start + size(projection)
    }
}

impl Rule for Master<'_> {
    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        if schedule.batch > 1 {
            enough(Buffer::Velocity, self.velocity.len(), self.weights.len())?;
        }
        self.rate = schedule.rate(epoch) * self.share / schedule.batch.max(1) as f32;
        self.momentum = schedule.momentum;
        (self.batch, self.gathered) = (schedule.batch, 0);
        if epoch == 0 {
            self.velocity.fill(0.0);
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
        let scales = self.view.scales(projection);
        let zero = scales.input.zero as i32;
        let (_, columns) = self.view.shape(projection);
        let place = self.place(projection);
        let rate = self.rate * x.scale;
        let Some(mut packed) = tensors.packed(projection) else {
            return;
        };
        let plain = self.velocity.is_empty();
        let moving = if plain {
            &mut *self.weights
        } else {
            &mut *self.velocity
        };
        let moving = moving.get_mut(place).unwrap_or_default();
        let moving = rows_mut(moving, columns).skip(channels.start);
        for ((channel, &g), row) in channels.zip(dy).zip(moving) {
            let scale = scales.weight(packed.epilogue(channel).unwrap_or([0; 2]));
            if g == 0.0 || scale <= 0.0 {
                continue;
            }
            let slope = -rate * g / scale;
            let steps = x.values.iter().map(|v| slope * (v - x.zero));
            if plain {
                packed.change(channel, zero, row.iter_mut().zip(steps), |_, (u, by)| {
                    moved(u, by)
                });
            } else {
                row.iter_mut().zip(steps).for_each(|(v, by)| *v += by);
            }
        }
    }

    fn sample_done(&mut self, tensors: &mut Tensors<'_>) {
        self.gathered = self.gathered.saturating_add(1);
        if self.gathered >= self.batch {
            self.flush(tensors);
        }
    }

    fn flush(&mut self, tensors: &mut Tensors<'_>) {
        if core::mem::take(&mut self.gathered) == 0 || self.velocity.is_empty() {
            return;
        }
        for projection in Projection::ALL {
            let place = self.place(projection);
            let (_, columns) = self.view.shape(projection);
            let zero = self.view.scales(projection).input.zero as i32;
            let weights = self.weights.get_mut(place.clone()).unwrap_or_default();
            let velocity = self.velocity.get_mut(place).unwrap_or_default();
            let Some(mut packed) = tensors.packed(projection) else {
                continue;
            };
            let all = rows_mut(weights, columns).zip(rows_mut(velocity, columns));
            for (channel, (weights, velocity)) in all.enumerate() {
                let items = weights.iter_mut().zip(velocity);
                packed.change(channel, zero, items, |_, (u, v)| {
                    let q = moved(u, *v);
                    // As the next batch begins.
                    *v *= self.momentum;
                    q
                });
            }
        }
    }

    fn is_finite(&self) -> bool {
        let all = self.weights.iter().chain(&*self.velocity);
        all.copied().all(f32::is_finite)
    }

    fn restart(&mut self, tensors: &Tensors<'_>) {
        for projection in Projection::ALL {
            let place = self.place(projection);
            let (_, columns) = self.view.shape(projection);
            let linear = tensors.linear(projection);
            let weights = self.weights.get_mut(place).unwrap_or_default();
            for (channel, row) in rows_mut(weights, columns).enumerate() {
                for (column, u) in row.iter_mut().enumerate() {
                    *u = linear.weight(channel, column).into();
                }
            }
        }
        self.velocity.fill(0.0);
    }
}

/// Trains the whole last block by a copy of its weights in f32, and the head: see the [module](self).
pub type LastBlockMaster<'m> = BlockMethod<'m, LastBlockPart<'m, Master<'m>>>;

impl<'m> LastBlockMaster<'m> {
    /// Returns the method over an image (a [patched](Image::patched) one, to go on from a tail) and a
    /// head. `block` holds the int8 weights: [`block_bytes`](super::block_bytes), from a multiple of 16 on.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`]; [`TuneError::NoBlock`] for a model that pools the mean, or where
    /// `block` is misaligned.
    pub fn new(
        image: &Image<'m>,
        head: Softmax<'m>,
        block: &'m mut [u8],
        master: MasterBuffers<'m>,
        buffers: BlockBuffers<'m>,
        options: BlockOptions,
    ) -> Result<Self, TuneError> {
        let len = master_len(image.config());
        Self::with_rule(image, head, block, buffers, options, |tensors| {
            enough(Buffer::Parameters, master.weights.len(), len)?;
            if !master.velocity.is_empty() {
                enough(Buffer::Velocity, master.velocity.len(), len)?;
            }
            let mut rule = Master {
                weights: master.weights.get_mut(..len).unwrap_or_default(),
                velocity: master.velocity.get_mut(..len).unwrap_or_default(),
                view: tensors.view,
                share: options.rate,
                rate: 0.0,
                momentum: 0.0,
                batch: 1,
                gathered: 0,
            };
            rule.restart(tensors);
            Ok(rule)
        })
    }

    /// Returns the copy and its velocities (empty where none were lent), in units of the int8 weights: those
    /// of query, key, value, out, the first feed-forward layer, the second, each `[out][in]`.
    pub const fn weights(&self) -> (&[f32], &[f32]) {
        let rule = self.rule();
        (rule.weights, rule.velocity)
    }
}
