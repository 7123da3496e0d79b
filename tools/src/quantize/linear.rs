//! Linear layers and LayerNorms in integers.

use super::fixed::mantissas;
use super::range::Quantization;
use crate::float_model::{Linear, Norm};
use crate::image_writer::TensorData;

/// Where a linear layer's output goes.
pub(crate) struct Output {
    pub scale: f64,
    pub zero_point: i32,
}

impl From<&Quantization> for Output {
    fn from(q: &Quantization) -> Self {
        Self {
            scale: q.scale,
            zero_point: q.zero_point,
        }
    }
}

/// Returns weights and epilogue of a layer that reads `input`; `smoothing` are the factors by which
/// its input was divided, one an input channel. None where a factor does not fit.
pub(crate) fn quantize_linear(
    linear: &Linear,
    smoothing: Option<&[f64]>,
    input: &Quantization,
    output: &Output,
) -> Option<(TensorData, TensorData)> {
    let k = linear.in_features;
    let mut weights = Vec::with_capacity(linear.weight.len());
    let (mut biases, mut factors) = (Vec::new(), Vec::new());
    let mut bound = 0f64;
    for (row, &bias) in linear.weight.chunks_exact(k).zip(&linear.bias) {
        let smoothed = smooth_row(row, smoothing);
        let scale = row_scale(&smoothed);
        let q: Vec<i8> = smoothed
            .iter()
            .map(|w| (w / scale).round().clamp(-127.0, 127.0) as i8)
            .collect();
        let sum: i64 = q.iter().map(|&w| i64::from(w)).sum();
        let magnitude: i64 = q.iter().map(|&w| i64::from(w).abs()).sum();
        let unit = input.scale * scale;
        let bias = (f64::from(bias) / unit).round() - f64::from(input.zero_point) * sum as f64;
        if bias.abs() > 2_147_483_647.0 {
            return None;
        }
        bound = bound.max(bias.abs() + 128.0 * magnitude as f64);
        biases.push(bias as i32);
        factors.push(unit / output.scale);
        weights.extend(q);
    }
    let (mantissas, scaling) = mantissas(&factors, bound)?;
    let pairs: Vec<[i32; 2]> = biases
        .into_iter()
        .zip(mantissas)
        .map(|(b, m)| [b, m])
        .collect();
    let epilogue = TensorData::new(&pairs)
        .scaling(scaling)
        .output(output.scale, output.zero_point);
    Some((TensorData::new(&weights), epilogue))
}

/// Returns a row of weights times the smoothing factors of its inputs.
pub(crate) fn smooth_row(row: &[f32], smoothing: Option<&[f64]>) -> Vec<f64> {
    match smoothing {
        Some(factors) => row
            .iter()
            .zip(factors)
            .map(|(&w, f)| f64::from(w) * f)
            .collect(),
        None => row.iter().map(|&w| w.into()).collect(),
    }
}

/// Returns the int8 scale of a row of weights with the least squared error, among the largest
/// weight and some shrunk ones.
pub(crate) fn row_scale(row: &[f64]) -> f64 {
    let max = row.iter().fold(0f64, |m, w| m.max(w.abs()));
    if max == 0.0 {
        return 1e-6;
    }
    let error = |scale: f64| -> f64 {
        let rounded = |w: f64| (w / scale).round().clamp(-127.0, 127.0) * scale;
        row.iter().map(|&w| (rounded(w) - w).powi(2)).sum()
    };
    let candidates = (0..8).map(|i| max / 127.0 * (1.0 - 0.03 * f64::from(i)));
    candidates
        .min_by(|a, b| error(*a).total_cmp(&error(*b)))
        .unwrap_or(max / 127.0)
}

/// Returns a LayerNorm from the residual stream at `input` to a stream at `output`: int16, or int8
/// with a zero point. `smoothing` divides each column of the output.
pub(crate) fn quantize_norm(
    norm: &Norm,
    input: f64,
    output: f64,
    smoothing: Option<&[f64]>,
    zero_point: i32,
) -> Option<TensorData> {
    let d = norm.gain.len();
    let column = |values: &[f32], i: usize| {
        f64::from(values[i]) / output / smoothing.map_or(1.0, |factors| factors[i])
    };
    let gains: Vec<f64> = (0..d).map(|i| column(&norm.gain, i)).collect();
    let biases: Vec<f64> = (0..d)
        .map(|i| column(&norm.bias, i) + f64::from(zero_point))
        .collect();
    // The most fraction bits at which every gain and every bias fits its 32 bits.
    let fits = |shift: i32| {
        let unit = libm::exp2(f64::from(shift));
        gains
            .iter()
            .all(|g| g.abs() * 1024.0 * unit < 2_147_483_000.0)
            && biases
                .iter()
                .all(|b| (b.abs() + 1.0) * unit < 1_000_000_000.0)
    };
    let shift = (1..=15).rev().find(|&s| fits(s))?;
    let unit = libm::exp2(f64::from(shift));
    let half = 1i32 << (shift - 1);
    let mut pairs: Vec<[i32; 2]> = gains
        .iter()
        .zip(&biases)
        .map(|(g, b)| {
            [
                (g * 1024.0 * unit).round() as i32,
                (b * unit).round() as i32 + half,
            ]
        })
        .collect();
    let epsilon = f64::from(norm.eps) * (d as f64 / input).powi(2);
    let epsilon = epsilon.round() as u64;
    pairs.push([epsilon as u32 as i32, (epsilon >> 32) as u32 as i32]);
    Some(
        TensorData::new(&pairs)
            .shift(shift as u8)
            .output(output, zero_point),
    )
}
