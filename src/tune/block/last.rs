//! The last block's tensors in RAM, under training: what [`in_place`](super::in_place) and
//! [`master`](super::master) share.

use super::affine::{self, Affine, Places, affine_len, merge, reset};
use super::choose::{Projections, chosen};
use super::flat::Flat;
use super::method::{BlockBuffers, BlockMethod, BlockOptions, Part};
use super::packed::{Packed, Place};
use super::product::Weights;
use super::view::{BlockView, Projection, Scaled};
use crate::image::{Image, ModelConfig, TensorKind, copy_patch, patch_bytes, planned_patch_bytes};
use crate::kernels::Linear;
use crate::tune::softmax::{Softmax, enough};
use crate::tune::{Buffer, Method, MethodId, Schedule, TailError, TuneError};
use core::ops::Range;
use zerocopy::IntoBytes;

/// Returns the bytes of the block's tensors that [`LastBlock`](super::LastBlock) and
/// [`LastBlockMaster`](super::LastBlockMaster) train; 0 of a model that pools the mean.
pub fn block_bytes(image: &Image<'_>) -> usize {
    BlockView::new(image).map_or(0, |view| {
        patch_bytes(image, chosen(image, &view, Projections::ALL, true))
    })
}

/// The block's tensors beside those of [`affine`](super::affine): every projection's weights, and the keys'
/// epilogue.
const TENSORS: [TensorKind; 7] = [
    TensorKind::Query,
    TensorKind::Key,
    TensorKind::KeyEpilogue,
    TensorKind::Value,
    TensorKind::Out,
    TensorKind::Ff1,
    TensorKind::Ff2,
];

/// Returns what [`block_bytes`] is of a model's own image.
pub(in crate::tune) const fn planned_block_bytes(config: &ModelConfig) -> usize {
    let header = planned_patch_bytes(config, &[]);
    planned_patch_bytes(config, &TENSORS) + affine::planned_patch_bytes(config) - header
}

/// The block's tensors.
pub struct Tensors<'m> {
    bytes: &'m mut [u8],
    places: [Place; 6],
    pub view: BlockView<'m>,
}

impl<'m> Tensors<'m> {
    fn new(image: &Image<'m>, view: BlockView<'m>, bytes: &'m mut [u8]) -> Result<Self, TuneError> {
        let needed = block_bytes(image);
        enough(Buffer::Block, bytes.len(), needed)?;
        let bytes = bytes.get_mut(..needed).unwrap_or_default();
        if !bytes.as_ptr().addr().is_multiple_of(16) {
            return Err(TuneError::NoBlock);
        }
        let mut tensors = Self {
            bytes,
            places: Default::default(),
            view,
        };
        tensors.restore(image).ok_or(TuneError::NoBlock)?;
        for (place, projection) in tensors.places.iter_mut().zip(Projection::ALL) {
            let found = Place::find(tensors.bytes, projection, view.layer);
            *place = found.ok_or(TuneError::NoBlock)?;
        }
        Ok(tensors)
    }

    /// Puts the image's own tensors back.
    fn restore(&mut self, image: &Image<'m>) -> Option<()> {
        let chosen = chosen(image, &self.view, Projections::ALL, true);
        copy_patch(image, chosen, self.bytes).ok().map(|_| ())
    }

    pub fn linear(&self, projection: Projection) -> Linear<'_> {
        let base = self.view.linear(projection);
        match self.places.get(projection as usize) {
            Some(place) => place.linear(self.bytes, base),
            None => base,
        }
    }

    pub fn packed(&mut self, projection: Projection) -> Option<Packed<'_>> {
        self.places.get(projection as usize)?.packed(self.bytes)
    }
}

/// How weights move along their gradients.
pub trait Rule {
    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError>;

    /// Takes the gradient `dy·xᵀ` of some channels' weights.
    fn gradient(
        &mut self,
        tensors: &mut Tensors<'_>,
        projection: Projection,
        channels: Range<usize>,
        dy: &[f32],
        x: Scaled<'_>,
    );

    /// Counts a sample whose gradients were taken.
    fn sample_done(&mut self, tensors: &mut Tensors<'_>) {
        let _ = tensors;
    }

    /// Makes a step of what was gathered.
    fn flush(&mut self, tensors: &mut Tensors<'_>) {
        let _ = tensors;
    }

    fn is_finite(&self) -> bool {
        true
    }

    /// Starts again from the weights as they are.
    fn restart(&mut self, tensors: &Tensors<'_>) {
        let _ = tensors;
    }
}

/// The block's weights, and the rule that they move by.
pub struct Moving<'m, R> {
    tensors: Tensors<'m>,
    rule: R,
}

impl<R: Rule> Weights for Moving<'_, R> {
    fn linear(&self, projection: Projection) -> Linear<'_> {
        self.tensors.linear(projection)
    }

    fn gradient(
        &mut self,
        projection: Projection,
        channels: Range<usize>,
        dy: &[f32],
        x: Scaled<'_>,
    ) {
        let Self { tensors, rule } = self;
        rule.gradient(tensors, projection, channels, dy, x);
    }
}

/// What `last-block` trains.
pub struct LastBlockPart<'m, R> {
    weights: Moving<'m, R>,
    flat: Flat<'m>,
    places: Places,
}

impl<R> LastBlockPart<'_, R> {
    fn affine(&self) -> Affine<'_> {
        Affine {
            places: self.places,
            values: self.flat.values,
        }
    }
}

impl<'m, R: Rule> BlockMethod<'m, LastBlockPart<'m, R>> {
    /// Returns the method with a rule made by `rule` of the block's tensors.
    pub(super) fn with_rule(
        image: &Image<'m>,
        head: Softmax<'m>,
        block: &'m mut [u8],
        buffers: BlockBuffers<'m>,
        options: BlockOptions,
        rule: impl FnOnce(&Tensors<'m>) -> Result<R, TuneError>,
    ) -> Result<Self, TuneError> {
        let view = BlockView::new(image).ok_or(TuneError::NoBlock)?;
        let places = Places::new(&view);
        let tensors = Tensors::new(image, view, block)?;
        let rule = rule(&tensors)?;
        let len = affine_len(image.config());
        let flat = Flat::new(buffers.parameters, len, head.math(), options.rate, false)?;
        reset(&places, flat.values);
        let part = LastBlockPart {
            weights: Moving { tensors, rule },
            flat,
            places,
        };
        Self::with_part(image, view, head, buffers.scratch, options.rounding, part)
    }

    pub(super) const fn rule(&self) -> &R {
        &self.part.weights.rule
    }

    /// Returns norms' gains and biases and linear biases, in the order that [`affine`](super) documents, and
    /// their gradient, to be read or set in checks.
    pub fn parameters_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        (self.part.flat.values, self.part.flat.gradient)
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
        let part = &mut self.part;
        let bytes = &mut *part.weights.tensors.bytes;
        let places = part.places;
        let values = &mut *part.flat.values;
        merge(&self.view, &Affine { places, values }, bytes).ok_or(TailError::Block)?;
        // Epilogues in RAM hold the biases now. Norms are read from the image.
        places.biases(values).fill(0.0);
        let parts = self.parts();
        *before = parts.header()?;
        let needed = parts.behind_block_bytes();
        let found = behind.len();
        let small = TailError::BufferTooSmall { needed, found };
        let behind = behind.get_mut(..needed).ok_or(small)?;
        parts.emit_behind_block(behind)?;
        Ok([
            &*before,
            self.part.weights.tensors.bytes.as_bytes(),
            &*behind,
        ])
    }
}

impl<'m, R: Rule> Part<'m> for LastBlockPart<'m, R> {
    type Weights = Moving<'m, R>;
    const ID: MethodId = MethodId::LastBlock;

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

    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        self.weights.rule.begin_epoch(schedule, epoch)?;
        self.flat.begin_epoch(schedule, epoch)
    }

    fn sample_done(&mut self) {
        let Moving { tensors, rule } = &mut self.weights;
        rule.sample_done(tensors);
        self.flat.sample_done();
    }

    fn end_epoch(&mut self) {
        let Moving { tensors, rule } = &mut self.weights;
        rule.flush(tensors);
        self.flat.flush();
    }

    fn is_finite(&self) -> bool {
        self.weights.rule.is_finite() && self.flat.is_finite()
    }

    fn restore(&mut self, image: &Image<'m>) {
        let Moving { tensors, rule } = &mut self.weights;
        // The buffer was long enough for it before.
        let _ = tensors.restore(image);
        rule.restart(tensors);
        reset(&self.places, self.flat.values);
    }

    fn patch_bytes(&self, _image: &Image<'m>, _view: &BlockView<'m>) -> usize {
        self.weights.tensors.bytes.len()
    }

    fn write_patch(
        &self,
        _image: &Image<'m>,
        view: &BlockView<'m>,
        out: &mut [u8],
    ) -> Result<(), TailError> {
        for (to, from) in out.iter_mut().zip(&*self.weights.tensors.bytes) {
            *to = *from;
        }
        merge(view, &self.affine(), out).ok_or(TailError::Block)
    }
}
