//! Chooses the kernels by the target's triple: stable Rust names no target features on Arm's
//! microcontrollers, and where it does, the choice would differ between toolchains.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(tailtune_kernels, values(\"armv7em\"))");
    let target = std::env::var("TARGET").unwrap_or_default();
    if target.starts_with("thumbv7em-") {
        println!("cargo:rustc-cfg=tailtune_kernels=\"armv7em\"");
    }
}
