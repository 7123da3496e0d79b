//! The linker script where the linker finds it, and how to link.

fn main() {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::copy("SCRIPT", out.join("SCRIPT")).expect("it lies beside build.rs");
    println!("cargo:rerun-if-changed=SCRIPT");
    println!("cargo:rustc-link-search={}", out.display());
    for arg in [LINK_ARGS] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
