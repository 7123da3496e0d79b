//! ARMv7-M (Cortex-M3) and ARMv8-M Mainline without DSP: 13 instructions for eight multiply-accumulates
//! of int8, 20 where the rows are exponentials.

use core::arch::global_asm;

/// A function's head. r0: words. r1: weights. lr: where the words end. r4 to r7: the sums. [sp, #4]:
/// where they go.
macro_rules! head {
    ($name:literal) => {
        concat!(
            ".global ",
            $name,
            "\n.type ",
            $name,
            ",%function\n.thumb_func\n",
            $name,
            ":\n",
            "push {{r2-r11, lr}}\n",
            "mov lr, r2\n",
            "movs r4, #0\nmovs r5, #0\nmovs r6, #0\nmovs r7, #0\n",
        )
    };
}

/// The even channel's two of the four weights in r2.
macro_rules! even {
    () => {
        "sbfx r3, r2, #16, #8\nsxtb r2, r2\n"
    };
}

/// The odd channel's.
macro_rules! odd {
    () => {
        "asr r3, r2, #24\nsbfx r2, r2, #8, #8\n"
    };
}

/// Four rows of a panel by the weights in r2 and r3. r12: half of what the product is shifted by.
macro_rules! rows {
    () => {
        concat!(
            "sub r2, r3, r2, lsl #16\n",
            "mla r8, r8, r2, r12\n",
            "sub r4, r4, r8, asr #16\n",
            "mla r9, r9, r2, r12\n",
            "sub r5, r5, r9, asr #16\n",
            "mla r10, r10, r2, r12\n",
            "sub r6, r6, r10, asr #16\n",
            "mla r11, r11, r2, r12\n",
            "sub r7, r7, r11, asr #16\n",
        )
    };
}

/// Four rows of exponentials by the weights in r2 and r3.
macro_rules! weighted_rows {
    () => {
        concat!(
            weighted_row!("r8", "r4"),
            weighted_row!("r9", "r5"),
            weighted_row!("r10", "r6"),
            weighted_row!("r11", "r7"),
        )
    };
}

macro_rules! weighted_row {
    ($x:literal, $sum:literal) => {
        concat!(
            concat!("uxth r12, ", $x, "\n"),
            concat!("mla ", $sum, ", r12, r2, ", $sum, "\n"),
            concat!("lsr ", $x, ", ", $x, ", #16\n"),
            concat!("mla ", $sum, ", ", $x, ", r3, ", $sum, "\n"),
        )
    };
}

/// A pair of columns.
macro_rules! pair {
    ($weights:ident, $rows:ident) => {
        concat!(
            "ldr r2, [r1], #4\n",
            "ldmia r0!, {{r8-r11}}\n",
            $weights!(),
            $rows!(),
        )
    };
}

/// All of a channel: four pairs of columns a turn, then one. r2 is free between pairs.
macro_rules! channel {
    ($name:literal, $weights:ident, $rows:ident) => {
        concat!(
            head!($name),
            "mov r12, #0x8000\n",
            "b 2f\n",
            "1:\n",
            pair!($weights, $rows),
            pair!($weights, $rows),
            pair!($weights, $rows),
            pair!($weights, $rows),
            "2:\n",
            "sub r2, lr, r0\n",
            "cmp r2, #64\n",
            "bhs 1b\n",
            "b 4f\n",
            "3:\n",
            pair!($weights, $rows),
            "4:\n",
            "cmp r0, lr\n",
            "bne 3b\n",
            "ldr r3, [sp, #4]\n",
            "stmia r3!, {{r4-r7}}\n",
            "pop {{r2-r11, pc}}\n",
        )
    };
}

global_asm!(
    ".syntax unified",
    ".section .text.tailtune_pairs,\"ax\",%progbits",
    channel!("tailtune_pairs_even", even, rows),
    channel!("tailtune_pairs_odd", odd, rows),
    channel!("tailtune_weighted_even", even, weighted_rows),
    channel!("tailtune_weighted_odd", odd, weighted_rows),
    ".text",
);
