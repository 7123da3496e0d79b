//! Whether a model is as sure as it is right.
//!
//! Expected calibration error (Guo et al., arXiv 1706.04599, §2), over `M = 15` bins of equal
//! width, `B_m` the samples whose confidence (largest probability) lies in `((m − 1)/M, m/M]`:
//!
//! ```text
//! ECE = Σ_m |B_m| / n · |acc(B_m) − conf(B_m)|
//! ```
//!
//! Negative log likelihood: the mean of `−ln p(truth)`, in nats.

use crate::int8::argmax;
use crate::reference::softmax;
use serde::Serialize;

/// Bins of the expected calibration error.
pub const BINS: usize = 15;

/// The samples of one bin of confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bin {
    /// How many there are.
    pub n: usize,
    /// Their mean confidence, 0..=1; 0 where there are none.
    pub confidence: f64,
    /// The share that is right, 0..=1; 0 where there are none.
    pub accuracy: f64,
}

/// Returns the probabilities of each row of logits.
pub fn probabilities(logits: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let one = |row: &Vec<f32>| {
        let mut row = row.clone();
        softmax(&mut row);
        row
    };
    logits.iter().map(one).collect()
}

/// Sorts samples by confidence; one whose truth the model does not know is wrong.
pub fn reliability(truth: &[Option<usize>], probabilities: &[Vec<f32>]) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for (truth, row) in truth.iter().zip(probabilities) {
        let Some(best) = argmax(row) else { continue };
        let confidence = f64::from(row[best]);
        let place = (confidence * BINS as f64).ceil() as usize;
        let bin = &mut bins[place.clamp(1, BINS) - 1];
        bin.n += 1;
        bin.confidence += confidence;
        bin.accuracy += f64::from(u8::from(*truth == Some(best)));
    }
    for bin in bins.iter_mut().filter(|b| b.n > 0) {
        bin.confidence /= bin.n as f64;
        bin.accuracy /= bin.n as f64;
    }
    bins
}

/// Returns the expected calibration error, 0..=1.
pub fn expected_error(bins: &[Bin]) -> f64 {
    let n = bins.iter().map(|b| b.n).sum::<usize>().max(1);
    let gap = |b: &Bin| b.n as f64 / n as f64 * (b.accuracy - b.confidence).abs();
    bins.iter().map(gap).sum()
}

/// Returns the mean negative log likelihood of the truth, in nats, over the samples whose class the
/// model knows; none without any. It comes from the logits, so that no probability is ever zero.
pub fn negative_log_likelihood(truth: &[Option<usize>], logits: &[Vec<f32>]) -> Option<f64> {
    let one = |(truth, row): (&Option<usize>, &Vec<f32>)| {
        let own = f64::from(*row.get((*truth)?)?);
        let max = row.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x.into()));
        let sum: f64 = row.iter().map(|&x| libm::exp(f64::from(x) - max)).sum();
        Some(max + libm::log(sum) - own)
    };
    let all: Vec<f64> = truth.iter().zip(logits).filter_map(one).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_error_by_hand() {
        // Confidences 0.9 (right), 0.9 (wrong), 0.6 (right), 0.6 of a class nobody knows.
        let rows = vec![
            vec![0.9, 0.1],
            vec![0.9, 0.1],
            vec![0.4, 0.6],
            vec![0.6, 0.4],
        ];
        let bins = reliability(&[Some(0), Some(1), Some(1), None], &rows);
        assert_eq!(bins.iter().map(|b| b.n).sum::<usize>(), 4);
        // 0.9 · 15 = 13.5: the 14th bin; f32's 0.6 lies just above 9/15: the 10th.
        assert_eq!((bins[13].n, bins[13].accuracy), (2, 0.5));
        assert_eq!((bins[9].n, bins[9].accuracy), (2, 0.5));
        // 2/4 · |0.5 − 0.9| + 2/4 · |0.5 − 0.6|
        assert!((expected_error(&bins) - 0.25).abs() < 1e-6);
    }

    #[test]
    fn a_sure_and_right_model_has_no_error() {
        let bins = reliability(&[Some(1)], &[vec![0.0, 1.0]]);
        assert_eq!(bins[BINS - 1].n, 1);
        assert_eq!(expected_error(&bins), 0.0);
    }

    #[test]
    fn likelihood_by_hand() {
        let logits = vec![vec![0.0, 0.0], vec![0.0, 200.0], vec![1.0, 2.0]];
        let found = negative_log_likelihood(&[Some(0), Some(0), None], &logits);
        assert!((found.unwrap() - (std::f64::consts::LN_2 + 200.0) / 2.0).abs() < 1e-9);
        assert_eq!(negative_log_likelihood(&[None], &logits), None);
        assert_eq!(probabilities(&logits)[0], [0.5, 0.5]);
    }
}
