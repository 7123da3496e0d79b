//! `tailtune eval`: a model directory or an image on labelled data, in float, on the image's grids
//! and in int8.

mod on_board;
mod sequence;

use super::embeddings::Cosines;
use super::model_args::{ModelArgs, Taken};
use super::source::{self, Reader, Silence};
use super::terminal::{percent, print, print_json, progress, table};
use super::{CommandError, convert, wrong_call};
use crate::board::{self, Board};
use crate::data::spread;
use crate::evaluation::text::{self, PretrainingHeads};
use crate::evaluation::{Column, Evaluation, html};
use crate::float_model::FloatModel;
use crate::import::read_model;
use crate::int8::{BEAM_WIDTHS, Int8Model, argmax};
use crate::metrics;
use crate::output::write_whole;
use crate::quantize::fake::FakeQuantized;
use crate::reference::{ModelInput, forward};
use crate::text::{Corpus, Shape, tokenizer};
use clap::Args;
use on_board::OnBoard;
use rayon::prelude::*;
use serde_json::json;
use std::path::{Path, PathBuf};
use tailtune::image::ModelConfig;

/// Evaluate a model or an image on labelled data; int8 is the very runtime that the device runs
#[derive(Debug, Args)]
pub struct Eval {
    /// A model directory, or an image (.bin, .hex, .uf2 or .elf)
    subject: PathBuf,
    /// Labelled data: a folder with one sub-folder a class, a CSV manifest, or safetensors; for a
    /// pretrained text model a .txt file of one sentence a line, an empty line between documents; for a
    /// model with a decoder a .tsv file of lines SOURCE, a tab, TARGET
    #[arg(long)]
    data: PathBuf,
    /// For an image: the model that it was made from, to compare with
    #[arg(long, value_name = "MODEL_DIR")]
    reference: Option<PathBuf>,
    /// For a model directory: data to calibrate on, for its fake-quantized and int8 columns
    #[arg(long, value_name = "DATA", conflicts_with = "reference")]
    calibrate: Option<PathBuf>,
    /// For an image of a text model: its tokenizer.json, or the directory of it, if it is not that of
    /// --reference
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Compare the features of float and int8 instead of classes: the cosine of each pair. The data needs no
    /// labels: a .txt file of one text a line serves too
    #[arg(long, conflicts_with_all = ["speaker", "html"])]
    embeddings: bool,
    #[command(flatten)]
    take: ModelArgs,
    /// Only the samples of this speaker (a manifest's third column)
    #[arg(long)]
    speaker: Option<String>,
    /// What stands for clips labelled _silence_
    #[arg(long, value_enum, default_value = "clips")]
    silence: Silence,
    /// Also write the report as one HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also run it on this emulated board, and compare with the host to the bit
    #[arg(long, value_parser = board::find)]
    board: Option<Board>,
    /// The most inputs that the emulated board is given, evenly spread over the data
    #[arg(long, default_value_t = 500, requires = "board", value_parser = clap::value_parser!(u32).range(1..))]
    on_board: u32,
    /// Of pairs: decode in int8 by a beam of this width too
    #[arg(long, value_name = "WIDTH", value_parser = beam_width)]
    beam: Option<usize>,
    /// Of pairs: the beam's length penalty (Wu et al., arXiv 1609.08144)
    #[arg(long, default_value_t = 0.0, requires = "beam")]
    length_penalty: f32,
    /// Print one JSON object: n, float_top1, int8_top1, agreement (of float and int8; null where one
    /// is missing), labels, confusion[truth][predicted] and per_class[] of the last column,
    /// agreements[], columns[] (name, top1, macro_f1, ece, nll, confusion, per_class, reliability); of
    /// --embeddings: n, mean_cosine, first_percentile, least_cosine; of text: n, pieces, mlm_loss,
    /// mlm_perplexity, mlm_accuracy, nsp_loss, nsp_accuracy (null where the model was not pretrained for it);
    /// of pairs: n, wrong, edits, tokens, sequence_error_rate, token_error_rate of the last way of decoding,
    /// truncated, columns[] (name and the same); on_board (board, n, equal, instructions[] (mean, most) of
    /// encoder and decoder; null without --board)
    #[arg(long)]
    json: bool,
}

/// What there is to evaluate.
struct Subjects {
    float: Option<FloatModel>,
    int8: Option<Int8Model>,
    labels: Vec<String>,
    reader: Reader,
}

impl Eval {
    pub(super) fn run(self) -> Result<(), CommandError> {
        if self.embeddings {
            return self.embeddings();
        }
        match self.data.extension().and_then(|e| e.to_str()) {
            Some("txt") => return self.text(),
            Some("tsv") => return self.sequences(),
            _ => {}
        }
        let subjects = self.subjects()?;
        if subjects.labels.is_empty() {
            return Err(format!(
                "{}: it has no head to evaluate; give a model with labels",
                self.subject.display()
            )
            .into());
        }
        let mut data = source::open(&self.data, self.speaker.as_deref(), self.silence)?;
        data.name_classes(&subjects.labels);
        let clips = subjects.reader.read(&data)?;
        let truth = source::classes(&data, &subjects.labels);
        let unknown = truth.iter().filter(|t| t.is_none()).count();
        if unknown > 0 {
            eprintln!(
                "{unknown} of {} samples have labels that the model does not know: counted as wrong",
                truth.len()
            );
        }
        let evaluation = subjects.evaluate(&clips, &truth)?;
        if let Some(path) = &self.html {
            let (subject, data) = (self.subject.display(), self.data.display());
            let page = html::page(&subject.to_string(), &data.to_string(), &evaluation);
            write_whole(path, page.as_bytes())?;
        }
        let on_board = self.on_board(&subjects, &clips)?;
        if self.json {
            return as_json(&evaluation, on_board);
        }
        as_text(&evaluation)?;
        if let Some(o) = &on_board {
            print(&format!(
                "{}: the logits of {} of {} inputs are the host's",
                o.board, o.equal, o.n
            ))?;
        }
        match subjects.int8 {
            Some(_) => Ok(()),
            None => print(
                "int8 is not evaluated: quantization needs data of its own to calibrate on, never the test data; give it with --calibrate DATA",
            ),
        }
    }

    /// Runs some of the inputs on the emulated board, if there is one.
    fn on_board(
        &self,
        subjects: &Subjects,
        clips: &[ModelInput],
    ) -> Result<Option<OnBoard>, CommandError> {
        let Some(board) = &self.board else {
            return Ok(None);
        };
        let hint = "the emulated board runs an image: give one, or --calibrate DATA with a model directory";
        let int8 = subjects.int8.as_ref().ok_or_else(|| wrong_call(hint))?;
        let few = spread(clips, self.on_board as usize);
        let few: Vec<ModelInput> = few.cloned().collect();
        on_board::classify(board, int8, &few).map(Some)
    }

    fn embeddings(&self) -> Result<(), CommandError> {
        let subjects = self.subjects()?;
        let (Some(float), Some(int8)) = (&subjects.float, &subjects.int8) else {
            return Err(wrong_call(
                "--embeddings compares two models: give a model directory with --calibrate, or an image with --reference",
            ));
        };
        let data = source::open_unlabelled(&self.data)?;
        let inputs = subjects.reader.read(&data)?;
        Cosines::measure(float, int8, &inputs)?.print(self.json)
    }

    /// What a pretrained text model was pretrained for, on text that it has not seen.
    fn text(&self) -> Result<(), CommandError> {
        if self.html.is_some() || self.calibrate.is_some() || !self.subject.is_dir() {
            return Err(wrong_call(
                "text is evaluated on a model directory in float: give MODEL_DIR, without --calibrate and --html",
            ));
        }
        let model = read_model(&self.subject)?;
        let Some(heads) = PretrainingHeads::read(&self.subject, &model)? else {
            let subject = self.subject.display();
            return Err(format!("{subject}: it reads no text; give labelled data").into());
        };
        let tokenizer = tokenizer::read(&self.subject)?;
        let corpus = Corpus::read(std::slice::from_ref(&self.data))?;
        let text = heads.text(&corpus, &tokenizer, &model.config)?;
        let shape = Shape {
            seq_len: model.config.max_input_len(),
            vocab_size: tokenizer.get_vocab_size(true) as u32,
        };
        let bar = progress("evaluating text", text.pairs());
        let report = text::evaluate(&model, &heads, &text, shape, 1, &|| bar.inc(1));
        bar.finish_and_clear();
        if self.json {
            return print_json(&serde_json::to_value(&report)?);
        }
        let mut rows = table(&[
            "pretraining task",
            "of",
            "loss, nats",
            "perplexity",
            "accuracy",
        ]);
        rows.add_row([
            "masked pieces".to_owned(),
            report.pieces.to_string(),
            format!("{:.4}", report.mlm_loss),
            format!("{:.2}", report.mlm_perplexity),
            percent(report.mlm_accuracy),
        ]);
        if let (Some(loss), Some(accuracy)) = (report.nsp_loss, report.nsp_accuracy) {
            rows.add_row([
                "next sentence".to_owned(),
                report.n.to_string(),
                format!("{loss:.4}"),
                "-".to_owned(),
                percent(accuracy),
            ]);
        }
        print(&rows.to_string())
    }

    fn subjects(&self) -> Result<Subjects, CommandError> {
        if self.subject.is_dir() {
            return self.of_model();
        }
        if self.calibrate.is_some() {
            return Err(wrong_call(
                "--calibrate goes with a model directory: an image is calibrated already",
            ));
        }
        let int8 = Int8Model::read(&self.subject)?;
        let image = int8.image();
        let labels: Vec<String> = image.labels().iter().map(str::to_owned).collect();
        let (float, reader) = match &self.reference {
            Some(dir) => {
                let taken = self.reference_of(dir, &labels, image.config())?;
                let reader = match &self.tokenizer {
                    Some(tokenizer) => Reader::of_image(&image, Some(tokenizer))?,
                    None if taken.pruned.is_some() => Reader::of_taken(dir, &taken)?,
                    None => Reader::of_image(&image, Some(dir))?,
                };
                (Some(taken.model), reader)
            }
            None => {
                self.take.none()?;
                (None, Reader::of_image(&image, self.tokenizer.as_deref())?)
            }
        };
        Ok(Subjects {
            float,
            labels,
            reader,
            int8: Some(int8.clone()),
        })
    }

    fn of_model(&self) -> Result<Subjects, CommandError> {
        if self.reference.is_some() {
            return Err(wrong_call(
                "--reference goes with an image: a model directory is its own reference",
            ));
        }
        let taken = self.take.read(&self.subject)?;
        let reader = Reader::of_taken(&self.subject, &taken)?;
        let model = taken.model;
        let int8 = match &self.calibrate {
            Some(path) => {
                let data = source::open_unlabelled(path)?;
                let clips = reader.read_to_calibrate(&data)?;
                Some(convert::quantized_for(&model, &clips, "none")?.0)
            }
            None => None,
        };
        Ok(Subjects {
            labels: model.labels.clone(),
            reader,
            int8,
            float: Some(model),
        })
    }

    fn reference_of(
        &self,
        dir: &Path,
        labels: &[String],
        config: &ModelConfig,
    ) -> Result<Taken, CommandError> {
        let taken = self.take.read(dir)?;
        let model = &taken.model;
        if model.labels != labels || model.config != *config {
            return Err(format!(
                "{}: its labels or its architecture are not those of {}: give the model that the image was made from, with the same --pooling, --seq-len, --layers, --prune-vocab and --factorise-embedding",
                dir.display(),
                self.subject.display()
            )
            .into());
        }
        Ok(taken)
    }
}

impl Subjects {
    fn evaluate(
        &self,
        clips: &[ModelInput],
        truth: &[Option<usize>],
    ) -> Result<Evaluation, CommandError> {
        let column = |name, logits: &[Vec<f32>]| Column::new(name, &self.labels, truth, logits);
        let mut columns = Vec::new();
        if let Some(model) = &self.float {
            let one = |c: &ModelInput| forward(model, c.float(), &mut ()).logits;
            columns.push(column("float", &each("float reference, clips", clips, one)));
        }
        if let (Some(model), Some(int8)) = (&self.float, &self.int8) {
            let fake = FakeQuantized::new(model, &int8.image())?;
            let one = |c: &ModelInput| fake.forward(c.float()).logits;
            columns.push(column(
                "fake_quantized",
                &each("fake-quantized, clips", clips, one),
            ));
        }
        if let Some(int8) = &self.int8 {
            let bar = progress("int8, clips", clips.len());
            columns.push(column("int8", &int8.logits(clips, &|| bar.inc(1))?));
            bar.finish_and_clear();
        }
        Ok(Evaluation {
            n: truth.len(),
            labels: self.labels.clone(),
            columns,
        })
    }
}

fn each(
    what: &str,
    clips: &[ModelInput],
    one: impl Fn(&ModelInput) -> Vec<f32> + Sync,
) -> Vec<Vec<f32>> {
    let bar = progress(what, clips.len());
    let counted = |clip: &ModelInput| {
        let logits = one(clip);
        bar.inc(1);
        logits
    };
    let logits = clips.par_iter().map(counted).collect();
    bar.finish_and_clear();
    logits
}

fn as_json(evaluation: &Evaluation, on_board: Option<OnBoard>) -> Result<(), CommandError> {
    let top1 = |name| evaluation.column(name).map(|c| c.top1);
    let agreements = evaluation.agreements();
    let whole = agreements.iter().find(|a| a.between == ["float", "int8"]);
    let last = evaluation.columns.last();
    print_json(&json!({
        "n": evaluation.n, "float_top1": top1("float"), "int8_top1": top1("int8"),
        "agreement": whole.map(|a| a.share), "labels": evaluation.labels,
        "confusion": last.map(|c| &c.confusion), "per_class": last.map(|c| &c.per_class),
        "agreements": agreements, "columns": evaluation.columns,
        "on_board": on_board,
    }))
}

fn as_text(evaluation: &Evaluation) -> Result<(), CommandError> {
    print(&format!("samples         {}", evaluation.n))?;
    let mut rows = table(&[
        "arithmetic",
        "top-1",
        "macro-F1",
        "calibration error",
        "NLL, nats",
    ]);
    let number = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.4}"));
    for c in &evaluation.columns {
        rows.add_row([
            c.name.to_owned(),
            percent(c.top1),
            number(c.macro_f1),
            number(Some(c.ece)),
            number(c.nll),
        ]);
    }
    print(&rows.to_string())?;
    for a in evaluation.agreements() {
        let [x, y] = a.between;
        print(&format!("{x} and {y} agree on {}", percent(a.share)))?;
    }
    match evaluation.columns.last() {
        Some(last) => confusion_table(&evaluation.labels, last),
        None => Ok(()),
    }
}

/// Prints counts of truth and answer, and each class's scores.
pub(super) fn confusion_table(labels: &[String], column: &Column) -> Result<(), CommandError> {
    let title = format!("{}: truth \\ predicted", column.name);
    let mut header = vec![title.as_str()];
    header.extend(labels.iter().map(String::as_str));
    header.extend(["n", "recall", "precision", "F1"]);
    let mut rows = table(&header);
    let share = |x: Option<f64>| x.map_or("-".to_owned(), percent);
    let cell = |&c: &usize| if c == 0 { "·".into() } else { c.to_string() };
    for (counts, score) in column.confusion.iter().zip(&column.per_class) {
        let mut row = vec![score.label.clone()];
        row.extend(counts.iter().map(cell));
        let shares = [score.recall, score.precision, score.f1].map(share);
        row.push(score.n.to_string());
        row.extend(shares);
        rows.add_row(row);
    }
    print(&rows.to_string())
}

/// Returns the int8 model's class of each clip.
pub fn int8_predictions(
    int8: &Int8Model,
    clips: &[ModelInput],
) -> Result<Vec<usize>, CommandError> {
    let bar = progress("int8, clips", clips.len());
    let outputs = int8.run(&int8.prepare(clips)?, &|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(outputs
        .iter()
        .map(|o| argmax(&o.logits).unwrap_or(0))
        .collect())
}

/// Returns the float model's class of each clip.
pub fn float_predictions(model: &FloatModel, clips: &[ModelInput]) -> Vec<usize> {
    let bar = progress("float reference, clips", clips.len());
    let one = |clip: &ModelInput| {
        let output = forward(model, clip.float(), &mut ());
        bar.inc(1);
        argmax(&output.logits).unwrap_or(0)
    };
    let predicted = clips.par_iter().map(one).collect();
    bar.finish_and_clear();
    predicted
}

/// Returns the share of clips on which int8 and float agree.
pub fn agreement_on(
    model: &FloatModel,
    int8: &Int8Model,
    clips: &[ModelInput],
) -> Result<f64, CommandError> {
    if model.config.n_classes == 0 {
        return Ok(1.0);
    }
    let (a, b) = (
        float_predictions(model, clips),
        int8_predictions(int8, clips)?,
    );
    Ok(metrics::agreement(&a, &b))
}

/// Reads the width of a beam.
fn beam_width(text: &str) -> Result<usize, String> {
    let width = text.parse().ok();
    width
        .filter(|w| BEAM_WIDTHS.contains(w))
        .ok_or_else(|| format!("expected one of {BEAM_WIDTHS:?}"))
}
