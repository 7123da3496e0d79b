//! `tailtune bench`: executed instructions of operators, layers and whole models on the emulated board.

use super::source::{self, Reader, Silence};
use super::terminal::{print, print_json, table};
use super::{CommandError, convert};
use crate::board::{self, Board};
use crate::emulator::Emulator;
use crate::import::read_model;
use crate::int8::Int8Model;
use crate::models::{KEYWORDS, KEYWORDS_MICRO, KNOWN_WORDS};
use crate::synthetic;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::model::arena_bytes;

/// Count the instructions that operators, layers and models execute on an emulated board
///
/// The counts are exact and the same on every run. They are instructions, not cycles.
#[derive(Debug, Args)]
pub struct Bench {
    /// The emulated board
    #[arg(long, value_parser = board::find, default_value = "qemu-mps2-an386")]
    board: Board,
    /// Print one JSON object: results[] with core, case, instructions, macs (of softmax and
    /// LayerNorm: elements, of the front end: samples of one second), per_mac; of whole models also
    /// arena_bytes, image_bytes and stack_bytes, the forward's peak
    #[arg(long)]
    json: bool,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Count {
    core: String,
    case: String,
    instructions: u64,
    macs: u64,
    per_mac: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    arena_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_bytes: Option<u64>,
}

/// The shape that other libraries' kernels were measured on: two blocks of KWT-1 at 98 tokens.
const KWT1: ModelConfig = ModelConfig {
    n_layers: 2,
    d_model: 64,
    n_heads: 1,
    d_ff: 256,
    seq_len: 98,
    n_classes: 12,
    input: InputKind::Frames {
        n_frames: 98,
        n_features: 40,
    },
    class_token: false,
    norm: NormOrder::Post,
    activation: Activation::Gelu,
    // So that every row of every block is computed.
    pooling: Pooling::Mean,
    embed_norm: false,
    final_norm: false,
};

/// BERT-tiny's blocks at 32 tokens.
const BERT_TINY: ModelConfig = ModelConfig {
    d_model: 128,
    n_heads: 2,
    d_ff: 512,
    seq_len: 32,
    input: InputKind::Frames {
        n_frames: 32,
        n_features: 40,
    },
    ..KWT1
};

impl Bench {
    pub(super) fn run(self) -> Result<(), CommandError> {
        eprintln!("building the bench firmware of {}", self.board.name);
        let emulator = Emulator::build(&self.board)?;
        let mut counts = Vec::new();
        for (name, config) in [("kwt1", KWT1), ("bert-tiny", BERT_TINY)] {
            eprintln!("{name}: one layer");
            let model = synthetic::model(&config, 1);
            let quantized = synthetic::quantized(&model, 40, 2)?;
            let int8 = Int8Model::new(quantized.writer.finish()?)?;
            let lines = self.measure(&emulator, &int8)?;
            // The operators are KWT-1's: once is enough.
            let whole = ["forward", "forward-stack-bytes"];
            let wanted =
                |c: &Count| c.case == "layer" || (name == "kwt1" && !whole.contains(&&*c.case));
            counts.extend(lines.into_iter().filter(wanted).map(|mut count| {
                if count.case == "layer" {
                    count.case = format!("{name}-layer");
                }
                count
            }));
        }
        for (name, dir) in [("keywords", KEYWORDS), ("keywords-micro", KEYWORDS_MICRO)] {
            eprintln!("{name}: a whole forward");
            let model = read_model(Path::new(dir))?;
            let data = source::open(Path::new(KNOWN_WORDS), None, Silence::Clips)?;
            let clips = Reader::of_model(Path::new(dir), &model)?.read_to_calibrate(&data)?;
            let (int8, _) = convert::quantized(&model, &clips, &self.board)?;
            let lines = self.measure(&emulator, &int8)?;
            let stack = lines.iter().find(|c| c.case == "forward-stack-bytes");
            let stack_bytes = stack.map(|c| c.instructions);
            for count in lines {
                let case = format!("{name}-{}", count.case);
                match &*count.case {
                    "forward" => counts.push(Count {
                        case,
                        arena_bytes: Some(arena_bytes(&model.config)),
                        image_bytes: Some(int8.bytes().len()),
                        stack_bytes,
                        ..count
                    }),
                    "front-end-1s" => counts.push(Count { case, ..count }),
                    _ => {}
                }
            }
        }
        if self.json {
            return print_json(&json!({ "board": self.board.name, "results": counts }));
        }
        let mut rows = table(&["core", "case", "instructions", "MACs", "instructions a MAC"]);
        for c in &counts {
            rows.add_row([
                c.core.clone(),
                c.case.clone(),
                c.instructions.to_string(),
                c.macs.to_string(),
                format!("{:.2}", c.per_mac),
            ]);
        }
        print(&rows.to_string())
    }

    fn measure(&self, emulator: &Emulator, int8: &Int8Model) -> Result<Vec<Count>, CommandError> {
        let dir = tempfile::tempdir()?;
        let lines = emulator.bench(dir.path(), int8.bytes())?;
        let count = |line: &String| {
            let mut words = line.split_whitespace();
            let (case, instructions, macs) = (words.next()?, words.next()?, words.next()?);
            let (instructions, macs): (u64, u64) = (instructions.parse().ok()?, macs.parse().ok()?);
            Some(Count {
                core: self.board.core.clone(),
                case: case.to_owned(),
                instructions,
                macs,
                per_mac: instructions as f64 / macs.max(1) as f64,
                arena_bytes: None,
                image_bytes: None,
                stack_bytes: None,
            })
        };
        let counts: Vec<Count> = lines.iter().filter_map(count).collect();
        if !counts.iter().any(|c| c.case == "forward") {
            return Err(format!(
                "the bench measured no model; it said:\n{}",
                lines.join("\n")
            )
            .into());
        }
        Ok(counts)
    }
}
