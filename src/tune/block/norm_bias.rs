//! Norms and biases of the last block (as BitFit, Zaken et al., arXiv 2106.10199, with the norms' gains):
//! its few parameters that act on whole channels.
//!
//! RAM beside the head: `4 · affine_len · (2 to 4)` bytes for parameters, gradient, and the optimizer's one
//! or two moments, and the scratch, `4 · scratch_len`. KWT-1, with momentum: 9.0 and 7.8 KiB.
//! Multiply-accumulates of a step: `2 · (4·d² + 2·d·d_ff) + 4·heads·seq_len·d`; KWT-1 on a Cortex-M4 with FPU:
//! 1.3 million instructions. [`TunePlan`](crate::tune::TunePlan) gives both for any model.

use super::affine::{self, Affine, Places, affine_len, merge, reset};
use super::choose::{Projections, chosen};
use super::flat::Flat;
use super::method::{BlockBuffers, BlockMethod, BlockOptions, Part};
use super::product::Weights;
use super::view::{BlockView, Projection};
use crate::image::{Image, ModelConfig, copy_patch, patch_bytes};
use crate::kernels::Linear;
use crate::tune::softmax::Softmax;
use crate::tune::{Method, MethodId, TailError, TuneError};

/// The image's weights, as they are.
#[derive(Debug, Clone, Copy)]
pub struct ImageWeights<'a>(pub BlockView<'a>);

impl Weights for ImageWeights<'_> {
    fn linear(&self, projection: Projection) -> Linear<'_> {
        self.0.linear(projection)
    }
}

/// What `norm-bias` trains.
pub struct NormBiasPart<'m> {
    weights: ImageWeights<'m>,
    flat: Flat<'m>,
    places: Places,
}

/// Trains norms and biases of the last block, and the head: see the [module](self).
pub type NormBias<'m> = BlockMethod<'m, NormBiasPart<'m>>;

impl<'m> NormBias<'m> {
    /// Returns the method over an image (a [patched](Image::patched) one, to go on from a tail) and a
    /// head.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`]; [`TuneError::NoBlock`] for a model that pools the mean.
    pub fn new(
        image: &Image<'m>,
        head: Softmax<'m>,
        buffers: BlockBuffers<'m>,
        options: BlockOptions,
    ) -> Result<Self, TuneError> {
        let view = BlockView::new(image).ok_or(TuneError::NoBlock)?;
        let places = Places::new(&view);
        let len = affine_len(image.config());
        let flat = Flat::new(buffers.parameters, len, head.math(), options.rate, false)?;
        reset(&places, flat.values);
        let part = NormBiasPart {
            weights: ImageWeights(view),
            flat,
            places,
        };
        Self::with_part(image, view, head, buffers.scratch, options.rounding, part)
    }

    /// Returns the parameters, in the order that [`affine`](super) documents, to be read or set in checks.
    pub fn parameters_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        (self.part.flat.values, self.part.flat.gradient)
    }
}

/// Returns the bytes of the patch that the method makes of a model's own image.
pub(in crate::tune) const fn planned_patch_bytes(config: &ModelConfig) -> usize {
    affine::planned_patch_bytes(config)
}

impl<'m> Part<'m> for NormBiasPart<'m> {
    type Weights = ImageWeights<'m>;
    const ID: MethodId = MethodId::NormBias;

    fn view(&self) -> (&Self::Weights, &[f32]) {
        (&self.weights, self.flat.values)
    }

    fn split(&mut self) -> (&mut Self::Weights, &[f32], &mut [f32]) {
        (&mut self.weights, self.flat.values, self.flat.gradient)
    }

    fn flat(&self) -> &Flat<'m> {
        &self.flat
    }

    fn flat_mut(&mut self) -> &mut Flat<'m> {
        &mut self.flat
    }

    fn restore(&mut self, _image: &Image<'m>) {
        reset(&self.places, self.flat.values);
    }

    fn patch_bytes(&self, image: &Image<'m>, view: &BlockView<'m>) -> usize {
        patch_bytes(image, chosen(image, view, Projections::NONE, true))
    }

    fn write_patch(
        &self,
        image: &Image<'m>,
        view: &BlockView<'m>,
        out: &mut [u8],
    ) -> Result<(), TailError> {
        copy_patch(image, chosen(image, view, Projections::NONE, true), out)
            .map_err(|_| TailError::Block)?;
        let affine = Affine {
            places: self.places,
            values: self.flat.values,
        };
        merge(view, &affine, out).ok_or(TailError::Block)
    }
}
