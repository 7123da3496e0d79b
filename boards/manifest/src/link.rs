//! memory.x from board.toml, and what a build script does with it.

use crate::{Board, BootKind, Region};
use std::fmt::Write;
use std::path::PathBuf;

/// The block that an RP2350's ROM looks for, between vectors and code.
const IMAGE_DEFINITION: &str = "\
SECTIONS
{
    .start_block : ALIGN(4) { __start_block_addr = .; KEEP(*(.start_block)); KEEP(*(.boot_info)); } > FLASH
} INSERT AFTER .vector_table;
_stext = ADDR(.start_block) + SIZEOF(.start_block);
";

/// Returns the linker script: memories, the stack at the bottom of RAM, and a symbol for each end of
/// what the firmware reads where it lies.
pub fn memory_x(board: &Board) -> String {
    let code = &board.regions.code;
    let boot = board.boot.as_ref();
    let second_stage = boot.map_or(0, |boot| match boot.kind {
        BootKind::SecondStage => boot.bytes,
        _ => 0,
    });
    let header = boot.map_or(0, |boot| boot.header_bytes);
    let start = match &board.regions.vectors {
        Some(vectors) => vectors.address,
        None => code.address + second_stage + header,
    };
    let mut text = "MEMORY\n{\n".to_owned();
    let mut memory = |name: &str, start: u32, bytes: u32| {
        // A String takes whatever is written.
        let _ = writeln!(
            text,
            "    {name} : ORIGIN = {start:#010x}, LENGTH = {bytes:#x}"
        );
    };
    if second_stage > 0 {
        memory("BOOT2", code.address, second_stage);
    }
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
    if is_boot(board, BootKind::ImageDefinition) {
        text += IMAGE_DEFINITION;
    }
    if let Some(ram) = board.ram.iter().skip(1).find(|ram| ram.arena) {
        let _ = writeln!(
            text,
            "SECTIONS\n{{\n    .arena (NOLOAD) : ALIGN(16) {{ *(.arena .arena.*); }} > {}\n}} INSERT AFTER .bss;",
            ram.name
        );
    }
    text + &symbols(board)
}

/// Returns a symbol for each end of what the firmware reads where it lies, and for what its flash drivers are
/// asked for.
fn symbols(board: &Board) -> String {
    let mut text = String::new();
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

/// What every board's build script does: reads the board.toml beside it, writes its linker script where the linker
/// finds it, says how to link, and hands an emulated board's counter to its bench.
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
    println!("cargo:rustc-link-search={}", out.display());
    let (name, text) = script(&board);
    std::fs::write(out.join(name), text).expect("OUT_DIR can be written");
    for arg in link_args(&board) {
        println!("cargo:rustc-link-arg-bins={arg}");
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
    board
}

/// Returns the linker script of a board, with its file's name: memory.x, or regions.x where the HAL has a
/// memory.x of its own.
pub fn script(board: &Board) -> (&'static str, String) {
    match is_boot(board, BootKind::EspIdf) {
        true => ("regions.x", symbols(board)),
        false => ("memory.x", memory_x(board)),
    }
}

/// Returns how a firmware is linked with [`script`]: arguments of the linker, those of its HAL and of defmt
/// (on silicon) included.
pub fn link_args(board: &Board) -> Vec<&'static str> {
    let mut args = if is_boot(board, BootKind::EspIdf) {
        vec!["-Tlinkall.x", "-Tregions.x"]
    } else {
        let mut args = Vec::new();
        if board.target.starts_with("riscv") {
            args.push("-Tmemory.x");
        }
        args.extend(["--nmagic", "-Tlink.x"]);
        if is_boot(board, BootKind::SecondStage) {
            args.push("-Tlink-rp.x");
        }
        args
    };
    if !board.is_emulated() {
        args.push("-Tdefmt.x");
    }
    args
}

fn is_boot(board: &Board, kind: BootKind) -> bool {
    board.boot.as_ref().is_some_and(|boot| boot.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RP: &str = r#"
name = "rp"
mcu = "RP"
chip = "RP"
core = "Cortex-M0+"
target = "thumbv6m-none-eabi"
clock_hz = 125_000_000
stack_bytes = 0x2000

[[flash]]
name = "qspi"
address = 0x10000000
sectors = [{ count = 512, bytes = 0x1000 }]
write_bytes = 1
erase_stall_ms = 400

[[ram]]
name = "RAM"
address = 0x20000000
bytes = 0x40000

[[ram]]
name = "SCRATCH"
address = 0x20040000
bytes = 0x2000
arena = true

[regions]
code = { address = 0x10000000, bytes = 0x40000 }
model = { address = 0x10040000, bytes = 0x100000 }
tails = [{ address = 0x10140000, bytes = 0x4000 }, { address = 0x10144000, bytes = 0x4000 }]

[boot]
kind = "second-stage"
bytes = 0x100
"#;

    fn script(text: &str) -> String {
        memory_x(&Board::parse("board.toml", text).unwrap())
    }

    #[test]
    fn the_stack_lies_below_the_statics_and_offsets_count_from_the_flash() {
        let text = script(RP);
        for line in [
            "    STACK : ORIGIN = 0x20000000, LENGTH = 0x2000\n",
            "    RAM : ORIGIN = 0x20002000, LENGTH = 0x3e000\n",
            "    SCRATCH : ORIGIN = 0x20040000, LENGTH = 0x2000\n",
            "_stack_start = ORIGIN(STACK) + LENGTH(STACK);\n_stack_end = ORIGIN(STACK);\n",
            "__tail1_start = 0x10144000;\n__tail1_offset = 0x00144000;\n__tail1_bytes = 0x4000;\n",
            "__job_start = 0x00000000;\n__job_offset = 0x00000000;\n__job_bytes = 0x0;\n",
            "*(.arena .arena.*); } > SCRATCH\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn a_second_stage_lies_before_the_vectors_and_an_image_definition_after_them() {
        let text = script(RP);
        let boot = "BOOT2 : ORIGIN = 0x10000000, LENGTH = 0x100\n    FLASH : ORIGIN = 0x10000100, LENGTH = 0x3ff00\n";
        assert!(text.contains(boot), "{text}");
        assert!(!text.contains(".start_block"), "{text}");

        let rp2350 = RP.replace("second-stage", "image-definition");
        let text = script(&rp2350.replace("bytes = 0x100\n", "bytes = 0\n"));
        let flash = "    FLASH : ORIGIN = 0x10000000, LENGTH = 0x40000\n";
        assert!(text.contains(flash) && !text.contains("BOOT2"), "{text}");
        assert!(text.contains("KEEP(*(.start_block))"), "{text}");
    }

    #[test]
    fn a_firmware_is_linked_as_its_boot_loader_and_its_kind_ask() {
        let args = |text: &str| link_args(&Board::parse("board.toml", text).unwrap());
        let all = ["--nmagic", "-Tlink.x", "-Tlink-rp.x", "-Tdefmt.x"];
        assert_eq!(args(RP), all);
        assert_eq!(args(&format!("{RP}\n[emulator]\n")), all[..3]);
        let esp = RP
            .replace("second-stage", "esp-idf")
            .replace("bytes = 0x100\n", "bytes = 0\n");
        assert_eq!(args(&esp), ["-Tlinkall.x", "-Tregions.x", "-Tdefmt.x"]);
        let esp = Board::parse("board.toml", &esp).unwrap();
        let (name, text) = super::script(&esp);
        assert!(name == "regions.x" && !text.contains("MEMORY"), "{text}");
    }

    #[test]
    fn a_second_stage_larger_than_the_code_region_is_refused() {
        let text = RP.replace("bytes = 0x100\n", "bytes = 0x40000\n");
        let found = Board::parse("board.toml", &text).unwrap_err().to_string();
        let expected = "boot.bytes = 262144; less than the code region is expected";
        assert!(found.contains(expected), "{found}");
    }
}
