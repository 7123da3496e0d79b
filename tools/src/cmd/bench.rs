//! `tailtune bench`: executed instructions of operators, layers and whole models on emulated boards.

mod baseline;
mod measure;
mod plot;

use super::CommandError;
use super::terminal::{print, print_json};
use crate::board::{self, Board};
use crate::output::write_whole;
use baseline::Baseline;
use clap::Args;
use measure::{Measured, Models, measure};
use serde_json::json;
use std::path::PathBuf;

/// Count the instructions that operators, layers and models execute on emulated boards
///
/// The counts are exact and the same on every run; on a Cortex-M55 to 31 instructions, what its timer
/// resolves. They are instructions, not cycles.
#[derive(Debug, Args)]
pub struct Bench {
    /// The emulated board [default: all that count instructions]
    #[arg(long, value_parser = board::find)]
    board: Option<Board>,
    /// Print one JSON object: results[] with board, core, case, instructions, macs (of softmax and
    /// LayerNorm: elements, of the front end: samples of one second), per_mac; of whole models also
    /// arena_bytes, image_bytes, stack_bytes, the forward's peak, and weight_bytes_read, what a forward
    /// fetches from flash; text_bytes{} and text_bytes_training{} by board
    #[arg(long)]
    json: bool,
    /// Fail where a count is more than 1 % above the repository's baseline
    #[arg(long)]
    check: bool,
    /// Write the repository's baseline and the README's tables
    #[arg(long, conflicts_with_all = ["check", "board"])]
    write: bool,
    /// Draw where the instructions of a layer go, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let boards = match self.board {
            Some(board) => vec![board],
            None => counting()?,
        };
        let first = boards.first().ok_or("no board counts instructions")?;
        if let Some(board) = boards
            .iter()
            .find(|b| b.emulator.and_then(|e| e.icount_shift).is_none())
        {
            return Err(format!(
                "{} counts no instructions: expected an emulated board with icount_shift in its \
                 board.toml",
                board.name
            )
            .into());
        }
        let models = Models::new(first)?;
        let measured: Vec<_> = boards
            .iter()
            .map(|board| measure(board, &models))
            .collect::<Result<_, _>>()?;
        if let Some(path) = &self.plot {
            write_whole(path, plot::svg(&measured).as_bytes())?;
        }
        if self.write {
            Baseline::of(&measured).write()?;
            baseline::write_readme(&measured)?;
        }
        if self.json {
            let results: Vec<_> = measured.iter().flat_map(|m| &m.counts).collect();
            let by_board = |bytes: fn(&Measured) -> u64| -> serde_json::Map<_, _> {
                let one = |m: &Measured| (m.board.name.clone(), bytes(m).into());
                measured.iter().map(one).collect()
            };
            print_json(&json!({
                "results": results,
                "text_bytes": by_board(|m| m.text_bytes),
                "text_bytes_training": by_board(|m| m.text_bytes_training),
            }))?;
        } else {
            print(&baseline::tables(&measured))?;
        }
        if !self.check {
            return Ok(());
        }
        let comparison = Baseline::read()?.compare(&measured);
        for why in &comparison.not_compared {
            eprintln!("not compared: {why}");
        }
        if comparison.complaints.is_empty() {
            let boards = measured.len();
            let line = format!(
                "baseline: {} of {boards} boards compared",
                comparison.compared
            );
            if self.json {
                eprintln!("{line}");
                return Ok(());
            }
            return print(&line);
        }
        Err(format!(
            "{}\nif that is meant, say why in the commit and run `tailtune bench --write`",
            comparison.complaints.join("\n")
        )
        .into())
    }
}

/// The boards that count instructions, the Cortex-M4F, whose counts the targets are of, first.
fn counting() -> Result<Vec<Board>, CommandError> {
    let mut boards = board::all()?;
    boards.retain(|b| b.emulator.and_then(|e| e.icount_shift).is_some());
    boards.sort_by_key(|b| !b.core.starts_with("Cortex-M4"));
    Ok(boards)
}
