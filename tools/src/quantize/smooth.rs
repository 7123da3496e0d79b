//! Smoothing (Xiao et al., arXiv 2211.10438): the input of linear layers is divided by a factor a
//! channel and their weights are multiplied by it, so that no channel wastes the others' range.
//!
//! `f_c = max|x_c|^α / max|w_c|^(1 − α)`. The strength α, none among the choices, is the one with
//! the least squared error of the layers' outputs on rows that calibration kept.

use super::calibrate::SiteStatistics;
use super::linear::{row_scale, smooth_row};
use super::range::{Observed, Quantization};
use crate::float_model::Linear;

/// A smoothed input: its quantization (after the division) and the factors, if any.
pub(crate) struct Smoothed {
    pub input: Quantization,
    pub factors: Option<Vec<f64>>,
    pub alpha: Option<f64>,
    pub clipped: f64,
}

/// Rows on which the choices are compared.
const ROWS: usize = 128;

/// Chooses the smoothing of what `readers` read.
pub(crate) fn choose(seen: &SiteStatistics, readers: &[&Linear]) -> Smoothed {
    let choices = [None, Some(0.3), Some(0.5), Some(0.7)];
    let measured = choices.into_iter().map(|alpha| {
        let factors = alpha.map(|alpha| factors(seen, readers, alpha));
        let observed = observe(seen, factors.as_deref());
        let input = observed.choose(false, &|x| x);
        let error = output_error(seen, readers, factors.as_deref(), &input);
        (
            error,
            Smoothed {
                clipped: observed.clipped(&input),
                input,
                factors,
                alpha,
            },
        )
    });
    let best = measured.min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(
        || Smoothed {
            input: super::min_max(-1.0, 1.0),
            factors: None,
            alpha: None,
            clipped: 0.0,
        },
        |(_, smoothed)| smoothed,
    )
}

fn factors(seen: &SiteStatistics, readers: &[&Linear], alpha: f64) -> Vec<f64> {
    let raw = seen.columns.iter().enumerate().map(|(c, &(min, max))| {
        let x = f64::from(min.abs().max(max.abs())).max(1e-5);
        let w = readers
            .iter()
            .flat_map(|l| l.weight.iter().skip(c).step_by(l.in_features));
        let w = w.fold(0f64, |m, &w| m.max(f64::from(w).abs())).max(1e-5);
        libm::pow(x, alpha) / libm::pow(w, 1.0 - alpha)
    });
    let raw: Vec<f64> = raw.collect();
    // Their common size does not matter; about one keeps the numbers in the usual range.
    let mean = raw.iter().map(|&f| libm::log(f)).sum::<f64>() / raw.len().max(1) as f64;
    raw.iter()
        .map(|f| (f / libm::exp(mean)).clamp(1.0 / 64.0, 64.0))
        .collect()
}

fn divide(row: &[f32], factors: Option<&[f64]>) -> Vec<f32> {
    match factors {
        Some(f) => row
            .iter()
            .zip(f)
            .map(|(&x, f)| (f64::from(x) / f) as f32)
            .collect(),
        None => row.to_vec(),
    }
}

fn observe(seen: &SiteStatistics, factors: Option<&[f64]>) -> Observed {
    let mut observed = Observed::default();
    for row in &seen.rows {
        observed.add(&divide(row, factors));
    }
    let (min, max): (Vec<f32>, Vec<f32>) = seen.columns.iter().copied().unzip();
    observed.add(&divide(&min, factors));
    observed.add(&divide(&max, factors));
    observed
}

/// The squared error of the readers' outputs when input and weights are rounded to int8, relative
/// to each reader's own power.
fn output_error(
    seen: &SiteStatistics,
    readers: &[&Linear],
    factors: Option<&[f64]>,
    input: &Quantization,
) -> f64 {
    let step = seen.rows.len().div_ceil(ROWS).max(1);
    let rows: Vec<&Vec<f32>> = seen.rows.iter().step_by(step).collect();
    let rounded = rows.iter().map(|row| {
        let divided = divide(row, factors);
        divided
            .iter()
            .map(|&x| f64::from(input.dequantize(input.quantize(x))))
            .collect()
    });
    let rounded: Vec<Vec<f64>> = rounded.collect();
    let mut total = 0.0;
    for reader in readers {
        let (mut error, mut power) = (0.0, 1e-12);
        for weights in reader.weight.chunks_exact(reader.in_features) {
            let smoothed = smooth_row(weights, factors);
            let scale = row_scale(&smoothed);
            let q: Vec<f64> = smoothed
                .iter()
                .map(|w| (w / scale).round().clamp(-127.0, 127.0) * scale)
                .collect();
            for (row, x) in rows.iter().zip(&rounded) {
                let exact: f64 = row
                    .iter()
                    .zip(weights)
                    .map(|(&x, &w)| f64::from(x * w))
                    .sum();
                let found: f64 = x.iter().zip(&q).map(|(x, w)| x * w).sum();
                error += (exact - found).powi(2);
                power += exact.powi(2);
            }
        }
        total += error / power;
    }
    total
}
