//! Unknown inputs: a prediction counts only above a confidence and a margin.
//!
//! ```text
//! confidence = p of the greatest logit by softmax,   margin = that p − the second greatest p
//! ```
//!
//! The thresholds are calibrated on labelled samples (the replay set): the highest ones at which a given
//! share of what is predicted right is still accepted (as Hendrycks and Gimpel, arXiv 1610.02136, with a
//! fixed share of true inputs kept). Ranks come from histograms of [`BINS`] bins on the stack, so the
//! thresholds are multiples of `1 / BINS`, rounded down.

use super::head::argmax;
use super::math::exp;
use super::{Math, Method, Samples, TuneError};
use crate::model::Features;

/// Bins of a histogram.
pub const BINS: usize = 128;

/// What a prediction must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rejection {
    /// Least probability of the best class, `0..=1`.
    pub confidence: f32,
    /// Least distance to the probability of the second best, `0..=1`.
    pub margin: f32,
}

/// A prediction and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Prediction {
    /// The class of the greatest logit.
    pub class: u16,
    /// Its probability.
    pub confidence: f32,
    /// Its probability less that of the second.
    pub margin: f32,
}

/// Returns the prediction of logits; none if there is none or one is NaN.
pub fn prediction(math: Math, logits: &[f32]) -> Option<Prediction> {
    let class = argmax(logits)?;
    let greatest = logits.get(class).copied()?;
    let (mut sum, mut second) = (0.0, 0.0);
    for (index, l) in logits.iter().enumerate() {
        let e = exp(math, l - greatest);
        sum += e;
        if index != class && e > second {
            second = e;
        }
    }
    Some(Prediction {
        class: class as u16,
        confidence: 1.0 / sum,
        margin: (1.0 - second) / sum,
    })
}

impl Rejection {
    /// Accepts everything.
    pub const NONE: Self = Self {
        confidence: 0.0,
        margin: 0.0,
    };

    /// Calibrates on labelled samples: of those that the method gets right, about `keep` (in `0..=1`)
    /// reach each threshold.
    ///
    /// # Errors
    /// A sample that cannot be read or does not suit the method; [`TuneError::NoSamples`] if the method
    /// gets none right.
    pub fn calibrate<M, S>(method: &mut M, samples: &mut S, keep: f32) -> Result<Self, TuneError>
    where
        M: Method + ?Sized,
        S: Samples + ?Sized,
    {
        let mut confidences = [0u32; BINS];
        let mut margins = [0u32; BINS];
        let mut right = 0u32;
        for index in 0..samples.len() {
            let sample = samples.get(index);
            let (features, label) = sample.ok_or(TuneError::SampleMissing { index })?;
            let math = method.math();
            let Some(p) = prediction(math, method.logits(&features)?) else {
                continue;
            };
            if p.class == label {
                right += 1;
                count(&mut confidences, p.confidence);
                count(&mut margins, p.margin);
            }
        }
        if right == 0 {
            return Err(TuneError::NoSamples);
        }
        let lost = ((1.0 - keep) * right as f32) as u32;
        Ok(Self {
            confidence: threshold(&confidences, lost),
            margin: threshold(&margins, lost),
        })
    }

    /// Returns whether a prediction reaches both thresholds.
    pub fn accepts(&self, prediction: &Prediction) -> bool {
        prediction.confidence >= self.confidence && prediction.margin >= self.margin
    }

    /// Returns the class of a feature, or none where the method is not sure enough.
    ///
    /// # Errors
    /// As [`Method::logits`].
    pub fn predict<M: Method + ?Sized>(
        &self,
        method: &mut M,
        features: &Features<'_>,
    ) -> Result<Option<u16>, TuneError> {
        let math = method.math();
        let prediction = prediction(math, method.logits(features)?);
        Ok(prediction.filter(|p| self.accepts(p)).map(|p| p.class))
    }
}

fn count(histogram: &mut [u32; BINS], value: f32) {
    let bin = (value * BINS as f32) as usize;
    if let Some(count) = histogram.get_mut(bin.min(BINS - 1)) {
        *count += 1;
    }
}

/// Returns the lower edge of the bin below which at most `lost` values lie.
fn threshold(histogram: &[u32; BINS], lost: u32) -> f32 {
    let mut below = 0;
    for (bin, count) in histogram.iter().enumerate() {
        below += count;
        if below > lost {
            return bin as f32 / BINS as f32;
        }
    }
    1.0
}
