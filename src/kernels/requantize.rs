//! From the int16 residual stream to int8, and the mean over rows.

use super::panel::Panel;
use crate::quant::{Scaling, saturate_i8};

/// A requantize with one mantissa a column.
#[derive(Debug, Clone, Copy)]
pub struct Requantize<'a> {
    /// One mantissa a column.
    pub mantissas: &'a [i32],
    /// Their shifts.
    pub scaling: Scaling,
    /// The output's zero point.
    pub zero_point: i32,
}

impl Requantize<'_> {
    /// Returns int8 `[d]` of int16 `[d]`.
    #[inline(always)]
    fn values(&self, row: &[i16]) -> impl Iterator<Item = i8> {
        let (scaling, zero_point) = (self.scaling, self.zero_point);
        let values = row.iter().zip(self.mantissas);
        values
            .map(move |(&x, &mantissa)| saturate_i8(scaling.apply(x.into(), mantissa, zero_point)))
    }
}

/// Writes a panel of `[rows, d]` from int16 `[rows, d]`.
pub fn requantize_panel(requantize: &Requantize<'_>, rows: &[i16], output: &mut Panel<'_>) {
    #[cfg(tailtune_kernels = "armv7em")]
    if super::armv7em::requantize(requantize, rows, output) {
        return;
    }
    let rows = crate::rows::rows(rows, requantize.mantissas.len());
    for (index, row) in rows.take(output.rows()).enumerate() {
        output.fill_row(index, requantize.values(row));
    }
}

/// Writes int8 `[d]` from int16 `[d]`.
pub fn requantize_row(requantize: &Requantize<'_>, row: &[i16], output: &mut [i8]) {
    for (out, value) in output.iter_mut().zip(requantize.values(row)) {
        *out = value;
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
