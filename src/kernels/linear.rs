//! Linear layers: `y = x · Wᵀ + b`, int8 × int8 → i32, then one requantize an output.
//!
//! Shapes: `x` int8 `[rows, in_features]` in a [`Panel`], so up to four rows at a time; weights int8
//! `[out_features, in_features]` in pairs of output channels, one `(bias, mantissa)` pair an output
//! channel. The input's zero point is part of the bias: `bias = b / (s_x · s_w) − z_x · Σ w`. The forms
//! differ in where a result goes.
//!
//! The order of the weights is that in which the fastest loop reads them: two output channels
//! interleaved, `w[0][0] w[1][0] w[0][1] w[1][1] …`; a last odd channel stands alone. A word of four
//! bytes holds two columns of both channels.

#[cfg(tailtune_kernels = "armv7em")]
use super::armv7em::{self, Store};
use super::panel::Panel;
use super::{isa, portable};
use crate::quant::{Scaling, saturate_i8, saturate_i16};
use crate::rows::pieces;

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

/// Returns where the weights of one of `channels` channels lie: the index of the first, and the step to the
/// next.
pub const fn channel_place(channel: usize, channels: usize, in_features: usize) -> (usize, usize) {
    let pair = channel & !1;
    // The last of an odd number of channels stands alone.
    match pair + 1 < channels {
        true => (pair * in_features + (channel & 1), 2),
        false => (channel * in_features, 1),
    }
}

impl Linear<'_> {
    /// Returns one weight; 0 where there is none.
    pub fn weight(&self, channel: usize, column: usize) -> i8 {
        let (k, n) = (self.in_features, self.epilogue.len());
        let (start, stride) = channel_place(channel, n, k);
        let there = column < k && channel < n;
        let weight = self.weight.get(start + stride * column).copied();
        weight.filter(|_| there).unwrap_or(0)
    }

    /// Calls `sink(row, channel, value)` with every requantized output.
    #[inline(always)]
    fn each(&self, input: &Panel<'_>, mut sink: impl FnMut(usize, usize, i32)) {
        let (k, rows) = (self.in_features.max(1), input.rows());
        let words = input.part(0, k);
        let pairs = pieces(self.weight, 2 * k).zip(pieces(self.epilogue, 2));
        for (pair, (weight, epilogue)) in pairs.enumerate() {
            let mut out = |sums: &[i32], odd: usize, [bias, mantissa]: [i32; 2]| {
                for (row, sum) in sums.iter().take(rows).enumerate() {
                    let sum = sum.wrapping_add(bias);
                    let value = self.scaling.apply(sum, mantissa, self.zero_point);
                    sink(row, 2 * pair + odd, value);
                }
            };
            match *epilogue {
                [a, b] => {
                    let [even, odd] = isa::tile(words, weight);
                    out(&even, 0, a);
                    out(&odd, 1, b);
                }
                [a] => out(&portable::single(words, isa::halves, weight), 0, a),
                _ => {}
            }
        }
    }

    /// As [`Self::each`], once for all forms: beside a kernel that does nearly every layer, size counts.
    #[cfg(tailtune_kernels = "armv7em")]
    #[inline(never)]
    fn rest(&self, input: &Panel<'_>, sink: &mut dyn FnMut(usize, usize, i32)) {
        self.each(input, sink);
    }

    /// As [`Self::each`].
    #[cfg(not(tailtune_kernels = "armv7em"))]
    #[inline(always)]
    fn rest(&self, input: &Panel<'_>, sink: &mut impl FnMut(usize, usize, i32)) {
        self.each(input, sink);
    }
}

/// Writes a panel of `[rows, out_features]`, through an activation table of the values −128 to 127
/// where there is one.
pub fn linear_panel(
    linear: &Linear<'_>,
    table: Option<&[i8; 256]>,
    input: &Panel<'_>,
    output: &mut Panel<'_>,
) {
    #[cfg(tailtune_kernels = "armv7em")]
    if armv7em::linear(linear, input, Store::Panel { output, table }) {
        return;
    }
    linear.rest(input, &mut |row, channel, value| {
        output.set(row, channel, activate(table, value));
    });
}

/// Writes int8 `[rows, out_features]`, through an activation table where there is one.
pub fn linear_i8(
    linear: &Linear<'_>,
    table: Option<&[i8; 256]>,
    input: &Panel<'_>,
    output: &mut [i8],
) {
    let n = linear.epilogue.len();
    #[cfg(tailtune_kernels = "armv7em")]
    {
        let places = armv7em::Places::of_rows(n);
        let store = Store::Int8 {
            output,
            table,
            places,
        };
        if armv7em::linear(linear, input, store) {
            return;
        }
    }
    linear.rest(input, &mut |row, channel, value| {
        if let Some(out) = output.get_mut(row * n + channel) {
            *out = activate(table, value);
        }
    });
}

#[inline(always)]
fn activate(table: Option<&[i8; 256]>, value: i32) -> i8 {
    let value = saturate_i8(value);
    table.map_or(value, |table| {
        table[usize::from(value.wrapping_sub(i8::MIN) as u8)]
    })
}

/// Writes int8 where `place(row, channel)` says.
pub(super) fn linear_i8_at(
    linear: &Linear<'_>,
    input: &Panel<'_>,
    output: &mut [i8],
    place: impl Fn(usize, usize) -> usize,
) {
    linear.rest(input, &mut |row, channel, value| {
        if let Some(out) = output.get_mut(place(row, channel)) {
            *out = saturate_i8(value);
        }
    });
}

/// Writes int16 `[rows, out_features]`.
pub fn linear_i16(linear: &Linear<'_>, input: &Panel<'_>, output: &mut [i16]) {
    #[cfg(tailtune_kernels = "armv7em")]
    if armv7em::linear(linear, input, Store::Int16(output)) {
        return;
    }
    let n = linear.epilogue.len();
    linear.rest(input, &mut |row, channel, value| {
        if let Some(out) = output.get_mut(row * n + channel) {
            *out = saturate_i16(value);
        }
    });
}

/// Adds to the int16 residual stream `[rows, out_features]`, saturating: the sum is rounded once.
pub fn linear_add_i16(linear: &Linear<'_>, input: &Panel<'_>, residual: &mut [i16]) {
    #[cfg(tailtune_kernels = "armv7em")]
    if armv7em::linear(linear, input, Store::Add(residual)) {
        return;
    }
    let n = linear.epilogue.len();
    linear.rest(input, &mut |row, channel, value| {
        if let Some(out) = residual.get_mut(row * n + channel) {
            *out = saturate_i16(i32::from(*out).saturating_add(value));
        }
    });
}

/// Writes int16 `[out_features]` of one row that is in no panel: a classification head's.
pub fn linear_row_i16(linear: &Linear<'_>, row: &[i8], output: &mut [i16]) {
    let channels = linear.epilogue.iter().zip(output).enumerate();
    for (channel, (&[bias, mantissa], out)) in channels {
        let sum = row.iter().enumerate().fold(bias, |sum, (column, &x)| {
            sum.wrapping_add(i32::from(x) * i32::from(linear.weight(channel, column)))
        });
        *out = saturate_i16(linear.scaling.apply(sum, mantissa, linear.zero_point));
    }
}
