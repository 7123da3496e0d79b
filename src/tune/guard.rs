//! The guard: samples held back decide whether a tune stays.
//!
//! The method is scored on them before and after. Fewer right than before: the tune is taken back. Classes
//! that were added since the origin count as wrong before, unless the untuned head happens to name them.

use super::math::{exp, ln};
use super::{Method, Samples, Score, TuneError};

/// What the samples held back say of a tune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Verdict {
    /// Of the samples held back, before the fit.
    pub before: Score,
    /// After it.
    pub after: Score,
}

impl Verdict {
    /// Returns whether the tune stays: it is not worse than what was before.
    pub const fn kept(&self) -> bool {
        self.after.right >= self.before.right
    }
}

/// Returns whether a fit with `hold_back` n holds sample `index` back: whether it is the n-th, 2n-th … of its
/// class. Never where n is below 2.
pub fn held_back<S: Samples + ?Sized>(samples: &mut S, index: usize, n: u32) -> bool {
    if n < 2 {
        return false;
    }
    let label = samples.label(index);
    let before = (0..index).filter(|&i| samples.label(i) == label).count();
    (before + 1).is_multiple_of(n as usize)
}

/// Scores before and after.
pub(super) struct Guard {
    hold_back: u32,
    before: Option<Score>,
}

impl Guard {
    pub const fn new(hold_back: u32) -> Self {
        Self {
            hold_back,
            before: None,
        }
    }

    pub fn before<M, S>(&mut self, method: &mut M, samples: &mut S) -> Result<(), TuneError>
    where
        M: Method + ?Sized,
        S: Samples + ?Sized,
    {
        let score = self.score(method, samples)?;
        self.before = (score.total > 0).then_some(score);
        Ok(())
    }

    pub fn after<M, S>(&self, method: &mut M, samples: &mut S) -> Result<Option<Verdict>, TuneError>
    where
        M: Method + ?Sized,
        S: Samples + ?Sized,
    {
        let Some(before) = self.before else {
            return Ok(None);
        };
        let after = self.score(method, samples)?;
        Ok(Some(Verdict { before, after }))
    }

    fn score<M, S>(&self, method: &mut M, samples: &mut S) -> Result<Score, TuneError>
    where
        M: Method + ?Sized,
        S: Samples + ?Sized,
    {
        let mut score = Score::default();
        if self.hold_back < 2 {
            return Ok(score);
        }
        for index in 0..samples.len() {
            if !held_back(samples, index, self.hold_back) {
                continue;
            }
            let sample = samples.get(index);
            let (features, label) = sample.ok_or(TuneError::SampleMissing { index })?;
            score.right += u32::from(method.predict(&features)? == label);
            score.total += 1;
        }
        Ok(score)
    }
}

/// Returns the mean negative log likelihood of the samples held back; none if there are none.
pub(super) fn log_loss<M, S>(
    method: &mut M,
    samples: &mut S,
    hold_back: u32,
) -> Result<Option<f32>, TuneError>
where
    M: Method + ?Sized,
    S: Samples + ?Sized,
{
    let (mut sum, mut count) = (0.0, 0u32);
    if hold_back < 2 {
        return Ok(None);
    }
    for index in 0..samples.len() {
        if !held_back(samples, index, hold_back) {
            continue;
        }
        let sample = samples.get(index);
        let (features, label) = sample.ok_or(TuneError::SampleMissing { index })?;
        let math = method.math();
        let logits = method.logits(&features)?;
        let of_label = logits.get(usize::from(label)).copied();
        sum += negative_log(math, logits, of_label.unwrap_or(f32::NEG_INFINITY));
        count += 1;
    }
    Ok((count > 0).then(|| sum / count as f32))
}

/// Returns `ln Σ exp(l − max l) − (of_label − max l)`.
fn negative_log(math: super::Math, logits: &[f32], of_label: f32) -> f32 {
    let greater = |m, &l: &f32| if l > m { l } else { m };
    let greatest = logits.iter().fold(f32::NEG_INFINITY, greater);
    let sum = logits
        .iter()
        .fold(0.0, |sum, l| sum + exp(math, l - greatest));
    ln(math, sum) - (of_label - greatest)
}
