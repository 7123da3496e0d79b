//! memory.x and the bench's counter from board.toml.

include!("../memory_x.rs");
include!("../counter.rs");

fn main() {
    memory_x();
    counter();
}
