//! f32 vectors: products, and steps along a direction, in a fixed order.
//!
//! The loops are unrolled by hand, eight elements a turn, so that they are as fast where the compiler
//! optimizes for size. Both vectors of a pair have one length: of others the result means nothing. Every
//! element is rounded as its formula says; sums ascend.

use super::optimizer::{adam_step, momentum_step};

/// Elements that one turn of a loop handles.
const UNROLL: usize = 8;

/// Runs a statement with the constant `$i` from 0 to 7.
macro_rules! eight {
    ($i:ident, $body:expr) => {{
        {
            const $i: usize = 0;
            $body;
        }
        {
            const $i: usize = 1;
            $body;
        }
        {
            const $i: usize = 2;
            $body;
        }
        {
            const $i: usize = 3;
            $body;
        }
        {
            const $i: usize = 4;
            $body;
        }
        {
            const $i: usize = 5;
            $body;
        }
        {
            const $i: usize = 6;
            $body;
        }
        {
            const $i: usize = 7;
            $body;
        }
    }};
}

/// Returns `start + Σ a[k] · b[k]`.
#[inline]
pub(super) fn dot(start: f32, a: &[f32], b: &[f32]) -> f32 {
    let (a8, a_rest) = a.as_chunks::<UNROLL>();
    let (b8, b_rest) = b.as_chunks::<UNROLL>();
    let mut sum = start;
    for (a, b) in a8.iter().zip(b8) {
        eight!(I, sum += a[I] * b[I]);
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    sum
}

/// Calls `f(w, x)` for every element of two vectors.
#[inline(always)]
pub(super) fn each(w: &mut [f32], x: &[f32], mut f: impl FnMut(&mut f32, f32)) {
    let (w8, w_rest) = w.as_chunks_mut::<UNROLL>();
    let (x8, x_rest) = x.as_chunks::<UNROLL>();
    for (w, x) in w8.iter_mut().zip(x8) {
        eight!(I, f(&mut w[I], x[I]));
    }
    for (w, &x) in w_rest.iter_mut().zip(x_rest) {
        f(w, x);
    }
}

/// Calls `f(w, v, x)` for every element of three vectors.
#[inline(always)]
pub(super) fn each_moving(
    w: &mut [f32],
    v: &mut [f32],
    x: &[f32],
    mut f: impl FnMut(&mut f32, &mut f32, f32),
) {
    let (w8, w_rest) = w.as_chunks_mut::<UNROLL>();
    let (v8, v_rest) = v.as_chunks_mut::<UNROLL>();
    let (x8, x_rest) = x.as_chunks::<UNROLL>();
    for ((w, v), x) in w8.iter_mut().zip(v8).zip(x8) {
        eight!(I, f(&mut w[I], &mut v[I], x[I]));
    }
    for ((w, v), &x) in w_rest.iter_mut().zip(v_rest).zip(x_rest) {
        f(w, v, x);
    }
}

/// `y ← y + a · x`
#[inline]
pub(super) fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    each(y, x, |y, x| *y += a * x);
}

/// One step of SGD, with momentum where there are velocities, or of Adam, over flat parameters.
/// `gradient` is left as zeros.
pub(super) fn descend(step: &Step, state: State<'_>) {
    let State {
        parameters,
        gradient,
        first,
        second,
    } = state;
    let pull = step.rate * step.decay;
    let elements = parameters.iter_mut().zip(gradient.iter_mut());
    if step.adam {
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((w, g), (m, v)) in elements.zip(moments) {
            adam_step(step, w, m, v, *g, pull);
            *g = 0.0;
        }
    } else if step.momentum > 0.0 {
        for ((w, g), v) in elements.zip(first.iter_mut()) {
            momentum_step(w, v, step.rate * *g + pull * *w, step.momentum);
            *g = 0.0;
        }
    } else {
        for (w, g) in elements {
            *w -= step.rate * *g + pull * *w;
            *g = 0.0;
        }
    }
}

pub(super) use super::optimizer::{State, Step};
