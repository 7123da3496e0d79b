//! ARMv8.1-M with integer MVE, Helium (Cortex-M55, M85): 128 multiply-accumulates in 14 instructions.
//!
//! A pass is [`armv7em`](super::armv7em)'s but for its inner loop. The panel's int8 are first brought
//! together, sixteen columns of four rows after another, since VMLADAV.S8 takes sixteen at a time; VLD20
//! and VLD21 take the channels of a stream apart. What is left of the columns is SMLAD's.
#![allow(unsafe_code)]

use super::panel::ROWS;
use core::arch::global_asm;
use core::mem::MaybeUninit;

/// Columns of a panel that are taken by MVE: the first of them; what is beyond is SMLAD's.
const COLUMNS: usize = 512;

/// Columns that an instruction takes.
const GROUP: usize = 16;

/// Four rows' columns, sixteen after sixteen.
pub(super) struct Narrow(MaybeUninit<[[[i8; GROUP]; ROWS]; COLUMNS / GROUP]>);

/// What of a panel is taken by MVE, as the assembly reads it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Groups {
    /// 80: the columns.
    start: *const i8,
    /// 84: where those end that are taken four groups at a time; 88: all.
    unrolled: *const i8,
    end: *const i8,
    /// 92: the panel's words that are left.
    rest: *const u32,
}

impl Groups {
    /// Nothing is taken.
    pub fn none(words: &[u32]) -> Self {
        let nowhere = core::ptr::null();
        Self {
            start: nowhere,
            unrolled: nowhere,
            end: nowhere,
            rest: words.as_ptr(),
        }
    }
}

impl Narrow {
    pub const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Brings a panel's columns together.
    pub fn take(&mut self, words: &[u32]) -> Groups {
        const WORDS: usize = ROWS * GROUP / 2;
        let groups = (words.len() / WORDS).min(COLUMNS / GROUP);
        if groups == 0 {
            return Groups::none(words);
        }
        let start = self.0.as_mut_ptr().cast::<i8>();
        let rest = words.as_ptr().wrapping_add(groups * WORDS);
        // SAFETY: it reads `groups` times 32 words, which `words` has, and writes as often 64 bytes, for
        // which there is room.
        unsafe { tailtune_narrow(words.as_ptr(), rest, start) };
        let group = ROWS * GROUP;
        Groups {
            start,
            unrolled: start.wrapping_add((groups & !3) * group),
            end: start.wrapping_add(groups * group),
            rest,
        }
    }
}

unsafe extern "C" {
    /// Writes a panel's words to `rest`, sixteen columns of four rows at a time, as int8.
    fn tailtune_narrow(words: *const u32, rest: *const u32, out: *mut i8);
}

/// A tile's sums, from the head of the pass's function to the jump to its `finish`. VMLADAV takes even
/// registers only.
macro_rules! sums {
    () => {
        concat!(
            // r0: the pass, kept at [sp]; [sp, #8] ends the tile's weights.
            // In the loop: r1 weights, r3 columns, r5 and r7 their ends; r4, r0, r6, r2 rows 0–3 with the
            // even channel, r8, r12, r10, lr with the odd one.
            "push    {{r4-r11, lr}}\n",
            "sub     sp, #12\n",
            "str     r0, [sp]\n",
            "ldr     r1, [r0, #4]\n",
            "1:\n",
            "ldr     r3, [r0, #12]\n",
            "add     r3, r1\n",
            "str     r3, [sp, #8]\n",
            "ldr     r12, [r0, #16]\n",
            "ldr     r4, [r12]\n",
            "ldr     r8, [r12, #8]\n",
            "ldrd    r3, r5, [r0, #80]\n",
            "ldr     r7, [r0, #88]\n",
            "mov     r0, r4\n",
            "mov     r6, r4\n",
            "mov     r2, r4\n",
            "mov     r12, r8\n",
            "mov     r10, r8\n",
            "mov     lr, r8\n",
            "cmp     r3, r5\n",
            "beq     3f\n",
            "2:\n",
            ".rept 4\n",
            group!(),
            ".endr\n",
            "cmp     r3, r5\n",
            "bne     2b\n",
            "3:\n",
            "cmp     r3, r7\n",
            "beq     5f\n",
            "4:\n",
            group!(),
            "cmp     r3, r7\n",
            "bne     4b\n",
            "5:\n",
            "mov     r5, r0\n",
            "mov     r7, r2\n",
            "mov     r9, r12\n",
            "mov     r11, lr\n",
            "ldr     r0, [sp]\n",
            "ldr     r2, [sp, #8]\n",
            "cmp     r1, r2\n",
            "beq     7f\n",
            // From here on as by SMLAD: r0 panel, r4–r7 and r8–r11 rows 0–3 with the even and the odd channel.
            "ldr     r0, [r0, #92]\n",
            "6:\n",
            columns!(),
            "ldr     r2, [sp, #8]\n",
            "cmp     r1, r2\n",
            "bne     6b\n",
            "ldr     r0, [sp]\n",
            "7:\n",
            "ldr     pc, [r0, #20]\n",
        )
    };
}

/// Sixteen columns of four rows and of both channels: 128 multiply-accumulates.
macro_rules! group {
    () => {
        concat!(
            "vld20.8 {{q1, q2}}, [r1]\n",
            "vld21.8 {{q1, q2}}, [r1]!\n",
            "vldrb.u8 q0, [r3], #16\n",
            "vmladava.s8 r4, q0, q1\n",
            "vmladava.s8 r8, q0, q2\n",
            "vldrb.u8 q0, [r3], #16\n",
            "vmladava.s8 r0, q0, q1\n",
            "vmladava.s8 r12, q0, q2\n",
            "vldrb.u8 q0, [r3], #16\n",
            "vmladava.s8 r6, q0, q1\n",
            "vmladava.s8 r10, q0, q2\n",
            "vldrb.u8 q0, [r3], #16\n",
            "vmladava.s8 r2, q0, q1\n",
            "vmladava.s8 lr, q0, q2\n",
        )
    };
}

global_asm!(
    ".syntax unified",
    ".cpu cortex-m55",
    ".section .text.tailtune_narrow,\"ax\",%progbits",
    ".global tailtune_narrow",
    ".type tailtune_narrow,%function",
    ".thumb_func",
    "tailtune_narrow:",
    "1:",
    // Eight columns: a row's four words, of which VSTRB.16 stores the lower bytes of the halves.
    ".irp at, 0, 8",
    "vld40.32 {{q0, q1, q2, q3}}, [r0]",
    "vld41.32 {{q0, q1, q2, q3}}, [r0]",
    "vld42.32 {{q0, q1, q2, q3}}, [r0]",
    "vld43.32 {{q0, q1, q2, q3}}, [r0]!",
    "vstrb.16 q0, [r2, #\\at]",
    "vstrb.16 q1, [r2, #\\at + 16]",
    "vstrb.16 q2, [r2, #\\at + 32]",
    "vstrb.16 q3, [r2, #\\at + 48]",
    ".endr",
    "adds    r2, #64",
    "cmp     r0, r1",
    "bne     1b",
    "bx      lr",
    ".size tailtune_narrow, . - tailtune_narrow",
);
