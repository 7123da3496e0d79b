//! Cross-attention of a decoder's last block, between self-attention and feed-forward: frozen, and passed
//! through.
//!
//! With k_t, v_t the int8 keys and values of the encoder's rows, y what self-attention made:
//!
//! ```text
//! pre-norm:   x = LNc(y)       q = Wq·x + bq      a_t = softmax_t(q·k_t / √e)
//! post-norm:  x = y, rounded   c = Σ a_t·v_t      s = y + Wo·c + bo
//! pre-norm:   y ← s            post-norm:  y ← LNc(s)
//! ```
//!
//! Its projections and its norm have no parameters here: only the gradient by y is wanted.

use super::affine::{Affine, AffineGradient, Which};
use super::forward::{Scratch, Setting, add_i8, dot_i8};
use super::product::{Weights, affine, transposed};
use super::view::{Grid, Projection, RealNorm, Scales, ff_factor, power};
use crate::image::{Image, NormOrder, TensorKind};
use crate::kernels::Linear;
use crate::model::latent::Memory;
use crate::model::view::linear;
use crate::rows::{rows, rows_mut};
use crate::tune::math::sqrt;

/// A frozen linear layer, whatever projection it is asked for as.
struct Frozen<'a>(Linear<'a>);

impl Weights for Frozen<'_> {
    fn linear(&self, _projection: Projection) -> Linear<'_> {
        self.0
    }
}

/// What a frozen layer is named where a name is asked for.
const ANY: Projection = Projection::Query;

/// Cross-attention in real numbers.
#[derive(Debug, Clone, Copy)]
pub struct CrossView<'a> {
    query: (Linear<'a>, Scales),
    out: (Linear<'a>, Scales),
    input: Grid,
    /// As [`BlockView::ff_factor`](super::view::BlockView::ff_factor).
    factor: Option<(&'a [i32], f32)>,
    queries: Grid,
    context: Grid,
    key: f32,
    value: f32,
    norm: RealNorm<'a>,
    /// The most rows that there are.
    pub len: usize,
}

impl<'a> CrossView<'a> {
    pub fn new(image: &Image<'a>, layer: u16) -> Option<Self> {
        use TensorKind as K;
        let get = |kind| image.tensor(kind, layer);
        let stream = get(K::CrossOutEpilogue)?.scale();
        let (input, factor) = match image.config().norm {
            NormOrder::Pre => (Grid::of(&get(K::CrossNorm)?), None),
            NormOrder::Post => {
                let tensor = get(K::CrossInput)?;
                (Grid::of(&tensor), Some(ff_factor(&tensor, stream)))
            }
        };
        let context = Grid::of(&get(K::CrossContext)?);
        let layer_of = |weight, epilogue, input: Grid| {
            let entry = get(epilogue)?;
            let shifts = i32::from(entry.entry().pre_shift) - i32::from(entry.entry().shift);
            let factor = power(shifts) * (entry.scale() / input.scale);
            Some((
                linear(image, weight, epilogue, layer)?,
                Scales { input, factor },
            ))
        };
        Some(Self {
            query: layer_of(K::CrossQuery, K::CrossQueryEpilogue, input)?,
            out: layer_of(K::CrossOut, K::CrossOutEpilogue, context)?,
            input,
            factor,
            queries: Grid::of(&get(K::CrossQueryEpilogue)?),
            context,
            key: get(K::CrossKeyEpilogue)?.scale(),
            value: get(K::CrossValueEpilogue)?.scale(),
            norm: RealNorm::new(image, K::CrossNorm, layer, stream)?,
            len: image.config().seq_len.into(),
        })
    }
}

/// What the forward leaves for the backward.
pub struct CrossScratch<'s> {
    /// x, units; q, real; contexts, units; s, real: `[d]` each.
    pub input: &'s mut [f32],
    pub query: &'s mut [f32],
    pub context: &'s mut [f32],
    pub sum: &'s mut [f32],
    /// a, `[heads, seq_len]`.
    pub weights: &'s mut [f32],
}

impl Setting<'_, '_> {
    /// Takes s.normed, y, through cross-attention.
    pub fn cross(
        &self,
        cross: &CrossView<'_>,
        parameters: &Affine<'_>,
        memory: &Memory<'_>,
        s: &mut Scratch<'_>,
    ) {
        let (d, e) = (self.view.d, self.view.head_dim());
        let x = &mut s.cross;
        match cross.factor {
            Some(factor) => self.column_units(cross.input, factor, s.normed, x.input),
            None => {
                self.norm(&cross.norm, Which::Cross, parameters, s.normed, x.input);
                for units in x.input.iter_mut() {
                    *units = self.units(cross.input, *units);
                }
            }
        }
        let (query, scales) = cross.query;
        affine(&Frozen(query), &scales, ANY, 0..d, x.input, x.query);
        for q in x.query.iter_mut() {
            *q = self.real(cross.queries, *q);
        }
        let factor = cross.key / sqrt(self.math, e as f32);
        for (head, a) in rows_mut(x.weights, cross.len).enumerate() {
            let channels = head * e..(head + 1) * e;
            let query = x.query.get(channels.clone()).unwrap_or(&[]);
            let keys = rows(memory.keys, d).map(|row| row.get(channels.clone()).unwrap_or(&[]));
            let mut len = 0;
            for (score, key) in a.iter_mut().zip(keys) {
                *score = factor * dot_i8(query, key);
                len += 1;
            }
            let a = a.get_mut(..len).unwrap_or_default();
            self.softmax(a);
            let context = x.context.get_mut(channels.clone()).unwrap_or_default();
            context.fill(0.0);
            for (&a, row) in a.iter().zip(rows(memory.values, d)) {
                add_i8(context, a, row.get(channels.clone()).unwrap_or(&[]));
            }
            for c in context.iter_mut() {
                *c = self.units(cross.context, cross.value * *c);
            }
        }
        let (out, scales) = cross.out;
        affine(&Frozen(out), &scales, ANY, 0..d, x.context, x.sum);
        x.sum.iter_mut().zip(&*s.normed).for_each(|(u, y)| *u += y);
        match cross.factor {
            Some(_) => self.norm(&cross.norm, Which::Cross, parameters, x.sum, s.normed),
            None => s.normed.copy_from_slice(x.sum),
        }
    }

    /// s.g2 ← the gradient by y, of that by what became of it: in s.g0 where the block is post-norm, else in
    /// s.g2.
    pub fn cross_back(
        &self,
        cross: &CrossView<'_>,
        parameters: &Affine<'_>,
        gradient: &mut AffineGradient<'_>,
        memory: &Memory<'_>,
        s: &mut Scratch<'_>,
    ) {
        let (d, e) = (self.view.d, self.view.head_dim());
        let norm = (&cross.norm, Which::Cross);
        if cross.factor.is_some() {
            self.norm_back(norm, parameters, gradient, s.cross.sum, s.g0, s.g2);
        }
        // g2: by s; g0: by the contexts
        let (out, scales) = cross.out;
        s.g0.fill(0.0);
        transposed(&Frozen(out), &scales, ANY, 0..d, s.g2, s.g0);
        for (g, &c) in s.g0.iter_mut().zip(&*s.cross.context) {
            if self.clipped(c) {
                *g = 0.0;
            }
        }
        // g1: by the queries
        let factor = cross.key / sqrt(self.math, e as f32);
        for (head, a) in rows(s.cross.weights, cross.len).enumerate() {
            let channels = head * e..(head + 1) * e;
            let by_context = s.g0.get(channels.clone()).unwrap_or(&[]);
            let mut mean_slope = 0.0;
            for ((slope, row), a) in s.gt.iter_mut().zip(rows(memory.values, d)).zip(a) {
                let value = row.get(channels.clone()).unwrap_or(&[]);
                *slope = cross.value * dot_i8(by_context, value);
                mean_slope += a * *slope;
            }
            let by_query = s.g1.get_mut(channels.clone()).unwrap_or_default();
            by_query.fill(0.0);
            for ((slope, row), a) in s.gt.iter().zip(rows(memory.keys, d)).zip(a) {
                let key = row.get(channels.clone()).unwrap_or(&[]);
                add_i8(by_query, a * (slope - mean_slope) * factor, key);
            }
        }
        for (g, &q) in s.g1.iter_mut().zip(&*s.cross.query) {
            if self.clipped(cross.queries.units(q)) {
                *g = 0.0;
            }
        }
        // g3: by x
        let (query, scales) = cross.query;
        s.g3.fill(0.0);
        transposed(&Frozen(query), &scales, ANY, 0..d, s.g1, s.g3);
        for (g, &x) in s.g3.iter_mut().zip(&*s.cross.input) {
            if self.clipped(x) {
                *g = 0.0;
            }
        }
        match cross.factor {
            Some(factor) => self.column_units_back(cross.input, factor, s.g3, s.g2),
            None => {
                self.norm_back(norm, parameters, gradient, s.sum, s.g3, s.g1);
                s.g2.iter_mut().zip(&*s.g1).for_each(|(y, g)| *y += g);
            }
        }
    }
}
