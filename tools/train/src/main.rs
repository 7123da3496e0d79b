//! `tailtune-train`: what `tailtune pretrain` and `tailtune finetune` start.

use clap::{Parser, Subcommand};
use std::error::Error;
use std::process::ExitCode;
use tailtune_train::finetune::Finetune;
use tailtune_train::pretrain::Pretrain;

/// Pretraining and fine-tuning of the encoders that tailtune runs.
#[derive(Debug, Parser)]
#[command(name = "tailtune", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pretrain(Box<Pretrain>),
    Finetune(Box<Finetune>),
}

fn main() -> ExitCode {
    // A bug is a failure of the work, with its place on standard error: never exit code 101.
    std::panic::catch_unwind(run).unwrap_or(ExitCode::FAILURE)
}

fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Pretrain(c) => c.run(),
        Command::Finetune(c) => c.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tailtune: {error}");
            if let Some(cause) = error.source() {
                let cause = cause.to_string();
                if !error.to_string().contains(&cause) {
                    eprintln!("  because: {cause}");
                }
            }
            ExitCode::FAILURE
        }
    }
}
