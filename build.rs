//! Chooses the kernels by the target's triple and by the feature `dsp`: stable Rust names no target
//! features on Arm's microcontrollers, and where it does, the choice would differ between toolchains.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(tailtune_kernels, values(\"armv7em\"))");
    println!("cargo:rustc-check-cfg=cfg(tailtune_v8m)");
    let target = std::env::var("TARGET").unwrap_or_default();
    let dsp = std::env::var_os("CARGO_FEATURE_DSP").is_some();
    let v8m = target.starts_with("thumbv8m.main-");
    // An assembler for plain ARMv8-M has to be told of the extension.
    if v8m {
        println!("cargo:rustc-cfg=tailtune_v8m");
    }
    if target.starts_with("thumbv7em-") || v8m && dsp {
        println!("cargo:rustc-cfg=tailtune_kernels=\"armv7em\"");
    }
}
