// What the build script of an emulated board adds to memory_x.rs: the counter of executed instructions
// that its bench reads.

/// Hands the counter of board.toml to the bench as environment variables.
fn counter() {
    let toml = std::fs::read_to_string("board.toml").expect("board.toml lies beside build.rs");
    for key in ["counter_address", "counter_ticks", "counter_instructions"] {
        let name = key.to_uppercase();
        println!("cargo:rustc-env=TAILTUNE_{name}={}", number(&toml, key));
    }
    println!("cargo:rerun-if-changed=../counter.rs");
}
