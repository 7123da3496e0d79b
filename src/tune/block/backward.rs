//! From the gradient by the feature to those of every parameter, after a
//! [forward](super::forward) of the same latent.
//!
//! Where weights are changed at once, a product with them comes before their own gradient.

use super::affine::{Affine, AffineGradient, Which};
use super::forward::{Scratch, Setting, add_i8, dot_i8, gelu, statistics};
use super::product::{Weights, product, transposed};
use super::view::{Grid, Projection, RealNorm, Scaled};
use crate::model::latent::Latent;
use crate::rows::{rows, rows_mut};
use crate::tune::math::sqrt;
use core::ops::Range;

impl Setting<'_, '_> {
    /// Adds the gradients of every parameter; `s.by_feature` holds that by the feature, `feature` the
    /// feature.
    pub fn backward<W: Weights>(
        &self,
        weights: &mut W,
        parameters: &Affine<'_>,
        gradient: &mut AffineGradient<'_>,
        latent: &Latent<'_>,
        s: &mut Scratch<'_>,
        feature: &[f32],
    ) {
        let view = self.view;
        for (g, &z) in s.by_feature.iter_mut().zip(feature) {
            if self.clipped(view.pooled.units(z)) {
                *g = 0.0;
            }
        }
        // g0: by w
        if let Some(norm) = &view.final_norm {
            let norm = (norm, Which::Final);
            let last: &[f32] = match view.post {
                true => s.before_final,
                false => s.last,
            };
            s.g0.copy_from_slice(s.by_feature);
            self.norm_back(norm, parameters, gradient, last, s.g0, s.by_feature);
        }
        if view.post {
            let norm = (&view.norm2, Which::Norm2);
            self.norm_back(norm, parameters, gradient, s.last, s.by_feature, s.g0);
        } else {
            s.g0.copy_from_slice(s.by_feature);
        }
        self.feed_forward_back(weights, gradient, s);
        // g1: by the feed-forward's input → g2: by u
        for (g, &f) in s.g1.iter_mut().zip(&*s.ff_input) {
            if self.clipped(f) {
                *g = 0.0;
            }
        }
        if let Some(factor) = view.ff_factor {
            self.column_units_back(view.ff_input, factor, s.g1, s.g0);
        } else {
            let norm = (&view.norm2, Which::Norm2);
            self.norm_back(norm, parameters, gradient, s.normed, s.g1, s.g2);
            s.g2.iter_mut().zip(&*s.g0).for_each(|(u, w)| *u += w);
        }
        if let (Some(cross), Some(memory)) = (&view.cross, latent.memory()) {
            self.cross_back(cross, parameters, gradient, &memory, s);
            s.g0.copy_from_slice(s.g2);
        }
        if view.post {
            let norm = (&view.norm1, Which::Norm1);
            self.norm_back(norm, parameters, gradient, s.sum, s.g0, s.g2);
        }
        self.attend_back(weights, parameters, gradient, latent, s);
    }

    /// Adds to `by_row` the gradient by a row, of that by the sub-layer's input that
    /// [`column_units`](Self::column_units) made of it.
    pub fn column_units_back(
        &self,
        grid: Grid,
        (mantissas, factor): (&[i32], f32),
        by_input: &[f32],
        by_row: &mut [f32],
    ) {
        for ((y, f), &mantissa) in by_row.iter_mut().zip(by_input).zip(mantissas) {
            // One unit of the input is `scale` of it.
            *y += f * (mantissa as f32 * factor * grid.scale);
        }
    }

    /// s.g1 ← the gradient by the feed-forward's input, of that by its output in s.g0.
    fn feed_forward_back<W: Weights>(
        &self,
        weights: &mut W,
        gradient: &mut AffineGradient<'_>,
        s: &mut Scratch<'_>,
    ) {
        let view = self.view;
        let by_out = (0..view.d, &*s.g0);
        let hidden = view.hidden.scaled(s.hidden);
        self.linear_back(weights, gradient, Projection::Ff2, by_out, hidden, s.gff);
        for (g, &pre) in s.gff.iter_mut().zip(&*s.pre) {
            let slope = match view.table {
                _ if self.clipped(view.pre.units(pre)) => 0.0,
                Some(_) => gelu(self.math, pre).1,
                None if pre > 0.0 => 1.0,
                None => 0.0,
            };
            *g *= slope;
        }
        let by_out = (0..view.ff, &*s.gff);
        let input = view.ff_input.scaled(s.ff_input);
        self.linear_back(weights, gradient, Projection::Ff1, by_out, input, s.g1);
    }

    /// by_x ← the gradient by a projection's input `x`, of that by some channels of its output; takes those of
    /// their biases and weights.
    fn linear_back<W: Weights>(
        &self,
        weights: &mut W,
        gradient: &mut AffineGradient<'_>,
        projection: Projection,
        (channels, by_out): (Range<usize>, &[f32]),
        x: Scaled<'_>,
        by_x: &mut [f32],
    ) {
        let scales = self.view.scales(projection);
        by_x.fill(0.0);
        transposed(weights, &scales, projection, channels.clone(), by_out, by_x);
        gradient.bias(projection, channels.clone(), by_out);
        weights.gradient(projection, channels, by_out, x);
    }

    /// Takes s.g2, the gradient by u, through attention.
    fn attend_back<W: Weights>(
        &self,
        weights: &mut W,
        parameters: &Affine<'_>,
        gradient: &mut AffineGradient<'_>,
        latent: &Latent<'_>,
        s: &mut Scratch<'_>,
    ) {
        let view = self.view;
        let (d, e, len) = (view.d, view.head_dim(), latent.len());
        // g0: by the contexts
        let by_out = (0..d, &*s.g2);
        let context = view.context.scaled(s.context);
        self.linear_back(weights, gradient, Projection::Out, by_out, context, s.g0);
        for (g, &c) in s.g0.iter_mut().zip(&*s.context) {
            if self.clipped(c) {
                *g = 0.0;
            }
        }
        let scale = view.input.scale;
        let factor = 1.0 / sqrt(self.math, e as f32);
        let heads = rows_mut(s.keyed, d).zip(rows_mut(s.mean, d));
        let heads = heads.zip(rows(s.weights, view.seq_len)).enumerate();
        for (head, ((keyed, mean), a)) in heads {
            let channels = head * e..(head + 1) * e;
            let by_context = s.g0.get(channels.clone()).unwrap_or(&[]);
            s.row.copy_from_slice(mean);
            self.norm_kept(parameters, s.row);
            // g1: by m
            let by_out = (channels.clone(), by_context);
            let input = view.input.scaled(s.row);
            self.linear_back(weights, gradient, Projection::Value, by_out, input, s.g1);
            if !view.post {
                let products = s.g1.iter().zip(&*mean);
                gradient.gain(Which::Norm1, products.map(|(g, &m)| g * view.input.real(m)));
                gradient.norm_bias(Which::Norm1, s.g1);
                let gain = parameters.gains(Which::Norm1);
                s.g1.iter_mut().zip(gain).for_each(|(g, gamma)| *g *= gamma);
            }
            // gt: by the scores
            let a = a.get(..len).unwrap_or(&[]);
            let mut mean_slope = 0.0;
            for ((slope, h), a) in s.gt.iter_mut().zip(rows(latent.rows(), d)).zip(a) {
                *slope = scale * dot_i8(s.g1, h);
                mean_slope += a * *slope;
            }
            // row: by r, times γ1
            s.row.fill(0.0);
            for ((slope, h), a) in s.gt.iter().zip(rows(latent.rows(), d)).zip(a) {
                add_i8(s.row, a * (slope - mean_slope) * (scale * factor), h);
            }
            if !view.post {
                let products = s.row.iter().zip(&*keyed);
                gradient.gain(Which::Norm1, products.map(|(n, r)| n * r));
                let gain = parameters.gains(Which::Norm1);
                s.row
                    .iter_mut()
                    .zip(gain)
                    .for_each(|(n, gamma)| *n *= gamma);
            }
            let key = Projection::Key;
            let by_query = s.g3.get_mut(channels.clone()).unwrap_or_default();
            product(
                &*weights,
                &view.scales(key),
                key,
                channels.clone(),
                s.row,
                by_query,
            );
            let query = s.query.get(channels.clone()).unwrap_or(&[]);
            weights.gradient(key, channels, query, Scaled::real(s.row));
        }
        for (g, &q) in s.g3.iter_mut().zip(&*s.query) {
            if self.clipped(view.query.units(q)) {
                *g = 0.0;
            }
        }
        let by_out = (0..d, &*s.g3);
        let input = view.input.scaled(s.input);
        self.linear_back(weights, gradient, Projection::Query, by_out, input, s.g1);
        if !view.post {
            let kept = s.g1.iter().zip(latent.row());
            let products = kept.map(|(g, &h)| g * view.input.real(f32::from(h)));
            gradient.gain(Which::Norm1, products);
            gradient.norm_bias(Which::Norm1, s.g1);
        }
    }

    /// by_x ← the gradient by a norm's input `x`, of that by its output; adds those of γ and β.
    pub fn norm_back(
        &self,
        (norm, which): (&RealNorm<'_>, Which),
        parameters: &Affine<'_>,
        gradient: &mut AffineGradient<'_>,
        x: &[f32],
        by_out: &[f32],
        by_x: &mut [f32],
    ) {
        let (mean, inverse) = statistics(self.math, norm, x);
        let n = x.len().max(1) as f32;
        let own = x.iter().zip(norm.columns());
        let own = own.map(|(x, [g, b])| g * ((x - mean) * inverse) + b);
        gradient.gain(which, own.zip(by_out).map(|(y, g)| y * g));
        gradient.norm_bias(which, by_out);
        let gain = parameters.gains(which);
        let (mut sum, mut along) = (0.0, 0.0);
        let columns = by_x.iter_mut().zip(by_out).zip(norm.columns());
        for (((by_x, by_out), [g, _]), (gamma, x)) in columns.zip(gain.zip(x)) {
            *by_x = by_out * gamma * g;
            sum += *by_x;
            along += *by_x * ((x - mean) * inverse);
        }
        let (sum, along) = (sum / n, along / n);
        for (by_x, x) in by_x.iter_mut().zip(x) {
            *by_x = inverse * (*by_x - sum - ((x - mean) * inverse) * along);
        }
    }
}
