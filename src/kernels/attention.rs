//! Scaled dot-product attention of one query ("Attention Is All You Need", §3.2.1), one head.
//!
//! Keys and values are int8 `[len, stride]`, of which a head reads `head_dim` columns. Scores never
//! exist as a matrix: one row of `len` at a time. The softmax's division is folded into the
//! context's requantize: with `S = Σ e_j`, `k = bits(S) − 16` and `R = ⌊2^31 / (S / 2^k)⌋`,
//!
//! ```text
//! context = requantize(Σ e_j · v_j) by (mantissa · R / 2^16) / 2^(shift + 15 + k)
//! ```
//!
//! `R` has 16 significant bits, so the division costs at most 2^-14 of the result.

use super::linear::dot;
use super::softmax::{ONE, exponentials};
use crate::quant::{Scaling, saturate_i8};

/// The two fixed-point factors of attention.
#[derive(Debug, Clone, Copy)]
pub struct AttentionScale {
    /// Shifts from a score difference to 1/256 of a binary exponent.
    pub softmax: Scaling,
    /// Its mantissa, `≥ 0`.
    pub softmax_mantissa: i32,
    /// Shift from the values' scale to the context's, `19..=38`.
    pub context_shift: u8,
    /// Its mantissa, `≥ 0`.
    pub context_mantissa: i32,
    /// The context's zero point.
    pub zero_point: i32,
}

/// Writes the scores `q · k_j` of one head: `scores.len()` keys, from column `column` of each row.
pub fn scores(query: &[i8], keys: &[i8], stride: usize, column: usize, scores: &mut [i32]) {
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(stride.max(1))) {
        *score = dot(query, key.get(column..).unwrap_or(&[]), 0);
    }
}

/// Replaces `query` (one head's) by its context.
///
/// `weights` and `sums` are scratch: one i32 for each key, one for each column of the head.
/// `column` is where the head's columns start in a row of `stride` columns.
#[allow(clippy::too_many_arguments)]
pub fn attend(
    query: &mut [i8],
    keys: &[i8],
    values: &[i8],
    stride: usize,
    column: usize,
    scale: &AttentionScale,
    weights: &mut [i32],
    sums: &mut [i32],
) {
    scores(query, keys, stride, column, weights);
    let total = exponentials(weights, scale.softmax, scale.softmax_mantissa);
    sums.fill(0);
    for (&weight, value) in weights.iter().zip(values.chunks_exact(stride.max(1))) {
        let value = value.get(column..).unwrap_or(&[]);
        for (sum, &v) in sums.iter_mut().zip(value) {
            *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(v)));
        }
    }
    let (scaling, mantissa) = normalizer(total, scale);
    for (out, &sum) in query.iter_mut().zip(&*sums) {
        *out = saturate_i8(scaling.apply(sum, mantissa, scale.zero_point));
    }
}

/// Returns the requantize that divides by `total` and goes to the context's scale.
fn normalizer(total: i32, scale: &AttentionScale) -> (Scaling, i32) {
    let total = total.max(ONE) as u32;
    let bits = 32 - total.leading_zeros();
    // 16 significant bits of the total; it has at least 15.
    let top = if bits >= 16 {
        total >> (bits - 16)
    } else {
        total << (16 - bits)
    };
    let reciprocal = (1u32 << 31) / top.max(1);
    let mantissa = (i64::from(scale.context_mantissa) * i64::from(reciprocal)) >> 16;
    // bits − 16 lies in −1..=9 and the context's shift in 19..=38: the sum in 33..=62.
    let shift = u32::from(scale.context_shift) + bits - 1;
    (
        Scaling {
            pre_shift: 0,
            shift: shift as u8,
        },
        mantissa as i32,
    )
}
