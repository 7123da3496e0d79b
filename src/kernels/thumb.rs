//! Arm's microcontrollers without the DSP extension: [`pairs`](super::pairs) in assembly.
//!
//! The loops are functions in assembly, one file an instruction set; what stands here sees that the
//! operands are what they may read, and leaves the rest to the portable loops.
#![allow(unsafe_code)]

#[cfg(tailtune_kernels = "armv6m")]
mod armv6m;
#[cfg(tailtune_kernels = "armv7m")]
mod armv7m;

use super::panel::ROWS;
use super::{pairs, portable};
pub(super) use pairs::{halves, word};

/// Sums of four rows with one channel of a pair: the words of a panel or of exponentials to `end`, and
/// four weights `a₀ b₀ a₁ b₁` to four words.
type Sums = unsafe extern "C" fn(
    words: *const u32,
    stream: *const i8,
    end: *const u32,
    sums: *mut [i32; ROWS],
);

unsafe extern "C" {
    fn tailtune_pairs_even(w: *const u32, s: *const i8, end: *const u32, sums: *mut [i32; ROWS]);
    fn tailtune_pairs_odd(w: *const u32, s: *const i8, end: *const u32, sums: *mut [i32; ROWS]);
    fn tailtune_weighted_even(w: *const u32, s: *const i8, end: *const u32, sums: *mut [i32; ROWS]);
    fn tailtune_weighted_odd(w: *const u32, s: *const i8, end: *const u32, sums: *mut [i32; ROWS]);
}

/// Returns the sums of four rows of a panel with a pair of channels: [`pairs::tile`].
pub(super) fn tile(words: &[u32], stream: &[i8]) -> [[i32; ROWS]; 2] {
    let kernels = [tailtune_pairs_even as Sums, tailtune_pairs_odd];
    both(words, stream, kernels, pairs::tile)
}

/// Returns the sums of four rows of exponentials with a pair of channels: [`portable::tile`].
pub(super) fn weighted(words: &[u32], stream: &[i8]) -> [[i32; ROWS]; 2] {
    let kernels = [tailtune_weighted_even as Sums, tailtune_weighted_odd];
    both(words, stream, kernels, portable::tile)
}

fn both(
    words: &[u32],
    stream: &[i8],
    [even, odd]: [Sums; 2],
    rest: fn(&[u32], &[i8]) -> [[i32; ROWS]; 2],
) -> [[i32; ROWS]; 2] {
    // The loops read four weights as a word.
    if !stream.as_ptr().cast::<u32>().is_aligned() {
        return rest(words, stream);
    }
    let quads = (words.len() / ROWS).min(stream.len() / 4);
    let (whole, words) = words.split_at_checked(quads * ROWS).unwrap_or((&[], words));
    let (weights, stream) = stream.split_at_checked(quads * 4).unwrap_or((&[], stream));
    let range = whole.as_ptr_range();
    let mut sums = [[0; ROWS]; 2];
    let [a, b] = &mut sums;
    for (kernel, sums) in [(even, a), (odd, b)] {
        // SAFETY: the kernel reads `whole` to its end, four words at a time, of which it is a multiple,
        // and as many weights, aligned, four at a time; it writes four sums.
        unsafe { kernel(range.start, weights.as_ptr(), range.end, sums) };
    }
    if let ([_, _], [_, ..]) = (stream, words) {
        for (sums, last) in sums.iter_mut().zip(rest(words, stream)) {
            for (sum, last) in sums.iter_mut().zip(last) {
                *sum = sum.wrapping_add(last);
            }
        }
    }
    sums
}
