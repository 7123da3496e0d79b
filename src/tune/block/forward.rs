//! From a latent to the pooled feature: see the [module above](super) for the formulas.

use super::affine::{Affine, Which};
use super::cross::CrossScratch;
use super::product::{Weights, affine, transposed};
use super::view::{BlockView, Grid, Projection, RealNorm};
use crate::image::{ModelConfig, NormOrder};
use crate::model::latent::Latent;
use crate::rows::{rows, rows_mut};
use crate::tune::math::{Math, exp, sqrt};

/// Whether activations are rounded to the image's grids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Rounding {
    /// As the integer runtime rounds and clips.
    #[default]
    Grid,
    /// Not at all: a smooth function, whose gradient finite differences check.
    None,
}

/// Returns the f32 numbers that a forward and a backward work in.
pub const fn scratch_len(config: &ModelConfig) -> usize {
    let (d, ff) = (config.d_model as usize, config.d_ff as usize);
    let heads = config.n_heads as usize;
    let (mut t, mut memory) = (config.seq_len as usize, 0);
    let mut final_norm = config.final_norm;
    if let Some(decoder) = config.decoder {
        t = decoder.seq_len as usize;
        final_norm = decoder.final_norm;
        memory = if config.has_encoder() {
            config.seq_len as usize
        } else {
            0
        };
    }
    let longest = if memory > t { memory } else { t };
    let cross = if memory > 0 {
        4 * d + heads * memory
    } else {
        0
    };
    let before_final = if final_norm && matches!(config.norm, NormOrder::Post) {
        d
    } else {
        0
    };
    14 * d + before_final + 3 * ff + 2 * heads * d + heads * t + longest + cross
}

/// The scratch, split.
pub struct Scratch<'s> {
    /// Attention's input of the pooled row, units, `[d]`; queries, real.
    pub input: &'s mut [f32],
    pub query: &'s mut [f32],
    /// r, real, and m, units, `[heads, d]`; a, `[heads, seq_len]`.
    pub keyed: &'s mut [f32],
    pub mean: &'s mut [f32],
    pub weights: &'s mut [f32],
    /// Contexts, units, `[d]`.
    pub context: &'s mut [f32],
    /// u, and y where it is not u, real.
    pub sum: &'s mut [f32],
    pub normed: &'s mut [f32],
    /// The feed-forward's input, units; σ's input, real, and output, units, `[ff]`; w, real.
    pub ff_input: &'s mut [f32],
    pub pre: &'s mut [f32],
    pub hidden: &'s mut [f32],
    pub last: &'s mut [f32],
    /// What the final norm of a post-norm model reads, real; empty else.
    pub before_final: &'s mut [f32],
    /// Of cross-attention; empty without one.
    pub cross: CrossScratch<'s>,
    /// Of the backward: four rows of `d`, one of `ff`, one of `seq_len` (or the encoder's, if it is longer).
    pub g0: &'s mut [f32],
    pub g1: &'s mut [f32],
    pub g2: &'s mut [f32],
    pub g3: &'s mut [f32],
    pub gff: &'s mut [f32],
    pub gt: &'s mut [f32],
    /// A row of `d` for whatever is short-lived; another of the feature's gradient.
    pub row: &'s mut [f32],
    pub by_feature: &'s mut [f32],
}

impl<'s> Scratch<'s> {
    /// Splits `all`, which holds [`scratch_len`] numbers; none if it is too short.
    pub fn split(view: &BlockView<'_>, all: &'s mut [f32]) -> Option<Self> {
        let (t, d, ff, heads) = (view.seq_len, view.d, view.ff, view.heads);
        let memory = view.cross.map_or(0, |cross| cross.len);
        let wide = if view.cross.is_some() { d } else { 0 };
        let before_final = if view.post && view.final_norm.is_some() {
            d
        } else {
            0
        };
        let mut rest = all;
        let mut take = |len: usize| -> Option<&'s mut [f32]> {
            let (part, after) = core::mem::take(&mut rest).split_at_mut_checked(len)?;
            rest = after;
            Some(part)
        };
        Some(Self {
            input: take(d)?,
            query: take(d)?,
            keyed: take(heads * d)?,
            mean: take(heads * d)?,
            weights: take(heads * t)?,
            context: take(d)?,
            sum: take(d)?,
            normed: take(d)?,
            ff_input: take(d)?,
            pre: take(ff)?,
            hidden: take(ff)?,
            last: take(d)?,
            before_final: take(before_final)?,
            cross: CrossScratch {
                input: take(wide)?,
                query: take(wide)?,
                context: take(wide)?,
                sum: take(wide)?,
                weights: take(heads * memory)?,
            },
            g0: take(d)?,
            g1: take(d)?,
            g2: take(d)?,
            g3: take(d)?,
            gff: take(ff)?,
            gt: take(t.max(memory))?,
            row: take(d)?,
            by_feature: take(d)?,
        })
    }
}

/// What a forward and a backward are of.
#[derive(Clone, Copy)]
pub struct Setting<'v, 'a> {
    pub view: &'v BlockView<'a>,
    pub math: Math,
    pub rounding: Rounding,
}

impl Setting<'_, '_> {
    /// Returns the units of a real value, on the grid where there is rounding.
    pub fn units(&self, grid: Grid, real: f32) -> f32 {
        let units = grid.units(real);
        match self.rounding {
            Rounding::Grid => libm::rintf(units).clamp(-128.0, 127.0),
            Rounding::None => units,
        }
    }

    /// Returns a real value, on the grid where there is rounding.
    pub fn real(&self, grid: Grid, real: f32) -> f32 {
        match self.rounding {
            Rounding::Grid => grid.real(self.units(grid, real)),
            Rounding::None => real,
        }
    }

    /// Returns whether units lie at the end of a grid: clipped, so nothing passes back.
    pub fn clipped(&self, units: f32) -> bool {
        self.rounding == Rounding::Grid && !(-127.5..126.5).contains(&units)
    }

    /// Writes the pooled feature, real `[d]`, of a latent.
    pub fn forward<W: Weights>(
        &self,
        weights: &W,
        parameters: &Affine<'_>,
        latent: &Latent<'_>,
        s: &mut Scratch<'_>,
        feature: &mut [f32],
    ) {
        let view = self.view;
        self.attend(weights, parameters, latent, s);
        let d = view.d;
        // u = x + Wo·c + bo
        affine(
            weights,
            &view.scales(Projection::Out),
            Projection::Out,
            0..d,
            s.context,
            s.sum,
        );
        parameters.add_bias(Projection::Out, 0..d, s.sum);
        for (u, x) in s.sum.iter_mut().zip(latent.residual()) {
            *u += f32::from(x) * view.stream;
        }
        // y, and the feed-forward's input
        if view.post {
            self.norm(&view.norm1, Which::Norm1, parameters, s.sum, s.normed);
        } else {
            s.normed.copy_from_slice(s.sum);
        }
        if let (Some(cross), Some(memory)) = (&view.cross, latent.memory()) {
            self.cross(cross, parameters, &memory, s);
        }
        if let Some(factor) = view.ff_factor {
            self.column_units(view.ff_input, factor, s.normed, s.ff_input);
        } else {
            self.norm(&view.norm2, Which::Norm2, parameters, s.normed, s.ff_input);
            for f in s.ff_input.iter_mut() {
                *f = self.units(view.ff_input, *f);
            }
        }
        self.feed_forward(weights, parameters, s);
        // z
        s.last.iter_mut().zip(&*s.normed).for_each(|(w, y)| *w += y);
        if view.post {
            self.norm(&view.norm2, Which::Norm2, parameters, s.last, feature);
        } else {
            feature.copy_from_slice(s.last);
        }
        if let Some(norm) = &view.final_norm {
            let last = match view.post {
                true => {
                    s.before_final.copy_from_slice(feature);
                    &*s.before_final
                }
                false => &*s.last,
            };
            self.norm(norm, Which::Final, parameters, last, feature);
        }
        for z in feature.iter_mut() {
            *z = self.real(view.pooled, *z);
        }
    }

    /// Writes the units of a sub-layer's input of a row whose columns have factors of their own.
    pub fn column_units(
        &self,
        grid: Grid,
        (mantissas, factor): (&[i32], f32),
        row: &[f32],
        out: &mut [f32],
    ) {
        for ((f, y), &mantissa) in out.iter_mut().zip(row).zip(mantissas) {
            let units = y * (mantissa as f32 * factor) + grid.zero;
            *f = match self.rounding {
                Rounding::Grid => libm::rintf(units).clamp(-128.0, 127.0),
                Rounding::None => units,
            };
        }
    }

    /// Fills in everything from attention's input to its contexts.
    fn attend<W: Weights>(
        &self,
        weights: &W,
        parameters: &Affine<'_>,
        latent: &Latent<'_>,
        s: &mut Scratch<'_>,
    ) {
        let view = self.view;
        let (d, e, len) = (view.d, view.head_dim(), latent.len());
        for (x, &h) in s.input.iter_mut().zip(latent.row()) {
            *x = f32::from(h);
        }
        self.norm_kept(parameters, s.input);
        affine(
            weights,
            &view.scales(Projection::Query),
            Projection::Query,
            0..d,
            s.input,
            s.query,
        );
        parameters.add_bias(Projection::Query, 0..d, s.query);
        for q in s.query.iter_mut() {
            *q = self.real(view.query, *q);
        }
        let factor = view.input.scale / sqrt(self.math, e as f32);
        let heads = rows_mut(s.keyed, d).zip(rows_mut(s.mean, d));
        let heads = heads.zip(rows_mut(s.weights, view.seq_len)).enumerate();
        for (head, ((keyed, mean), a)) in heads {
            let channels = head * e..(head + 1) * e;
            keyed.fill(0.0);
            let query = s.query.get(channels.clone()).unwrap_or(&[]);
            let key = Projection::Key;
            transposed(
                weights,
                &view.scales(key),
                key,
                channels.clone(),
                query,
                keyed,
            );
            // The row that meets h: r, times γ1 where attention has a norm before it.
            s.row.copy_from_slice(keyed);
            if !view.post {
                let gain = parameters.gains(Which::Norm1);
                s.row.iter_mut().zip(gain).for_each(|(r, g)| *r *= g);
            }
            let a = a.get_mut(..len).unwrap_or_default();
            for (score, h) in a.iter_mut().zip(rows(latent.rows(), d)) {
                *score = factor * dot_i8(s.row, h);
            }
            self.softmax(a);
            mean.fill(0.0);
            for (&a, h) in a.iter().zip(rows(latent.rows(), d)) {
                add_i8(mean, a, h);
            }
            s.row.copy_from_slice(mean);
            self.norm_kept(parameters, s.row);
            let context = s.context.get_mut(channels.clone()).unwrap_or_default();
            let value = Projection::Value;
            affine(
                weights,
                &view.scales(value),
                value,
                channels.clone(),
                s.row,
                context,
            );
            parameters.add_bias(value, channels, context);
            for c in context.iter_mut() {
                *c = self.units(view.context, *c);
            }
        }
    }

    /// Applies γ1 and β1 to units of attention's input, in a model whose norm lies before it.
    pub fn norm_kept(&self, parameters: &Affine<'_>, units: &mut [f32]) {
        if self.view.post {
            return;
        }
        let grid = self.view.input;
        let gain = parameters.gains(Which::Norm1);
        let bias = parameters.biases(Which::Norm1);
        for ((x, g), b) in units.iter_mut().zip(gain).zip(bias) {
            *x = g * (*x - grid.zero) + b / grid.scale + grid.zero;
        }
    }

    fn feed_forward<W: Weights>(&self, weights: &W, parameters: &Affine<'_>, s: &mut Scratch<'_>) {
        let view = self.view;
        let (d, ff) = (view.d, view.ff);
        let ff1 = Projection::Ff1;
        affine(weights, &view.scales(ff1), ff1, 0..ff, s.ff_input, s.pre);
        parameters.add_bias(ff1, 0..ff, s.pre);
        for (pre, hidden) in s.pre.iter_mut().zip(s.hidden.iter_mut()) {
            let units = self.units(view.pre, *pre);
            *hidden = match (view.table, self.rounding) {
                (Some(table), Rounding::Grid) => {
                    let index = (units + 128.0) as usize;
                    f32::from(table.get(index).copied().unwrap_or(0))
                }
                (Some(_), Rounding::None) => view.hidden.units(gelu(self.math, *pre).0),
                (None, Rounding::Grid) => units,
                (None, Rounding::None) => view.hidden.units(if *pre > 0.0 { *pre } else { 0.0 }),
            };
            *pre = self.real(view.pre, *pre);
        }
        let ff2 = Projection::Ff2;
        affine(weights, &view.scales(ff2), ff2, 0..d, s.hidden, s.last);
        parameters.add_bias(ff2, 0..d, s.last);
    }

    pub fn softmax(&self, scores: &mut [f32]) {
        let greater = |m, &s: &f32| if s > m { s } else { m };
        let greatest = scores.iter().fold(f32::NEG_INFINITY, greater);
        let mut sum = 0.0;
        for score in scores.iter_mut() {
            *score = exp(self.math, *score - greatest);
            sum += *score;
        }
        let share = 1.0 / sum;
        scores.iter_mut().for_each(|score| *score *= share);
    }

    /// out ← γ·(gain·(x − mean)/deviation + bias) + β
    pub fn norm(
        &self,
        norm: &RealNorm<'_>,
        which: Which,
        parameters: &Affine<'_>,
        x: &[f32],
        out: &mut [f32],
    ) {
        let (mean, inverse) = statistics(self.math, norm, x);
        let ours = parameters.gains(which).zip(parameters.biases(which));
        let columns = out.iter_mut().zip(x).zip(norm.columns());
        for (((out, x), [g, b]), (gamma, beta)) in columns.zip(ours) {
            *out = gamma * (g * ((x - mean) * inverse) + b) + beta;
        }
    }
}

/// Returns mean and inverse deviation of a row.
pub fn statistics(math: Math, norm: &RealNorm<'_>, x: &[f32]) -> (f32, f32) {
    let n = x.len().max(1) as f32;
    let mean = x.iter().fold(0.0, |sum, x| sum + x) / n;
    let variance = x.iter().fold(0.0, |sum, x| sum + (x - mean) * (x - mean)) / n;
    (mean, 1.0 / sqrt(math, variance + norm.epsilon))
}

/// Returns GELU and its slope: `x·Φ(x)` and `Φ(x) + x·φ(x)` (Hendrycks and Gimpel, arXiv 1606.08415).
pub fn gelu(math: Math, x: f32) -> (f32, f32) {
    const INVERSE_SQRT_2: f32 = core::f32::consts::FRAC_1_SQRT_2;
    /// 1/√(2π)
    const DENSITY: f32 = 0.398_942_3;
    let below = 0.5 * (1.0 + libm::erff(x * INVERSE_SQRT_2));
    (x * below, below + x * (DENSITY * exp(math, -0.5 * x * x)))
}

/// Returns `Σ r·h`.
pub fn dot_i8(r: &[f32], h: &[i8]) -> f32 {
    r.iter()
        .zip(h)
        .fold(0.0, |sum, (r, &h)| sum + r * f32::from(h))
}

/// m ← m + a·h
pub fn add_i8(m: &mut [f32], a: f32, h: &[i8]) {
    m.iter_mut()
        .zip(h)
        .for_each(|(m, &h)| *m += a * f32::from(h));
}
