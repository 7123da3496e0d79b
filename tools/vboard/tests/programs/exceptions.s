@ Exceptions on ARMv7E-M with an FPU, linked at 0. Results go to words from 0x20000000 on:
@  0 SysTick interrupts   4 LR in SVCall from MSP   8 LR in SVCall from PSP   12 SVC argument seen
@ 16 order of interrupts  20 s0 after PendSV        24 LR in PendSV           28 flags kept
@ 32 nested order         36 1 when all is done     40 WFE passed
    .syntax unified
    .thumb
    .cpu cortex-m4
    .fpu fpv4-sp-d16
    .section .text.vectors, "ax"
    .global _start
_start:
    .word 0x20001000
    .word reset + 1
    .word stop + 1, stop + 1, stop + 1, stop + 1, stop + 1, 0, 0, 0, 0
    .word svcall + 1
    .word 0, 0
    .word pendsv + 1
    .word systick + 1
    .word irq0 + 1, irq1 + 1
reset:
    ldr r7, =0x20000000
    movs r0, #0
    mov r1, r7
1:  str r0, [r1], #4
    ldr r2, =0x20000040
    cmp r1, r2
    bne 1b
    @ CPACR: the FPU.
    ldr r0, =0xe000ed88
    ldr r1, =0x00f00000
    str r1, [r0]
    dsb
    isb
    @ SysTick, three times.
    ldr r0, =0xe000e010
    ldr r1, =999
    str r1, [r0, #4]
    movs r1, #0
    str r1, [r0, #8]
    movs r1, #7
    str r1, [r0]
2:  wfi
    ldr r1, [r7]
    cmp r1, #3
    blt 2b
    movs r1, #0
    str r1, [r0]
    @ SVC from the main stack, then from the process stack.
    movs r4, #4
    movs r0, #0x5c
    svc #0
    ldr r0, =0x20002000
    msr psp, r0
    movs r0, #2
    msr control, r0
    isb
    movs r4, #8
    movs r0, #0x5d
    svc #1
    movs r0, #0
    msr control, r0
    isb
    @ PendSV in the middle of floating point and with flags set.
    vmov.f32 s0, #1.5
    vmov.f32 s15, #2.5
    ldr r0, =0xe000ed04
    ldr r1, =0x10000000
    movs r2, #0
    cmp r2, #0
    str r1, [r0]
    dsb
    isb
    ite eq
    moveq r3, #1
    movne r3, #0
    str r3, [r7, #28]
    vadd.f32 s0, s0, s15
    vstr s0, [r7, #20]
    @ Two interrupts, pended while masked: the one of the lower priority value comes first.
    ldr r0, =0xe000e400
    ldr r1, =0x00002040
    str r1, [r0]
    ldr r0, =0xe000e100
    movs r1, #3
    str r1, [r0]
    cpsid i
    ldr r2, =0xe000e200
    str r1, [r2]
    dsb
    cpsie i
    isb
    @ irq0 pends irq1 while it runs: nested.
    movs r1, #1
    movs r5, #1
    str r1, [r2]
    dsb
    isb
    @ An event that is there already lets WFE pass.
    sev
    wfe
    sev
    wfe
    movs r0, #1
    str r0, [r7, #40]
    str r0, [r7, #36]
3:  b 3b

svcall:
    mov r1, lr
    str r1, [r7, r4]
    @ The stacked r0, from the stack that was in use.
    tst lr, #4
    ite eq
    mrseq r2, msp
    mrsne r2, psp
    ldr r2, [r2]
    ldr r3, [r7, #12]
    lsls r3, r3, #8
    orrs r3, r2
    str r3, [r7, #12]
    bx lr
pendsv:
    str lr, [r7, #24]
    vmov.f32 s0, #-1.0
    vmov.f32 s15, #-1.0
    movs r3, #0x77
    movs r0, #1
    bx lr
systick:
    ldr r1, [r7]
    adds r1, #1
    str r1, [r7]
    bx lr
irq0:
    movs r1, #0xa
    push {lr}
    bl note
    cmp r5, #1
    bne 4f
    ldr r0, =0xe000e200
    movs r1, #2
    str r1, [r0]
    dsb
    isb
    movs r1, #0xc
    bl note
4:  pop {pc}
irq1:
    movs r1, #0xb
note:
    ldr r3, [r7, #16]
    lsls r3, r3, #4
    orrs r3, r1
    str r3, [r7, #16]
    bx lr
stop:
    bkpt #0
    .ltorg
