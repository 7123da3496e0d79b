//! Models with a decoder: calibrated on pairs of source and target, the decoder being fed the targets.

use super::{Convert, image, sites};
use crate::cmd::CommandError;
use crate::cmd::terminal::{percent, print, print_json, progress};
use crate::data::spread;
use crate::evaluation::sequence::{Question, Tokenizers, questions};
use crate::float_model::FloatModel;
use crate::int8::{Int8Model, argmax};
use crate::output::{Placement, write_image};
use crate::quantize::{Quantized, calibrate::Calibration};
use crate::reference::{ModelInput, decode};
use crate::text::Parallel;
use crate::text::section::Sections;
use serde_json::json;
use std::path::Path;
use tailtune::image::{NO_LAYER, TensorKind};
use tailtune::model::decoder_arena_bytes;

/// The most pairs to calibrate on: more of them change no range.
const CALIBRATION: usize = 512;
/// Pairs on which int8 is compared with float.
const COMPARED: usize = 128;

/// A source and the tokens that its decoder is fed, the start token first.
struct Fed {
    input: ModelInput,
    tokens: Vec<u32>,
}

impl Convert {
    /// Converts a model with a decoder.
    pub(super) fn pairs(
        &self,
        model: &FloatModel,
        sections: &Sections,
        place: &Placement,
    ) -> Result<(), CommandError> {
        let questions = read(&self.model, &self.calibrate, model)?;
        let (int8, quantized) = quantized(model, &questions, &self.board.name, sections)?;
        let (agreement, sqnr_db) = compare(model, &int8, &fed(model, &questions, COMPARED))?;
        let arena = decoder_arena_bytes(&model.config, 1);
        write_image(&self.output, int8.bytes(), place)?;
        if self.json {
            return print_json(&json!({
                "image_bytes": int8.bytes().len(), "arena_bytes": arena,
                "board": self.board.name, "address": self.board.regions.model.address,
                "agreement": agreement, "sqnr": sqnr_db, "sites": quantized.report,
            }));
        }
        sites(&quantized)?;
        print(&format!(
            "the decoder fed right targets: logits {sqnr_db:.1} dB above the noise of int8; the likeliest next token is float's in {}",
            percent(agreement)
        ))?;
        self.written(&int8, arena)
    }
}

/// Reads pairs as ids.
pub fn read(dir: &Path, pairs: &Path, model: &FloatModel) -> Result<Vec<Question>, CommandError> {
    let tokenizers = Tokenizers::read(dir)?;
    let pairs = Parallel::read(&[pairs.to_path_buf()])?;
    Ok(questions(&pairs, &tokenizers, &model.config)?)
}

/// Calibrates and quantizes a model with a decoder.
pub fn quantized(
    model: &FloatModel,
    questions: &[Question],
    board: &str,
    sections: &Sections,
) -> Result<(Int8Model, Quantized), CommandError> {
    let fed = fed(model, questions, CALIBRATION);
    let bar = progress("calibrating, pairs", fed.len());
    let mut calibration = Calibration::default();
    for pair in &fed {
        decode(
            model,
            encoded(model, &pair.input).map(ModelInput::float),
            &pair.tokens,
            &mut calibration,
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
    image(model, &calibration, board, sections)
}

fn encoded<'i>(model: &FloatModel, input: &'i ModelInput) -> Option<&'i ModelInput> {
    model.config.has_encoder().then_some(input)
}

/// Returns at most `n` pairs, evenly spread; of several right targets the first.
fn fed(model: &FloatModel, questions: &[Question], n: usize) -> Vec<Fed> {
    let (start, most) = model
        .config
        .decoder
        .map_or((0, 1), |d| (d.start, usize::from(d.seq_len)));
    let one = |q: &Question| {
        let answer = q.answers.first().map_or(&[][..], Vec::as_slice);
        let tokens = [start].into_iter().chain(answer.iter().copied());
        Fed {
            input: ModelInput::Tokens(q.input.clone(), Vec::new()),
            tokens: tokens.take(most).collect(),
        }
    };
    spread(questions, n).map(one).collect()
}

/// Returns how often int8 and float agree on the next token, and the logits' signal to noise in dB.
fn compare(model: &FloatModel, int8: &Int8Model, fed: &[Fed]) -> Result<(f64, f64), CommandError> {
    let image = int8.image();
    let epilogue = image.tensor(TensorKind::OutputEpilogue, NO_LAYER);
    let scale = epilogue.map_or(1.0, |t| t.scale());
    let (mut same, mut rows, mut signal, mut noise) = (0usize, 0usize, 0.0, 1e-30);
    for pair in fed {
        let input = encoded(model, &pair.input);
        let want = decode(model, input.map(ModelInput::float), &pair.tokens, &mut ()).logits;
        let found = int8.teacher_forced(input, &pair.tokens)?;
        let width = want.len() / found.len().max(1);
        for (found, want) in found.iter().zip(want.chunks_exact(width.max(1))) {
            same += usize::from(argmax(found) == argmax(want));
            rows += 1;
            for (&found, &want) in found.iter().zip(want) {
                signal += f64::from(want).powi(2);
                noise += f64::from(want - f32::from(found) * scale).powi(2);
            }
        }
    }
    let ratio: f64 = signal / noise;
    Ok((same as f64 / rows.max(1) as f64, 10.0 * libm::log10(ratio)))
}
