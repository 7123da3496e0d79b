//! `tailtune boards`: the table of known boards.

use super::CommandError;
use super::terminal::{kib, print, print_json, table};
use crate::board;
use clap::Args;
use serde_json::json;

/// List the boards that are known
#[derive(Debug, Args)]
pub struct Boards {
    /// Print one JSON object: boards[] with name, chip, core, target, flash_bytes, ram_bytes,
    /// model_address, model_bytes
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
                    "flash_bytes": b.flash_bytes(), "ram_bytes": b.ram_bytes(),
                    "model_address": b.regions.model.address, "model_bytes": b.regions.model.bytes,
                })
            });
            return print_json(&json!({ "boards": list.collect::<Vec<_>>() }));
        }
        let mut rows = table(&[
            "board",
            "chip",
            "core",
            "target",
            "flash",
            "RAM",
            "model region",
        ]);
        for b in &boards {
            rows.add_row([
                b.name.clone(),
                b.chip.clone(),
                b.core.clone(),
                b.target.clone(),
                kib(b.flash_bytes() as usize),
                kib(b.ram_bytes() as usize),
                format!(
                    "{} at {:#010x}",
                    kib(b.regions.model.bytes as usize),
                    b.regions.model.address
                ),
            ]);
        }
        print(&rows.to_string())
    }
}
