//! LayerNorm (Ba et al., arXiv 1607.06450) on the int16 residual stream, in two passes.
//!
//! With `d` columns, everything is scaled by `d`, so that neither the mean nor the variance is
//! rounded before the square root:
//!
//! ```text
//! V   = d · Σx² − (Σx)² + epsilon             exact; epsilon = d² · eps / scale²
//! r   = 1/√V                                  31 bits
//! z_i = (d · x_i − Σx) · r                    Q22, |z| ≤ √d
//! y_i = (hi32(z_i · gain_i) + bias_i) >> shift
//! ```
//!
//! `gain = γ / s_y · 2^(10 + shift)`; `bias = (β / s_y + zero_point) · 2^shift + 2^(shift − 1)`,
//! which rounds. Where a linear layer follows, its smoothing factors are part of γ and β.

use super::panel::Panel;
use super::rsqrt::inverse_sqrt;
use crate::quant::{mul_high, saturate_i8, saturate_i16};
use crate::rows::rows_mut;

/// A LayerNorm's parameters, as they lie in the image.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// `(gain, bias)` of each column.
    pub params: &'a [[i32; 2]],
    /// The variance's epsilon, `d² · eps / scale²`.
    pub epsilon: u64,
    /// Fraction bits of the sum before the last shift, `1..=15`.
    pub shift: u8,
}

/// What the first pass over a row finds.
pub(super) struct Statistics {
    pub d: i32,
    pub sum: i32,
    pub inverse: i32,
    /// What `d · x − Σx` is shifted left by; right, where it is negative.
    pub left: i32,
}

/// Returns `Σx` and `Σx²`.
fn sums(row: &[i16]) -> (i32, u64) {
    row.iter().fold((0, 0), |(sum, squares), &x| {
        let square = i32::from(x) * i32::from(x);
        (
            i32::wrapping_add(sum, x.into()),
            u64::wrapping_add(squares, square as u64),
        )
    })
}

impl Norm<'_> {
    fn statistics(&self, row: &[i16]) -> Statistics {
        let d = row.len() as i32;
        #[cfg(not(tailtune_kernels = "armv7em"))]
        let (sum, squares) = sums(row);
        #[cfg(tailtune_kernels = "armv7em")]
        let (sum, squares) = super::armv7em::sums(row).unwrap_or_else(|| sums(row));
        let spread = (d as u64).wrapping_mul(squares);
        let spread = spread.wrapping_sub((i64::from(sum) * i64::from(sum)) as u64);
        let (inverse, p) = inverse_sqrt(spread.wrapping_add(self.epsilon));
        Statistics {
            d,
            sum,
            inverse,
            left: 8 - p,
        }
    }

    fn value(&self, s: &Statistics, x: i16, [gain, bias]: [i32; 2]) -> i32 {
        let centred = s.d.wrapping_mul(x.into()).wrapping_sub(s.sum);
        let scaled = if s.left >= 0 {
            centred.wrapping_shl(s.left as u32)
        } else {
            centred >> (-s.left).min(31)
        };
        let z = mul_high(scaled, s.inverse);
        mul_high(z, gain).wrapping_add(bias) >> (self.shift & 31)
    }
}

/// Normalises each row of `rows` `[n, d]` in place.
pub fn layer_norm_i16(norm: &Norm<'_>, rows: &mut [i16]) {
    for row in rows_mut(rows, norm.params.len()) {
        let statistics = norm.statistics(row);
        #[cfg(tailtune_kernels = "armv7em")]
        if super::armv7em::normalize(norm, &statistics, row) {
            continue;
        }
        for (x, &params) in row.iter_mut().zip(norm.params) {
            *x = saturate_i16(norm.value(&statistics, *x, params));
        }
    }
}

/// Normalises each row of `rows` `[n, d]` to a panel.
pub fn layer_norm_panel(norm: &Norm<'_>, rows: &[i16], output: &mut Panel<'_>) {
    let rows = crate::rows::rows(rows, norm.params.len()).enumerate();
    for (index, row) in rows.take(output.rows()) {
        let statistics = norm.statistics(row);
        #[cfg(tailtune_kernels = "armv7em")]
        if super::armv7em::normalize_panel(norm, &statistics, row, index, output) {
            continue;
        }
        let values = row.iter().zip(norm.params);
        output.fill_row(
            index,
            values.map(|(&x, &params)| saturate_i8(norm.value(&statistics, x, params))),
        );
    }
}
