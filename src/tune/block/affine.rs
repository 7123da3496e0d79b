//! Norms' gains and biases and the linear layers' biases, as flat parameters over the image's own.
//!
//! ```text
//! norm      out = γ·(what the image's norm gives) + β         γ from 1, β from 0, of each column
//! linear    y = (what the image's layer gives) + b            b from 0, of each channel
//! ```
//!
//! γ multiplies what the image's gain made, so that a block can be tuned whose input was kept behind its
//! norm. A key's bias has no effect on a softmax and no parameter here. Order: γ1 β1 γ2 β2, γ β of the final
//! norm if there is one, b of query, value, out, the first feed-forward layer, the second.

use super::view::{BlockView, Projection, RealNorm};
use crate::image::{ModelConfig, TensorKind, patch_tensor_mut, planned_patch_bytes as planned};
use core::ops::Range;

/// Returns the number of parameters.
pub const fn affine_len(config: &ModelConfig) -> usize {
    let (d, ff) = (config.d_model as usize, config.d_ff as usize);
    let final_norm = match config.decoder {
        Some(decoder) => decoder.final_norm,
        None => config.final_norm,
    };
    let norms = if final_norm { 6 } else { 4 };
    (norms + 4) * d + ff
}

/// Which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Norm1,
    Norm2,
    Final,
    /// Cross-attention's, which has no parameters.
    Cross,
}

/// Where what lies.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    d: usize,
    ff: usize,
    norms: usize,
}

impl Places {
    pub fn new(view: &BlockView<'_>) -> Self {
        Self {
            d: view.d,
            ff: view.ff,
            norms: if view.final_norm.is_some() { 3 } else { 2 },
        }
    }

    /// Returns where γ and β of a norm lie.
    fn norm(&self, which: Which) -> (Range<usize>, Range<usize>) {
        if which as usize >= self.norms {
            return (usize::MAX..usize::MAX, usize::MAX..usize::MAX);
        }
        let start = 2 * self.d * which as usize;
        let middle = start + self.d;
        (start..middle, middle..middle + self.d)
    }

    /// Lends the biases of all projections.
    pub fn biases<'v>(&self, values: &'v mut [f32]) -> &'v mut [f32] {
        values
            .get_mut(2 * self.norms * self.d..)
            .unwrap_or_default()
    }

    /// Returns where the biases of a projection lie; none of keys.
    fn bias(&self, projection: Projection) -> Option<Range<usize>> {
        let (d, ff) = (self.d, self.ff);
        let start = 2 * self.norms * d;
        let (offset, len) = match projection {
            Projection::Query => (0, d),
            Projection::Key => return None,
            Projection::Value => (d, d),
            Projection::Out => (2 * d, d),
            Projection::Ff1 => (3 * d, ff),
            Projection::Ff2 => (3 * d + ff, d),
        };
        Some(start + offset..start + offset + len)
    }
}

/// Parameters, or their gradient; empty where a method has none.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'p> {
    pub places: Places,
    pub values: &'p [f32],
}

impl<'p> Affine<'p> {
    /// Returns γ of a norm; all 1 where there are no parameters.
    pub fn gains(&self, which: Which) -> impl Iterator<Item = f32> + use<'p> {
        self.part(self.places.norm(which).0, 1.0)
    }

    /// Returns β of a norm; all 0 where there are no parameters.
    pub fn biases(&self, which: Which) -> impl Iterator<Item = f32> + use<'p> {
        self.part(self.places.norm(which).1, 0.0)
    }

    /// Returns a part, and without end what changes nothing.
    fn part(&self, range: Range<usize>, neutral: f32) -> impl Iterator<Item = f32> + use<'p> {
        let part = self.values.get(range).unwrap_or(&[]);
        part.iter().copied().chain(core::iter::repeat(neutral))
    }

    /// Adds the biases of some channels.
    pub fn add_bias(&self, projection: Projection, channels: Range<usize>, y: &mut [f32]) {
        let Some(place) = self.places.bias(projection) else {
            return;
        };
        let bias = self.values.get(place).and_then(|b| b.get(channels));
        for (y, b) in y.iter_mut().zip(bias.unwrap_or(&[])) {
            *y += b;
        }
    }
}

/// Adds `a` to a part of a gradient.
fn add(values: &mut [f32], place: Range<usize>, a: impl Iterator<Item = f32>) {
    let part = values.get_mut(place).unwrap_or_default();
    for (g, a) in part.iter_mut().zip(a) {
        *g += a;
    }
}

/// A gradient that grows.
pub struct AffineGradient<'p> {
    pub places: Places,
    pub values: &'p mut [f32],
}

impl AffineGradient<'_> {
    pub fn gain(&mut self, which: Which, a: impl Iterator<Item = f32>) {
        add(self.values, self.places.norm(which).0, a);
    }

    pub fn norm_bias(&mut self, which: Which, a: &[f32]) {
        add(self.values, self.places.norm(which).1, a.iter().copied());
    }

    /// Adds to the biases of some channels.
    pub fn bias(&mut self, projection: Projection, channels: Range<usize>, a: &[f32]) {
        if let Some(place) = self.places.bias(projection) {
            let start = place.start + channels.start;
            let end = (place.start + channels.end).min(place.end);
            add(self.values, start..end, a.iter().copied());
        }
    }
}

/// Sets parameters to those that change nothing.
pub fn reset(places: &Places, values: &mut [f32]) {
    values.fill(0.0);
    for which in [Which::Norm1, Which::Norm2, Which::Final] {
        if (which as usize) < places.norms {
            let gain = values.get_mut(places.norm(which).0);
            gain.unwrap_or_default().fill(1.0);
        }
    }
}

/// The last block's tensors that hold some of the parameters; the final norm does as well.
const TENSORS: [TensorKind; 7] = [
    TensorKind::Norm1,
    TensorKind::Norm2,
    TensorKind::QueryEpilogue,
    TensorKind::ValueEpilogue,
    TensorKind::OutEpilogue,
    TensorKind::Ff1Epilogue,
    TensorKind::Ff2Epilogue,
];

/// Returns the bytes of a patch of all tensors that hold some of the parameters, of a model's own image.
pub const fn planned_patch_bytes(config: &ModelConfig) -> usize {
    let last = match config.decoder {
        Some(_) => TensorKind::DecoderNorm,
        None => TensorKind::FinalNorm,
    };
    planned(config, &TENSORS) + planned(config, &[last]) - planned(config, &[])
}

/// Returns whether a tensor holds some of the parameters.
pub fn is_affine(view: &BlockView<'_>, kind: TensorKind, layer: u16) -> bool {
    let last = view.final_norm;
    TENSORS.contains(&kind) && layer == view.layer
        || last.is_some_and(|norm| (kind, layer) == (norm.kind, norm.layer))
}

/// Merges parameters into the tensors of a patch: norms from the image's own, whatever the patch has; biases
/// onto those of the patch, which may have moved. None if the patch lacks one of the tensors.
pub fn merge(view: &BlockView<'_>, affine: &Affine<'_>, patch: &mut [u8]) -> Option<()> {
    let norms = [
        (Which::Norm1, Some(view.norm1)),
        (Which::Norm2, Some(view.norm2)),
        (Which::Final, view.final_norm),
    ];
    for (which, norm) in norms {
        if let Some(norm) = norm {
            merge_norm(&norm, affine, which, patch)?;
        }
    }
    for projection in Projection::ALL {
        let Some(place) = affine.places.bias(projection) else {
            continue;
        };
        let bias = affine.values.get(place)?;
        let scales = view.scales(projection);
        let (_, data) = patch_tensor_mut(patch, projection.kinds().1, view.layer)?;
        for (pair, b) in data.as_chunks_mut::<8>().0.iter_mut().zip(bias) {
            let [old, mantissa] = pair_of(pair);
            let unit = scales.accumulator([old, mantissa]);
            let moved = if unit > 0.0 {
                libm::rintf(b / unit)
            } else {
                0.0
            };
            set_pair(pair, [old.saturating_add(moved as i32), mantissa]);
        }
    }
    Some(())
}

/// Returns the two numbers of a pair.
pub fn pair_of(pair: &[u8; 8]) -> [i32; 2] {
    let [a, b, c, d, e, f, g, h] = *pair;
    [[a, b, c, d], [e, f, g, h]].map(i32::from_le_bytes)
}

/// Replaces the two numbers of a pair.
pub fn set_pair(pair: &mut [u8; 8], [a, b]: [i32; 2]) {
    let bytes = a.to_le_bytes().into_iter().chain(b.to_le_bytes());
    for (to, from) in pair.iter_mut().zip(bytes) {
        *to = from;
    }
}

/// `gain ← γ·gain`, `bias ← γ·bias + β` in the norm's fixed point. Where a number would not fit its 32 bits, all
/// of the norm's lose fraction bits first. In f64, which holds them all: γ 1 and β 0 change no bit.
fn merge_norm(
    norm: &RealNorm<'_>,
    affine: &Affine<'_>,
    which: Which,
    patch: &mut [u8],
) -> Option<()> {
    let (entry, data) = patch_tensor_mut(patch, norm.kind, norm.layer)?;
    let (zero, scale) = (f64::from(norm.out.zero), f64::from(norm.out.scale));
    let moved = |pair: [i32; 2], gamma: f32, beta: f32, shift: u8| -> [f64; 2] {
        let old = f64::from(1u32 << (norm.shift & 15));
        let unit = f64::from(1u32 << (shift & 15));
        let (gamma, beta) = (f64::from(gamma), f64::from(beta));
        let [gain, bias] = pair.map(f64::from);
        let units = gamma * ((bias - old / 2.0) / old - zero) + beta / scale + zero;
        [gamma * gain * (unit / old), units * unit + unit / 2.0]
    };
    const LIMIT: f64 = 2_147_000_000.0;
    let fits = |shift: u8| {
        let columns = affine.gains(which).zip(affine.biases(which));
        norm.params
            .iter()
            .zip(columns)
            .all(|(&pair, (gamma, beta))| {
                let [gain, bias] = moved(pair, gamma, beta, shift);
                // The sum of both is shifted, so the bias gets half the room.
                gain.abs() < LIMIT && bias.abs() < LIMIT / 2.0
            })
    };
    let mut shift = norm.shift;
    while shift > 1 && !fits(shift) {
        shift -= 1;
    }
    let columns = affine.gains(which).zip(affine.biases(which));
    let pairs = data.as_chunks_mut::<8>().0.iter_mut().zip(norm.params);
    for ((place, &pair), (gamma, beta)) in pairs.zip(columns) {
        let numbers = moved(pair, gamma, beta, shift);
        set_pair(place, numbers.map(|x| libm::rint(x) as i32));
    }
    entry.shift = shift;
    Some(())
}
