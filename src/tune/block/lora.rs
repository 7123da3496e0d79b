//! Low-rank adapters of chosen projections of the last block (Hu et al., arXiv 2106.09685).
//!
//! ```text
//! y = W·x + b + (α/r)·B·(A·x)        A [r, in] from small random numbers, B [out, r] from 0
//! ```
//!
//! W stays int8 in flash while A and B are trained in f32; at the end `W + (α/r)·B·A` is rounded to int8 on
//! W's own scales, clipped to ±127, and the biases follow. What rounding costs is [reported](MergeReport): an
//! update below half a unit everywhere would vanish.
//!
//! RAM beside the head: `4 · r · Σ(in + out) · (2 to 4)` bytes for parameters, gradient and the optimizer's
//! one or two moments, and the scratch. Queries and values of d_model 64 at rank 4, with momentum: 12 KiB.
//! Multiply-accumulates of a step: as `norm-bias`, and `6 · r · Σ(in + out)`; KWT-1, queries and values at rank
//! 4, on a Cortex-M4 with FPU: 1.3 million instructions. [`TunePlan`](crate::tune::TunePlan) gives both for any model
//! and rank.

use super::choose::{Projections, chosen};
use super::flat::Flat;
use super::method::{BlockBuffers, BlockMethod, BlockOptions, Part};
use super::packed::Place;
use super::product::Weights;
use super::view::{BlockView, Projection, Scaled};
use crate::image::{Image, ModelConfig, copy_patch, patch_bytes, planned_patch_bytes as planned};
use crate::kernels::Linear;
use crate::tune::shuffle::mix;
use crate::tune::softmax::Softmax;
use crate::tune::{Method, MethodId, TailError, TuneError};
use core::ops::Range;

/// The largest rank.
pub const MAX_RANK: usize = 32;

/// What is adapted, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LoraOptions {
    /// Which projections.
    pub projections: Projections,
    /// The rank r, 1 to [`MAX_RANK`].
    pub rank: usize,
    /// α: the update is `α/r · B·A`.
    pub alpha: f32,
    /// Decides A's first numbers.
    pub seed: u32,
    /// Learning rate and rounding.
    pub block: BlockOptions,
}

impl LoraOptions {
    /// The default, in constants too.
    pub const DEFAULT: Self = Self {
        projections: Projections::QUERY_VALUE,
        rank: 4,
        alpha: 8.0,
        seed: 1,
        block: BlockOptions::DEFAULT,
    };
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Returns the number of parameters.
pub const fn lora_len(config: &ModelConfig, options: &LoraOptions) -> usize {
    let (d, ff) = (config.d_model as usize, config.d_ff as usize);
    let mut sides = 0;
    let mut all: &[Projection] = &Projection::ALL;
    while let Some((projection, rest)) = all.split_first() {
        if options.projections.has(*projection) {
            sides += match projection {
                Projection::Ff1 | Projection::Ff2 => d + ff,
                _ => 2 * d,
            };
        }
        all = rest;
    }
    options.rank.saturating_mul(sides)
}

/// Returns the bytes of the patch that the method makes of a model's own image.
pub(in crate::tune) const fn planned_patch_bytes(
    config: &ModelConfig,
    projections: Projections,
) -> usize {
    let header = planned(config, &[]);
    let mut bytes = header;
    let mut all: &[Projection] = &Projection::ALL;
    while let Some((projection, rest)) = all.split_first() {
        if projections.has(*projection) {
            let (weight, epilogue) = projection.kinds();
            bytes += planned(config, &[weight, epilogue]) - header;
        }
        all = rest;
    }
    bytes
}

/// What merging adapters into int8 weights cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MergeReport {
    /// Root mean square of what rounding changed, by the root mean square of the update; 0 without an
    /// update.
    pub error: f32,
    /// Weights that did not fit ±127.
    pub clipped: u32,
}

/// The image's weights and adapters beside them.
pub struct Adapted<'m> {
    view: BlockView<'m>,
    flat: Flat<'m>,
    projections: Projections,
    rank: usize,
    factor: f32,
    seed: u32,
}

impl Adapted<'_> {
    /// Returns where A and B of a projection lie, and how wide its input is.
    fn places(&self, projection: Projection) -> Option<(Range<usize>, Range<usize>, usize)> {
        if !self.projections.has(projection) {
            return None;
        }
        let mut start = 0;
        for p in Projection::ALL {
            let (rows, columns) = self.view.shape(p);
            let (a, b) = (self.rank * columns, rows * self.rank);
            if p == projection {
                return Some((start..start + a, start + a..start + a + b, columns));
            }
            if self.projections.has(p) {
                start += a + b;
            }
        }
        None
    }

    fn adapter(&self, projection: Projection) -> Option<(&[f32], &[f32], usize)> {
        let (a, b, columns) = self.places(projection)?;
        Some((self.flat.values.get(a)?, self.flat.values.get(b)?, columns))
    }

    /// Sets A to uniform numbers of deviation 1/√in, B to 0.
    fn reset(&mut self) {
        self.flat.values.fill(0.0);
        let mut state = mix(self.seed);
        for projection in Projection::ALL {
            let Some((a, _, columns)) = self.places(projection) else {
                continue;
            };
            let bound = libm::sqrtf(3.0 / columns as f32);
            for w in self.flat.values.get_mut(a).unwrap_or_default() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let uniform = (state >> 8) as f32 * (2.0 / 16_777_216.0) - 1.0;
                *w = bound * uniform;
            }
        }
    }
}

/// Returns `B[c]·A[·][k]` summed over the rank.
fn update(a: &[f32], b: &[f32], columns: usize, k: usize) -> f32 {
    let column = a.iter().skip(k).step_by(columns.max(1));
    b.iter().zip(column).fold(0.0, |sum, (b, a)| sum + b * a)
}

impl Weights for Adapted<'_> {
    fn linear(&self, projection: Projection) -> Linear<'_> {
        self.view.linear(projection)
    }

    fn adapt(&self, projection: Projection, channels: Range<usize>, x: Scaled<'_>, y: &mut [f32]) {
        let Some((a, b, columns)) = self.adapter(projection) else {
            return;
        };
        let mut inner = [0.0; MAX_RANK];
        for (z, row) in inner.iter_mut().zip(crate::rows::rows(a, columns)) {
            let products = row.iter().zip(x.reals());
            *z = products.fold(0.0, |sum, (a, x)| sum + a * x) * self.factor;
        }
        let rows = crate::rows::rows(b, self.rank).skip(channels.start);
        for (y, row) in y.iter_mut().take(channels.len()).zip(rows) {
            *y += row.iter().zip(&inner).fold(0.0, |sum, (b, z)| sum + b * z);
        }
    }

    fn adapt_back(
        &self,
        projection: Projection,
        channels: Range<usize>,
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let Some((a, b, columns)) = self.adapter(projection) else {
            return;
        };
        let inner = back(b, self.rank, channels, dy, self.factor);
        for (z, row) in inner.iter().zip(crate::rows::rows(a, columns)) {
            dx.iter_mut().zip(row).for_each(|(dx, a)| *dx += z * a);
        }
    }

    fn gradient(
        &mut self,
        projection: Projection,
        channels: Range<usize>,
        dy: &[f32],
        x: Scaled<'_>,
    ) {
        let Some((a_place, b_place, columns)) = self.places(projection) else {
            return;
        };
        let Some((a, b, _)) = self.adapter(projection) else {
            return;
        };
        let mut inner = [0.0; MAX_RANK];
        for (z, row) in inner.iter_mut().zip(crate::rows::rows(a, columns)) {
            let products = row.iter().zip(x.reals());
            *z = products.fold(0.0, |sum, (a, x)| sum + a * x) * self.factor;
        }
        let outer = back(b, self.rank, channels.clone(), dy, self.factor);
        let by_a = self.flat.gradient.get_mut(a_place).unwrap_or_default();
        for (row, z) in crate::rows::rows_mut(by_a, columns).zip(&outer) {
            row.iter_mut().zip(x.reals()).for_each(|(g, x)| *g += z * x);
        }
        let by_b = self.flat.gradient.get_mut(b_place).unwrap_or_default();
        let rows = crate::rows::rows_mut(by_b, self.rank).skip(channels.start);
        for (row, dy) in rows.zip(dy).take(channels.len()) {
            row.iter_mut().zip(&inner).for_each(|(g, z)| *g += dy * z);
        }
    }
}

/// Returns `factor · Bᵀ·dy` of some channels.
fn back(
    b: &[f32],
    rank: usize,
    channels: Range<usize>,
    dy: &[f32],
    factor: f32,
) -> [f32; MAX_RANK] {
    let mut inner = [0.0; MAX_RANK];
    let rows = crate::rows::rows(b, rank).skip(channels.start);
    for (row, dy) in rows.zip(dy).take(channels.len()) {
        let dy = factor * dy;
        inner.iter_mut().zip(row).for_each(|(z, b)| *z += dy * b);
    }
    inner
}

/// What `lora` trains.
pub struct LoraPart<'m>(Adapted<'m>);

/// Trains adapters of the last block, and the head: see the [module](self).
pub type Lora<'m> = BlockMethod<'m, LoraPart<'m>>;

impl<'m> Lora<'m> {
    /// Returns the method over an image (a [patched](Image::patched) one, to go on from a tail) and a
    /// head.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`]; [`TuneError::NoBlock`] for a model that pools the mean, or a rank out
    /// of its range.
    pub fn new(
        image: &Image<'m>,
        head: Softmax<'m>,
        buffers: BlockBuffers<'m>,
        options: LoraOptions,
    ) -> Result<Self, TuneError> {
        let view = BlockView::new(image).ok_or(TuneError::NoBlock)?;
        if !(1..=MAX_RANK).contains(&options.rank) {
            return Err(TuneError::NoBlock);
        }
        let len = lora_len(image.config(), &options);
        let flat = Flat::new(
            buffers.parameters,
            len,
            head.math(),
            options.block.rate,
            true,
        )?;
        let mut adapted = Adapted {
            view,
            flat,
            projections: options.projections,
            rank: options.rank,
            factor: options.alpha / options.rank as f32,
            seed: options.seed,
        };
        adapted.reset();
        let part = LoraPart(adapted);
        let rounding = options.block.rounding;
        Self::with_part(image, view, head, buffers.scratch, rounding, part)
    }

    /// Returns what merging costs, as things stand.
    pub fn merge_report(&self) -> MergeReport {
        let mut total = Totals::default();
        let adapted = &self.part.0;
        for projection in Projection::ALL {
            let linear = self.view.linear(projection);
            let scales = self.view.scales(projection);
            let Some((a, b, columns)) = adapted.adapter(projection) else {
                continue;
            };
            let rows = crate::rows::rows(b, adapted.rank).zip(linear.epilogue);
            for (channel, (b, &epilogue)) in rows.enumerate() {
                let scale = scales.weight(epilogue);
                for k in 0..columns {
                    let w = update(a, b, columns, k) * adapted.factor;
                    let old = linear.weight(channel, k);
                    total.merge(old, w, scale);
                }
            }
        }
        total.report()
    }

    /// Returns the parameters and their gradient, to be read or set in checks: A and B of each chosen
    /// projection.
    pub fn parameters_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        (self.part.0.flat.values, self.part.0.flat.gradient)
    }
}

/// What merging has changed so far.
#[derive(Default)]
struct Totals {
    update: f32,
    error: f32,
    clipped: u32,
}

impl Totals {
    /// Returns a weight with its update.
    fn merge(&mut self, old: i8, update: f32, scale: f32) -> i8 {
        if scale <= 0.0 {
            return old;
        }
        let wanted = f32::from(old) + update / scale;
        let rounded = libm::rintf(wanted);
        let new = rounded.clamp(-127.0, 127.0);
        self.clipped += u32::from(new != rounded);
        let missed = (new - wanted) * scale;
        self.update += update * update;
        self.error += missed * missed;
        new as i8
    }

    fn report(&self) -> MergeReport {
        let error = if self.update > 0.0 {
            libm::sqrtf(self.error / self.update)
        } else {
            0.0
        };
        MergeReport {
            error,
            clipped: self.clipped,
        }
    }
}

impl<'m> Part<'m> for LoraPart<'m> {
    type Weights = Adapted<'m>;
    const ID: MethodId = MethodId::Lora;

    fn view(&self) -> (&Self::Weights, &[f32]) {
        (&self.0, &[])
    }

    fn split(&mut self) -> (&mut Self::Weights, &[f32], &mut [f32]) {
        (&mut self.0, &[], &mut [])
    }

    fn flat(&self) -> &Flat<'m> {
        &self.0.flat
    }

    fn flat_mut(&mut self) -> &mut Flat<'m> {
        &mut self.0.flat
    }

    fn restore(&mut self, _image: &Image<'m>) {
        self.0.reset();
    }

    fn patch_bytes(&self, image: &Image<'m>, view: &BlockView<'m>) -> usize {
        patch_bytes(image, chosen(image, view, self.0.projections, false))
    }

    fn write_patch(
        &self,
        image: &Image<'m>,
        view: &BlockView<'m>,
        out: &mut [u8],
    ) -> Result<(), TailError> {
        let adapted = &self.0;
        copy_patch(image, chosen(image, view, adapted.projections, false), out)
            .map_err(|_| TailError::Block)?;
        let mut total = Totals::default();
        for projection in Projection::ALL {
            let Some((a, b, columns)) = adapted.adapter(projection) else {
                continue;
            };
            let scales = view.scales(projection);
            let zero = scales.input.zero as i32;
            let place = Place::find(out, projection, view.layer).ok_or(TailError::Block)?;
            let mut packed = place.packed(out).ok_or(TailError::Block)?;
            for (channel, b) in crate::rows::rows(b, adapted.rank).enumerate() {
                let scale = scales.weight(packed.epilogue(channel).unwrap_or([0; 2]));
                packed.change(channel, zero, 0..columns, |old, k| {
                    total.merge(old, update(a, b, columns, k) * adapted.factor, scale)
                });
            }
        }
        Ok(())
    }
}
