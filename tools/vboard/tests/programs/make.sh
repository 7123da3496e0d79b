#!/bin/sh
# Assembles the programs of the tests. Needs the two thumb targets of rustup; the results are kept in
# the repository, so that the tests need no assembler.
set -e
cd "$(dirname "$0")"
lld="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld"
work=$(mktemp -d)
assemble() {
    printf '#![no_std]\n#![no_main]\ncore::arch::global_asm!(include_str!("%s/%s.s"), options(raw));\n#[panic_handler] fn p(_: &core::panic::PanicInfo) -> ! { loop {} }\n' \
        "$PWD" "$1" > "$work/$1.rs"
    rustc --edition 2021 --target "$2" -C panic=abort --emit obj -o "$work/$1.o" "$work/$1.rs"
    "$lld" -flavor gnu --image-base=0 -Ttext=0 --gc-sections -e _start --oformat binary -o "$1.bin" "$work/$1.o"
}
assemble exceptions thumbv7em-none-eabihf
assemble nvmc thumbv6m-none-eabi
assemble serial thumbv6m-none-eabi
rm -r "$work"
