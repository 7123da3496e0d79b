//! What a tail is worth on the host: logits, accuracy, class means, computed as a device computes them.

use super::tuning::Labelled;
use super::{AdaptError, feature_scale};
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use rayon::prelude::*;
use tailtune::model::{Encoder, Features, Head, arena_bytes};
use tailtune::tune::tail::{emit_head, head_bytes};
use tailtune::tune::{
    ClassName, HeadBuffers, HeadOrigin, LinearHead, Math, MethodId, Ncm, NcmBuffers, Score, Tail,
    argmax,
};
use zerocopy::IntoBytes;

/// Returns the image's own head as a tail that nothing has tuned.
///
/// # Errors
/// [`AdaptError::NoHead`], [`AdaptError::Tail`].
pub fn image_tail(int8: &Int8Model) -> Result<AlignedBytes, AdaptError> {
    let image = int8.image();
    let origin = Head::new(&image).map_err(|_| AdaptError::NoHead)?;
    let (d, n) = (origin.n_features(), origin.n_classes());
    let (mut weights, mut bias) = (vec![0.0; n * d], vec![0.0; n]);
    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut [],
    };
    let head = LinearHead::new(buffers, &origin)?;
    let mut tail = AlignedBytes::new(&vec![0; head_bytes(&head)]);
    emit_head(&head, MethodId::Softmax, Math::Exact, &mut tail).map_err(AdaptError::Tail)?;
    Ok(tail)
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
    let (scale, zero_point) = feature_scale(int8);
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

/// Scores a tail on samples.
///
/// # Errors
/// [`AdaptError`].
pub fn score(int8: &Int8Model, tail: &[u8], samples: &[&Labelled]) -> Result<Score, AdaptError> {
    let logits = logits(int8, tail, samples)?;
    let right = logits.iter().zip(samples);
    let right = right.filter(|(logits, s)| argmax(logits) == Some(s.label.into()));
    Ok(Score {
        right: right.count() as u32,
        total: samples.len() as u32,
    })
}

/// Returns the share of samples that a tail gets right.
///
/// # Errors
/// [`AdaptError`].
pub fn accuracy(int8: &Int8Model, tail: &[u8], samples: &[&Labelled]) -> Result<f64, AdaptError> {
    let Score { right, total } = score(int8, tail, samples)?;
    Ok(f64::from(right) / f64::from(total.max(1)))
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
    let (scale, zero_point) = feature_scale(int8);
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
