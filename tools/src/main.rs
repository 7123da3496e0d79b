//! The `tailtune` command.
fn main() {}
