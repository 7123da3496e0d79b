//! `tailtune pretrain` and `tailtune finetune`: the trainer is a package of its own, because its
//! autodiff framework takes minutes to build and no other command needs it. These two build it
//! where that has not been done, and hand their arguments on.

use super::CommandError;
use crate::toolchain::cargo_program;
use clap::Args;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Train an encoder from random weights: supervised, by masked frames, or by masked words and next
/// sentences
///
/// The first call builds the trainer, which takes some minutes; `tailtune pretrain --help` lists its options.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Pretrain {
    /// The trainer's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Train a pretrained encoder, or some of it, on labelled data
///
/// The first call builds the trainer, which takes some minutes; `tailtune finetune --help` lists its options.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Finetune {
    /// The trainer's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Pretrain {
    pub(super) fn run(self) -> Result<ExitCode, CommandError> {
        trainer("pretrain", &self.args)
    }
}

impl Finetune {
    pub(super) fn run(self) -> Result<ExitCode, CommandError> {
        trainer("finetune", &self.args)
    }
}

/// Runs the trainer's `command` and returns its exit code.
fn trainer(command: &str, args: &[OsString]) -> Result<ExitCode, CommandError> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("train");
    let manifest = package.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(format!(
            "{}: not found; the trainer is built from the sources of tailtune: run this from a checkout of them",
            manifest.display()
        )
        .into());
    }
    let program = package.join("target/release").join(PROGRAM);
    if !program.is_file() {
        eprintln!(
            "building the trainer in {}, once; this takes some minutes",
            package.display()
        );
    }
    let built = Command::new(cargo_program())
        .args(["build", "--release", "--locked", "--bin", "tailtune-train"])
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(package.join("target"))
        .args(program.is_file().then_some("--quiet"))
        .status()
        .map_err(|e| format!("cargo cannot be started: {e}; it is needed to build the trainer"))?;
    if !built.success() {
        return Err("the trainer does not build, see above; it needs the Rust that tools/train/Cargo.toml names as rust-version".into());
    }
    let status = Command::new(&program)
        .arg(command)
        .args(args)
        .status()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    // Killed by a signal: a failure of the work.
    let code = status.code().and_then(|c| u8::try_from(c).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

#[cfg(windows)]
const PROGRAM: &str = "tailtune-train.exe";
#[cfg(not(windows))]
const PROGRAM: &str = "tailtune-train";
