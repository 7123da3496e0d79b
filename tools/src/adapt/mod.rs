//! Tail tuning on the host: the very code that the device runs, over buffers of the size at hand.

pub mod study;
pub mod tuning;

use crate::int8::{Int8Model, Int8Output, argmax};
use tailtune::image::{Image, ImageError, NO_LAYER, TensorKind};
use tailtune::model::{Features, Head};
use tailtune::tune::{
    ClassName, HeadBuffers, LinearHead, Math, Method, Replay, Report, Schedule, Softmax,
    SoftmaxBuffers, TailError, TuneError, Tuner, Velocity,
};

/// Why a head could not be tuned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// The image has no head to start from.
    #[error("the image has no head to tune: convert a model with classes")]
    NoHead,
    /// A sample that the runtime refuses.
    #[error("training sample {index} ({label}): {source}")]
    Sample {
        /// Which one, from 0.
        index: usize,
        /// Its label.
        label: String,
        /// Why.
        source: TuneError,
    },
    /// The tuning itself failed.
    #[error("tuning failed: {0}; the old head stays")]
    Tune(#[from] TuneError),
    /// The tail cannot be written or read.
    #[error("the tail: {0}")]
    Tail(TailError),
    /// The block's tensors of a tail do not suit the image.
    #[error("the block of the tail: {0}")]
    Block(ImageError),
    /// The last block cannot be tuned.
    #[error(
        "the last block cannot be tuned: the model pools the mean of all rows; take ncm, ridge or softmax"
    )]
    NoBlock,
}

/// Returns scale and zero point of the model's latents; none of a model whose last block cannot be tuned.
pub fn latent_scale(image: &Image<'_>) -> Option<(f32, i8)> {
    let one_row = image.config().pooling != tailtune::image::Pooling::Mean;
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
}

/// Returns the labels that the image does not know, sorted: the classes that tuning adds.
pub fn added_classes(known: &[String], train: &[Sample]) -> Vec<String> {
    let mut added: Vec<String> = train.iter().map(|s| s.label.clone()).collect();
    added.retain(|label| !known.contains(label));
    added.sort();
    added.dedup();
    added
}

/// Tunes a softmax head on `train`, in the given order, and measures it on `test`.
///
/// # Errors
/// [`AdaptError`].
pub fn adapt(
    int8: &Int8Model,
    train: &[Sample],
    test: &[Sample],
    schedule: &Schedule,
) -> Result<Adapted, AdaptError> {
    let image = int8.image();
    let origin = Head::new(&image).map_err(|_| AdaptError::NoHead)?;
    let d = usize::from(image.config().d_model);
    let mut classes: Vec<String> = image.labels().iter().map(str::to_owned).collect();
    let added = added_classes(&classes, train);
    let capacity = classes.len() + added.len();

    let (mut weights, mut bias) = (vec![0.0; capacity * d], vec![0.0; capacity]);
    let mut names = vec![ClassName::EMPTY; added.len()];
    let (mut velocity, mut bias_velocity) = (vec![0.0; capacity * d], vec![0.0; capacity]);
    let (mut features, mut logits) = (vec![0.0; d], vec![0.0; capacity]);
    let (mut values, mut labels) = (vec![0i8; train.len() * d], vec![0u16; train.len()]);

    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut names,
    };
    let mut head = LinearHead::new(buffers, &origin)?;
    for name in &added {
        head.add_class(name)?;
    }
    classes.extend(added);
    let velocity = Velocity {
        weights: &mut velocity,
        bias: &mut bias_velocity,
    };
    let buffers = SoftmaxBuffers {
        features: &mut features,
        logits: &mut logits,
        velocity: Some(velocity),
        adam: None,
    };
    let method = Softmax::new(head, buffers, Math::Exact)?;
    let mut tuner = Tuner::new(method, Replay::new(&mut values, &mut labels, d)?);

    let class_of = |label: &str| classes.iter().position(|c| c == label);
    let scales = feature_scale(int8);
    for (index, sample) in train.iter().enumerate() {
        let label = class_of(&sample.label).unwrap_or(usize::MAX);
        let label = u16::try_from(label).unwrap_or(u16::MAX);
        let observed = tuner.observe(&features_of(&sample.output, scales), label);
        observed.map_err(|source| AdaptError::Sample {
            index,
            label: sample.label.clone(),
            source,
        })?;
    }
    let report = tuner.fit(schedule)?;

    let known = image.labels().len();
    let before = test.iter().filter(|s| {
        let class = class_of(&s.label).filter(|c| *c < known);
        class.is_some() && argmax(&s.output.logits) == class
    });
    let accuracy_before = before.count() as f64 / test.len().max(1) as f64;
    let mut right = 0;
    for sample in test {
        let predicted = tuner
            .method_mut()
            .predict(&features_of(&sample.output, scales))?;
        right += usize::from(class_of(&sample.label) == Some(predicted.into()));
    }
    let mut tail = vec![0; tuner.tail_bytes()];
    let len = tuner.emit_tail(&mut tail).map_err(AdaptError::Tail)?;
    tail.truncate(len);
    let accuracy_after = right as f64 / test.len().max(1) as f64;
    Ok(Adapted {
        classes,
        accuracy_before,
        accuracy_after,
        report,
        tail,
    })
}

/// Tunes by any method on `train` and measures it on `test`, from the image's head, as a device would run it.
///
/// # Errors
/// [`AdaptError`].
pub fn adapt_by(
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
        accuracy_after: tuning::accuracy(int8, &tuned.tail, &measured)?,
        report: tuned.report,
        tail: tuned.tail.to_vec(),
        classes,
    })
}

/// Returns scale and zero point of an image's pooled feature.
pub fn feature_scale(int8: &Int8Model) -> (f32, i8) {
    let pooled = int8.image().tensor(TensorKind::Pooled, NO_LAYER);
    pooled.map_or((1.0, 0), |t| (t.scale(), t.entry().zero_point))
}

/// Returns a pooled feature as the runtime takes it.
pub fn features_of(output: &Int8Output, (scale, zero_point): (f32, i8)) -> Features<'_> {
    Features {
        values: &output.pooled,
        scale,
        zero_point,
    }
}
