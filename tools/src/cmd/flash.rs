//! `tailtune flash`: an image or a firmware into its own region of a board's flash.

use super::on_probe::{Bars, OnProbe};
use super::terminal::{kib, print, print_json, table};
use super::{CommandError, wrong_call};
use crate::board::Board;
use crate::flash::plan::{Asked, sectors_of};
use crate::flash::slots::hex;
use crate::flash::{Plan, PlanError, write};
use clap::Args;
use serde_json::json;
use std::ops::Range;
use std::path::PathBuf;

/// Put an image or a firmware on a board through a debug probe
///
/// An image goes to regions.model, a firmware to regions.code and regions.vectors; nothing else is erased
/// or written, tails stay. What was written is read back, then the chip is reset. A run that was cut short
/// is repaired by the same call.
#[derive(Debug, Args)]
pub struct Flash {
    /// An image of `tailtune convert` (.bin, .hex, .uf2, .elf), or a firmware (ELF or Intel HEX)
    file: PathBuf,
    #[command(flatten)]
    on: OnProbe,
    /// Read back what was written: on unless it is `--verify=false`
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    verify: bool,
    /// Print what would be erased and written; needs no probe
    #[arg(long)]
    dry_run: bool,
    /// Forget the adapted tails too
    #[arg(long)]
    erase_tails: bool,
    /// Erase the whole chip first, which also unlocks a protected one; takes the tails with it, so it
    /// wants --erase-tails too
    #[arg(long)]
    chip_erase: bool,
    /// Print one JSON object: board, chip, content (image or firmware), model_id (null of a firmware),
    /// dry_run, verified, chip_erased, tails_erased, bytes, pieces[] with region, section, address, bytes,
    /// sectors[] with address and bytes
    #[arg(long)]
    json: bool,
}

impl Flash {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let board = &self.on.board;
        let asked = Asked {
            erase_tails: self.erase_tails,
            chip_erase: self.chip_erase,
        };
        let plan = match Plan::new(&self.file, board, asked) {
            Err(e @ (PlanError::ChipEraseKeepsNothing | PlanError::Emulated(_))) => {
                return Err(wrong_call(e));
            }
            plan => plan?,
        };
        if !self.dry_run {
            let mut device = self.on.attach(self.chip_erase)?;
            let mut bars = Bars::default();
            let written = write::write(
                &mut *device,
                board,
                &plan,
                self.verify,
                &mut |step, done, all| {
                    bars.report(step, done, all);
                },
            );
            bars.finish();
            written?;
        }
        if self.json {
            print_json(&self.as_json(&plan))
        } else {
            self.as_text(&plan)
        }
    }

    fn as_json(&self, plan: &Plan) -> serde_json::Value {
        let pieces = plan.planned.iter().map(|p| {
            json!({
                "region": p.region, "section": p.piece.name,
                "address": p.piece.address, "bytes": p.piece.bytes.len(),
            })
        });
        let sectors = plan.sectors().into_iter();
        let sectors = sectors.map(|s| json!({ "address": s.start, "bytes": s.len() }));
        json!({
            "board": self.on.board.name, "chip": self.on.board.chip, "content": plan.content,
            "model_id": plan.model_id.as_ref().map(hex), "dry_run": self.dry_run,
            "verified": self.verify && !self.dry_run,
            "chip_erased": plan.chip_erase, "tails_erased": plan.erase_tails,
            "bytes": plan.bytes(), "pieces": pieces.collect::<Vec<_>>(),
            "sectors": sectors.collect::<Vec<_>>(),
        })
    }

    fn as_text(&self, plan: &Plan) -> Result<(), CommandError> {
        let board = &self.on.board;
        if !self.dry_run {
            let verified = if self.verify { ", read back" } else { "" };
            return print(&format!(
                "{}: {} of {} bytes ({}) on {} ({}){verified}, reset{}",
                self.file.display(),
                plan.content,
                plan.bytes(),
                kib(plan.bytes()),
                board.name,
                board.chip,
                if plan.erase_tails {
                    ", tails erased"
                } else {
                    ""
                }
            ));
        }
        let mut rows = table(&["region", "section", "written", "bytes"]);
        for p in &plan.planned {
            rows.add_row([
                p.region.to_owned(),
                p.piece.name.clone(),
                span(&p.piece.range()),
                p.piece.bytes.len().to_string(),
            ]);
        }
        print(&rows.to_string())?;
        if plan.chip_erase {
            print("erased: the whole chip")?;
        } else {
            print(&format!("erased: {}", sectors(&plan.sectors())))?;
        }
        if plan.erase_tails && !plan.chip_erase {
            print(&format!("tails erased: {}", tails(board)))?;
        }
        print("dry run: nothing was done")
    }
}

/// Returns the sectors of both slots.
pub fn tails(board: &Board) -> String {
    let slots = board.regions.tails.iter();
    let all: Vec<Range<u32>> = slots
        .flat_map(|slot| sectors_of(board, slot, &slot.range()))
        .collect();
    sectors(&all)
}

fn span(range: &Range<u32>) -> String {
    format!("{:#010x}..{:#010x}", range.start, range.end)
}

/// Returns sectors in words, neighbours of one size as one.
fn sectors(all: &[Range<u32>]) -> String {
    let mut runs: Vec<(Range<u32>, usize)> = Vec::new();
    for sector in all {
        match runs.last_mut() {
            Some((run, count)) if run.end == sector.start && run.len() / *count == sector.len() => {
                run.end = sector.end;
                *count += 1;
            }
            _ => runs.push((sector.clone(), 1)),
        }
    }
    let words = runs.iter().map(|(run, count)| {
        let (size, s) = (run.len() / count, if *count == 1 { "" } else { "s" });
        format!("{} ({count} sector{s} of {size} bytes)", span(run))
    });
    words.collect::<Vec<_>>().join(", ")
}
