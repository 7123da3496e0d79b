@ Exceptions on ARMv6-M and nRF51's UART by interrupt, linked at 0: each byte that comes is sent back,
@ plus one. Words from 0x20000000 on:
@  0 LR in SVCall   4 its stacked r0   8 PendSV calls   12 UART interrupts   16 SysTick's reload
    .syntax unified
    .thumb
    .cpu cortex-m0
    .section .text.vectors, "ax"
    .global _start
_start:
    .word 0x20001000
    .word reset + 1
    .rept 9
    .word stop + 1
    .endr
    .word svcall + 1
    .word stop + 1, stop + 1
    .word pendsv + 1
    .word stop + 1, stop + 1, stop + 1
    .word uart + 1
reset:
    ldr r7, =0x20000000
    movs r0, #0
    str r0, [r7, #8]
    str r0, [r7, #12]
    @ nRF51 has no SysTick.
    ldr r1, =0xe000e014
    movs r0, #100
    str r0, [r1]
    ldr r0, [r1]
    str r0, [r7, #16]
    movs r0, #0x5c
    svc #0
    ldr r1, =0xe000ed04
    ldr r0, =0x10000000
    str r0, [r1]
    dsb
    isb
    ldr r6, =0x40002000
    ldr r1, =0x40002500
    movs r0, #4
    str r0, [r1]
    ldr r1, =0x40002304
    str r0, [r1]
    ldr r1, =0xe000e100
    str r0, [r1]
    movs r0, #1
    str r0, [r6]
    str r0, [r6, #8]
1:  wfi
    b 1b

svcall:
    mov r1, lr
    str r1, [r7]
    mov r1, sp
    ldr r1, [r1]
    str r1, [r7, #4]
    bx lr
pendsv:
    ldr r1, [r7, #8]
    adds r1, #1
    str r1, [r7, #8]
    bx lr
uart:
    ldr r1, [r7, #12]
    adds r1, #1
    str r1, [r7, #12]
    ldr r1, =0x40002108
    movs r0, #0
    str r0, [r1]
    ldr r1, =0x40002518
    ldr r0, [r1]
    adds r0, #1
    str r0, [r1, #4]
    bx lr
stop:
    b stop
    .ltorg
