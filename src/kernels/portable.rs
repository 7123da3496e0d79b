//! The inner loops in portable code: what every kernel for an instruction set must equal.
//!
//! All sums wrap, so their order does not matter.

use super::panel::ROWS;

/// Returns a panel's word of an even column and the odd one after it.
#[cfg(any(not(tailtune_pairs), test))]
#[inline(always)]
pub(super) const fn word([even, odd]: [i8; 2]) -> u32 {
    (even as u16 as u32) | (odd as i32).cast_unsigned() << 16
}

/// Returns the int16 halves of a word.
#[inline(always)]
pub(super) const fn halves(word: u32) -> [i32; 2] {
    [word as i16 as i32, (word >> 16) as i16 as i32]
}

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

#[cfg(not(any(tailtune_kernels = "armv7em", tailtune_pairs)))]
pub(super) use tile as weighted;

/// Adds two columns of four rows with both channels.
#[inline(always)]
fn step(sums: &mut [[i32; ROWS]; 2], four: &[u32; ROWS], weights: [i8; 4]) {
    let [a0, b0, a1, b1] = weights.map(i32::from);
    let [even, odd] = sums;
    for ((even, odd), &word) in even.iter_mut().zip(odd.iter_mut()).zip(four) {
        let [x0, x1] = halves(word);
        *even = even.wrapping_add(x0 * a0 + x1 * a1);
        *odd = odd.wrapping_add(x0 * b0 + x1 * b1);
    }
}

/// Returns the sums of four rows with one channel that stands alone; `halves` takes the words apart.
pub(super) fn single(words: &[u32], halves: fn(u32) -> [i32; 2], stream: &[i8]) -> [i32; ROWS] {
    let (words, _) = words.as_chunks::<ROWS>();
    let mut sums = [0i32; ROWS];
    let (pairs, last) = stream.as_chunks::<2>();
    let pairs = pairs.iter().copied().chain(last.first().map(|&w| [w, 0]));
    for (four, weights) in words.iter().zip(pairs) {
        let [w0, w1] = weights.map(i32::from);
        for (sum, &word) in sums.iter_mut().zip(four) {
            let [x0, x1] = halves(word);
            *sum = sum.wrapping_add(x0 * w0 + x1 * w1);
        }
    }
    sums
}
