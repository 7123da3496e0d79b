//! Softmax without its division: base-2 exponentials of score differences.
//!
//! ```text
//! u_j = clamp(requantize(max − s_j), 0, 4095)          1/256 of a binary exponent
//! e_j = TABLE[u_j mod 256] >> (u_j / 256)              Q14: ONE stands for 1
//! ```
//!
//! The requantize carries `s_q · s_k / √head_dim · log2(e) · 256`. Rounding `u` costs at most
//! `2^(1/512) − 1` = 0.14 % of a weight, the table and the shift less than one unit of Q14. The
//! division by `Σ e_j` is left to whoever uses the weights: attention folds it into the requantize
//! of its context.

use crate::quant::Scaling;

/// The exponential of zero.
pub const ONE: i32 = 1 << 14;

/// `round(2^(14 − i/256))`.
static TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut i = 0;
    // 2^(−1/256) in double precision; 256 products lose less than 2^-44.
    let (ratio, mut value) = (0.997_296_056_085_470_1_f64, 16384.0);
    while i < 256 {
        table[i] = (value + 0.5) as u16;
        value *= ratio;
        i += 1;
    }
    table
};

/// Replaces scores by Q14 exponentials relative to the largest; returns their sum.
///
/// The sum is at least [`ONE`] unless `scores` is empty, and at most `scores.len() · ONE`.
pub fn exponentials(scores: &mut [i32], scaling: Scaling, mantissa: i32) -> i32 {
    let max = scores.iter().copied().fold(i32::MIN, i32::max);
    let mut sum = 0i32;
    for score in scores {
        let u = scaling
            .apply(max.wrapping_sub(*score), mantissa, 0)
            .clamp(0, 4095);
        let e = i32::from(TABLE[(u & 255) as usize]) >> (u >> 8);
        *score = e;
        sum = sum.wrapping_add(e);
    }
    sum
}
