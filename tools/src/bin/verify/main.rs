//! `cargo verify`: every check, in the order in which they find mistakes soonest.
//!
//! The last line on standard output is `N passed, M failed` over all tests. A step that fails
//! without a failed test (a lint, a build) counts as one failure, so that M is 0 exactly when the
//! exit code is.

mod boards;
mod children;
mod firmware_size;
mod report;
mod sources;
mod steps;
mod test_output;

use clap::Parser;
use report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tailtune_tools::setup::Mode;

/// Checks everything: setup, formatting, lints, documentation, host tests, firmware builds, tests
/// on the emulated board.
#[derive(Parser)]
#[command(name = "cargo verify")]
struct Args {
    /// Install nothing: fail when something is missing.
    #[arg(long)]
    no_setup: bool,
    /// Run the steps after a failed one too.
    #[arg(long)]
    keep_going: bool,
    /// Build the firmware of every board, not only of those that run in an emulator and of one of every
    /// other target.
    #[arg(long)]
    all: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mode = match args.no_setup {
        true => Mode::CheckOnly,
        false => Mode::Install,
    };
    let root = root();
    let boards = match boards::find(&root) {
        Ok(boards) => boards,
        Err(error) => {
            eprintln!("verify: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::new(steps::NAMES);
    let mut context = steps::Context::new(root, boards, mode, args.all);
    for name in steps::NAMES {
        report.begin(name);
        let outcome = context.run(name);
        report.end(outcome);
        if report.has_failure() && !args.keep_going {
            break;
        }
    }
    report.print();
    match report.has_failure() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// The root of the workspace: the sources that this binary was built from.
fn root() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools.parent().unwrap_or(tools).to_owned()
}
