//! int8 weights times f32 vectors. Channels lie in pairs: two go together where both are wanted.

use super::view::{Projection, Scaled, Scales};
use crate::kernels::Linear;
use core::ops::Range;

/// Weights that a forward and a backward multiply by, and what becomes of their gradients.
pub trait Weights {
    /// Returns a projection's int8 weights.
    fn linear(&self, projection: Projection) -> Linear<'_>;

    /// Adds to `y` what adapters of the projection make of `x`, its input, for some channels.
    fn adapt(&self, projection: Projection, channels: Range<usize>, x: Scaled<'_>, y: &mut [f32]) {
        let _ = (projection, channels, x, y);
    }

    /// Adds to `dx` what adapters of the projection make of `dy`, of some channels, backwards.
    fn adapt_back(
        &self,
        projection: Projection,
        channels: Range<usize>,
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let _ = (projection, channels, dy, dx);
    }

    /// Takes the gradient `dy·xᵀ` of some channels' weights.
    fn gradient(
        &mut self,
        projection: Projection,
        channels: Range<usize>,
        dy: &[f32],
        x: Scaled<'_>,
    ) {
        let _ = (projection, channels, dy, x);
    }
}

/// Returns a channel's weights: every second element from an offset on, or all.
fn channel<'w>(linear: &Linear<'w>, channel: usize) -> (&'w [i8], bool) {
    let (k, pair) = (linear.in_features, channel & !1);
    let paired = pair + 1 < linear.epilogue.len();
    let rows = if paired { 2 } else { 1 };
    let rest = linear.weight.get(pair * k..).unwrap_or(&[]);
    (rest.get(..rows * k).unwrap_or(&[]), paired)
}

/// Calls `f(channel index in the range, Σ w·x)`, w as integers.
fn sums(linear: &Linear<'_>, channels: Range<usize>, x: &[f32], mut f: impl FnMut(usize, f32)) {
    let (start, end) = (channels.start, channels.end);
    let mut at = start;
    while at < end {
        let (weights, paired) = channel(linear, at);
        if !paired {
            let sum = weights
                .iter()
                .zip(x)
                .fold(0.0, |sum, (&w, x)| sum + f32::from(w) * x);
            f(at - start, sum);
            at += 1;
            continue;
        }
        let (pairs, _) = weights.as_chunks::<2>();
        let (mut even, mut odd) = (0.0, 0.0);
        for (&[w0, w1], x) in pairs.iter().zip(x) {
            even += f32::from(w0) * x;
            odd += f32::from(w1) * x;
        }
        if at & 1 == 0 {
            f(at - start, even);
            at += 1;
        }
        if at < end {
            f(at - start, odd);
        }
        at += 1;
    }
}

/// y ← W·x + b of some channels, `x` in units of the projection's input.
pub fn affine<W: Weights>(
    weights: &W,
    scales: &Scales,
    projection: Projection,
    channels: Range<usize>,
    units: &[f32],
    y: &mut [f32],
) {
    let linear = weights.linear(projection);
    let epilogues = linear.epilogue.get(channels.clone()).unwrap_or(&[]);
    sums(&linear, channels.clone(), units, |index, sum| {
        if let (Some(y), Some(&epilogue)) = (y.get_mut(index), epilogues.get(index)) {
            let [bias, _] = epilogue;
            *y = (sum + bias as f32) * scales.accumulator(epilogue);
        }
    });
    weights.adapt(projection, channels, scales.input.scaled(units), y);
}

/// y ← W·x of some channels, `x` real, without biases.
pub fn product<W: Weights>(
    weights: &W,
    scales: &Scales,
    projection: Projection,
    channels: Range<usize>,
    x: &[f32],
    y: &mut [f32],
) {
    let linear = weights.linear(projection);
    let epilogues = linear.epilogue.get(channels.clone()).unwrap_or(&[]);
    sums(&linear, channels.clone(), x, |index, sum| {
        if let (Some(y), Some(&epilogue)) = (y.get_mut(index), epilogues.get(index)) {
            *y = sum * scales.weight(epilogue);
        }
    });
    weights.adapt(projection, channels, Scaled::real(x), y);
}

/// dx ← dx + Wᵀ·dy of some channels.
pub fn transposed<W: Weights>(
    weights: &W,
    scales: &Scales,
    projection: Projection,
    channels: Range<usize>,
    dy: &[f32],
    dx: &mut [f32],
) {
    let linear = weights.linear(projection);
    let slope = |at: usize| -> f32 {
        let epilogue = linear.epilogue.get(at).copied().unwrap_or([0; 2]);
        let dy = dy.get(at - channels.start).copied().unwrap_or(0.0);
        dy * scales.weight(epilogue)
    };
    let mut at = channels.start;
    while at < channels.end {
        let (row, paired) = channel(&linear, at);
        if !paired {
            let g = slope(at);
            dx.iter_mut()
                .zip(row)
                .for_each(|(dx, &w)| *dx += g * f32::from(w));
            at += 1;
            continue;
        }
        let (pairs, _) = row.as_chunks::<2>();
        let even = if at & 1 == 0 { slope(at) } else { 0.0 };
        let other = at | 1;
        let odd = if other < channels.end {
            slope(other)
        } else {
            0.0
        };
        for (dx, &[w0, w1]) in dx.iter_mut().zip(pairs) {
            *dx += even * f32::from(w0);
            *dx += odd * f32::from(w1);
        }
        at = other + 1;
    }
    weights.adapt_back(projection, channels, dy, dx);
}
