//! memory.x from board.toml.

fn main() {
    tailtune_board::build();
    println!("cargo:rustc-link-arg-bins=-Tdefmt.x");
}
