//! Linear layers on ARMv7E-M (Cortex-M4, M7) and on ARMv8-M with the DSP extension: SMLAD, two
//! multiply-accumulates an instruction.
//!
//! Four rows by two output channels a tile, its eight sums in registers. The rows are widened once a
//! block to a panel, `[in_features / 2][4 rows]` words of two int16, so that LDRD brings two columns of
//! two rows; a word of weights, `a₀ b₀ a₁ b₁`, becomes two columns of both channels by SXTB16 and
//! SXTB16 ROR #8. 13 instructions for 16 multiply-accumulates, then one requantize an output: SMMLA
//! and ASR. The bits are those of the portable loop: every sum wraps, in whatever order.
#![allow(unsafe_code)]

use super::Linear;
use crate::quant::Scaling;
use core::arch::global_asm;

/// Two columns of four rows and of both channels: 16 multiply-accumulates.
macro_rules! columns {
    () => {
        concat!(
            "ldr     lr, [r1], #4\n",
            "sxtb16  r12, lr\n",
            "sxtb16  lr, lr, ror #8\n",
            "ldrd    r2, r3, [r0], #8\n",
            "smlad   r4, r12, r2, r4\n",
            "smlad   r8, lr, r2, r8\n",
            "smlad   r5, r12, r3, r5\n",
            "smlad   r9, lr, r3, r9\n",
            "ldrd    r2, r3, [r0], #8\n",
            "smlad   r6, r12, r2, r6\n",
            "smlad   r10, lr, r2, r10\n",
            "smlad   r7, r12, r3, r7\n",
            "smlad   r11, lr, r3, r11\n",
        )
    };
}

global_asm!(
    ".syntax unified",
    ".section .text.tailtune_linear_tile,\"ax\",%progbits",
    ".global tailtune_linear_tile",
    ".type tailtune_linear_tile,%function",
    ".thumb_func",
    "tailtune_linear_tile:",
    // r0 panel, r1 weights, r2 pairs of columns, r3 epilogue; on the stack: requantize, out.
    // r4–r7: rows 0–3 with the even channel, r8–r11: with the odd one.
    "push    {{r4-r11, lr}}",
    "sub     sp, #12",
    "str     r3, [sp, #8]",
    "add     r12, r1, r2, lsl #2",
    "str     r12, [sp, #4]",
    "bic     r2, r2, #7",
    "add     r2, r1, r2, lsl #2",
    "str     r2, [sp]",
    "ldr     r4, [r3]",
    "mov     r5, r4",
    "mov     r6, r4",
    "mov     r7, r4",
    "ldr     r8, [r3, #8]",
    "mov     r9, r8",
    "mov     r10, r8",
    "mov     r11, r8",
    "cmp     r1, r2",
    "beq     3f",
    "2:",
    ".rept 8",
    columns!(),
    ".endr",
    "ldr     r2, [sp]",
    "cmp     r1, r2",
    "bne     2b",
    "3:",
    "ldr     r2, [sp, #4]",
    "cmp     r1, r2",
    "beq     5f",
    "4:",
    columns!(),
    "ldr     r2, [sp, #4]",
    "cmp     r1, r2",
    "bne     4b",
    "5:",
    "ldr     r0, [sp, #8]",
    "ldr     r1, [sp, #48]",
    "cmp     r1, #0",
    "beq     7f",
    "ldr     r2, [r0, #4]",
    "ldr     r3, [r0, #12]",
    "ldr     r12, [r1]",
    "cmp     r12, #0",
    "beq     6f",
    "lsl     r4, r4, r12",
    "lsl     r5, r5, r12",
    "lsl     r6, r6, r12",
    "lsl     r7, r7, r12",
    "lsl     r8, r8, r12",
    "lsl     r9, r9, r12",
    "lsl     r10, r10, r12",
    "lsl     r11, r11, r12",
    "6:",
    "ldr     r12, [r1, #4]",
    "ldr     lr, [r1, #8]",
    "smmla   r4, r4, r2, r12",
    "smmla   r5, r5, r2, r12",
    "smmla   r6, r6, r2, r12",
    "smmla   r7, r7, r2, r12",
    "smmla   r8, r8, r3, r12",
    "smmla   r9, r9, r3, r12",
    "smmla   r10, r10, r3, r12",
    "smmla   r11, r11, r3, r12",
    "asr     r4, r4, lr",
    "asr     r5, r5, lr",
    "asr     r6, r6, lr",
    "asr     r7, r7, lr",
    "asr     r8, r8, lr",
    "asr     r9, r9, lr",
    "asr     r10, r10, lr",
    "asr     r11, r11, lr",
    "7:",
    "ldr     r0, [sp, #52]",
    "stm     r0, {{r4-r11}}",
    "add     sp, #12",
    "pop     {{r4-r11, pc}}",
    ".size tailtune_linear_tile, . - tailtune_linear_tile",
);

unsafe extern "C" {
    /// Computes one tile; without `requantize` its sums. See the comments in the code for its registers.
    fn tailtune_linear_tile(
        panel: *const u32,
        weights: *const i8,
        pairs: usize,
        epilogue: *const [[i32; 2]; 2],
        requantize: *const Requantize,
        out: *mut [[i32; 4]; 2],
    );
}

/// A requantize as the tile applies it.
#[repr(C)]
pub(super) struct Requantize {
    pre_shift: u32,
    offset: i32,
    right: u32,
}

impl Requantize {
    /// Returns what [`Scaling::apply`] does to every sum.
    pub fn new(scaling: Scaling, zero_point: i32) -> Self {
        Self {
            pre_shift: u32::from(scaling.pre_shift) & 31,
            offset: scaling.offset(zero_point),
            right: u32::from(scaling.shift).wrapping_sub(32) & 31,
        }
    }
}

/// Returns whether the kernel takes these weights: words must lie at multiples of four.
pub(super) fn takes(linear: &Linear<'_>) -> bool {
    linear.epilogue.len().is_multiple_of(2) && linear.weight.as_ptr().addr().is_multiple_of(4)
}

/// Where the outputs of a tile go: that of row `r` and channel `c`, even, to `channel(c) + rows[r]`, that
/// of channel `c + 1` `odd` places further.
pub(super) struct Places<C> {
    pub channel: C,
    pub rows: [usize; 4],
    pub odd: usize,
}

/// Up to four rows, widened.
pub(super) struct Panel<'a> {
    words: &'a [u32],
    in_features: usize,
}

impl<'a> Panel<'a> {
    /// Widens up to four rows of `in_features` columns; what is missing of four is left as it is, and its
    /// results mean nothing. None for an odd number of columns, or where `words` is too short.
    pub fn widen(words: &'a mut [u32], rows: &[i8], in_features: usize) -> Option<Self> {
        Self::widen_rows(words, rows.chunks_exact(in_features.max(1)), in_features)
    }

    /// As [`Self::widen`], of rows that do not lie one after the other.
    pub fn widen_rows<'r>(
        words: &'a mut [u32],
        rows: impl Iterator<Item = &'r [i8]>,
        in_features: usize,
    ) -> Option<Self> {
        if in_features == 0 || !in_features.is_multiple_of(2) {
            return None;
        }
        let words = words.get_mut(..2 * in_features)?;
        for (i, row) in rows.take(4).enumerate() {
            let (quads, rest) = row.as_chunks::<4>();
            let mut panel = words.chunks_exact_mut(8);
            for (&quad, words) in quads.iter().zip(&mut panel) {
                let (low, high) = widen_4(quad);
                let (a, b) = words.split_at_mut(4);
                if let (Some(a), Some(b)) = (a.get_mut(i), b.get_mut(i)) {
                    (*a, *b) = (low, high);
                }
            }
            if let (&[k0, k1], Some(word)) = (rest, panel.into_remainder().get_mut(i)) {
                let low = i32::from(k0).cast_unsigned() & 0xffff;
                *word = low | i32::from(k1).cast_unsigned() << 16;
            }
        }
        Some(Self { words, in_features })
    }

    /// Takes words that are a panel already, of this many columns.
    pub fn of(words: &'a [u32], in_features: usize) -> Option<Self> {
        let even = in_features.is_multiple_of(2);
        let words = words.get(..2 * in_features).filter(|_| even)?;
        Some(Self { words, in_features })
    }

    /// Returns the sums of four rows with a pair of channels, as [`Self::tile`] without its requantize.
    #[inline(always)]
    pub fn sums(&self, weights: &[i8]) -> Option<[[i32; 4]; 2]> {
        self.run(weights, &[[0; 2]; 2], core::ptr::null())
    }

    /// Puts the outputs of up to four rows of a layer with an even number of channels where `places` says.
    #[inline(always)]
    pub fn block<T>(
        &self,
        linear: &Linear<'_>,
        rows: usize,
        out: &mut [T],
        places: &Places<impl Fn(usize) -> usize>,
        put: &impl Fn(&mut T, i32),
    ) {
        let requantize = Requantize::new(linear.scaling, linear.zero_point);
        let (epilogues, _) = linear.epilogue.as_chunks::<2>();
        let weights = linear.weight.chunks_exact((2 * self.in_features).max(1));
        let [first, second, third, fourth] = places.rows;
        // The last place of a tile is the greatest: one comparison stands for eight.
        let ascending = first <= second && second <= third && third <= fourth && places.odd != 0;
        for (pair, (weight, epilogue)) in weights.zip(epilogues).enumerate() {
            let Some([even, odd]) = self.tile(weight, epilogue, &requantize) else {
                return;
            };
            let base = (places.channel)(2 * pair);
            let last = base.wrapping_add(fourth).wrapping_add(places.odd);
            if rows == 4 && ascending && last < out.len() && last >= base {
                for ((even, odd), offset) in even.into_iter().zip(odd).zip(places.rows) {
                    let place = base + offset;
                    // SAFETY: `place` and `place + odd` are at most `last`, which was just seen to be
                    // inside of `out`; `odd` is not 0, so they differ.
                    let [a, b] =
                        unsafe { out.get_disjoint_unchecked_mut([place, place + places.odd]) };
                    put(a, even);
                    put(b, odd);
                }
                continue;
            }
            for ((even, odd), offset) in even.into_iter().zip(odd).zip(places.rows).take(rows) {
                let place = base.wrapping_add(offset);
                if let Some(out) = out.get_mut(place) {
                    put(out, even);
                }
                if let Some(out) = out.get_mut(place.wrapping_add(places.odd)) {
                    put(out, odd);
                }
            }
        }
    }

    /// Returns the requantized outputs of four rows with the even and with the odd channel of a pair;
    /// none if `weights` are not those of a pair, at a multiple of four.
    #[inline(always)]
    pub fn tile(
        &self,
        weights: &[i8],
        epilogue: &[[i32; 2]; 2],
        requantize: &Requantize,
    ) -> Option<[[i32; 4]; 2]> {
        self.run(weights, epilogue, requantize)
    }

    #[inline(always)]
    fn run(
        &self,
        weights: &[i8],
        epilogue: &[[i32; 2]; 2],
        requantize: *const Requantize,
    ) -> Option<[[i32; 4]; 2]> {
        if weights.len() != 2 * self.in_features || !weights.as_ptr().addr().is_multiple_of(4) {
            return None;
        }
        let mut out = [[0; 4]; 2];
        // SAFETY: the loop reads one word of weights and four of the panel for each of
        // `in_features / 2` pairs of columns: `2 · in_features` bytes and as many words, which both
        // slices have (the panel was cut to it when it was made). It writes eight words to `out` and
        // reads `requantize` only where that is not null. All pointers are aligned to words; the
        // function keeps the registers that the calling convention wants kept.
        unsafe {
            tailtune_linear_tile(
                self.words.as_ptr(),
                weights.as_ptr(),
                self.in_features / 2,
                epilogue,
                requantize,
                &raw mut out,
            );
        }
        Some(out)
    }
}

/// Returns columns 0 and 1, and 2 and 3, as int16 in a word each.
#[inline(always)]
fn widen_4(quad: [i8; 4]) -> (u32, u32) {
    let word = u32::from_le_bytes(quad.map(i8::cast_unsigned));
    let (low, high): (u32, u32);
    // SAFETY: four instructions on registers; none touches memory or the flags.
    unsafe {
        core::arch::asm!(
            "sxtb16 {even}, {word}",
            "sxtb16 {odd}, {word}, ror #8",
            "pkhbt {low}, {even}, {odd}, lsl #16",
            "pkhtb {high}, {odd}, {even}, asr #16",
            word = in(reg) word,
            even = out(reg) _,
            odd = out(reg) _,
            low = out(reg) low,
            high = lateout(reg) high,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    (low, high)
}
