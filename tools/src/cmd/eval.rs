//! `tailtune eval`: accuracy of the int8 image, and of the float model beside it.

use super::CommandError;
use super::source::{self, Silence};
use super::terminal::{percent, print, print_json, progress, table};
use crate::float_model::FloatModel;
use crate::import::read_model;
use crate::int8::{Int8Model, argmax};
use crate::metrics;
use crate::reference::{FloatInput, forward};
use clap::Args;
use rayon::prelude::*;
use serde_json::json;
use std::path::PathBuf;

/// Evaluate an image on labelled data, with the very runtime that the device runs
#[derive(Debug, Args)]
pub struct Eval {
    /// The image
    image: PathBuf,
    /// Labelled data: a folder with one sub-folder a class, a CSV manifest, or safetensors
    #[arg(long)]
    data: PathBuf,
    /// The float model to compare with
    #[arg(long, value_name = "MODEL_DIR")]
    reference: Option<PathBuf>,
    /// Only the samples of this speaker (a manifest's third column)
    #[arg(long)]
    speaker: Option<String>,
    /// What stands for clips labelled _silence_
    #[arg(long, value_enum, default_value = "clips")]
    silence: Silence,
    /// Print one JSON object: n, float_top1, int8_top1, agreement (null without --reference), labels,
    /// confusion[truth][predicted] of int8, per_class[]
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let int8 = Int8Model::read(&self.image)?;
        let image = int8.image();
        let labels: Vec<String> = image.labels().iter().map(str::to_owned).collect();
        if labels.is_empty() {
            return Err(format!(
                "{}: the image has no head to evaluate",
                self.image.display()
            )
            .into());
        }
        let front_end = source::front_end_of(image.provenance())?;
        let mut data = source::open(&self.data, self.speaker.as_deref(), self.silence)?;
        data.name_classes(&labels);
        let clips = source::features(&data, front_end.as_ref(), image.config())?;
        let truth = source::classes(&data, &labels);
        let unknown = truth.iter().filter(|t| t.is_none()).count();
        if unknown > 0 {
            eprintln!(
                "{unknown} of {} samples have labels that the image does not know: counted as wrong",
                truth.len()
            );
        }
        let predicted = int8_predictions(&int8, &clips)?;
        let top1 = metrics::accuracy(&truth, &predicted);
        let confusion = metrics::confusion(labels.len(), &truth, &predicted);
        let per_class = metrics::per_class(&labels, &confusion);
        let float = match &self.reference {
            Some(dir) => {
                let model = read_model(dir)?;
                if model.labels != labels || model.config != *image.config() {
                    return Err(format!(
                        "{}: its labels or its architecture are not those of {}: give the model that the image was made from",
                        dir.display(),
                        self.image.display()
                    )
                    .into());
                }
                Some(float_predictions(&model, &clips))
            }
            None => None,
        };
        let float_top1 = float.as_ref().map(|f| metrics::accuracy(&truth, f));
        let agreement = float.as_ref().map(|f| metrics::agreement(f, &predicted));
        if self.json {
            return print_json(&json!({
                "n": truth.len(), "float_top1": float_top1, "int8_top1": top1,
                "agreement": agreement, "labels": labels, "confusion": confusion,
                "per_class": per_class,
            }));
        }
        print(&format!("samples         {}", truth.len()))?;
        if let (Some(float_top1), Some(agreement)) = (float_top1, agreement) {
            print(&format!("float top-1     {}", percent(float_top1)))?;
            print(&format!("int8 top-1      {}", percent(top1)))?;
            print(&format!("agreement       {}", percent(agreement)))?;
        } else {
            print(&format!("int8 top-1      {}", percent(top1)))?;
        }
        let mut header = vec!["truth \\ predicted"];
        header.extend(labels.iter().map(String::as_str));
        header.extend(["n", "recall", "precision"]);
        let mut rows = table(&header);
        let share = |x: Option<f64>| x.map_or("-".to_owned(), percent);
        for (counts, score) in confusion.iter().zip(&per_class) {
            let mut row = vec![score.label.clone()];
            row.extend(counts.iter().map(|&c| {
                if c == 0 {
                    "·".to_owned()
                } else {
                    c.to_string()
                }
            }));
            row.extend([
                score.n.to_string(),
                share(score.recall),
                share(score.precision),
            ]);
            rows.add_row(row);
        }
        print(&rows.to_string())
    }
}

/// Returns the int8 model's class of each clip.
pub fn int8_predictions(int8: &Int8Model, clips: &[Vec<f32>]) -> Result<Vec<usize>, CommandError> {
    let bar = progress("int8, clips", clips.len());
    let outputs = int8.run(&int8.quantize(clips)?, &|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(outputs
        .iter()
        .map(|o| argmax(&o.logits).unwrap_or(0))
        .collect())
}

/// Returns the float model's class of each clip.
pub fn float_predictions(model: &FloatModel, clips: &[Vec<f32>]) -> Vec<usize> {
    let bar = progress("float reference, clips", clips.len());
    let one = |clip: &Vec<f32>| {
        let output = forward(model, FloatInput::Frames(clip), &mut ());
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
    clips: &[Vec<f32>],
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
