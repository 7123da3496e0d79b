//! memory.x from board.toml.

fn main() {
    tailtune_board::build();
}
