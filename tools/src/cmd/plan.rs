//! `tailtune plan`: flash and RAM of a model, to the byte and by part, before anything is flashed.

pub(super) mod fitting;
mod needs;
mod tuning;

use super::model_args::ModelArgs;
use super::terminal::{kib, print, print_json, table};
use super::{CommandError, convert, wrong_call};
use crate::audio::FrontEnd;
use crate::board::{self, Board};
use crate::float_model::FloatModel;
use crate::image_writer::{image_len, provenance_line};
use crate::int8::Int8Model;
use crate::text::section::{Coverage, Sections};
use clap::Args;
use needs::{Needs, fits, verdict};
use serde_json::json;
use std::path::PathBuf;
use tailtune::tune::MethodId;
use tuning::TuneArgs;

/// Print how much flash and RAM a model takes, and whether it fits a board
#[derive(Debug, Args)]
pub struct Plan {
    /// A model directory or an image
    model: PathBuf,
    /// The board to fit (see `tailtune boards`); without it, every known board is tried
    #[arg(long, value_parser = board::find)]
    board: Option<Board>,
    #[command(flatten)]
    take: ModelArgs,
    #[command(flatten)]
    tune: TuneArgs,
    /// Print one JSON object: image_bytes, arena_bytes, flash_bytes, ram_bytes, fits (null without
    /// --board), flash[] and ram[] by part, shared_bytes (what parts of ram[] take in turns, on a --board that
    /// tunes heads only), boards[] with name, fits and samples (how many RAM holds; fewer
    /// than 64 will do without --tune; null: too few); with --tune also tune: method, tuning_bytes (RAM
    /// without arena, replay and tail), replay_bytes, replay_flash_bytes, tail_bytes, and of --board
    /// tail_room_bytes, step_instructions, step_ms, end_instructions, end_ms (a model; null of a core without
    /// FPU or clock)
    #[arg(long)]
    json: bool,
}

/// Bytes of one part.
struct Part {
    name: &'static str,
    bytes: usize,
}

impl Plan {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let boards = match &self.board {
            Some(board) => vec![board.clone()],
            None => board::all()?,
        };
        let (config, image_bytes) = if self.model.is_dir() {
            let taken = self.take.read(&self.model)?;
            let sections = taken.sections(&self.model, Coverage::default())?;
            let bytes = converted_bytes(&taken.model, &sections, &boards)?;
            (taken.model.config, bytes)
        } else {
            self.take.none()?;
            let image = Int8Model::read(&self.model)?;
            (image.config(), image.bytes().len())
        };
        // Only a replay in flash depends on the board, and it needs one.
        let first = boards.first().ok_or("no board is known")?;
        if self.board.is_none() && self.tune.in_flash() {
            return Err(wrong_call(
                "--replay-in flash needs --board: erase blocks differ",
            ));
        }
        let tuning = self.tune.plan(&config, first)?;
        let samples = self.tune.samples(&config, !self.tune.asked());
        let asked = self.tune.asked();
        let mut needs = needs::needs(&config, image_bytes, tuning, samples, asked);
        if !asked {
            let means = TuneArgs::of(MethodId::Ncm, false).plan(&config, first)?;
            let by_means = needs::needs(&config, image_bytes, means, samples, false);
            needs.by_means = Some(Box::new(by_means));
        }
        if self.json {
            self.as_json(&needs, &boards)
        } else {
            self.as_text(&needs, &boards)
        }
    }

    fn as_json(&self, needs: &Needs, boards: &[Board]) -> Result<(), CommandError> {
        let parts = |parts: &[Part]| -> Vec<_> {
            parts
                .iter()
                .map(|p| json!({ "part": p.name, "bytes": p.bytes }))
                .collect()
        };
        let fitting = |b: &Board| json!({ "name": b.name, "fits": fits(needs, b), "samples": needs.samples_kept(b) });
        let tune = || tuning::json(&needs.tuning, self.board.as_ref());
        let mut said = json!({
            "image_bytes": needs.image_bytes,
            "arena_bytes": needs.ram.first().map_or(0, |p| p.bytes),
            "flash_bytes": needs.flash.iter().map(|p| p.bytes).sum::<usize>(),
            "ram_bytes": needs.ram_bytes(self.board.as_ref()),
            "shared_bytes": self.board.as_ref().map_or(0, |b| needs.shared_bytes(b)),
            "fits": self.board.as_ref().map(|_| boards.iter().all(|b| fits(needs, b))),
            "flash": parts(&needs.flash),
            "ram": parts(&needs.ram),
            "boards": boards.iter().map(fitting).collect::<Vec<_>>(),
        });
        if needs.asked {
            said["tune"] = tune();
        }
        print_json(&said)
    }

    fn as_text(&self, needs: &Needs, boards: &[Board]) -> Result<(), CommandError> {
        for (what, parts) in [("flash", &needs.flash), ("RAM", &needs.ram)] {
            let mut rows = table(&[what, "bytes", ""]);
            for part in parts.iter() {
                rows.add_row([
                    part.name.to_owned(),
                    part.bytes.to_string(),
                    kib(part.bytes),
                ]);
            }
            let mut total = parts.iter().map(|p| p.bytes).sum::<usize>();
            if let (Some(board), "RAM") = (&self.board, what) {
                let shared = needs.shared_bytes(board);
                if shared > 0 {
                    let name = "tuned in the arena, in turns with the encoder".to_owned();
                    rows.add_row([name, format!("-{shared}"), format!("-{}", kib(shared))]);
                }
                total -= shared;
            }
            rows.add_row(["total".to_owned(), total.to_string(), kib(total)]);
            print(&rows.to_string())?;
        }
        if needs.asked {
            let bytes = needs.tuning.tail;
            print(&format!(
                "a tail of {} takes {bytes} bytes at most",
                needs.tuning.method.name()
            ))?;
        }
        for board in boards {
            print(&verdict(needs, board))?;
        }
        if needs.asked
            && let Some(board) = &self.board
        {
            for line in tuning::lines(&needs.tuning, board) {
                print(&line)?;
            }
        }
        Ok(())
    }
}

/// Returns the bytes of the image that `convert` will write. It names its board: of several boards,
/// the longest name counts.
pub fn converted_bytes(
    model: &FloatModel,
    sections: &Sections,
    boards: &[Board],
) -> Result<usize, CommandError> {
    let tokenizers = [&sections.tokenizer, &sections.target].map(Vec::len);
    let front_end = model.front_end.as_ref().map(FrontEnd::new).transpose()?;
    let front_end = front_end.map_or(0, |f| f.section().len());
    let mut most = 0;
    for board in boards {
        let lines = convert::provenance(model, &board.name)?;
        let text: String = lines.iter().map(|(k, v)| provenance_line(k, v)).collect();
        most = most.max(image_len(
            &model.config,
            &model.labels,
            &text,
            [front_end, tokenizers[0], tokenizers[1]],
        ));
    }
    Ok(most)
}
