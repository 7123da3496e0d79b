//! Chooses the kernels by the target's triple and by the features `dsp` and `mve`: stable Rust names no target
//! features on Arm's microcontrollers, and where it does, the choice would differ between toolchains.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let known = ["armv6m", "armv7m", "armv7em", "rv32im"].map(|name| format!("{name:?}"));
    let known = known.join(", ");
    println!("cargo:rustc-check-cfg=cfg(tailtune_kernels, values({known}))");
    println!("cargo:rustc-check-cfg=cfg(tailtune_pairs)");
    println!("cargo:rustc-check-cfg=cfg(tailtune_v8m)");
    println!("cargo:rustc-check-cfg=cfg(tailtune_mve)");
    let target = std::env::var("TARGET").unwrap_or_default();
    let feature = |name: &str| std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| target.starts_with(prefix));
    let v8m = is(&["thumbv8m.main-"]);
    // An assembler for plain ARMv8-M has to be told of the extension.
    if v8m {
        println!("cargo:rustc-cfg=tailtune_v8m");
    }
    if v8m && feature("MVE") {
        println!("cargo:rustc-cfg=tailtune_mve");
    }
    let (kernels, pairs) = if is(&["thumbv7em-"]) || v8m && (feature("DSP") || feature("MVE")) {
        ("armv7em", false)
    } else if v8m || is(&["thumbv7m-"]) {
        ("armv7m", true)
    } else if is(&["thumbv6m-", "thumbv8m.base-"]) {
        ("armv6m", true)
    } else if is(&["riscv32im"]) {
        ("rv32im", true)
    } else {
        return;
    };
    println!("cargo:rustc-cfg=tailtune_kernels={kernels:?}");
    // What panels hold: see src/kernels/pairs.rs.
    if pairs {
        println!("cargo:rustc-cfg=tailtune_pairs");
    }
}
