//! Any method on the host: the runtime's own code over buffers of the size at hand.

use super::AdaptError;
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use rayon::prelude::*;
use tailtune::image::Image;
use tailtune::model::latent::latent_bytes;
use tailtune::model::{Encoder, Features, Head, arena_bytes};
use tailtune::tune::block::{MergeReport, block_bytes};
use tailtune::tune::{
    AnyMethod, ClassName, Fit, FromScratch, HeadBuffers, HeadOrigin, LinearHead, Method, MethodId,
    Ncm, NcmBuffers, Recipe, Report, Samples, Start, Tail, Workspace, argmax,
};
use zerocopy::IntoBytes;

/// What is tuned, and how.
pub type Plan = Recipe;

/// Where tuning starts.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'o> {
    /// The image's head.
    Image,
    /// No class at all.
    Scratch,
    /// A tail.
    Tail(&'o [u8]),
}

/// A sample, as the methods take it.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// The pooled feature, int8 `[d_model]`.
    pub feature: Vec<i8>,
    /// The last block's latent; empty where no method below the feature is asked for.
    pub latent: Vec<i8>,
    /// Its class.
    pub label: u16,
}

/// Samples as a fit reads them.
struct HostSamples<'s> {
    samples: &'s [&'s Labelled],
    below: bool,
    scale: f32,
    zero_point: i8,
}

impl Samples for HostSamples<'_> {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)> {
        let sample = self.samples.get(index)?;
        let values = if self.below {
            &sample.latent
        } else {
            &sample.feature
        };
        let (scale, zero_point) = (self.scale, self.zero_point);
        let features = Features {
            values,
            scale,
            zero_point,
        };
        Some((features, sample.label))
    }
}

/// What a fit gave.
#[derive(Debug, Clone)]
pub struct Tuned {
    /// The tail, at an address that is a multiple of 16.
    pub tail: AlignedBytes,
    /// What the fit did.
    pub report: Report,
    /// Of `lora`: what merging cost.
    pub merge: Option<MergeReport>,
}

/// Tunes on `train`. `added` are the names of classes that the origin does not have, in the order of
/// their labels.
///
/// # Errors
/// [`AdaptError`].
pub fn tune(
    int8: &Int8Model,
    origin: Origin<'_>,
    added: &[String],
    train: &[&Labelled],
    plan: &Plan,
) -> Result<Tuned, AdaptError> {
    let image = int8.image();
    let tail = match origin {
        Origin::Tail(bytes) => Some(Tail::parse(bytes).map_err(AdaptError::Tail)?),
        _ => None,
    };
    let block = tail.map_or(&[][..], |tail| tail.block());
    let image = image.patched(block).map_err(AdaptError::Block)?;
    let (image_head, scratch);
    let head: &dyn HeadOrigin = match (&origin, &tail) {
        (Origin::Tail(_), Some(tail)) => tail,
        (Origin::Image, _) => {
            image_head = Head::new(&image).map_err(|_| AdaptError::NoHead)?;
            &image_head
        }
        _ => {
            let d_model = image.config().d_model.into();
            scratch = FromScratch { d_model };
            &scratch
        }
    };
    let below = plan.method.below_the_block();
    let (scale, zero_point) = if below {
        crate::adapt::latent_scale(&image).ok_or(AdaptError::NoBlock)?
    } else {
        super::feature_scale(int8)
    };
    let mut samples = HostSamples {
        samples: train,
        below,
        scale,
        zero_point,
    };
    let start = Start {
        image: &image,
        head,
        state: tail.as_ref().and_then(|tail| tail.state(plan.method)),
    };
    let capacity = head.classes() + added.len();
    let named = capacity - head.model_classes().min(head.classes());
    let mut names = vec![ClassName::EMPTY; named];
    let mut memory = vec![0f32; AnyMethod::workspace_len(plan, &start, capacity)];
    let work = &mut Workspace::new(&mut memory);
    let mut method = AnyMethod::new(plan, start, capacity, &mut names, work)?;
    for name in added {
        method.add_class(name)?;
    }
    let report = Fit::new(&mut method, &mut samples, &plan.schedule)?.finish()?;
    let mut tail = AlignedBytes::new(&vec![0; method.tail_bytes()]);
    method.emit_tail(&mut tail).map_err(AdaptError::Tail)?;
    Ok(Tuned {
        tail,
        report,
        merge: method.merge_report(),
    })
}

/// Returns the logits of each sample by a tail, as a device computes them: the integer runtime's block
/// where the tail holds one, then the head.
///
/// # Errors
/// [`AdaptError`].
pub fn logits(
    int8: &Int8Model,
    tail: &[u8],
    samples: &[&Labelled],
) -> Result<Vec<Vec<f32>>, AdaptError> {
    let tail = Tail::parse(tail).map_err(AdaptError::Tail)?;
    let image = int8.image();
    let image = image.patched(tail.block()).map_err(AdaptError::Block)?;
    let (scale, zero_point) = super::feature_scale(int8);
    let one = |arena: &mut Vec<u64>, sample: &&Labelled| {
        let mut logits = vec![0.0; tail.classes()];
        let feature = |values| Features {
            values,
            scale,
            zero_point,
        };
        if tail.block().is_empty() {
            tail.logits(&feature(&sample.feature), &mut logits)?;
        } else {
            let needed = arena_bytes(image.config());
            let arena = &mut arena.as_mut_slice().as_mut_bytes()[..needed];
            let mut encoder = Encoder::new(&image, arena).map_err(|_| AdaptError::NoBlock)?;
            let features = encoder.forward_latent(&sample.latent);
            tail.logits(&features.map_err(|_| AdaptError::NoBlock)?, &mut logits)?;
        }
        Ok(logits)
    };
    let arena = || vec![0u64; arena_bytes(image.config()).div_ceil(8)];
    samples.par_iter().map_init(arena, one).collect()
}

/// Returns the share of samples that a tail gets right.
///
/// # Errors
/// [`AdaptError`].
pub fn accuracy(int8: &Int8Model, tail: &[u8], samples: &[&Labelled]) -> Result<f64, AdaptError> {
    let logits = logits(int8, tail, samples)?;
    let right = logits.iter().zip(samples);
    let right = right.filter(|(logits, s)| argmax(logits) == Some(s.label.into()));
    Ok(right.count() as f64 / samples.len().max(1) as f64)
}

/// Returns the bytes of a latent, 0 of a model whose last block cannot be tuned.
pub fn latent_len(image: &Image<'_>) -> usize {
    match super::latent_scale(image) {
        Some(_) if block_bytes(image) > 0 => latent_bytes(image.config()),
        _ => 0,
    }
}

/// Lends the class means of a tail of `ncm`, and what makes features of pooled values.
///
/// # Errors
/// [`AdaptError`], or what `f` gives.
pub fn with_means<R>(
    int8: &Int8Model,
    tail: &[u8],
    f: impl FnOnce(&mut Ncm<'_>, &dyn Fn(&[i8]) -> Features<'_>) -> Result<R, AdaptError>,
) -> Result<R, AdaptError> {
    let tail = Tail::parse(tail).map_err(AdaptError::Tail)?;
    let (scale, zero_point) = super::feature_scale(int8);
    let (d, n) = (tail.d_model(), tail.classes());
    let (mut weights, mut bias) = (vec![0.0; n * d], vec![0.0; n]);
    let mut names = vec![ClassName::EMPTY; n - tail.model_classes()];
    let (mut features, mut logits, mut counts) = (vec![0.0; d], vec![0.0; n], vec![0.0; n]);
    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut names,
    };
    let head = LinearHead::new(buffers, &tail)?;
    let buffers = NcmBuffers {
        features: &mut features,
        logits: &mut logits,
        counts: &mut counts,
    };
    let mut ncm = Ncm::new(head, buffers, tail.state(MethodId::Ncm))?;
    f(&mut ncm, &|values| Features {
        values,
        scale,
        zero_point,
    })
}
