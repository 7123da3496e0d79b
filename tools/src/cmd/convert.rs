//! `tailtune convert`: pretrained weights → calibrated, quantized, checked flash image.

pub mod pairs;

use super::model_args::{ModelArgs, Taken, write_tokenizer};
use super::source::{self, Reader};
use super::terminal::{kib, percent, print, print_json, progress, table};
use super::{CommandError, eval, plan, remedies, wrong_call};
use crate::audio::FrontEnd;
use crate::board::{self, Board};
use crate::data::spread;
use crate::float_model::FloatModel;
use crate::int8::Int8Model;
use crate::output::{Placement, write_image};
use crate::quantize::{Quantized, calibrate::Calibration, quantize};
use crate::reference::{ModelInput, forward};
use crate::sqnr;
use crate::text::section::{Coverage, Sections};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tailtune::model::arena_bytes;

/// Convert a pretrained model to a flash image for a board
#[derive(Debug, Args)]
pub struct Convert {
    /// A model directory: config.json and model.safetensors, of Hugging Face's BERT and DistilBERT too
    model: PathBuf,
    #[command(flatten)]
    take: ModelArgs,
    /// The board (see `tailtune boards`)
    #[arg(long, value_parser = board::find)]
    board: Board,
    /// Data to calibrate on: a folder with one sub-folder a class, a CSV manifest of files or of
    /// texts, safetensors, or a .txt file of one text a line; for a model with a decoder a .tsv file of
    /// lines SOURCE, a tab, TARGET
    #[arg(long, value_name = "DATA")]
    calibrate: PathBuf,
    /// The image to write: .bin, .hex, .uf2 or .elf
    #[arg(short, long, value_name = "IMAGE")]
    output: PathBuf,
    /// Which characters the tokenizers' tables know, of a directory with a tokenizer.json: those of the
    /// vocabulary's scripts, or all of Unicode
    #[arg(long, default_value = "vocabulary")]
    unicode: Coverage,
    /// Leave tokenizer.json and target_tokenizer.json out of the image
    #[arg(long)]
    no_tokenizer: bool,
    /// Print one JSON object: image_bytes, arena_bytes, board, address, agreement, sqnr[], sites[]
    #[arg(long)]
    json: bool,
}

/// Clips on which the noise of each block is measured.
const NOISE_CLIPS: usize = 32;

impl Convert {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let board = &self.board;
        let place = Placement {
            board: board.name.clone(),
            address: board.regions.model.address,
            capacity: board.regions.model.bytes as usize,
            uf2_family: board.uf2_family,
        };
        place.takes(&self.output).map_err(wrong_call)?;
        let taken = self.take.read(&self.model)?;
        let boards = std::slice::from_ref(board);
        let sections = self.sections(&taken)?;
        let bytes = |m: &FloatModel| plan::converted_bytes(m, &sections, boards);
        remedies::check(&taken, board, &bytes)?;
        let model = &taken.model;
        eprintln!(
            "{}: {} parameters",
            self.model.display(),
            model.parameters()
        );
        if model.decoder.is_some() {
            return self.pairs(model, &sections, &place);
        }
        let data = source::open_unlabelled(&self.calibrate)?;
        let clips = Reader::of_taken(&self.model, &taken)?.read_to_calibrate(&data)?;
        let (int8, quantized) = quantized_with(model, &clips, &board.name, &sections)?;
        let few: Vec<ModelInput> = spread(&clips, NOISE_CLIPS).cloned().collect();
        let noise = sqnr::measure(model, &int8, &few)?;
        let agreement = eval::agreement_on(model, &int8, &clips)?;
        write_image(&self.output, int8.bytes(), &place)?;
        if let Some(pruned) = &taken.pruned {
            let path = write_tokenizer(pruned, &self.output)?;
            eprintln!("{}: the image's tokenizer", path.display());
        }
        if self.json {
            return print_json(&json!({
                "image_bytes": int8.bytes().len(),
                "arena_bytes": arena_bytes(&model.config),
                "board": board.name,
                "address": board.regions.model.address,
                "agreement": agreement,
                "sqnr": noise,
                "sites": quantized.report,
            }));
        }
        sites(&quantized)?;
        let mut rows = table(&["part", "SQNR, dB", "largest error"]);
        for n in &noise {
            rows.add_row([
                n.part.clone(),
                format!("{:.1}", n.sqnr_db),
                format!("{:.4}", n.max_error),
            ]);
        }
        print(&rows.to_string())?;
        print(&format!(
            "agreement of int8 with float on the calibration data: {}",
            percent(agreement)
        ))?;
        self.written(&int8, arena_bytes(&int8.config()))
    }

    /// Returns the sections of the tokenizers, if they are wanted.
    fn sections(&self, taken: &Taken) -> Result<Sections, CommandError> {
        match self.no_tokenizer {
            true => Ok(Sections::default()),
            false => taken.sections(&self.model, self.unicode),
        }
    }

    /// Says what was written.
    fn written(&self, int8: &Int8Model, arena: usize) -> Result<(), CommandError> {
        print(&format!(
            "{}: {} bytes ({}) for {} at {:#010x}; arena {arena} bytes",
            self.output.display(),
            int8.bytes().len(),
            kib(int8.bytes().len()),
            self.board.name,
            self.board.regions.model.address,
        ))
    }
}

/// Shows how each tensor was quantized.
fn sites(quantized: &Quantized) -> Result<(), CommandError> {
    let mut sites = table(&[
        "block",
        "tensor",
        "min",
        "max",
        "int8 step",
        "range chosen by",
        "clipped",
    ]);
    for s in &quantized.report {
        sites.add_row([
            s.layer.map_or(String::new(), |l| l.to_string()),
            s.name.clone(),
            format!("{:.3}", s.min),
            format!("{:.3}", s.max),
            format!("{:.5}", s.scale),
            s.method.clone(),
            percent(s.clipped),
        ]);
    }
    print(&sites.to_string())
}

/// Calibrates and quantizes a model.
pub fn quantized(
    model: &FloatModel,
    clips: &[ModelInput],
    board: &Board,
) -> Result<(Int8Model, Quantized), CommandError> {
    quantized_for(model, clips, &board.name)
}

/// As [`quantized`], for a board of this name, or for none that matters.
pub fn quantized_for(
    model: &FloatModel,
    clips: &[ModelInput],
    board: &str,
) -> Result<(Int8Model, Quantized), CommandError> {
    quantized_with(model, clips, board, &Sections::default())
}

/// As [`quantized_for`], with tokenizers.
fn quantized_with(
    model: &FloatModel,
    clips: &[ModelInput],
    board: &str,
    sections: &Sections,
) -> Result<(Int8Model, Quantized), CommandError> {
    let bar = progress("calibrating, clips", clips.len());
    let mut calibration = Calibration::default();
    for clip in clips {
        forward(model, clip.float(), &mut calibration);
        bar.inc(1);
    }
    bar.finish_and_clear();
    image(model, &calibration, board, sections)
}

/// Quantizes a model by what calibration saw, and makes its image.
fn image(
    model: &FloatModel,
    calibration: &Calibration,
    board: &str,
    sections: &Sections,
) -> Result<(Int8Model, Quantized), CommandError> {
    eprintln!("choosing ranges and smoothing, block by block");
    let mut quantized = quantize(model, calibration)?;
    let writer = &mut quantized.writer;
    for (key, value) in provenance(model, board)? {
        writer.provenance(key, &value);
    }
    if let Some(front_end) = &model.front_end {
        writer.front_end(FrontEnd::new(front_end)?.section());
    }
    writer.tokenizer(&sections.tokenizer);
    writer.target_tokenizer(&sections.target);
    let int8 = Int8Model::new(quantized.writer.finish()?)?;
    Ok((int8, quantized))
}

/// Returns what an image says about where it comes from.
pub fn provenance(
    model: &FloatModel,
    board: &str,
) -> Result<Vec<(&'static str, String)>, CommandError> {
    let tool = concat!("tailtune ", env!("CARGO_PKG_VERSION"));
    let mut lines = vec![
        ("tool", tool.to_owned()),
        ("source", model.name.clone()),
        ("board", board.to_owned()),
    ];
    if let Some(front_end) = &model.front_end {
        lines.push(("frontend", serde_json::to_string(front_end)?));
    }
    Ok(lines)
}
