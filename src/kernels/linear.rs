//! Linear layers: `y = x · Wᵀ + b`, int8 × int8 → i32, then one requantize an output.
//!
//! Shapes: `x` int8 `[rows, in_features]`, weights int8 `[out_features, in_features]`, one
//! `(bias, mantissa)` pair an output channel. The input's zero point is part of the bias:
//! `bias = b / (s_x · s_w) − z_x · Σ w`. The four forms differ in where a result goes.

use crate::quant::{Scaling, saturate_i8, saturate_i16};

/// Rows that are computed against one row of weights.
const ROW_BLOCK: usize = 4;

/// A linear layer's weights, as they lie in the image.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// int8 `[out_features, in_features]`, symmetric, one scale an output channel.
    pub weight: &'a [i8],
    /// `(bias, mantissa)` for each output channel.
    pub epilogue: &'a [[i32; 2]],
    /// Length of one row of weights.
    pub in_features: usize,
    /// The shifts of the requantize.
    pub scaling: Scaling,
    /// The output's zero point.
    pub zero_point: i32,
}

impl Linear<'_> {
    /// Calls `sink(row, channel, value)` with every requantized output of up to 4 rows.
    #[inline(always)]
    fn block(&self, rows: &[i8], mut sink: impl FnMut(usize, usize, i32)) {
        let k = self.in_features.max(1);
        let channels = self.weight.chunks_exact(k).zip(self.epilogue);
        if rows.len() == ROW_BLOCK * k {
            let (a, rest) = rows.split_at(k);
            let (b, rest) = rest.split_at(k);
            let (c, d) = rest.split_at(k);
            for (channel, (weight, &[bias, mantissa])) in channels.enumerate() {
                let sums = dot_4([a, b, c, d], weight, bias);
                for (row, sum) in sums.into_iter().enumerate() {
                    sink(
                        row,
                        channel,
                        self.scaling.apply(sum, mantissa, self.zero_point),
                    );
                }
            }
        } else {
            for (channel, (weight, &[bias, mantissa])) in channels.enumerate() {
                for (row, x) in rows.chunks_exact(k).enumerate() {
                    let sum = dot(x, weight, bias);
                    sink(
                        row,
                        channel,
                        self.scaling.apply(sum, mantissa, self.zero_point),
                    );
                }
            }
        }
    }

    /// Calls `sink(row, channel, value)` with every requantized output.
    #[inline(always)]
    fn each(&self, input: &[i8], mut sink: impl FnMut(usize, usize, i32)) {
        let block = self.in_features.max(1) * ROW_BLOCK;
        for (index, rows) in input.chunks(block).enumerate() {
            self.block(rows, |row, channel, value| {
                sink(index * ROW_BLOCK + row, channel, value)
            });
        }
    }

    fn out_features(&self) -> usize {
        self.epilogue.len()
    }
}

/// Writes int8 `[rows, out_features]`.
pub fn linear_i8(linear: &Linear<'_>, input: &[i8], output: &mut [i8]) {
    let n = linear.out_features();
    linear.each(input, |row, channel, value| {
        if let Some(out) = output.get_mut(row * n + channel) {
            *out = saturate_i8(value);
        }
    });
}

/// Writes int8 `[rows, out_features]` through an activation table of the values −128 to 127.
pub fn linear_table_i8(linear: &Linear<'_>, table: &[i8; 256], input: &[i8], output: &mut [i8]) {
    let n = linear.out_features();
    linear.each(input, |row, channel, value| {
        if let Some(out) = output.get_mut(row * n + channel) {
            *out = table[usize::from(saturate_i8(value).wrapping_sub(i8::MIN) as u8)];
        }
    });
}

/// Writes int16 `[rows, out_features]`.
pub fn linear_i16(linear: &Linear<'_>, input: &[i8], output: &mut [i16]) {
    let n = linear.out_features();
    linear.each(input, |row, channel, value| {
        if let Some(out) = output.get_mut(row * n + channel) {
            *out = saturate_i16(value);
        }
    });
}

/// Adds to the int16 residual stream `[rows, out_features]`, saturating: the sum is rounded once.
pub fn linear_add_i16(linear: &Linear<'_>, input: &[i8], residual: &mut [i16]) {
    let n = linear.out_features();
    linear.each(input, |row, channel, value| {
        if let Some(out) = residual.get_mut(row * n + channel) {
            *out = saturate_i16(i32::from(*out).saturating_add(value));
        }
    });
}

/// Returns `start + Σ a·b`, wrapping.
#[inline(always)]
pub(super) fn dot(a: &[i8], b: &[i8], start: i32) -> i32 {
    a.iter().zip(b).fold(start, |sum, (&a, &b)| {
        sum.wrapping_add(i32::from(a) * i32::from(b))
    })
}

/// Returns the dot products of four rows with one row of weights: each weight is loaded once.
#[inline(always)]
fn dot_4(rows: [&[i8]; 4], weight: &[i8], start: i32) -> [i32; 4] {
    let mut sums = [start; 4];
    let [a, b, c, d] = rows;
    for ((((&w, &a), &b), &c), &d) in weight.iter().zip(a).zip(b).zip(c).zip(d) {
        let w = i32::from(w);
        for (sum, x) in sums.iter_mut().zip([a, b, c, d]) {
            *sum = sum.wrapping_add(w * i32::from(x));
        }
    }
    sums
}
