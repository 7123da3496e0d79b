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
pub(super) static TABLE: [u16; 256] = {
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

/// Replaces the scores of four queries by Q14 exponentials relative to each one's largest; returns their
/// sums.
///
/// `weights` holds, for each pair of keys, four queries' scores (i32) with the even key, then with the
/// odd one: `4 · len` words, `len` rounded up to even. Its first half becomes, for each pair of keys,
/// four words: the even key's exponential below, the odd one's above. A sum is at least [`ONE`] unless
/// `len` is 0, and at most `len · ONE`.
pub fn exponentials(weights: &mut [u32], len: usize, scaling: Scaling, mantissa: i32) -> [i32; 4] {
    let pairs = len.div_ceil(2).min(weights.len() / 8);
    let whole = (len / 2).min(pairs);
    let mut max = [i32::MIN; 4];
    #[cfg(tailtune_kernels = "armv7em")]
    let from = super::armv7em::maxima(weights, whole, &mut max);
    #[cfg(not(tailtune_kernels = "armv7em"))]
    let from = 0;
    for (pair, scores) in weights
        .as_chunks::<8>()
        .0
        .iter()
        .enumerate()
        .take(pairs)
        .skip(from)
    {
        // The last key of an odd number of them has none beside it.
        let keys = if pair < whole { 8 } else { 4 };
        for (i, &score) in scores.iter().take(keys).enumerate() {
            let max = &mut max[i % 4];
            *max = (*max).max(score.cast_signed());
        }
    }
    let mut sums = [0i32; 4];
    #[cfg(tailtune_kernels = "armv7em")]
    let from = super::armv7em::exponentials(weights, whole, scaling, mantissa, &max, &mut sums);
    let exponential = |max: i32, score: u32| {
        let u = scaling
            .apply(max.wrapping_sub(score.cast_signed()), mantissa, 0)
            .clamp(0, 4095);
        i32::from(TABLE[(u & 255) as usize]) >> (u >> 8)
    };
    for pair in from..pairs {
        let Some(&scores) = weights.get(8 * pair..).and_then(|rest| rest.first_chunk()) else {
            break;
        };
        let [e0, e1, e2, e3, o0, o1, o2, o3]: [u32; 8] = scores;
        let rows = [(e0, o0), (e1, o1), (e2, o2), (e3, o3)];
        let places = weights.iter_mut().skip(4 * pair);
        for (((place, sum), max), (even, odd)) in places.zip(&mut sums).zip(max).zip(rows) {
            let low = exponential(max, even);
            let high = if pair < whole {
                exponential(max, odd)
            } else {
                0
            };
            *sum = sum.wrapping_add(low).wrapping_add(high);
            *place = low.cast_unsigned() | high.cast_unsigned() << 16;
        }
    }
    sums
}
