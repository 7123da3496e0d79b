//! memory.x, and the counter of the bench, from board.toml.

fn main() {
    tailtune_board::build();
}
