@ nRF51's NVMC, linked at 0, ARMv6-M. Words read back go to 0x20000000 on, and as hexadecimal text to
@ the UART; the last is 0x600dcafe. Page 0x8000 is used.
    .syntax unified
    .thumb
    .cpu cortex-m0
    .section .text.vectors, "ax"
    .global _start
_start:
    .word 0x20001000
    .word reset + 1
    .rept 14
    .word stop + 1
    .endr
reset:
    ldr r7, =0x20000000
    ldr r6, =0x4001e500
    movs r5, #0x80
    lsls r5, r5, #8
    @ UART: TX on pin 24, 115200 baud.
    ldr r0, =0x40002000
    ldr r1, =0x500
    adds r1, r0
    movs r2, #24
    str r2, [r1, #0x0c]
    ldr r2, =0x01d7e000
    str r2, [r1, #0x24]
    movs r2, #4
    str r2, [r1]
    movs r2, #1
    str r2, [r0, #8]
    @ 0: a store with nothing enabled.
    ldr r1, =0x12345678
    str r1, [r5]
    bl show
    @ 1: enabled.
    movs r0, #1
    bl config
    ldr r1, =0xff00ff3c
    str r1, [r5]
    bl show
    @ 2: once more: AND.
    ldr r1, =0x0ff0fff0
    str r1, [r5]
    bl show
    @ 3: an erase while only writing is enabled.
    str r5, [r6, #8]
    bl show
    @ 4: with erasing enabled a store does nothing.
    movs r0, #2
    bl config
    movs r1, #0
    str r1, [r5]
    bl show
    @ 5: the next page is programmed first, and stays.
    movs r0, #1
    bl config
    movs r4, #1
    lsls r4, r4, #10
    adds r4, r5
    ldr r1, =0xcafef00d
    str r1, [r4]
    movs r0, #2
    bl config
    str r5, [r6, #8]
    bl show
    @ 6
    ldr r1, [r4]
    bl text
    @ 7: CONFIG reads back.
    ldr r1, [r6, #4]
    bl text
    @ 8: READY.
    ldr r0, =0x4001e400
    ldr r1, [r0]
    bl text
    @ 9: read only again.
    movs r0, #0
    bl config
    str r4, [r6, #8]
    ldr r1, [r4]
    bl text
    ldr r1, =0x600dcafe
    bl text
1:  b 1b

config:
    str r0, [r6, #4]
    bx lr
@ Shows the word at r5.
show:
    ldr r1, [r5]
@ Stores r1 at r7 and sends it as eight digits and a line feed.
text:
    str r1, [r7]
    adds r7, #4
    push {r4, lr}
    movs r4, #8
2:  lsrs r2, r1, #28
    lsls r1, r1, #4
    cmp r2, #10
    blo 3f
    adds r2, #39
3:  adds r2, #48
    bl send
    subs r4, #1
    bne 2b
    movs r2, #10
    bl send
    pop {r4, pc}
@ Sends r2 and waits for TXDRDY.
send:
    ldr r3, =0x40002000
    movs r0, #0
    push {r5}
    ldr r5, =0x11c
    str r0, [r3, r5]
    push {r6}
    ldr r6, =0x51c
    str r2, [r3, r6]
4:  ldr r0, [r3, r5]
    cmp r0, #0
    beq 4b
    pop {r6}
    pop {r5}
    bx lr
stop:
    b stop
    .ltorg
