//! `tailtune boards`: the boards that are known, and what fits them.

mod new;
mod tables;

use super::CommandError;
use super::terminal::{kib, print, print_json, table};
use crate::board::{self, Board};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// List the boards that are known, and which shipped model fits which, with which methods of tuning
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Boards {
    #[command(subcommand)]
    action: Option<Action>,
    /// Look at this image too
    #[arg(long)]
    image: Option<PathBuf>,
    /// Print both tables as Markdown
    #[arg(long, conflicts_with_all = ["json", "regions"])]
    markdown: bool,
    /// List chips, targets and regions instead
    #[arg(long, conflicts_with_all = ["json", "image"])]
    regions: bool,
    /// Print one JSON object: boards[] with name, mcu, chip, core, target, clock_hz, flash_bytes (what the core
    /// sees), unmapped_bytes (flash behind a driver), ram_bytes, model_address, model_bytes, slot_bytes (of the
    /// smaller slot), replay_bytes (0 where only heads are tuned)
    #[arg(long, conflicts_with = "image")]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    New(new::New),
}

impl Boards {
    pub(super) fn run(self) -> Result<(), CommandError> {
        if let Some(Action::New(new)) = self.action {
            return new.run();
        }
        let boards = board::all()?;
        if self.json {
            let list = boards.iter().map(|b| {
                json!({
                    "name": b.name, "mcu": b.mcu, "chip": b.chip, "core": b.core, "target": b.target,
                    "clock_hz": b.clock_hz, "flash_bytes": b.flash_bytes(), "unmapped_bytes": b.unmapped_bytes(),
                    "ram_bytes": b.ram_bytes(), "model_address": b.regions.model.address,
                    "model_bytes": b.regions.model.bytes, "slot_bytes": b.slot_bytes(),
                    "replay_bytes": replay_bytes(b),
                })
            });
            return print_json(&json!({ "boards": list.collect::<Vec<_>>() }));
        }
        if self.regions {
            return regions(&boards);
        }
        let both = [
            tables::boards(&boards),
            tables::models(&boards, self.image.as_deref())?,
        ];
        let text = both.map(|tables::Table(header, rows)| {
            if self.markdown {
                return tables::Table(header, rows).markdown();
            }
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            table(&header).add_rows(rows).to_string()
        });
        print(&text.join("\n\n"))
    }
}

/// Prints where what lies.
fn regions(boards: &[Board]) -> Result<(), CommandError> {
    let mut rows = table(&[
        "board",
        "chip",
        "core",
        "target",
        "clock",
        "flash",
        "RAM",
        "model region",
        "slot",
        "replay",
    ]);
    for b in boards {
        rows.add_row([
            b.name.clone(),
            b.chip.clone(),
            b.core.clone(),
            b.target.clone(),
            mhz(b.clock_hz),
            flash(b),
            kib(b.ram_bytes() as usize),
            format!(
                "{} at {:#010x}",
                kib(b.regions.model.bytes as usize),
                b.regions.model.address
            ),
            kib(b.slot_bytes() as usize),
            match replay_bytes(b) {
                0 => "none".into(),
                bytes => kib(bytes as usize),
            },
        ]);
    }
    print(&rows.to_string())
}

fn flash(board: &Board) -> String {
    let seen = kib(board.flash_bytes() as usize);
    match board.unmapped_bytes() {
        0 => seen,
        more => format!("{seen} + {} by a driver", kib(more as usize)),
    }
}

fn replay_bytes(board: &Board) -> u32 {
    let replay = board.regions.replay.as_ref();
    replay.map_or(0, |region| region.bytes)
}

fn mhz(hertz: u32) -> String {
    format!("{} MHz", f64::from(hertz) / 1e6)
}
