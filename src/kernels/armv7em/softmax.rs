//! The softmax's two passes: the largest score of each of four queries, then one query's exponentials.

use crate::kernels::softmax::TABLE;
use crate::quant::Scaling;
use core::arch::global_asm;

/// Keeps the larger of a maximum and a score.
macro_rules! larger {
    ($max:literal, $score:literal) => {
        concat!(
            "cmp     ",
            $score,
            ", ",
            $max,
            "\n",
            "it      gt\n",
            "movgt   ",
            $max,
            ", ",
            $score,
            "\n",
        )
    };
}

/// Two exponentials of one query; `$shift` shifts both differences left.
macro_rules! pair {
    ($($shift:literal),*) => {
        concat!(
            "ldr     r4, [r0], #16\n",
            "ldr     r5, [r0], #16\n",
            "sub     r4, r2, r4\n",
            "sub     r5, r2, r5\n",
            $($shift,)*
            "smmla   r4, r4, r8, r9\n",
            "smmla   r5, r5, r8, r9\n",
            "asr     r4, r4, r10\n",
            "asr     r5, r5, r10\n",
            "usat    r4, #12, r4\n",
            "usat    r5, #12, r5\n",
            "uxtb    r6, r4\n",
            "uxtb    r7, r5\n",
            "ldrh    r6, [r11, r6, lsl #1]\n",
            "ldrh    r7, [r11, r7, lsl #1]\n",
            "lsr     r4, r4, #8\n",
            "lsr     r5, r5, #8\n",
            "lsr     r6, r6, r4\n",
            "lsr     r7, r7, r5\n",
            "pkhbt   r6, r6, r7, lsl #16\n",
            "str     r6, [r1], #16\n",
            "smlad   r12, r6, lr, r12\n",
        )
    };
}

global_asm!(
    ".syntax unified",
    extension!(),
    ".section .text.tailtune_softmax,\"ax\",%progbits",
    ".global tailtune_maxima",
    ".type tailtune_maxima,%function",
    ".thumb_func",
    "tailtune_maxima:",
    // r0 scores, r1 their end, r2 the four maxima in and out.
    "push    {{r4-r11, lr}}",
    "push    {{r1, r2}}",
    "ldm     r2, {{r1, r2, r3, lr}}",
    "ldr     r12, [sp]",
    "1:",
    "ldm     r0!, {{r4-r11}}",
    larger!("r1", "r4"),
    larger!("r2", "r5"),
    larger!("r3", "r6"),
    larger!("lr", "r7"),
    larger!("r1", "r8"),
    larger!("r2", "r9"),
    larger!("r3", "r10"),
    larger!("lr", "r11"),
    "cmp     r0, r12",
    "bne     1b",
    "ldr     r0, [sp, #4]",
    "stm     r0, {{r1, r2, r3, lr}}",
    "add     sp, #8",
    "pop     {{r4-r11, pc}}",
    ".size tailtune_maxima, . - tailtune_maxima",
    ".global tailtune_exponentials",
    ".type tailtune_exponentials,%function",
    ".thumb_func",
    "tailtune_exponentials:",
    // r0 the query's first score, r1 its first word, r2 its maximum, r3 the factor with what goes on the
    // stack: shift to the left, end of the words. Returns the sum.
    "push    {{r4-r11, lr}}",
    "ldm     r3, {{r3, r4, r8, r9, r10, r11}}",
    "push    {{r3, r4}}",
    "mov     r12, #0",
    "mov     lr, #0x00010001",
    "cmp     r3, #0",
    "bne     4f",
    "ands    r3, r4, #1",
    "beq     2f",
    pair!(),
    "2:",
    "ldr     r3, [sp, #4]",
    "bics    r3, #1",
    "beq     6f",
    "3:",
    pair!(),
    pair!(),
    "subs    r3, #2",
    "bne     3b",
    "b       6f",
    "4:",
    "mov     r3, r4",
    "5:",
    "ldr     r6, [sp]",
    pair!("lsl     r4, r4, r6\n", "lsl     r5, r5, r6\n"),
    "subs    r3, #1",
    "bne     5b",
    "6:",
    "mov     r0, r12",
    "add     sp, #8",
    "pop     {{r4-r11, pc}}",
    ".size tailtune_exponentials, . - tailtune_exponentials",
);

/// What every query's exponentials are made with.
#[repr(C)]
struct Factor {
    pre_shift: u32,
    pairs: usize,
    mantissa: i32,
    offset: i32,
    right: u32,
    table: *const u16,
}

unsafe extern "C" {
    fn tailtune_maxima(scores: *const u32, end: *const u32, max: *mut [i32; 4]);
    fn tailtune_exponentials(
        scores: *const u32,
        words: *mut u32,
        max: i32,
        factor: *const Factor,
    ) -> i32;
}

/// Raises each of `max` to the largest score of the first `pairs` pairs of keys; returns how many pairs
/// were looked at.
pub(in crate::kernels) fn maxima(scores: &[u32], pairs: usize, max: &mut [i32; 4]) -> usize {
    let Some(scores) = scores.get(..8 * pairs).filter(|_| pairs > 0) else {
        return 0;
    };
    let range = scores.as_ptr_range();
    // SAFETY: the loop reads eight words at a time from the start to the end of `scores`, whose length
    // is a multiple of eight and not 0, and four words of `max`, which it writes.
    unsafe { tailtune_maxima(range.start, range.end, max) };
    pairs
}

/// Replaces the first `pairs` pairs of scores by exponentials and adds them to `sums`; returns how many
/// pairs are done.
pub(in crate::kernels) fn exponentials(
    weights: &mut [u32],
    pairs: usize,
    scaling: Scaling,
    mantissa: i32,
    max: &[i32; 4],
    sums: &mut [i32; 4],
) -> usize {
    let Some(weights) = weights.get_mut(..8 * pairs).filter(|_| pairs > 0) else {
        return 0;
    };
    let factor = Factor {
        pre_shift: u32::from(scaling.pre_shift) & 31,
        pairs,
        mantissa,
        offset: scaling.offset(0),
        right: scaling.right(),
        table: TABLE.as_ptr(),
    };
    for (row, (sum, &max)) in sums.iter_mut().zip(max).enumerate() {
        let words = weights.as_mut_ptr().wrapping_add(row);
        // SAFETY: from word `row` on the loop reads every fourth word, `2 · pairs` of them, and writes
        // as many as `pairs` of them: the last read is word `8 · pairs − 4 + row`, inside of `weights`.
        // What it writes at word `4 · i + row` was read before: `4 · i ≤ 8 · i`. The table's index is
        // one byte, its entries 256.
        *sum = sum
            .wrapping_add(unsafe { tailtune_exponentials(words, words, max, &raw const factor) });
    }
    pairs
}
