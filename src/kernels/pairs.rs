//! Cores with a multiplier and no dot product (ARMv6-M, ARMv7-M, RV32IM): two multiply-accumulates out of
//! one 32-bit multiplication.
//!
//! ```text
//! (x₀ − 2^16·x₁) · (w₁ − 2^16·w₀) = x₀·w₁ − 2^16·(x₀·w₀ + x₁·w₁)   mod 2^32
//! ```
//!
//! Shifted right by 16 and rounded that is the negated dot product: `|x₀·w₁|` ≤ 2^14 does not reach it.
//! Of int8 it lies in −32768..=32512, which an int16 holds; the first only where all four are −128 and
//! `x₀·w₁` is positive, so nothing overflows.

use super::panel::ROWS;
#[cfg(tailtune_kernels = "rv32im")]
pub(super) use super::portable::tile as weighted;

/// Returns a panel's word of an even column and the odd one after it.
#[inline(always)]
pub(super) const fn word([even, odd]: [i8; 2]) -> u32 {
    (even as i32)
        .wrapping_sub((odd as i32) << 16)
        .cast_unsigned()
}

/// Returns the columns of a panel's word.
#[inline(always)]
pub(super) const fn halves(word: u32) -> [i32; 2] {
    let even = word as i16 as i32;
    [even, even.wrapping_sub(word.cast_signed()) >> 16]
}

/// Half of what the dot product is shifted by.
const HALF: i32 = 1 << 15;

/// Returns the sums of four rows with a pair of channels: [`portable::tile`](super::portable::tile) of
/// a panel.
#[inline(always)]
pub(super) fn tile(words: &[u32], stream: &[i8]) -> [[i32; ROWS]; 2] {
    let (words, _) = words.as_chunks::<ROWS>();
    let (quads, last) = stream.as_chunks::<4>();
    let mut sums = [[0i32; ROWS]; 2];
    for (four, &weights) in words.iter().zip(quads) {
        step(&mut sums, four, weights);
    }
    if let (&[a, b], Some(four)) = (last, words.get(quads.len())) {
        step(&mut sums, four, [a, b, 0, 0]);
    }
    sums
}

/// Adds two columns of four rows with both channels.
#[inline(always)]
fn step(sums: &mut [[i32; ROWS]; 2], four: &[u32; ROWS], weights: [i8; 4]) {
    let [a0, b0, a1, b1] = weights.map(i32::from);
    let (a, b) = (a1 - (a0 << 16), b1 - (b0 << 16));
    let [even, odd] = sums;
    for i in 0..ROWS {
        let x = four[i].cast_signed();
        even[i] = even[i].wrapping_sub(x.wrapping_mul(a).wrapping_add(HALF) >> 16);
        odd[i] = odd[i].wrapping_sub(x.wrapping_mul(b).wrapping_add(HALF) >> 16);
    }
}

#[cfg(test)]
mod tests {
    use super::{ROWS, halves, tile, word};
    use crate::kernels::portable;

    #[test]
    fn every_pair_comes_back() {
        for even in i8::MIN..=i8::MAX {
            for odd in i8::MIN..=i8::MAX {
                let expected = [even, odd].map(i32::from);
                assert_eq!(halves(word([even, odd])), expected);
                assert_eq!(portable::halves(portable::word([even, odd])), expected);
            }
        }
    }

    #[test]
    fn the_extremes_and_what_is_between() {
        let values = [-128, -127, -1, 0, 1, 127];
        for x0 in values {
            for x1 in values {
                for w0 in values {
                    for w1 in values {
                        let (pair, stream) = ([x0, x1], [w0, w1, w1, w0]);
                        let plain = portable::tile(&[portable::word(pair); ROWS], &stream);
                        assert_eq!(tile(&[word(pair); ROWS], &stream), plain);
                    }
                }
            }
        }
    }
}
