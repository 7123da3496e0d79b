//! The `tailtune` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tailtune_tools::cmd::main()
}
