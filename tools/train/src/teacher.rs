//! A larger model's answers to every sample, computed once and kept beside the run.

use crate::error::TrainError;
use crate::examples::{Example, Examples, Signal};
use rayon::prelude::*;
use safetensors::SafeTensors;
use std::collections::HashMap;
use std::path::Path;
use tailtune_tools::audio::FrontEnd;
use tailtune_tools::cmd::terminal::progress;
use tailtune_tools::export::{Tensor, write_whole};
use tailtune_tools::float_model::FloatModel;
use tailtune_tools::reference::{ModelInput, forward, softmax};

/// Pooled features and logits by example id.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// Width of a feature.
    pub n_features: usize,
    /// Logits of a sample.
    pub n_classes: usize,
    /// `[n, n_features]`, each column with mean 0 and deviation 1.
    features: Vec<f32>,
    /// `[n, n_classes]`.
    logits: Vec<f32>,
}

impl Answers {
    /// Returns a sample's standardised feature.
    pub fn features(&self, id: usize) -> &[f32] {
        &self.features[id * self.n_features..][..self.n_features]
    }

    /// Returns a sample's class probabilities at a temperature.
    pub fn probabilities(&self, id: usize, temperature: f32) -> Vec<f32> {
        let logits = &self.logits[id * self.n_classes..][..self.n_classes];
        let mut row: Vec<f32> = logits.iter().map(|x| x / temperature).collect();
        softmax(&mut row);
        row
    }

    /// Asks the teacher about every sample, or reads what it said from `cache`.
    ///
    /// # Errors
    /// [`TrainError::Unfit`] where the teacher does not take these samples.
    pub fn of(teacher: &FloatModel, examples: &Examples, cache: &Path) -> Result<Self, TrainError> {
        let key = format!("{} {}", teacher.name, examples.fingerprint);
        if let Some(answers) = Self::read(cache, &key) {
            return Ok(answers);
        }
        let front_end = teacher.front_end.as_ref().map(FrontEnd::new).transpose()?;
        let mut inputs: Vec<Option<&Example>> = vec![None; examples.n];
        for example in examples.train.iter().chain(&examples.held_out) {
            inputs[example.id] = Some(example);
        }
        let bar = progress("asking the teacher, samples", inputs.len());
        let one = |example: &Option<&Example>| {
            bar.inc(1);
            example.map_or_else(
                || {
                    Err(TrainError::Unfit(
                        "a sample is in no part of the data".into(),
                    ))
                },
                |e| answer(teacher, front_end.as_ref(), e),
            )
        };
        let rows: Result<Vec<_>, TrainError> = inputs.par_iter().map(one).collect();
        bar.finish_and_clear();
        let rows = rows?;
        let answers = Self {
            n_features: teacher.config.d_model.into(),
            n_classes: teacher.config.n_classes.into(),
            features: standardised(rows.iter().map(|r| r.0.as_slice())),
            logits: rows.into_iter().flat_map(|r| r.1).collect(),
        };
        answers.write(cache, key, examples.n)?;
        Ok(answers)
    }

    fn write(&self, cache: &Path, key: String, n: usize) -> Result<(), TrainError> {
        let tensors = [
            Tensor::new("features", &[n, self.n_features], &self.features),
            Tensor::new("logits", &[n, self.n_classes], &self.logits),
        ];
        let metadata = HashMap::from([("key".to_owned(), key)]);
        let views = tensors.iter().map(|t| (t.name.as_str(), t));
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|e| TrainError::checkpoint(cache, &e))?;
        Ok(write_whole(cache, &bytes)?)
    }

    /// Returns what is kept for this teacher and these samples, if it is.
    fn read(cache: &Path, key: &str) -> Option<Self> {
        let bytes = std::fs::read(cache).ok()?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
        if metadata.metadata().as_ref()?.get("key")? != key {
            return None;
        }
        let file = SafeTensors::deserialize(&bytes).ok()?;
        let tensor = |name: &str| {
            let view = file.tensor(name).ok()?;
            let words = view.data().chunks_exact(4);
            let values = words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Some((*view.shape().get(1)?, values.collect::<Vec<f32>>()))
        };
        let (n_features, features) = tensor("features")?;
        let (n_classes, logits) = tensor("logits")?;
        Some(Self {
            n_features,
            n_classes,
            features,
            logits,
        })
    }
}

fn answer(
    teacher: &FloatModel,
    front_end: Option<&FrontEnd>,
    example: &Example,
) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
    let input = match (&example.signal, front_end) {
        (Signal::Tokens(ids, segments), _) => ModelInput::Tokens(ids.clone(), segments.clone()),
        (Signal::Frames(frames), _) => ModelInput::Frames(frames.clone()),
        (Signal::Sound(sound), Some(front_end)) => {
            let sound: Vec<f32> = sound.iter().map(|&x| f32::from(x) / 32768.0).collect();
            ModelInput::Frames(front_end.features(&sound))
        }
        (Signal::Sound(_), None) => {
            let text = "the teacher has no front end, and the data is sound";
            return Err(TrainError::Unfit(text.into()));
        }
    };
    let output = forward(teacher, input.float(), &mut ());
    Ok((output.pooled, output.logits))
}

fn standardised<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone) -> Vec<f32> {
    let n = rows.clone().count().max(1) as f64;
    let width = rows.clone().next().map_or(0, <[f32]>::len);
    let (mut sum, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for row in rows.clone() {
        for (c, &x) in row.iter().enumerate() {
            sum[c] += f64::from(x);
            squares[c] += f64::from(x) * f64::from(x);
        }
    }
    let scale = |c: usize| {
        let mean = sum[c] / n;
        (mean, libm::sqrt((squares[c] / n - mean * mean).max(1e-12)))
    };
    let scales: Vec<(f64, f64)> = (0..width).map(scale).collect();
    let one =
        |(x, (mean, deviation)): (&f32, &(f64, f64))| ((f64::from(*x) - mean) / deviation) as f32;
    rows.flat_map(|row| row.iter().zip(&scales).map(one).collect::<Vec<f32>>())
        .collect()
}
