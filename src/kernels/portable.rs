//! The inner loops in portable code: what every kernel for an instruction set must equal.
//!
//! All sums wrap, so their order does not matter.

use super::panel::ROWS;

/// Returns the sums of four rows with a pair of channels, `[channel][row]`.
///
/// `words`: a panel's. `stream`: weights `a₀ b₀ a₁ b₁ …` of both channels, `columns` of each.
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
    let [even, odd] = sums;
    for ((even, odd), &word) in even.iter_mut().zip(odd.iter_mut()).zip(four) {
        let (x0, x1) = (i32::from(word as i16), i32::from((word >> 16) as i16));
        *even = even.wrapping_add(x0 * a0 + x1 * a1);
        *odd = odd.wrapping_add(x0 * b0 + x1 * b1);
    }
}

/// Returns the sums of four rows with one channel that stands alone.
pub(super) fn single(words: &[u32], stream: &[i8]) -> [i32; ROWS] {
    let (words, _) = words.as_chunks::<ROWS>();
    let mut sums = [0i32; ROWS];
    let (pairs, last) = stream.as_chunks::<2>();
    let pairs = pairs.iter().copied().chain(last.first().map(|&w| [w, 0]));
    for (four, weights) in words.iter().zip(pairs) {
        let [w0, w1] = weights.map(i32::from);
        for (sum, &word) in sums.iter_mut().zip(four) {
            let (x0, x1) = (i32::from(word as i16), i32::from((word >> 16) as i16));
            *sum = sum.wrapping_add(x0 * w0 + x1 * w1);
        }
    }
    sums
}
