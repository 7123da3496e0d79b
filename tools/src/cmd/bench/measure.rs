//! What the bench firmware counts, for the models it is given.

use super::super::source::{self, Reader, Silence};
use super::super::{CommandError, convert};
use crate::board::Board;
use crate::emulator::Emulator;
use crate::import::read_model;
use crate::int8::Int8Model;
use crate::models::{KEYWORDS, KEYWORDS_MICRO, KNOWN_WORDS};
use crate::synthetic;
use serde::Serialize;
use std::path::Path;
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::model::{arena_bytes, weight_bytes_read};

/// What an operator, a layer or a model costs on a core.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Count {
    pub board: String,
    pub core: String,
    pub case: String,
    pub instructions: u64,
    /// Of softmax and LayerNorm: elements; of the front end: samples of one second.
    pub macs: u64,
    pub per_mac: f64,
    #[serde(flatten)]
    pub model: Option<ModelCost>,
}

/// What a whole model costs besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ModelCost {
    pub arena_bytes: usize,
    pub image_bytes: usize,
    pub stack_bytes: u64,
    pub weight_bytes_read: usize,
}

/// A core's counts.
#[derive(Debug)]
pub struct Measured {
    pub board: Board,
    /// What compiled it.
    pub compiler: String,
    pub counts: Vec<Count>,
    /// The machine code of parsing an image, the encoder and its head.
    pub text_bytes: u64,
    /// The same with the head's training.
    pub text_bytes_training: u64,
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
    embedding_rank: 0,
    pooler: false,
    decoder: None,
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

/// KWT-1's last block, which reads what its class token needs: what tuning it goes through.
pub const LAST_BLOCK: ModelConfig = ModelConfig {
    n_layers: 1,
    seq_len: 99,
    class_token: true,
    pooling: Pooling::ClassToken,
    ..KWT1
};

/// The models that are measured, as images.
pub struct Models {
    last_block: Int8Model,
    layers: [(&'static str, Int8Model); 2],
    shipped: Vec<(&'static str, Int8Model)>,
}

impl Models {
    /// Quantizes them; what they are quantized for is the same on every board.
    pub fn new(board: &Board) -> Result<Self, CommandError> {
        let layer = |config| -> Result<Int8Model, CommandError> {
            let model = synthetic::model(config, 1);
            let quantized = synthetic::quantized(&model, 40, 2)?;
            Ok(Int8Model::new(quantized.writer.finish()?)?)
        };
        let mut shipped = Vec::new();
        for (name, dir) in [("keywords", KEYWORDS), ("keywords-micro", KEYWORDS_MICRO)] {
            eprintln!("{name}: quantizing");
            let model = read_model(Path::new(dir))?;
            let data = source::open(Path::new(KNOWN_WORDS), None, Silence::Clips)?;
            let clips = Reader::of_model(Path::new(dir), &model)?.read_to_calibrate(&data)?;
            shipped.push((name, convert::quantized(&model, &clips, board)?.0));
        }
        Ok(Self {
            last_block: layer(&LAST_BLOCK)?,
            layers: [("kwt1", layer(&KWT1)?), ("bert-tiny", layer(&BERT_TINY)?)],
            shipped,
        })
    }
}

/// Builds the board's bench and counts.
pub fn measure(board: &Board, models: &Models) -> Result<Measured, CommandError> {
    eprintln!("{}: building the bench firmware", board.name);
    let emulator = Emulator::build(board)?;
    let mut counts = Vec::new();
    for (name, int8) in &models.layers {
        eprintln!("{}: one layer of {name}", board.name);
        // The operators are KWT-1's: once is enough.
        let whole = ["forward", "forward-stack-bytes"];
        for mut count in forward_lines(board, &emulator, int8)? {
            if count.case == "layer" {
                count.case = format!("{name}-layer");
                counts.push(count);
            } else if *name == "kwt1" && !whole.contains(&&*count.case) {
                counts.push(count);
            }
        }
    }
    eprintln!("{}: a step of every way of tuning", board.name);
    counts.extend(step_lines(board, &emulator, &models.last_block)?);
    for (name, int8) in &models.shipped {
        eprintln!("{}: {name}, a whole forward", board.name);
        let lines = forward_lines(board, &emulator, int8)?;
        let stack = lines.iter().find(|c| c.case == "forward-stack-bytes");
        let stack_bytes = stack.map_or(0, |c| c.instructions);
        let config = *int8.image().config();
        for count in lines {
            let case = format!("{name}-{}", count.case);
            let model = (count.case == "forward").then(|| ModelCost {
                arena_bytes: arena_bytes(&config),
                image_bytes: int8.bytes().len(),
                stack_bytes,
                weight_bytes_read: weight_bytes_read(&config),
            });
            if model.is_some() || count.case == "front-end-1s" {
                counts.push(Count {
                    case,
                    model,
                    ..count
                });
            }
        }
    }
    Ok(Measured {
        board: board.clone(),
        compiler: emulator.compiler().to_owned(),
        counts,
        text_bytes: emulator.text_bytes("no-panic-infer")?,
        text_bytes_training: emulator.text_bytes("no-panic")?,
    })
}

/// Counts what the bench does of a model: operators, its first layer, its forward, steps of its head.
fn forward_lines(
    board: &Board,
    emulator: &Emulator,
    int8: &Int8Model,
) -> Result<Vec<Count>, CommandError> {
    let dir = tempfile::tempdir()?;
    counted(board, &emulator.bench(dir.path(), int8.bytes())?, "forward")
}

/// Counts a step of every way of tuning.
fn step_lines(
    board: &Board,
    emulator: &Emulator,
    int8: &Int8Model,
) -> Result<Vec<Count>, CommandError> {
    let dir = tempfile::tempdir()?;
    let lines = emulator.bench_steps(dir.path(), int8.bytes())?;
    counted(board, &lines, "last-block-step")
}

/// Reads the counts in what a bench said; `last` is a case that must be among them.
fn counted(board: &Board, lines: &[String], last: &str) -> Result<Vec<Count>, CommandError> {
    let count = |line: &String| {
        let mut words = line.split_whitespace();
        let (case, instructions, macs) = (words.next()?, words.next()?, words.next()?);
        let (instructions, macs): (u64, u64) = (instructions.parse().ok()?, macs.parse().ok()?);
        Some(Count {
            board: board.name.clone(),
            core: board.core.clone(),
            case: case.to_owned(),
            instructions,
            macs,
            per_mac: instructions as f64 / macs.max(1) as f64,
            model: None,
        })
    };
    let counts: Vec<Count> = lines.iter().filter_map(count).collect();
    if !counts.iter().any(|c| c.case == last) {
        let said = lines.join("\n");
        let name = &board.name;
        return Err(format!("{name}: the bench did not come to {last}; it said:\n{said}").into());
    }
    Ok(counts)
}
