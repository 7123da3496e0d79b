// What every board's build script does: memory.x from board.toml, and the link arguments. Taken in
// by `include!`, so that boards need no crate for it.

/// Returns the number that `key` has in a board.toml.
fn number(toml: &str, key: &str) -> u32 {
    let value = toml.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().replace('_', ""))
    });
    let value = value.unwrap_or_else(|| panic!("board.toml: key {key} is missing"));
    let parsed = match value.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => value.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("board.toml: {key} = {value}, a number is expected"))
}

/// Writes memory.x where the linker finds it; its symbols tell the firmware where its regions lie.
fn memory_x() {
    let toml = std::fs::read_to_string("board.toml").expect("board.toml lies beside build.rs");
    let get = |key| number(&toml, key);
    let mut text = format!(
        "MEMORY\n{{\n    FLASH : ORIGIN = {:#010x}, LENGTH = {:#x}\n    RAM   : ORIGIN = {:#010x}, LENGTH = {:#x}\n}}\n\
         __model_start = {:#010x};\n__model_bytes = {:#x};\n\
         __job_start = {:#010x};\n__job_bytes = {:#x};\n\
         __slots_start = {:#010x};\n__slot_bytes = {:#x};\n\
         __replay_start = {:#010x};\n__replay_bytes = {:#x};\n",
        get("code_address"),
        get("code_bytes"),
        get("ram_address"),
        get("ram_bytes"),
        get("model_address"),
        get("model_bytes"),
        get("job_address"),
        get("job_bytes"),
        get("slots_address"),
        get("slot_bytes"),
        get("replay_address"),
        get("replay_bytes"),
    );
    // riscv-rt asks where each of its regions lies, and leaves memory.x to us.
    if std::env::var("TARGET").is_ok_and(|target| target.starts_with("riscv")) {
        for (region, memory) in [
            ("TEXT", "FLASH"),
            ("RODATA", "FLASH"),
            ("DATA", "RAM"),
            ("BSS", "RAM"),
            ("HEAP", "RAM"),
            ("STACK", "RAM"),
        ] {
            text += &format!("REGION_ALIAS(\"REGION_{region}\", {memory});\n");
        }
        println!("cargo:rustc-link-arg-bins=-Tmemory.x");
    }
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("memory.x"), text).expect("OUT_DIR can be written");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rerun-if-changed=board.toml");
    println!("cargo:rerun-if-changed=../memory_x.rs");
    println!("cargo:rerun-if-changed=build.rs");
}
