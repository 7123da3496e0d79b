//! `tailtune plan`: flash and RAM of a model, to the byte and by part, before anything is flashed.

mod tuning;

use super::terminal::{kib, print, print_json, table};
use super::{CommandError, convert, wrong_call};
use crate::audio::FrontEnd;
use crate::board::{self, Board};
use crate::float_model::FloatModel;
use crate::image_writer::{image_len, provenance_line};
use crate::import::read_model;
use crate::int8::Int8Model;
use crate::text::section::{Coverage, Sections};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tailtune::image::{HEADER_LEN, Layout, ModelConfig, TENSOR_ALIGNMENT, TensorEntry};
use tailtune::tune::TunePlan;
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
    tune: TuneArgs,
    /// Print one JSON object: image_bytes, arena_bytes, flash_bytes, ram_bytes, fits (null without
    /// --board), flash[] and ram[] by part, boards[] with name and fits; with --tune also tune: method,
    /// tuning_bytes (RAM without arena, replay and tail), replay_bytes, replay_flash_bytes, tail_bytes, and of
    /// --board tail_room_bytes, step_instructions, step_ms, end_instructions, end_ms (a model; null of a core
    /// without FPU or clock)
    #[arg(long)]
    json: bool,
}

/// Bytes of one part.
struct Part {
    name: &'static str,
    bytes: usize,
}

/// What a model takes.
struct Needs {
    image_bytes: usize,
    flash: Vec<Part>,
    ram: Vec<Part>,
    tuning: TunePlan,
    /// Whether a method was asked for, whose tail then has to fit too.
    asked: bool,
}

impl Needs {
    fn ram_bytes(&self) -> usize {
        self.ram.iter().map(|p| p.bytes).sum()
    }
}

impl Plan {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let boards = match &self.board {
            Some(board) => vec![board.clone()],
            None => board::all()?,
        };
        let (config, image_bytes) = if self.model.is_dir() {
            let model = read_model(&self.model)?;
            let sections = Sections::of_model(&self.model, &model.config, Coverage::default())?;
            (model.config, converted_bytes(&model, &sections, &boards)?)
        } else {
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
        let needs = needs(&config, image_bytes, tuning, self.tune.asked());
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
        let fitting = |b: &Board| json!({ "name": b.name, "fits": fits(needs, b) });
        let tune = || tuning::json(&needs.tuning, self.board.as_ref());
        let mut said = json!({
            "image_bytes": needs.image_bytes,
            "arena_bytes": needs.ram.first().map_or(0, |p| p.bytes),
            "flash_bytes": needs.flash.iter().map(|p| p.bytes).sum::<usize>(),
            "ram_bytes": needs.ram_bytes(),
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
            let total = parts.iter().map(|p| p.bytes).sum::<usize>();
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

/// Returns the RAM that a model takes on a board, the firmware's stack included.
fn ram_needed(needs: &Needs, board: &Board) -> usize {
    needs.ram_bytes() + board.stack_bytes as usize
}

fn fits(needs: &Needs, board: &Board) -> bool {
    needs.image_bytes <= board.regions.model.bytes as usize
        && ram_needed(needs, board) <= board.ram_bytes() as usize
        && (!needs.asked || needs.tuning.tail <= tuning::tail_room(board))
        && needs.tuning.replay_flash <= tuning::replay_room(board)
}

/// Says whether the model fits, and if not, what would.
fn verdict(needs: &Needs, board: &Board) -> String {
    let (region, ram) = (
        board.regions.model.bytes as usize,
        board.ram_bytes() as usize,
    );
    let mut lacks = Vec::new();
    if needs.image_bytes > region {
        lacks.push(format!(
            "the image is {} bytes larger than the model region of {region}: an image of at most {} would fit",
            needs.image_bytes - region,
            kib(region)
        ));
    }
    let ram_needed = ram_needed(needs, board);
    if ram_needed > ram {
        let lack = ram_needed - ram;
        let remedy = if needs.asked && lack <= needs.tuning.replay {
            "fewer samples (--replay), or samples in flash (--replay-in flash), would fit"
        } else {
            "a shorter seq_len or a smaller d_model would fit"
        };
        lacks.push(format!(
            "RAM lacks {lack} bytes of {ram_needed} (stack of {} counted): {remedy}",
            board.stack_bytes
        ));
    }
    let (tail, room) = (needs.tuning.tail, tuning::tail_room(board));
    if needs.asked && tail > room {
        lacks.push(format!(
            "the tail is {} bytes larger than a slot's {room}: a board.toml with regions.tails of at least {} bytes each would fit",
            tail - room,
            board.slot_bytes() as usize + tail - room
        ));
    }
    let (latents, room) = (needs.tuning.replay_flash, tuning::replay_room(board));
    if latents > room {
        lacks.push(format!(
            "the samples take {latents} bytes of flash, its regions.replay has {room}: fewer samples (--replay) would fit"
        ));
    }
    if lacks.is_empty() {
        format!(
            "{}: fits; {} of flash and {} of RAM stay free",
            board.name,
            kib(region - needs.image_bytes),
            kib(ram - ram_needed)
        )
    } else {
        format!("{}: does not fit: {}", board.name, lacks.join("; "))
    }
}

/// Returns the bytes of the image that `convert` will write. It names its board: of several boards,
/// the longest name counts.
fn converted_bytes(
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

/// Returns what a model takes whose image has `image_bytes`.
fn needs(config: &ModelConfig, image_bytes: usize, tuning: TunePlan, asked: bool) -> Needs {
    let layout = Layout::new(config);
    let align = |n: usize| n.next_multiple_of(TENSOR_ALIGNMENT as usize);
    let directory = layout.len() * size_of::<TensorEntry>();
    let mut groups = [
        ("embedding", 0),
        ("encoder blocks", 0),
        ("pooling and head", 0),
    ];
    for spec in layout.iter() {
        let group = match (spec.layer, spec.kind as u8) {
            (tailtune::image::NO_LAYER, kind) if kind < 16 => 0,
            (tailtune::image::NO_LAYER, _) => 2,
            _ => 1,
        };
        groups[group].1 += align(spec.len_bytes() as usize);
    }
    let tensors: usize = groups.iter().map(|(_, bytes)| bytes).sum();
    let known = HEADER_LEN + directory + tensors;
    let mut flash = vec![Part {
        name: "header and tensor directory",
        bytes: HEADER_LEN + directory,
    }];
    flash.extend(groups.iter().map(|&(name, bytes)| Part { name, bytes }));
    let rest = image_bytes.saturating_sub(known);
    flash.push(Part {
        name: "labels, provenance, front end, tokenizers, padding",
        bytes: rest,
    });

    let mut ram = vec![
        Part {
            name: "arena",
            bytes: tuning.arena,
        },
        Part {
            name: "input of one inference",
            bytes: input_bytes(config),
        },
    ];
    if asked {
        ram.extend(tuning::ram(&tuning));
    } else {
        let (bytes, name) = (tuning.tuning(), tuning::DEFAULT);
        ram.push(Part { name, bytes });
        let (bytes, name) = (tuning.replay, "replay, 64 samples");
        ram.push(Part { name, bytes });
    }
    Needs {
        image_bytes,
        flash,
        ram,
        tuning,
        asked,
    }
}

fn input_bytes(config: &ModelConfig) -> usize {
    match config.input {
        tailtune::image::InputKind::Tokens { .. } => config.max_input_len() * 5,
        frames => frames.frames().map_or(0, |(n, features)| n * features),
    }
}
