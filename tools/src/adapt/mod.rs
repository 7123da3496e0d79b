//! Tail tuning on the host: the very code that the device runs, over buffers of the size at hand.

pub mod measure;
pub mod sequences;
pub mod study;
pub mod tuning;

use crate::int8::{Int8Model, Int8Output, argmax};
use tailtune::image::{Image, ImageError, NO_LAYER, TensorKind};
use tailtune::tune::{Report, TailError, TuneError};

/// Why a head could not be tuned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// The image has no head to start from.
    #[error("the image has no head to tune: convert a model with classes")]
    NoHead,
    /// The tuning itself failed.
    #[error("tuning failed: {0}; the old head stays")]
    Tune(#[from] TuneError),
    /// The tail cannot be written or read.
    #[error("the tail: {0}")]
    Tail(TailError),
    /// The block's tensors of a tail do not suit the image.
    #[error("the block of the tail: {0}")]
    Block(ImageError),
    /// The image has no decoder.
    #[error("the image has no decoder: pairs are for images with one, give --train and --test")]
    NoDecoder,
    /// A token of an output is none of the vocabulary, and was not added.
    #[error(
        "token {token} of an output is not in the vocabulary, or beyond the 65,536 that labels hold"
    )]
    Vocabulary {
        /// Its id.
        token: u32,
    },
    /// The int8 model failed.
    #[error(transparent)]
    Int8(Box<crate::int8::Int8Error>),
    /// The last block cannot be tuned.
    #[error(
        "the last block cannot be tuned: the model pools the mean of all rows; take ncm, ridge or softmax"
    )]
    NoBlock,
    /// A protocol learns from all clips that there are.
    #[error(
        "no clip is left to measure: give more clips of each word and speaker than the protocol learns from"
    )]
    NoTest,
}

/// Returns scale and zero point of the model's latents; none of a model whose last block cannot be tuned.
pub fn latent_scale(image: &Image<'_>) -> Option<(f32, i8)> {
    let one_row = image.config().pooling != tailtune::image::Pooling::Mean
        || image.config().decoder.is_some();
    tailtune::model::latent::input_grid(image).filter(|_| one_row)
}

/// One sample: what the encoder gave and what it is.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The pooled feature and the image's own logits.
    pub output: Int8Output,
    /// The latent of the last block's input; empty where it is not asked for.
    pub latent: Vec<i8>,
    /// Its label.
    pub label: String,
}

/// What tuning did.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// Class names: the image's and the added ones, in the order of the logits.
    pub classes: Vec<String>,
    /// Share of the test samples that the image's own head gets right.
    pub accuracy_before: f64,
    /// Share that the tuned head gets right.
    pub accuracy_after: f64,
    /// Losses and steps.
    pub report: Report,
    /// The tail, as the store keeps it.
    pub tail: Vec<u8>,
    /// How far the added classes were lowered; none where it was not asked for.
    pub lowered: Option<f32>,
}

/// Returns the labels that the image does not know, sorted: the classes that tuning adds.
pub fn added_classes(known: &[String], train: &[Sample]) -> Vec<String> {
    let mut added: Vec<String> = train.iter().map(|s| s.label.clone()).collect();
    added.retain(|label| !known.contains(label));
    added.sort();
    added.dedup();
    added
}

/// Tunes by any method on `train` and measures it on `test`, from the image's head, as a device would run it.
///
/// # Errors
/// [`AdaptError`].
pub fn adapt(
    int8: &Int8Model,
    train: &[Sample],
    test: &[Sample],
    plan: &tuning::Plan,
) -> Result<Adapted, AdaptError> {
    let image = int8.image();
    let mut classes: Vec<String> = image.labels().iter().map(str::to_owned).collect();
    let known = classes.len();
    let added = added_classes(&classes, train);
    classes.extend(added.iter().cloned());
    let class_of = |label: &str| classes.iter().position(|c| c == label);
    let labelled = |samples: &[Sample]| -> Vec<tuning::Labelled> {
        let one = |s: &Sample| tuning::Labelled {
            feature: s.output.pooled.clone(),
            latent: s.latent.clone(),
            // A class that nothing was learned of counts as wrong.
            label: class_of(&s.label).map_or(u16::MAX, |c| c as u16),
        };
        samples.iter().map(one).collect()
    };
    let (learned, measured) = (labelled(train), labelled(test));
    let learned: Vec<&tuning::Labelled> = learned.iter().collect();
    let measured: Vec<&tuning::Labelled> = measured.iter().collect();
    let tuned = tuning::tune(int8, tuning::Origin::Image, &added, &learned, plan)?;
    let before = test.iter().filter(|s| {
        let class = class_of(&s.label).filter(|c| *c < known);
        class.is_some() && argmax(&s.output.logits) == class
    });
    Ok(Adapted {
        accuracy_before: before.count() as f64 / test.len().max(1) as f64,
        accuracy_after: measure::accuracy(int8, &tuned.tail, &measured)?,
        report: tuned.report,
        tail: tuned.tail.to_vec(),
        lowered: tuned.lowered,
        classes,
    })
}

/// Returns scale and zero point of what an image's head reads: the feature, or a decoder's row.
pub fn feature_scale(int8: &Int8Model) -> (f32, i8) {
    let image = int8.image();
    let read = match int8.config().decoder {
        Some(_) => image.tensor(TensorKind::OutputInput, NO_LAYER),
        None => image.feature(),
    };
    read.map_or((1.0, 0), |t| (t.scale(), t.entry().zero_point))
}
