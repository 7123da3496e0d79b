//! The command line: one file a subcommand.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 the work
//! failed, 2 the call was wrong.

mod adapt;
mod adapt_sequences;
mod bench;
mod boards;
pub mod convert;
mod demo;
mod embeddings;
pub mod eval;
#[cfg(feature = "flash")]
mod feed;
#[cfg(feature = "flash")]
mod feed_round;
mod fit_args;
mod flash;
mod inspect;
mod merge;
mod model_args;
mod new;
mod on_board;
mod on_probe;
mod plan;
mod prepare;
mod probes;
mod remedies;
mod source;
mod study;
mod study_table;
mod synthesize;
mod tail;
pub mod terminal;
mod tokenize;
mod train;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Transformer transfer learning on microcontrollers: from pretrained weights to a flash image, and
/// to a head that is tuned on the device.
#[derive(Debug, Parser)]
#[command(name = "tailtune", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Convert(convert::Convert),
    Eval(eval::Eval),
    Plan(plan::Plan),
    Adapt(Box<adapt::Adapt>),
    Inspect(inspect::Inspect),
    Tokenize(tokenize::Tokenize),
    Boards(boards::Boards),
    New(new::New),
    Flash(Box<flash::Flash>),
    Tail(Box<tail::Tail>),
    #[cfg(feature = "flash")]
    Feed(Box<feed::Feed>),
    Merge(merge::Merge),
    Probes(probes::Probes),
    Demo(demo::Demo),
    Synthesize(synthesize::Synthesize),
    Prepare(prepare::Prepare),
    Bench(bench::Bench),
    Pretrain(train::Pretrain),
    Finetune(train::Finetune),
}

/// A Cortex-M4's cycles an instruction: what similar kernels take on silicon with flash that keeps up. A
/// model, not a measurement.
const CYCLES: f64 = 1.2;

/// Any error of a command: what is printed is its whole chain.
pub type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// A call that no data could make right: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongCall(String);

fn wrong_call(error: impl std::fmt::Display) -> CommandError {
    WrongCall(error.to_string()).into()
}

/// Runs the command line and returns the exit code.
pub fn main() -> ExitCode {
    // A bug is a failure of the work, with its place on standard error: never exit code 101.
    std::panic::catch_unwind(|| run(Cli::parse())).unwrap_or(ExitCode::FAILURE)
}

fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Convert(c) => c.run(),
        Command::Eval(c) => c.run(),
        Command::Plan(c) => c.run(),
        Command::Adapt(c) => c.run(),
        Command::Inspect(c) => c.run(),
        Command::Tokenize(c) => c.run(),
        Command::Boards(c) => c.run(),
        Command::New(c) => c.run(),
        Command::Flash(c) => c.run(),
        Command::Tail(c) => c.run(),
        #[cfg(feature = "flash")]
        Command::Feed(c) => c.run(),
        Command::Merge(c) => c.run(),
        Command::Probes(c) => c.run(),
        Command::Demo(c) => c.run(),
        Command::Synthesize(c) => c.run(),
        Command::Prepare(c) => c.run(),
        Command::Bench(c) => c.run(),
        Command::Pretrain(c) => return finish(c.run()),
        Command::Finetune(c) => return finish(c.run()),
    };
    finish(result.map(|()| ExitCode::SUCCESS))
}

/// Says what went wrong.
fn finish(result: Result<ExitCode, CommandError>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            let message = error.to_string();
            eprintln!("tailtune: {message}");
            // Most errors say their cause themselves.
            let mut source = error.source();
            while let Some(cause) = source {
                if !message.contains(&cause.to_string()) {
                    eprintln!("  because: {cause}");
                }
                source = cause.source();
            }
            if error.is::<WrongCall>() {
                return ExitCode::from(2);
            }
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        super::Cli::command().debug_assert();
    }
}
