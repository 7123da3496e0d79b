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
//! RAM beside the head: the block itself (`patch_bytes`; KWT-1: 54.0 KiB), and that of `norm-bias`.
//! Multiply-accumulates of a step: as `norm-bias`, and `4·d² + 2·d·d_ff` steps of weights; KWT-1 on a Cortex-M4
//! with FPU: 3.9 million instructions. [`TunePlan`](crate::tune::TunePlan) gives both for any model.

use super::affine::{self, Affine, Places, affine_len, is_affine, merge, pair_of, reset, set_pair};
use super::flat::Flat;
use super::method::{BlockBuffers, BlockMethod, BlockOptions, Part};
use super::product::{Scaled, Weights};
use super::view::{BlockView, Projection, Scales};
use crate::image::{
    Image, ModelConfig, TensorKind, TensorSpec, copy_patch, patch_bytes, patch_range,
    planned_patch_bytes,
};
use crate::kernels::Linear;
use crate::tune::shuffle::mix;
use crate::tune::softmax::{Softmax, enough};
use crate::tune::{Buffer, Method, MethodId, Schedule, ScheduleField, TailError, TuneError};
use core::ops::Range;
use zerocopy::{FromBytes, IntoBytes};

/// The block's tensors beside those of [`affine`](super): every projection's weights, and the keys' epilogue.
const TENSORS: [TensorKind; 7] = [
    TensorKind::Query,
    TensorKind::Key,
    TensorKind::KeyEpilogue,
    TensorKind::Value,
    TensorKind::Out,
    TensorKind::Ff1,
    TensorKind::Ff2,
];

/// Returns whether a tensor is one of those that the method makes.
fn is_chosen(view: &BlockView<'_>, image: &Image<'_>, spec: &TensorSpec) -> bool {
    let of_block = spec.layer == view.layer && TENSORS.contains(&spec.kind);
    of_block || is_affine(view, spec.kind, spec.layer) || image.is_patched(spec.kind, spec.layer)
}

/// Returns what [`block_bytes`] is of a model's own image.
pub(in crate::tune) const fn planned_block_bytes(config: &ModelConfig) -> usize {
    let header = planned_patch_bytes(config, &[]);
    planned_patch_bytes(config, &TENSORS) + planned_patch_bytes(config, &affine::TENSORS) - header
}

/// Returns the bytes of the block's tensors that [`LastBlock`] trains; 0 of a model that pools the mean.
pub fn block_bytes(image: &Image<'_>) -> usize {
    BlockView::new(image).map_or(0, |view| {
        patch_bytes(image, |spec| is_chosen(&view, image, spec))
    })
}

/// Where a projection lies in the block's bytes.
#[derive(Debug, Clone, Default)]
struct Place {
    weight: Range<usize>,
    epilogue: Range<usize>,
}

/// The block's weights, in RAM.
pub struct InPlace<'m> {
    block: &'m mut [u8],
    places: [Place; 6],
    linears: BlockView<'m>,
    rate: f32,
    share: f32,
    state: u32,
}

impl InPlace<'_> {
    fn parts_mut(&mut self, projection: Projection) -> Option<(&mut [i8], &mut [[u8; 8]])> {
        let place = self.places.get(projection as usize)?;
        let (front, back) = self.block.split_at_mut_checked(place.epilogue.start)?;
        let weight = front.get_mut(place.weight.clone())?;
        let epilogue = back.get_mut(..place.epilogue.len())?;
        Some((
            <[i8]>::mut_from_bytes(weight).ok()?,
            epilogue.as_chunks_mut::<8>().0,
        ))
    }

    fn scales(&self, projection: Projection) -> Scales {
        self.linears.scales(projection)
    }
}

impl Weights for InPlace<'_> {
    fn linear(&self, projection: Projection) -> Linear<'_> {
        let base = self.linears.linear(projection);
        let Some(place) = self.places.get(projection as usize) else {
            return base;
        };
        let bytes = |range: &Range<usize>| self.block.get(range.clone()).unwrap_or(&[]);
        Linear {
            weight: <[i8]>::ref_from_bytes(bytes(&place.weight)).unwrap_or(&[]),
            epilogue: <[[i32; 2]]>::ref_from_bytes(bytes(&place.epilogue)).unwrap_or(&[]),
            ..base
        }
    }

    fn gradient(
        &mut self,
        projection: Projection,
        channels: Range<usize>,
        dy: &[f32],
        x: Scaled<'_>,
    ) {
        let scales = self.scales(projection);
        let (rate, mut state) = (self.rate * self.share * x.scale, self.state);
        let (k, zero) = (self.linears.linear(projection).in_features, x.zero);
        let input_zero = scales.input.zero as i32;
        let Some((weights, epilogues)) = self.parts_mut(projection) else {
            return;
        };
        let count = epilogues.len();
        for (channel, &g) in channels.zip(dy) {
            let Some(pair) = epilogues.get_mut(channel) else {
                break;
            };
            let [bias, mantissa] = pair_of(pair);
            let scale = scales.weight([bias, mantissa]);
            if g == 0.0 || scale <= 0.0 {
                continue;
            }
            let slope = -rate * g / scale;
            let even = channel & !1;
            let paired = even + 1 < count;
            let (start, stride) = match paired {
                true => (even * k + (channel & 1), 2),
                false => (channel * k, 1),
            };
            let own = weights.get_mut(start..).unwrap_or_default();
            let mut moved = 0i32;
            for (w, v) in own.iter_mut().step_by(stride).zip(x.values).take(k) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let uniform = (state >> 8) as f32 * (1.0 / 16_777_216.0);
                let step = (slope * (v - zero)).clamp(-254.0, 254.0) + uniform;
                // Rounded down: the sum is above −256.
                let step = (step + 256.0) as i32 - 256;
                let old = i32::from(*w);
                let new = (old + step).clamp(-127, 127);
                moved += new - old;
                *w = new as i8;
            }
            set_pair(
                pair,
                [bias.wrapping_sub(input_zero.wrapping_mul(moved)), mantissa],
            );
        }
        self.state = state;
    }
}

/// What `last-block` trains.
pub struct LastBlockPart<'m> {
    weights: InPlace<'m>,
    flat: Flat<'m>,
    places: Places,
}

/// Trains the whole last block, and the head: see the [module](self).
pub type LastBlock<'m> = BlockMethod<'m, LastBlockPart<'m>>;

impl<'m> LastBlock<'m> {
    /// Returns the method over an image (a [patched](Image::patched) one, to go on from a tail) and a
    /// head. `block` holds the weights that are trained: [`block_bytes`], from a multiple of 16 on.
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
        let view = BlockView::new(image).ok_or(TuneError::NoBlock)?;
        let places = Places::new(&view);
        let needed = block_bytes(image);
        enough(Buffer::Block, block.len(), needed)?;
        let block = block.get_mut(..needed).unwrap_or_default();
        if !block.as_ptr().addr().is_multiple_of(16) {
            return Err(TuneError::NoBlock);
        }
        copy_patch(image, |spec| is_chosen(&view, image, spec), block)
            .map_err(|_| TuneError::NoBlock)?;
        let mut lie = [const {
            Place {
                weight: 0..0,
                epilogue: 0..0,
            }
        }; 6];
        for (place, projection) in lie.iter_mut().zip(Projection::ALL) {
            let (weight, epilogue) = projection.kinds();
            let find = |kind: TensorKind| patch_range(block, kind, view.layer);
            *place = Place {
                weight: find(weight).ok_or(TuneError::NoBlock)?,
                epilogue: find(epilogue).ok_or(TuneError::NoBlock)?,
            };
        }
        let len = affine_len(image.config());
        let flat = Flat::new(buffers.parameters, len, head.math(), options.rate, false)?;
        reset(&places, flat.values);
        let part = LastBlockPart {
            weights: InPlace {
                block,
                places: lie,
                linears: view,
                rate: 0.0,
                share: options.rate,
                state: 1,
            },
            flat,
            places,
        };
        Self::with_part(image, view, head, buffers.scratch, options.rounding, part)
    }

    /// Returns how many bytes of a tail stand behind the block.
    pub fn behind_block_len(&self) -> usize {
        self.parts().behind_block_bytes()
    }

    /// Merges norms and biases into the block's bytes, which then are the tail's block, and writes what stands
    /// before and behind it into `before` and `behind`: for a store that
    /// takes a tail in parts, so that the block needs no second buffer. Returns the three parts.
    ///
    /// Training can go on from there; [`restore`](Method::restore) still goes back to the image.
    ///
    /// # Errors
    /// See [`TailError`].
    pub fn tail_parts<'b>(
        &'b mut self,
        before: &'b mut [u8; 16],
        behind: &'b mut [u8],
    ) -> Result<[&'b [u8]; 3], TailError> {
        let affine = Affine {
            places: self.part.places,
            values: self.part.flat.values,
        };
        merge(&self.view, &affine, self.part.weights.block).ok_or(TailError::Block)?;
        reset(&self.part.places, self.part.flat.values);
        let parts = self.parts();
        *before = parts.header()?;
        let needed = parts.behind_block_bytes();
        let found = behind.len();
        let small = TailError::BufferTooSmall { needed, found };
        let behind = behind.get_mut(..needed).ok_or(small)?;
        parts.emit_behind_block(behind)?;
        Ok([&*before, self.part.weights.block.as_bytes(), &*behind])
    }
}

impl<'m> Part<'m> for LastBlockPart<'m> {
    type Weights = InPlace<'m>;
    const ID: MethodId = MethodId::LastBlock;

    fn view(&self) -> (&Self::Weights, &[f32]) {
        (&self.weights, self.flat.values)
    }

    fn split(&mut self) -> (&mut Self::Weights, &[f32], &mut [f32]) {
        (&mut self.weights, self.flat.values, self.flat.gradient)
    }

    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        if schedule.batch != 1 {
            return Err(TuneError::Schedule(ScheduleField::Batch));
        }
        self.weights.rate = schedule.rate(epoch);
        if epoch == 0 {
            // Neighbouring seeds must not start alike.
            self.weights.state = mix(schedule.seed);
        }
        self.flat.begin_epoch(schedule, epoch)
    }

    fn sample_done(&mut self) {
        self.flat.sample_done();
    }

    fn end_epoch(&mut self) {
        self.flat.flush();
    }

    fn is_finite(&self) -> bool {
        self.flat.is_finite()
    }

    fn restore(&mut self, image: &Image<'m>) {
        let view = self.weights.linears;
        // The buffer was long enough for it before.
        let _ = copy_patch(
            image,
            |spec| is_chosen(&view, image, spec),
            self.weights.block,
        );
        reset(&self.places, self.flat.values);
    }

    fn patch_bytes(&self, _image: &Image<'m>, _view: &BlockView<'m>) -> usize {
        self.weights.block.len()
    }

    fn write_patch(
        &self,
        _image: &Image<'m>,
        view: &BlockView<'m>,
        out: &mut [u8],
    ) -> Result<(), TailError> {
        for (to, from) in out.iter_mut().zip(&*self.weights.block) {
            *to = *from;
        }
        let affine = Affine {
            places: self.places,
            values: self.flat.values,
        };
        merge(view, &affine, out).ok_or(TailError::Block)
    }
}
