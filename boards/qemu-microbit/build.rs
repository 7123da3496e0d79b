//! memory.x from board.toml.

include!("../memory_x.rs");

fn main() {
    memory_x();
}
