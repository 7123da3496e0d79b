//! A projection's int8 weights among a patch's bytes, to be changed.

use super::affine::{pair_of, set_pair};
use super::view::Projection;
use crate::image::patch_range;
use crate::kernels::{Linear, channel_place};
use core::ops::Range;
use zerocopy::FromBytes;

/// Where a projection lies in a patch.
#[derive(Debug, Clone, Default)]
pub struct Place {
    weight: Range<usize>,
    epilogue: Range<usize>,
}

impl Place {
    /// Returns the place; none if the patch lacks one of the two tensors.
    pub fn find(patch: &[u8], projection: Projection, layer: u16) -> Option<Self> {
        let (weight, epilogue) = projection.kinds();
        Some(Self {
            weight: patch_range(patch, weight, layer)?,
            epilogue: patch_range(patch, epilogue, layer)?,
        })
    }

    /// Returns the projection with the patch's numbers in place of those of `base`.
    pub fn linear<'b>(&self, patch: &'b [u8], base: Linear<'b>) -> Linear<'b> {
        let bytes = |range: &Range<usize>| patch.get(range.clone()).unwrap_or(&[]);
        Linear {
            weight: <[i8]>::ref_from_bytes(bytes(&self.weight)).unwrap_or(&[]),
            epilogue: <[[i32; 2]]>::ref_from_bytes(bytes(&self.epilogue)).unwrap_or(&[]),
            ..base
        }
    }

    /// Lends the projection's numbers.
    pub fn packed<'b>(&self, patch: &'b mut [u8]) -> Option<Packed<'b>> {
        let (front, back) = patch.split_at_mut_checked(self.epilogue.start)?;
        let weight = front.get_mut(self.weight.clone())?;
        Some(Packed {
            weights: <[i8]>::mut_from_bytes(weight).ok()?,
            epilogue: back.get_mut(..self.epilogue.len())?.as_chunks_mut().0,
        })
    }
}

/// A projection's numbers: weights in pairs of channels, and `(bias, mantissa)` of each channel.
pub struct Packed<'b> {
    weights: &'b mut [i8],
    epilogue: &'b mut [[u8; 8]],
}

impl Packed<'_> {
    /// Returns a channel's bias and mantissa.
    pub fn epilogue(&self, channel: usize) -> Option<[i32; 2]> {
        self.epilogue.get(channel).map(pair_of)
    }

    /// Replaces a channel's weights, each with the item of its column: `w ← f(w, item)`. The bias, into which
    /// the input's zero point is folded, follows.
    pub fn change<T>(
        &mut self,
        channel: usize,
        zero: i32,
        items: impl Iterator<Item = T>,
        mut f: impl FnMut(i8, T) -> i8,
    ) {
        let count = self.epilogue.len();
        let Some(pair) = self.epilogue.get_mut(channel) else {
            return;
        };
        let columns = self.weights.len().checked_div(count).unwrap_or(0);
        let (start, stride) = channel_place(channel, count, columns);
        let own = self.weights.get_mut(start..).unwrap_or_default();
        let mut moved = 0i32;
        for (w, item) in own.iter_mut().step_by(stride).zip(items).take(columns) {
            let old = *w;
            *w = f(old, item);
            moved += i32::from(*w) - i32::from(old);
        }
        let [bias, mantissa] = pair_of(pair);
        set_pair(
            pair,
            [bias.wrapping_sub(zero.wrapping_mul(moved)), mantissa],
        );
    }
}
