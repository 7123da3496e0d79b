//! memory.x from board.toml, and what a build script does with it.

use crate::{Board, Region};
use std::fmt::Write;
use std::path::PathBuf;

/// Returns the linker script: memories, the stack at the bottom of RAM, and a symbol for each end of
/// what the firmware reads where it lies.
pub fn memory_x(board: &Board) -> String {
    let code = &board.regions.code;
    let header = board.boot.as_ref().map_or(0, |boot| boot.header_bytes);
    let start = match &board.regions.vectors {
        Some(vectors) => vectors.address,
        None => code.address + header,
    };
    let mut text = "MEMORY\n{\n".to_owned();
    let mut memory = |name: &str, start: u32, bytes: u32| {
        // A String takes whatever is written.
        let _ = writeln!(
            text,
            "    {name} : ORIGIN = {start:#010x}, LENGTH = {bytes:#x}"
        );
    };
    memory("FLASH", start, code.range().end - start);
    for (i, ram) in board.ram.iter().enumerate() {
        if i == 0 {
            let stack = board.stack_bytes;
            memory("STACK", ram.address, stack);
            memory("RAM", ram.address + stack, ram.bytes - stack);
        } else {
            memory(&ram.name, ram.address, ram.bytes);
        }
    }
    text += "}\n";
    text += "__stack_bottom = ORIGIN(STACK);\n";
    if board.target.starts_with("riscv") {
        // riscv-rt asks where each of its regions lies.
        for (region, memory) in [
            ("TEXT", "FLASH"),
            ("RODATA", "FLASH"),
            ("DATA", "RAM"),
            ("BSS", "RAM"),
            ("HEAP", "RAM"),
            ("STACK", "STACK"),
        ] {
            let _ = writeln!(text, "REGION_ALIAS(\"REGION_{region}\", {memory});");
        }
    } else {
        text += "_stack_start = ORIGIN(STACK) + LENGTH(STACK);\n_stack_end = ORIGIN(STACK);\n";
        if board.regions.vectors.is_some() {
            let _ = writeln!(text, "_stext = {:#010x};", code.address);
        }
    }
    if let Some(ram) = board.ram.iter().skip(1).find(|ram| ram.arena) {
        let _ = writeln!(
            text,
            "SECTIONS\n{{\n    .arena (NOLOAD) : ALIGN(16) {{ *(.arena .arena.*); }} > {}\n}} INSERT AFTER .bss;",
            ram.name
        );
    }
    let [first, second] = &board.regions.tails;
    let symbols = [
        ("model", Some(&board.regions.model)),
        ("job", board.regions.job.as_ref()),
        ("tail0", Some(first)),
        ("tail1", Some(second)),
        ("replay", board.regions.replay.as_ref()),
    ];
    for (name, region) in symbols {
        // Flash drivers count from the start of their flash; what is read in place is an address.
        let flash = region
            .and_then(|r| board.flash_of(r))
            .map_or(0, |f| f.address);
        let (address, bytes) =
            region.map_or((0, 0), |Region { address, bytes, .. }| (*address, *bytes));
        let offset = address.saturating_sub(flash);
        let _ = writeln!(
            text,
            "__{name}_start = {address:#010x};\n__{name}_offset = {offset:#010x};\n__{name}_bytes = {bytes:#x};"
        );
    }
    text
}

/// What every board's build script does: reads the board.toml beside it, writes memory.x where the
/// linker finds it, says how to link, and hands an emulated board's counter to its bench.
///
/// # Panics
/// With what is wrong, which is how a build script says it.
pub fn build() -> Board {
    let path = "board.toml";
    println!("cargo:rerun-if-changed={path}");
    println!("cargo:rerun-if-changed=build.rs");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let board = Board::parse(path, &text).unwrap_or_else(|e| panic!("{e}"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("memory.x"), memory_x(&board)).expect("OUT_DIR can be written");
    println!("cargo:rustc-link-search={}", out.display());
    if board.target.starts_with("riscv") {
        println!("cargo:rustc-link-arg-bins=-Tmemory.x");
    }
    if let Some(emulator) = &board.emulator {
        for (name, value) in [
            ("ADDRESS", emulator.counter_address),
            ("TICKS", emulator.counter_ticks),
            ("INSTRUCTIONS", emulator.counter_instructions),
        ] {
            println!("cargo:rustc-env=TAILTUNE_COUNTER_{name}={value}");
        }
    }
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    board
}
