//! Linear layers: `y = x · Wᵀ + b`, int8 × int8 → i32, then one requantize an output.
//!
//! Shapes: `x` int8 `[rows, in_features]`, weights int8 `[out_features, in_features]` in pairs of
//! output channels, one `(bias, mantissa)` pair an output channel. The input's zero point is part of
//! the bias: `bias = b / (s_x · s_w) − z_x · Σ w`. The four forms differ in where a result goes.
//!
//! The order of the weights is that in which the fastest loop reads them: two output channels
//! interleaved, `w[0][0] w[1][0] w[0][1] w[1][1] …`; a last odd channel stands alone. A word of four
//! bytes holds two columns of both channels.
//!
//! `panel` is scratch of `2 · in_features` words, in which a kernel for an instruction set keeps four
//! rows of `x` as it reads them; with less, the portable loop does the work: the same bits.

use crate::quant::{Scaling, saturate_i8, saturate_i16};

/// Rows that are computed against one pair of channels.
const ROW_BLOCK: usize = 4;

/// A linear layer's weights, as they lie in the image.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// int8 `[out_features, in_features]`, pairs of channels interleaved, symmetric, one scale an
    /// output channel.
    pub weight: &'a [i8],
    /// `(bias, mantissa)` for each output channel.
    pub epilogue: &'a [[i32; 2]],
    /// Columns of one channel.
    pub in_features: usize,
    /// The shifts of the requantize.
    pub scaling: Scaling,
    /// The output's zero point.
    pub zero_point: i32,
}

impl Linear<'_> {
    /// Returns one weight; 0 where there is none.
    pub fn weight(&self, channel: usize, column: usize) -> i8 {
        let (k, pair) = (self.in_features, channel & !1);
        // The last of an odd number of channels stands alone.
        let index = match pair + 1 < self.epilogue.len() {
            true => pair * k + 2 * column + (channel & 1),
            false => channel * k + column,
        };
        let there = column < k && channel < self.epilogue.len();
        let weight = self.weight.get(index).copied();
        weight.filter(|_| there).unwrap_or(0)
    }

    /// Calls `put(place, value)` with every requantized output and its place in `[rows, out_features]`.
    #[inline(always)]
    fn rows<T>(
        &self,
        #[cfg_attr(not(tailtune_kernels = "armv7em"), allow(unused_variables))] panel: &mut [u32],
        input: &[i8],
        output: &mut [T],
        put: impl Fn(&mut T, i32),
    ) {
        let n = self.epilogue.len();
        #[cfg(tailtune_kernels = "armv7em")]
        {
            let k = self.in_features.max(1);
            let places = super::armv7em::Places {
                channel: |channel| channel,
                rows: [0, n, 2 * n, 3 * n],
                odd: 1,
            };
            let blocks = input.chunks(k * ROW_BLOCK);
            for (rows, out) in blocks.zip(output.chunks_mut((n * ROW_BLOCK).max(1))) {
                match super::armv7em::Panel::widen(panel, rows, self.in_features) {
                    Some(panel) if super::armv7em::takes(self) => {
                        panel.block(self, rows.len() / k, out, &places, &put);
                    }
                    _ => self.block(rows, |row, channel, value| {
                        if let Some(out) = out.get_mut(row * n + channel) {
                            put(out, value);
                        }
                    }),
                }
            }
        }
        #[cfg(not(tailtune_kernels = "armv7em"))]
        self.each(input, |row, channel, value| {
            if let Some(out) = output.get_mut(row * n + channel) {
                put(out, value);
            }
        });
    }

    /// Calls `sink(row, channel, value)` with every requantized output.
    #[inline(always)]
    pub(super) fn each(&self, input: &[i8], mut sink: impl FnMut(usize, usize, i32)) {
        let block = self.in_features.max(1) * ROW_BLOCK;
        for (index, rows) in input.chunks(block).enumerate() {
            let first = index * ROW_BLOCK;
            self.block(rows, |row, channel, value| {
                sink(first + row, channel, value)
            });
        }
    }

    /// Up to 4 rows, in portable code.
    #[inline(always)]
    fn block(&self, rows: &[i8], mut sink: impl FnMut(usize, usize, i32)) {
        let k = self.in_features.max(1);
        let pairs = self.weight.chunks(2 * k).zip(self.epilogue.chunks(2));
        for (pair, (weight, epilogue)) in pairs.enumerate() {
            let mut out = |row, odd, sum, mantissa| {
                let value = self.scaling.apply(sum, mantissa, self.zero_point);
                sink(row, 2 * pair + odd, value);
            };
            match *epilogue {
                [[bias_0, mantissa_0], [bias_1, mantissa_1]] => {
                    let mut quads = rows.chunks_exact(ROW_BLOCK * k);
                    if let Some(four) = quads.next() {
                        let (a, rest) = four.split_at(k);
                        let (b, rest) = rest.split_at(k);
                        let (c, d) = rest.split_at(k);
                        let sums = dot_4_pair([a, b, c, d], weight, [bias_0, bias_1]);
                        for (row, [even, odd]) in sums.into_iter().enumerate() {
                            out(row, 0, even, mantissa_0);
                            out(row, 1, odd, mantissa_1);
                        }
                    }
                    let done = rows.len() / (ROW_BLOCK * k) * ROW_BLOCK;
                    for (row, x) in quads.remainder().chunks_exact(k).enumerate() {
                        let [even, odd] = dot_pair(x, weight, [bias_0, bias_1]);
                        out(done + row, 0, even, mantissa_0);
                        out(done + row, 1, odd, mantissa_1);
                    }
                }
                [[bias, mantissa]] => {
                    for (row, x) in rows.chunks_exact(k).enumerate() {
                        out(row, 0, dot(x, weight, bias), mantissa);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Writes int8 `[rows, out_features]`.
pub fn linear_i8(linear: &Linear<'_>, panel: &mut [u32], input: &[i8], output: &mut [i8]) {
    linear.rows(panel, input, output, |out, value| *out = saturate_i8(value));
}

/// Writes int8 `[rows, out_features]` through an activation table of the values −128 to 127.
pub fn linear_table_i8(
    linear: &Linear<'_>,
    table: &[i8; 256],
    panel: &mut [u32],
    input: &[i8],
    output: &mut [i8],
) {
    linear.rows(panel, input, output, |out, value| {
        *out = table[usize::from(saturate_i8(value).wrapping_sub(i8::MIN) as u8)];
    });
}

/// Writes int16 `[rows, out_features]`.
pub fn linear_i16(linear: &Linear<'_>, panel: &mut [u32], input: &[i8], output: &mut [i16]) {
    linear.rows(panel, input, output, |out, value| {
        *out = saturate_i16(value)
    });
}

/// Adds to the int16 residual stream `[rows, out_features]`, saturating: the sum is rounded once.
pub fn linear_add_i16(linear: &Linear<'_>, panel: &mut [u32], input: &[i8], residual: &mut [i16]) {
    linear.rows(panel, input, residual, |out, value| {
        *out = saturate_i16(i32::from(*out).saturating_add(value));
    });
}

/// Returns `start + Σ a·b`, wrapping.
#[inline(always)]
fn dot(a: &[i8], b: &[i8], start: i32) -> i32 {
    a.iter().zip(b).fold(start, |sum, (&a, &b)| {
        sum.wrapping_add(i32::from(a) * i32::from(b))
    })
}

/// Returns the dot products of a row with an interleaved pair of channels.
#[inline(always)]
pub(super) fn dot_pair(row: &[i8], weight: &[i8], start: [i32; 2]) -> [i32; 2] {
    let (weight, _) = weight.as_chunks::<2>();
    row.iter()
        .zip(weight)
        .fold(start, |[even, odd], (&x, &[a, b])| {
            [
                even.wrapping_add(i32::from(x) * i32::from(a)),
                odd.wrapping_add(i32::from(x) * i32::from(b)),
            ]
        })
}

/// As [`dot_pair`], of four rows: each weight is loaded once.
#[inline(always)]
fn dot_4_pair(rows: [&[i8]; 4], weight: &[i8], start: [i32; 2]) -> [[i32; 2]; 4] {
    let mut sums = [start; 4];
    let [a, b, c, d] = rows;
    let (weight, _) = weight.as_chunks::<2>();
    for ((((&w, &a), &b), &c), &d) in weight.iter().zip(a).zip(b).zip(c).zip(d) {
        let [even, odd] = [i32::from(w[0]), i32::from(w[1])];
        for (sum, x) in sums.iter_mut().zip([a, b, c, d]) {
            sum[0] = sum[0].wrapping_add(even * i32::from(x));
            sum[1] = sum[1].wrapping_add(odd * i32::from(x));
        }
    }
    sums
}
