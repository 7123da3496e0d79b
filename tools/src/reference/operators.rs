//! The operators of the float forward.

use crate::float_model::{Linear, Norm};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

/// What a query may attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mask {
    /// Every key.
    None,
    /// The keys up to its own place.
    Causal,
}

/// Multi-head scaled dot-product attention ("Attention Is All You Need", §3.2) of queries `[n, d]` to keys
/// and values `[m, d]`.
pub(super) fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    d: usize,
    head_dim: usize,
    mask: Mask,
) -> Vec<f32> {
    let (rows, len) = (q.len() / d, k.len() / d);
    let mut context = vec![0.0; q.len()];
    let mut scores = vec![0.0; rows * len];
    let scale = 1.0 / libm::sqrtf(head_dim as f32);
    for column in (0..d).step_by(head_dim) {
        let (q, k, v) = (&q[column..], &k[column..], &v[column..]);
        gemm(
            [rows, head_dim, len],
            scale,
            (q, [d, 1]),
            (k, [1, d]),
            0.0,
            (&mut scores, [len, 1]),
        );
        for (i, row) in scores.chunks_exact_mut(len).enumerate() {
            let seen = match mask {
                Mask::None => len,
                Mask::Causal => i + 1,
            };
            softmax(&mut row[..seen]);
            row[seen..].fill(0.0);
        }
        let out = &mut context[column..];
        gemm(
            [rows, len, head_dim],
            1.0,
            (&scores, [len, 1]),
            (v, [d, 1]),
            0.0,
            (out, [d, 1]),
        );
    }
    context
}

/// Replaces `row` by its softmax.
pub fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = libm::expf(*x - max);
        sum += *x;
    }
    for x in row {
        *x /= sum;
    }
}

/// `x · Wᵀ + b`, rows of `input`.
pub fn linear(linear: &Linear, input: &[f32]) -> Vec<f32> {
    dense(&linear.weight, &linear.bias, linear.in_features, input)
}

/// `x · Wᵀ + b` for `W [n, k]`, `b [n]`, `x [rows, k]`.
pub(super) fn dense(weight: &[f32], bias: &[f32], k: usize, input: &[f32]) -> Vec<f32> {
    let n = bias.len();
    let rows = input.len() / k.max(1);
    let mut out = bias.repeat(rows);
    if n > 0 {
        gemm(
            [rows, k, n],
            1.0,
            (input, [k, 1]),
            (weight, [1, k]),
            1.0,
            (&mut out, [n, 1]),
        );
    }
    out
}

/// `c ← alpha · a · b + beta · c` for `a [m, k]`, `b [k, n]`, `c [m, n]`, each with its strides.
fn gemm(
    [m, k, n]: [usize; 3],
    alpha: f32,
    (a, sa): (&[f32], [usize; 2]),
    (b, sb): (&[f32], [usize; 2]),
    beta: f32,
    (c, sc): (&mut [f32], [usize; 2]),
) {
    let shape = |rows: usize, cols: usize, s: [usize; 2]| (rows, cols).strides((s[0], s[1]));
    let a = ArrayView2::from_shape(shape(m, k, sa), a).expect("a is as large as its shape");
    let b = ArrayView2::from_shape(shape(k, n, sb), b).expect("b is as large as its shape");
    let mut c = ArrayViewMut2::from_shape(shape(m, n, sc), c).expect("c is as large as its shape");
    general_mat_mul(alpha, &a, &b, beta, &mut c);
}

/// Normalises each row in place.
pub fn normalise(norm: &Norm, x: &mut [f32]) {
    let d = norm.gain.len();
    for row in x.chunks_exact_mut(d) {
        let mean = row.iter().sum::<f32>() / d as f32;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / d as f32;
        let inverse = 1.0 / libm::sqrtf(variance + norm.eps);
        for ((x, gain), bias) in row.iter_mut().zip(&norm.gain).zip(&norm.bias) {
            *x = (*x - mean) * inverse * gain + bias;
        }
    }
}

pub(super) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
