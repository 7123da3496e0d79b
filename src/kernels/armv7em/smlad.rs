//! The inner loop of a pass by SMLAD.

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

/// A tile's sums, from the head of the pass's function to the jump to its `finish`.
#[cfg(not(tailtune_mve))]
macro_rules! sums {
    () => {
        concat!(
            // r0: the pass, kept at [sp]; [sp, #4] ends the unrolled columns, [sp, #8] all of them.
            // In the loop: r0 panel, r1 weights, r4–r7 rows 0–3 with the even channel, r8–r11 with the odd one.
            "push    {{r4-r11, lr}}\n",
            "sub     sp, #12\n",
            "str     r0, [sp]\n",
            "ldr     r1, [r0, #4]\n",
            "1:\n",
            "ldrd    r2, r3, [r0, #8]\n",
            "add     r2, r1\n",
            "add     r3, r1\n",
            "strd    r2, r3, [sp, #4]\n",
            "ldr     r12, [r0, #16]\n",
            "ldr     r4, [r12]\n",
            "ldr     r8, [r12, #8]\n",
            "ldr     r0, [r0]\n",
            "mov     r5, r4\n",
            "mov     r6, r4\n",
            "mov     r7, r4\n",
            "mov     r9, r8\n",
            "mov     r10, r8\n",
            "mov     r11, r8\n",
            "cmp     r1, r2\n",
            "beq     3f\n",
            "2:\n",
            ".rept 16\n",
            columns!(),
            ".endr\n",
            "ldr     r2, [sp, #4]\n",
            "cmp     r1, r2\n",
            "bne     2b\n",
            "3:\n",
            "ldr     r2, [sp, #8]\n",
            "cmp     r1, r2\n",
            "beq     5f\n",
            "4:\n",
            columns!(),
            "ldr     r2, [sp, #8]\n",
            "cmp     r1, r2\n",
            "bne     4b\n",
            "5:\n",
            "ldr     r0, [sp]\n",
            "ldr     pc, [r0, #20]\n",
        )
    };
}
