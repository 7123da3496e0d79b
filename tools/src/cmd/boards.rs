//! `tailtune boards`: the table of known boards.

use super::CommandError;
use super::terminal::{kib, print, print_json, table};
use crate::board::{self, Board};
use clap::Args;
use serde_json::json;

/// List the boards that are known
#[derive(Debug, Args)]
pub struct Boards {
    /// Print one JSON object: boards[] with name, chip, core, target, clock_hz, flash_bytes (what the core
    /// sees), unmapped_bytes (flash behind a driver), ram_bytes, model_address, model_bytes, slot_bytes (of the smaller slot), replay_bytes (0 where only heads are
    /// tuned)
    #[arg(long)]
    json: bool,
}

impl Boards {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let boards = board::all()?;
        if self.json {
            let list = boards.iter().map(|b| {
                json!({
                    "name": b.name, "chip": b.chip, "core": b.core, "target": b.target,
                    "clock_hz": b.clock_hz, "flash_bytes": b.flash_bytes(), "unmapped_bytes": b.unmapped_bytes(), "ram_bytes": b.ram_bytes(),
                    "model_address": b.regions.model.address, "model_bytes": b.regions.model.bytes,
                    "slot_bytes": b.slot_bytes(), "replay_bytes": replay_bytes(b),
                })
            });
            return print_json(&json!({ "boards": list.collect::<Vec<_>>() }));
        }
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
        for b in &boards {
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
