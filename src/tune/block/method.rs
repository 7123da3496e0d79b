//! What the three methods share: a head above the block, epochs and batches, tails.

use super::affine::{Affine, AffineGradient, Places};
use super::flat::{Flat, FlatBuffers};
use super::forward::{Rounding, Scratch, Setting, scratch_len};
use super::product::Weights;
use super::view::BlockView;
use crate::image::Image;
use crate::model::Features;
use crate::model::decoder::{SequenceLatent, decoder_latent_bytes};
use crate::model::latent::{Latent, latent_bytes};
use crate::tune::head::LinearHead;
use crate::tune::softmax::{Softmax, enough};
use crate::tune::tail::Parts;
use crate::tune::{Buffer, Math, Method, MethodId, Schedule, TailError, TuneError};

/// The memory of a method below the feature, beside that of its head.
#[derive(Debug, Default)]
pub struct BlockBuffers<'m> {
    /// What a forward and a backward work in: [`scratch_len`](super::scratch_len).
    pub scratch: &'m mut [f32],
    /// The parameters and what the optimizer keeps of them.
    pub parameters: FlatBuffers<'m>,
}

/// How the block is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BlockOptions {
    /// Learning rate of the block's parameters, by the head's.
    pub rate: f32,
    /// Whether activations are rounded as the integer runtime does; off only for checks.
    pub rounding: Rounding,
}

impl BlockOptions {
    /// The default, in constants too.
    pub const DEFAULT: Self = Self {
        rate: 0.1,
        rounding: Rounding::Grid,
    };
}

impl Default for BlockOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What tells the methods apart. Only this module's types are it.
pub trait Part<'m> {
    /// The weights that it multiplies by.
    type Weights: Weights;
    /// The method.
    const ID: MethodId;

    /// Returns the weights and the affine parameters.
    fn view(&self) -> (&Self::Weights, &[f32]);
    /// As [`view`](Self::view), with the place of the affine gradient.
    fn split(&mut self) -> (&mut Self::Weights, &[f32], &mut [f32]);
    /// Returns the flat parameters.
    fn flat(&self) -> &Flat<'m>;
    fn flat_mut(&mut self) -> &mut Flat<'m>;
    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        self.flat_mut().begin_epoch(schedule, epoch)
    }
    /// Counts a sample whose gradients were taken.
    fn sample_done(&mut self) {
        self.flat_mut().sample_done();
    }
    fn end_epoch(&mut self) {
        self.flat_mut().flush();
    }
    fn is_finite(&self) -> bool {
        self.flat().is_finite()
    }
    fn restore(&mut self, image: &Image<'m>);
    /// Returns the bytes of the patch that it makes.
    fn patch_bytes(&self, image: &Image<'m>, view: &BlockView<'m>) -> usize;
    /// Writes that patch.
    fn write_patch(
        &self,
        image: &Image<'m>,
        view: &BlockView<'m>,
        out: &mut [u8],
    ) -> Result<(), TailError>;
}

/// A method below the feature: softmax regression, and a part of the last block under it.
pub struct BlockMethod<'m, P> {
    pub(super) head: Softmax<'m>,
    pub(super) part: P,
    pub(super) image: Image<'m>,
    pub(super) view: BlockView<'m>,
    places: Places,
    scratch: &'m mut [f32],
    math: Math,
    rounding: Rounding,
}

impl<'m, P: Part<'m>> BlockMethod<'m, P> {
    pub(super) fn with_part(
        image: &Image<'m>,
        view: BlockView<'m>,
        head: Softmax<'m>,
        scratch: &'m mut [f32],
        rounding: Rounding,
        part: P,
    ) -> Result<Self, TuneError> {
        enough(Buffer::Scratch, scratch.len(), scratch_len(image.config()))?;
        if head.head().d_model() != view.d {
            return Err(TuneError::FeatureLength {
                found: view.d,
                expected: head.head().d_model(),
            });
        }
        let (found, expected) = (head.head().cut(), view.cut);
        // What starts from nothing reads whatever it is given.
        if found != expected && head.head().model_classes() > 0 {
            return Err(TuneError::Cut { found, expected });
        }
        Ok(Self {
            math: head.math(),
            places: Places::new(&view),
            head,
            part,
            image: *image,
            view,
            scratch,
            rounding,
        })
    }

    /// Returns the head above the block.
    pub const fn head(&self) -> &LinearHead<'m> {
        self.head.head()
    }

    /// Returns the head above the block, to add classes to it.
    pub const fn head_mut(&mut self) -> &mut LinearHead<'m> {
        self.head.head_mut()
    }

    fn latent<'l>(&self, features: &Features<'l>) -> Result<Latent<'l>, TuneError> {
        let config = self.image.config();
        let expected = match config.decoder {
            Some(_) => decoder_latent_bytes(config),
            None => latent_bytes(config),
        };
        let found = features.values.len();
        let wrong = TuneError::FeatureLength { found, expected };
        let grid = (features.scale, f32::from(features.zero_point));
        if grid != (self.view.input.scale, self.view.input.zero) {
            return Err(TuneError::FeatureQuantization {
                found: (features.scale, features.zero_point),
                expected: (self.view.input.scale, self.view.input.zero as i8),
            });
        }
        let latent = match config.decoder {
            Some(_) => SequenceLatent::parse(features.values, config).and_then(|l| l.at_position()),
            None => Latent::parse(features.values, self.view.d),
        };
        let fits = |l: &Latent<'_>| found == expected && l.len() <= self.view.seq_len;
        latent.filter(fits).ok_or(wrong)
    }

    pub(super) fn parts(&self) -> Parts<'_, 'm> {
        Parts {
            head: self.head.head(),
            method: P::ID,
            math: self.math,
            block_bytes: self.part.patch_bytes(&self.image, &self.view),
            state: &[],
        }
    }

    /// Fills in the feature and returns what a backward needs.
    fn forward(&mut self, features: &Features<'_>) -> Result<(), TuneError> {
        let latent = self.latent(features)?;
        let setting = Setting {
            view: &self.view,
            math: self.math,
            rounding: self.rounding,
        };
        let mut scratch = Scratch::split(&self.view, self.scratch).ok_or(TuneError::NoFeatures)?;
        let (weights, values) = self.part.view();
        let parameters = Affine {
            places: self.places,
            values,
        };
        let feature = self.head.features_mut();
        setting.forward(weights, &parameters, &latent, &mut scratch, feature);
        Ok(())
    }

    fn learn(
        &mut self,
        features: &Features<'_>,
        label: u16,
        weight: f32,
    ) -> Result<f32, TuneError> {
        self.forward(features)?;
        let latent = self.latent(features)?;
        let setting = Setting {
            view: &self.view,
            math: self.math,
            rounding: self.rounding,
        };
        let mut scratch = Scratch::split(&self.view, self.scratch).ok_or(TuneError::NoFeatures)?;
        let loss = self.head.step_features(label, weight, scratch.by_feature);
        if !loss.is_finite() {
            return Ok(loss);
        }
        let (weights, values, gradient) = self.part.split();
        let parameters = Affine {
            places: self.places,
            values,
        };
        let mut gradient = AffineGradient {
            places: self.places,
            values: gradient,
        };
        setting.backward(
            weights,
            &parameters,
            &mut gradient,
            &latent,
            &mut scratch,
            self.head.features_mut(),
        );
        self.part.sample_done();
        Ok(loss)
    }
}

impl<'m, P: Part<'m>> Method for BlockMethod<'m, P> {
    fn id(&self) -> MethodId {
        P::ID
    }

    fn math(&self) -> Math {
        self.math
    }

    fn classes(&self) -> usize {
        self.head.classes()
    }

    fn check(&self, features: &Features<'_>, label: u16) -> Result<(), TuneError> {
        self.head.head().check_label(label)?;
        self.latent(features).map(|_| ())
    }

    fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        self.head.begin_epoch(schedule, epoch)?;
        self.part.begin_epoch(schedule, epoch)
    }

    fn step(&mut self, features: &Features<'_>, label: u16, weight: f32) -> Result<f32, TuneError> {
        self.head.head().check_label(label)?;
        self.learn(features, label, weight)
    }

    fn end_epoch(&mut self) -> Result<(), TuneError> {
        self.part.end_epoch();
        self.head.end_epoch()
    }

    fn is_finite(&self) -> bool {
        self.head.is_finite() && self.part.is_finite()
    }

    fn restore(&mut self) {
        self.head.restore();
        self.part.restore(&self.image);
    }

    fn logits(&mut self, features: &Features<'_>) -> Result<&[f32], TuneError> {
        self.forward(features)?;
        Ok(self.head.logits_of_features())
    }

    fn tail_bytes(&self) -> usize {
        self.parts().bytes()
    }

    fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError> {
        let parts = self.parts();
        parts.emit(out, |block| {
            self.part.write_patch(&self.image, &self.view, block)
        })
    }
}
