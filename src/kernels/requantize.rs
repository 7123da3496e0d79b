//! From the int16 residual stream to int8, and the mean over rows.

use crate::quant::{Scaling, saturate_i8};

/// Writes int8 `[rows, d]` from int16 `[rows, d]`, one mantissa a column.
pub fn requantize_rows(
    rows: &[i16],
    mantissas: &[i32],
    scaling: Scaling,
    zero_point: i32,
    output: &mut [i8],
) {
    let d = mantissas.len().max(1);
    for (row, out) in rows.chunks_exact(d).zip(output.chunks_exact_mut(d)) {
        for ((out, &x), &mantissa) in out.iter_mut().zip(row).zip(mantissas) {
            *out = saturate_i8(scaling.apply(x.into(), mantissa, zero_point));
        }
    }
}

/// Replaces the first row of `rows` `[n, d]` by the mean over all of them, rounded half up.
pub fn mean_rows(rows: &mut [i16], d: usize) {
    let d = d.max(1);
    let n = (rows.len() / d).max(1) as i32;
    for column in 0..d {
        let sum = rows
            .iter()
            .skip(column)
            .step_by(d)
            .fold(0i32, |sum, &x| sum + i32::from(x));
        if let Some(first) = rows.get_mut(column) {
            *first = (2 * sum + n).div_euclid(2 * n) as i16;
        }
    }
}
