//! From the int16 residual stream: LayerNorm's two passes and the requantize to a panel.

use crate::kernels::layer_norm::{Norm, Statistics};
use crate::kernels::panel::{Panel, ROWS};
use crate::kernels::requantize::Requantize;
use core::arch::global_asm;

/// Two normalised columns: `$shift` is what scales the centred value, `$bits` what it saturates to.
macro_rules! normalized {
    ($shift:literal, $bits:literal) => {
        concat!(
            "ldr     r10, [r0], #4\n",
            "smlabb  r11, r10, r4, r5\n",
            "smlatb  r10, r10, r4, r5\n",
            $shift,
            " r11, r11, r7\n",
            $shift,
            " r10, r10, r7\n",
            "smmul   r11, r11, r6\n",
            "smmul   r10, r10, r6\n",
            "ldrd    r12, lr, [r1], #8\n",
            "smmla   r11, r11, r12, lr\n",
            "ldrd    r12, lr, [r1], #8\n",
            "smmla   r10, r10, r12, lr\n",
            "asr     r11, r11, r8\n",
            "asr     r10, r10, r8\n",
            "ssat    r11, #",
            $bits,
            ", r11\n",
            "ssat    r10, #",
            $bits,
            ", r10\n",
            "pkhbt   r11, r11, r10, lsl #16\n",
            "str     r11, [r3]\n",
            "add     r3, r9\n",
            "cmp     r0, r2\n",
        )
    };
}

global_asm!(
    ".syntax unified",
    extension!(),
    ".section .text.tailtune_rows,\"ax\",%progbits",
    ".global tailtune_row_sums",
    ".type tailtune_row_sums,%function",
    ".thumb_func",
    "tailtune_row_sums:",
    // r0 row, r1 its end, r2 out: sum, squares.
    "push    {{r4, r5, lr}}",
    "mov     lr, #0x00010001",
    "mov     r3, #0",
    "mov     r4, #0",
    "mov     r5, #0",
    "1:",
    "ldr     r12, [r0], #4",
    "smlad   r3, r12, lr, r3",
    "smlald  r4, r5, r12, r12",
    "cmp     r0, r1",
    "bne     1b",
    "stm     r2, {{r3, r4, r5}}",
    "pop     {{r4, r5, pc}}",
    ".size tailtune_row_sums, . - tailtune_row_sums",
    ".global tailtune_row_norm",
    ".type tailtune_row_norm,%function",
    ".thumb_func",
    "tailtune_row_norm:",
    // r0 row, r1 (gain, bias) pairs, r2 the row's end, r3 factor.
    "push    {{r4-r11, lr}}",
    "ldm     r3, {{r3, r4, r5, r6, r7, r8, r9}}",
    "cmp     r9, #4",
    "bne     3f",
    "cmp     r7, #0",
    "blt     2f",
    "1:",
    normalized!("lsl", "16"),
    "bne     1b",
    "pop     {{r4-r11, pc}}",
    "2:",
    "rsb     r7, r7, #0",
    "21:",
    normalized!("asr", "16"),
    "bne     21b",
    "pop     {{r4-r11, pc}}",
    "3:",
    "cmp     r7, #0",
    "blt     5f",
    "4:",
    normalized!("lsl", "8"),
    "bne     4b",
    "pop     {{r4-r11, pc}}",
    "5:",
    "rsb     r7, r7, #0",
    "51:",
    normalized!("asr", "8"),
    "bne     51b",
    "pop     {{r4-r11, pc}}",
    ".size tailtune_row_norm, . - tailtune_row_norm",
    ".global tailtune_row_requantize",
    ".type tailtune_row_requantize,%function",
    ".thumb_func",
    "tailtune_row_requantize:",
    // r0 row, r1 mantissas, r2 the row's end, r3 factor: out, offset, shift to the right.
    "push    {{r4-r9, lr}}",
    "ldm     r3, {{r3, r4, r5}}",
    "1:",
    "ldr     r6, [r0], #4",
    "ldrd    r8, r9, [r1], #8",
    "sxth    r7, r6",
    "asr     r6, r6, #16",
    "smmla   r7, r7, r8, r4",
    "smmla   r6, r6, r9, r4",
    "asr     r7, r7, r5",
    "asr     r6, r6, r5",
    "ssat    r7, #8, r7",
    "ssat    r6, #8, r6",
    "pkhbt   r7, r7, r6, lsl #16",
    "str     r7, [r3], #16",
    "cmp     r0, r2",
    "bne     1b",
    "pop     {{r4-r9, pc}}",
    ".size tailtune_row_requantize, . - tailtune_row_requantize",
    ".global tailtune_row_widen",
    ".type tailtune_row_widen,%function",
    ".thumb_func",
    "tailtune_row_widen:",
    // r0 row, r1 its end, r2 out.
    "push    {{r4, lr}}",
    "1:",
    "ldr     r3, [r0], #4",
    "sxtb16  r12, r3",
    "sxtb16  r3, r3, ror #8",
    "pkhbt   r4, r12, r3, lsl #16",
    "pkhtb   r3, r3, r12, asr #16",
    "str     r4, [r2], #16",
    "str     r3, [r2], #16",
    "cmp     r0, r1",
    "bne     1b",
    "pop     {{r4, pc}}",
    ".size tailtune_row_widen, . - tailtune_row_widen",
);

/// `Σx` and `Σx²`, as the assembly writes them.
#[repr(C)]
struct Sums {
    sum: i32,
    low: u32,
    high: u32,
}

/// What a row is normalised with.
#[repr(C)]
struct NormFactor {
    out: *mut u32,
    d: i32,
    minus_sum: i32,
    inverse: i32,
    /// What the centred value is shifted left by; right, where it is negative.
    left: i32,
    right: u32,
    /// 4: int16 in the row's own place; else int8, that many bytes from pair to pair.
    step: usize,
}

/// What a row is requantized with.
#[repr(C)]
struct RequantizeFactor {
    out: *mut u32,
    offset: i32,
    right: u32,
}

unsafe extern "C" {
    fn tailtune_row_widen(row: *const i8, end: *const i8, out: *mut u32);
    fn tailtune_row_sums(row: *const i16, end: *const i16, sums: *mut Sums);
    fn tailtune_row_norm(
        row: *const i16,
        params: *const [i32; 2],
        end: *const i16,
        factor: *const NormFactor,
    );
    fn tailtune_row_requantize(
        row: *const i16,
        mantissas: *const i32,
        end: *const i16,
        factor: *const RequantizeFactor,
    );
}

/// Writes a row of int8 to row `index` of a panel's words; false, and nothing done, if it is not for this
/// kernel.
pub(in crate::kernels) fn widen(row: &[i8], index: usize, words: &mut [u32]) -> bool {
    let fits = !row.is_empty()
        && row.len().is_multiple_of(4)
        && row.as_ptr().addr().is_multiple_of(4)
        && index < ROWS
        && words.len() == Panel::words(row.len());
    if fits {
        let (range, out) = (row.as_ptr_range(), words.as_mut_ptr().wrapping_add(index));
        // SAFETY: the loop reads the row in words to its end, aligned and whole words apart, at least
        // one; it writes one word of four a pair of columns, which the panel has.
        unsafe { tailtune_row_widen(range.start, range.end, out) };
    }
    fits
}

/// Returns whether a row can be read in words of two columns.
fn in_words(row: &[i16]) -> bool {
    !row.is_empty() && row.len().is_multiple_of(2) && row.as_ptr().addr().is_multiple_of(4)
}

/// Returns `Σx` and `Σx²`; none if the row is not for this kernel.
#[inline(always)]
pub(in crate::kernels) fn sums(row: &[i16]) -> Option<(i32, u64)> {
    let mut sums = Sums {
        sum: 0,
        low: 0,
        high: 0,
    };
    let range = row.as_ptr_range();
    if !in_words(row) {
        return None;
    }
    // SAFETY: the loop reads words from the row's start to its end, which are aligned and whole words
    // apart, at least one; it writes three words.
    unsafe { tailtune_row_sums(range.start, range.end, &raw mut sums) };
    Some((sums.sum, u64::from(sums.high) << 32 | u64::from(sums.low)))
}

fn norm_factor(norm: &Norm<'_>, s: &Statistics, row: &[i16]) -> Option<NormFactor> {
    let fits = in_words(row) && norm.params.len() >= row.len() && row.len() < 1 << 15;
    fits.then_some(NormFactor {
        out: core::ptr::null_mut(),
        d: s.d,
        minus_sum: s.sum.wrapping_neg(),
        inverse: s.inverse,
        left: s.left.max(-31),
        right: u32::from(norm.shift) & 31,
        step: 4,
    })
}

/// Normalises a row in place; false, and nothing done, if it is not for this kernel.
#[inline(always)]
pub(in crate::kernels) fn normalize(norm: &Norm<'_>, s: &Statistics, row: &mut [i16]) -> bool {
    let Some(mut factor) = norm_factor(norm, s, row) else {
        return false;
    };
    let range = row.as_mut_ptr_range();
    factor.out = range.start.cast();
    let params = norm.params.as_ptr();
    // SAFETY: the loop reads the row in words to its end, aligned and whole words apart, at least one,
    // and a pair of parameters a column, which there are; it writes every word of the row after it was
    // read.
    unsafe { tailtune_row_norm(range.start, params, range.end, &raw const factor) };
    true
}

/// Normalises a row to row `index` of a panel; false, and nothing done, if it is not for this kernel.
#[inline(always)]
pub(in crate::kernels) fn normalize_panel(
    norm: &Norm<'_>,
    s: &Statistics,
    row: &[i16],
    index: usize,
    output: &mut Panel<'_>,
) -> bool {
    let words = output.part_mut(0, row.len());
    let Some(mut factor) = norm_factor(norm, s, row) else {
        return false;
    };
    if index >= ROWS || words.len() != Panel::words(row.len()) {
        return false;
    }
    factor.out = words.as_mut_ptr().wrapping_add(index);
    factor.step = 4 * ROWS;
    let (range, params) = (row.as_ptr_range(), norm.params.as_ptr());
    // SAFETY: as in `normalize`; it writes one word of four a pair of columns, which the panel has.
    unsafe { tailtune_row_norm(range.start, params, range.end, &raw const factor) };
    true
}

/// Requantizes rows to a panel; false, and nothing done, if they are not for this kernel.
pub(in crate::kernels) fn requantize(
    requantize: &Requantize<'_>,
    rows: &[i16],
    output: &mut Panel<'_>,
) -> bool {
    let (d, scaling) = (requantize.mantissas.len(), requantize.scaling);
    let n = output.rows();
    let words = output.part_mut(0, d);
    let whole = rows.get(..n * d).filter(|rows| in_words(rows));
    let Some(rows) = whole.filter(|_| words.len() == Panel::words(d)) else {
        return false;
    };
    if scaling.pre_shift != 0 || !d.is_multiple_of(2) || d == 0 {
        return false;
    }
    for (index, row) in crate::rows::rows(rows, d).enumerate() {
        let factor = RequantizeFactor {
            out: words.as_mut_ptr().wrapping_add(index),
            offset: scaling.offset(requantize.zero_point),
            right: scaling.right(),
        };
        let (range, mantissas) = (row.as_ptr_range(), requantize.mantissas.as_ptr());
        // SAFETY: the loop reads the row in words to its end, aligned and whole words apart, at least
        // one, and a mantissa a column; it writes one word of four a pair of columns, which the panel
        // has, and `index` is below four: there are no more rows.
        unsafe { tailtune_row_requantize(range.start, mantissas, range.end, &raw const factor) };
    }
    true
}
