//! ARMv6-M (Cortex-M0, M0+) and ARMv8-M Baseline: eight low registers, no unaligned words, a
//! multiplication that overwrites an operand. 21 instructions for eight multiply-accumulates of int8, 30
//! where the rows are exponentials.

use core::arch::global_asm;

/// A function's head. r0: words. lr: weights. r12: where the unrolled loop ends. [sp]: where the words
/// end, [sp, #4]: the sums.
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
            "push {{r2-r7, lr}}\n",
            "mov lr, r1\n",
            "subs r2, r2, r0\n",
            "lsrs r2, r2, #6\n",
            "lsls r2, r2, #6\n",
            "adds r2, r2, r0\n",
            "mov r12, r2\n",
        )
    };
}

/// r2: a pair's weights of the even channel, `w₁ − 2^16·w₀`, from four at lr + `$at`.
macro_rules! even {
    ($at:tt) => {
        concat!(
            load!($at),
            "lsls r1, r2, #8\n",
            "asrs r1, r1, #24\n",
            "lsls r2, r2, #24\n",
            "asrs r2, r2, #8\n",
            "subs r2, r1, r2\n",
        )
    };
}

/// As `even`, of the odd channel.
macro_rules! odd {
    ($at:tt) => {
        concat!(
            load!($at),
            "asrs r1, r2, #24\n",
            "lsls r2, r2, #16\n",
            "asrs r2, r2, #24\n",
            "lsls r2, r2, #16\n",
            "subs r2, r1, r2\n",
        )
    };
}

/// r2: four weights. At 12, the last of an unrolled loop, the weights' pointer moves on; at 16 by one.
macro_rules! load {
    (12) => {
        "mov r1, lr\nldr r2, [r1, #12]\nadds r1, #16\nmov lr, r1\n"
    };
    (16) => {
        "mov r1, lr\nldr r2, [r1]\nadds r1, #4\nmov lr, r1\n"
    };
    ($at:literal) => {
        concat!("mov r1, lr\nldr r2, [r1, #", $at, "]\n")
    };
}

/// Four rows by r2. The shift leaves half of its last place in the carry: the rounding. r4 to r7 hold
/// the negated sums.
macro_rules! rows {
    () => {
        concat!(two!("r4", "r5"), two!("r6", "r7"))
    };
}

macro_rules! two {
    ($a:literal, $b:literal) => {
        concat!(
            "ldmia r0!, {{r1, r3}}\n",
            "muls r1, r2, r1\n",
            "asrs r1, r1, #16\n",
            concat!("adcs ", $a, ", r1\n"),
            "muls r3, r2, r3\n",
            "asrs r3, r3, #16\n",
            concat!("adcs ", $b, ", r3\n"),
        )
    };
}

/// All of a channel of a panel.
macro_rules! pairs {
    ($name:literal, $weights:ident) => {
        concat!(
            head!($name),
            "movs r4, #0\nmovs r5, #0\nmovs r6, #0\nmovs r7, #0\n",
            "b 2f\n",
            "1:\n",
            $weights!(0),
            rows!(),
            $weights!(4),
            rows!(),
            $weights!(8),
            rows!(),
            $weights!(12),
            rows!(),
            "2:\n",
            "cmp r0, r12\n",
            "bne 1b\n",
            "ldr r2, [sp]\n",
            "mov r12, r2\n",
            "b 4f\n",
            "3:\n",
            $weights!(16),
            rows!(),
            "4:\n",
            "cmp r0, r12\n",
            "bne 3b\n",
            "rsbs r4, r4, #0\nrsbs r5, r5, #0\nrsbs r6, r6, #0\nrsbs r7, r7, #0\n",
            "ldr r3, [sp, #4]\n",
            "stmia r3!, {{r4-r7}}\n",
            "pop {{r2-r7, pc}}\n",
        )
    };
}

/// r2, r3: a pair's weights of the even channel, from four at r12.
macro_rules! even_apart {
    () => {
        "sxtb r2, r1\nlsls r1, r1, #8\nasrs r3, r1, #24\n"
    };
}

/// As `even_apart`, of the odd channel.
macro_rules! odd_apart {
    () => {
        "asrs r3, r1, #24\nlsls r1, r1, #16\nasrs r2, r1, #24\n"
    };
}

/// A row of exponentials by r2 and r3.
macro_rules! weighted_row {
    ($x:literal, $sum:literal) => {
        concat!(
            concat!("uxth r1, ", $x, "\n"),
            "muls r1, r2, r1\n",
            concat!("add ", $sum, ", r1\n"),
            concat!("lsrs ", $x, ", ", $x, ", #16\n"),
            concat!("muls ", $x, ", r3, ", $x, "\n"),
            concat!("add ", $sum, ", ", $x, "\n"),
        )
    };
}

/// All of a channel of values. r8 to r11: the sums. r12: the weights. lr: where the words end.
macro_rules! weighted {
    ($name:literal, $weights:ident) => {
        concat!(
            head!($name),
            "mov r12, r1\n",
            "ldr r2, [sp]\n",
            "mov lr, r2\n",
            "mov r4, r8\nmov r5, r9\nmov r6, r10\nmov r7, r11\n",
            "push {{r4-r7}}\n",
            "movs r1, #0\n",
            "mov r8, r1\nmov r9, r1\nmov r10, r1\nmov r11, r1\n",
            "b 2f\n",
            "1:\n",
            "mov r2, r12\n",
            "ldmia r2!, {{r1}}\n",
            "mov r12, r2\n",
            $weights!(),
            "ldmia r0!, {{r4-r7}}\n",
            weighted_row!("r4", "r8"),
            weighted_row!("r5", "r9"),
            weighted_row!("r6", "r10"),
            weighted_row!("r7", "r11"),
            "2:\n",
            "cmp r0, lr\n",
            "bne 1b\n",
            "ldr r3, [sp, #20]\n",
            "mov r4, r8\nmov r5, r9\nmov r6, r10\nmov r7, r11\n",
            "stmia r3!, {{r4-r7}}\n",
            "pop {{r4-r7}}\n",
            "mov r8, r4\nmov r9, r5\nmov r10, r6\nmov r11, r7\n",
            "pop {{r2-r7, pc}}\n",
        )
    };
}

global_asm!(
    ".syntax unified",
    ".section .text.tailtune_pairs,\"ax\",%progbits",
    pairs!("tailtune_pairs_even", even),
    pairs!("tailtune_pairs_odd", odd),
    weighted!("tailtune_weighted_even", even_apart),
    weighted!("tailtune_weighted_odd", odd_apart),
    ".text",
);
