//! Labelled samples in memory: sounds as 16-bit samples at the front end's rate, frames as they are.

use crate::augment::Augment;
use crate::error::TrainError;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tailtune::image::{InputKind, ModelConfig};
use tailtune_tools::audio::{FrontEnd, centre, read_wav};
use tailtune_tools::cmd::terminal::progress;
use tailtune_tools::data::{self, Dataset, Sample, Source};
use tailtune_tools::reference::ModelInput;
use tailtune_tools::synthetic::Random;
use tokenizers::Tokenizer;

/// What `--data` says: `PATH[,language=L][,plain][,repeat=N][,exclude=CLASS]...[,only=CLASS]...[,as=CLASS]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DataArg {
    /// The data.
    pub path: PathBuf,
    /// Makes its classes `CLASS (L)`: the same letters in another language are another word.
    pub language: Option<String>,
    /// How many times an epoch sees each sample.
    pub repeat: usize,
    /// Takes ` (L)` off its classes again.
    pub plain: bool,
    /// Classes that are left out.
    pub exclude: Vec<String>,
    /// If any, the classes that are taken.
    pub only: Vec<String>,
    /// One class for all that is taken.
    pub class: Option<String>,
}

impl FromStr for DataArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let mut arg = Self {
            path: parts.next().unwrap_or_default().into(),
            language: None,
            repeat: 1,
            plain: false,
            exclude: Vec::new(),
            only: Vec::new(),
            class: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("language", l)) => arg.language = Some(l.into()),
                Some(("repeat", n)) => {
                    let n = n.parse().ok().filter(|n| *n > 0);
                    arg.repeat = n.ok_or(format!("{part}: expected repeat=N, N at least 1"))?;
                }
                Some(("exclude", class)) => arg.exclude.push(class.into()),
                Some(("only", class)) => arg.only.push(class.into()),
                Some(("as", class)) => arg.class = Some(class.into()),
                None if part == "plain" => arg.plain = true,
                _ => {
                    return Err(format!(
                        "{part:?}: expected language=L, plain, repeat=N, exclude=CLASS, only=CLASS or as=CLASS"
                    ));
                }
            }
        }
        Ok(arg)
    }
}

impl DataArg {
    /// Returns what a class of the data is called in training.
    fn name(&self, class: &str) -> String {
        if let Some(class) = &self.class {
            return class.clone();
        }
        let plain = match self.plain {
            true => class.rsplit_once(" (").map_or(class, |(word, _)| word),
            false => class,
        };
        match &self.language {
            Some(language) => format!("{plain} ({language})"),
            None => plain.to_owned(),
        }
    }
}

/// What a sample is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// One clip at the front end's rate.
    Sound(Vec<i16>),
    /// `[n_frames, n_features]`.
    Frames(Vec<f32>),
    /// Ids and segments.
    Tokens(Vec<u32>, Vec<u8>),
}

/// A sample and its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What it is made of.
    pub signal: Signal,
    /// Its class.
    pub class: usize,
    /// Its number in the data, by which a teacher's answers are kept.
    pub id: usize,
}

/// What the model reads, and what makes it of samples.
pub struct Reads<'a> {
    /// The kind and shape of one input.
    pub input: InputKind,
    /// For sound.
    pub front_end: Option<FrontEnd>,
    /// For text: the tokenizer, and the model that it is for.
    pub tokenizer: Option<(Tokenizer, &'a ModelConfig)>,
}

/// The classes and the samples of a run.
pub struct Examples {
    /// Class names, sorted.
    pub labels: Vec<String>,
    /// What is learned from; repeated samples are there as often as they are repeated.
    pub train: Vec<Example>,
    /// What is held out.
    pub held_out: Vec<Example>,
    /// Samples in the data, repeats not counted.
    pub n: usize,
    /// What identifies the data: a hash over ids and classes.
    pub fingerprint: String,
    front_end: Option<FrontEnd>,
}

impl Examples {
    /// Reads all data; classes are those found, or `labels` where given.
    ///
    /// # Errors
    /// [`TrainError`] names the file, or the class that is not among `labels`.
    pub fn read(
        data: &[DataArg],
        reads: Reads<'_>,
        labels: Option<&[String]>,
        hold_out: f64,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let mut samples = Vec::new();
        for arg in data {
            samples.extend(samples_of(arg, &reads.input)?);
        }
        let labels = match labels {
            Some(labels) => labels.to_vec(),
            None => {
                let found: BTreeSet<&String> = samples.iter().map(|(s, _)| &s.label).collect();
                found.into_iter().cloned().collect()
            }
        };
        let bar = progress("reading samples", samples.len());
        let read = |(id, (sample, repeat)): (usize, &(Sample, usize))| {
            let class = labels.iter().position(|l| *l == sample.label);
            let class = class.ok_or_else(|| {
                TrainError::Unfit(format!(
                    "{}: class {:?} is not one of the model's; give a new head with --new-head",
                    sample.id, sample.label
                ))
            })?;
            let signal = match &reads.tokenizer {
                Some((tokenizer, config)) => match data::tokens(sample, tokenizer, config)? {
                    ModelInput::Tokens(ids, segments) => Signal::Tokens(ids, segments),
                    ModelInput::Frames(frames) => Signal::Frames(frames),
                },
                None => signal_of(sample, reads.front_end.as_ref())?,
            };
            check_shape(sample, &signal, &reads.input)?;
            bar.inc(1);
            Ok((Example { signal, class, id }, *repeat))
        };
        let all: Result<Vec<_>, TrainError> = samples.par_iter().enumerate().map(read).collect();
        bar.finish_and_clear();
        let mut examples = Self {
            labels,
            train: Vec::new(),
            held_out: Vec::new(),
            n: samples.len(),
            fingerprint: fingerprint(&samples),
            front_end: reads.front_end,
        };
        let r = &mut Random::new(seed ^ 0x686f_6c64);
        for (example, repeat) in all? {
            if f64::from(r.below(1 << 20)) < hold_out * f64::from(1 << 20) {
                examples.held_out.push(example);
            } else {
                examples.train.extend(std::iter::repeat_n(example, repeat));
            }
        }
        if examples.train.is_empty() {
            let text = format!("{} samples are too few to hold out a share", examples.n);
            return Err(TrainError::Unfit(text));
        }
        Ok(examples)
    }

    /// Returns the features of a sample, augmented where `augment` is given.
    pub fn features(
        &self,
        example: &Example,
        augment: Option<(&Augment, &mut Random)>,
    ) -> Vec<f32> {
        match (&example.signal, &self.front_end) {
            (Signal::Sound(samples), Some(front_end)) => {
                let sound: Vec<f32> = samples.iter().map(|&x| f32::from(x) / 32768.0).collect();
                match augment {
                    Some((augment, r)) => {
                        let rate = front_end.config().sample_rate;
                        front_end.features(&augment.sound(&sound, rate, r))
                    }
                    None => front_end.features(&sound),
                }
            }
            (Signal::Frames(frames), _) => frames.clone(),
            // Sounds are only read where there is a front end; tokens are no features.
            (Signal::Sound(_), None) | (Signal::Tokens(..), _) => Vec::new(),
        }
    }

    /// Returns what a model reads of a sample, not augmented.
    pub fn input(&self, example: &Example) -> ModelInput {
        match &example.signal {
            Signal::Tokens(ids, segments) => ModelInput::Tokens(ids.clone(), segments.clone()),
            _ => ModelInput::Frames(self.features(example, None)),
        }
    }

    /// Returns mean and standard deviation of each feature over up to 2000 samples.
    pub fn statistics(&self, n_features: usize) -> Standard {
        let step = self.train.len().div_ceil(2000);
        let some: Vec<&Example> = self.train.iter().step_by(step).collect();
        let frames: Vec<Vec<f32>> = some.par_iter().map(|e| self.features(e, None)).collect();
        Standard::of(&frames, n_features)
    }
}

/// Mean and standard deviation of each feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Standard {
    /// `[n_features]`.
    pub mean: Vec<f32>,
    /// `[n_features]`, above 0.
    pub deviation: Vec<f32>,
}

impl Standard {
    /// Returns what leaves features as they are.
    pub fn identity(n_features: usize) -> Self {
        Self {
            mean: vec![0.0; n_features],
            deviation: vec![1.0; n_features],
        }
    }

    fn of(samples: &[Vec<f32>], n_features: usize) -> Self {
        let rows = || samples.iter().flat_map(|s| s.chunks_exact(n_features));
        let n = rows().count().max(1) as f64;
        let column = |c: usize| {
            let (sum, squares) = rows().fold((0.0, 0.0), |(s, q), row| {
                let x = f64::from(row[c]);
                (s + x, q + x * x)
            });
            let mean = sum / n;
            (
                mean as f32,
                libm::sqrt((squares / n - mean * mean).max(1e-10)) as f32,
            )
        };
        let (mean, deviation) = (0..n_features).map(column).unzip();
        Self { mean, deviation }
    }

    /// Standardises features in place.
    pub fn apply(&self, features: &mut [f32]) {
        let n = self.mean.len();
        for row in features.chunks_exact_mut(n) {
            for ((x, mean), deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *x = (*x - mean) / deviation;
            }
        }
    }
}

fn samples_of(arg: &DataArg, input: &InputKind) -> Result<Vec<(Sample, usize)>, TrainError> {
    let mut data = Dataset::open(&arg.path)?;
    let known = |class: &String| data.samples.iter().any(|s| s.label == *class);
    if let Some(class) = arg.only.iter().chain(&arg.exclude).find(|c| !known(c)) {
        let path = arg.path.display();
        return Err(TrainError::Unfit(format!(
            "{path}: there is no class {class:?} to take or to leave out"
        )));
    }
    let taken = |class: &String| arg.only.is_empty() || arg.only.contains(class);
    data.samples
        .retain(|s| taken(&s.label) && !arg.exclude.contains(&s.label));
    let mut data = data.cut(input)?;
    for sample in &mut data.samples {
        sample.label = arg.name(&sample.label);
    }
    Ok(data.samples.into_iter().map(|s| (s, arg.repeat)).collect())
}

fn signal_of(sample: &Sample, front_end: Option<&FrontEnd>) -> Result<Signal, TrainError> {
    let sound = |samples: &[f32]| {
        let to_i16 = |x: &f32| (x * 32768.0).clamp(-32768.0, 32767.0) as i16;
        Signal::Sound(samples.iter().map(to_i16).collect())
    };
    let need = || {
        front_end.ok_or_else(|| {
            TrainError::Unfit(format!(
                "{}: it is sound, and the configuration has no [frontend]",
                sample.id
            ))
        })
    };
    match &sample.source {
        Source::Wav(path) => {
            let config = need()?.config();
            let samples = read_wav(path, config.sample_rate)
                .map_err(tailtune_tools::data::DataError::from)?;
            Ok(sound(&centre(&samples, config.clip_len)))
        }
        Source::Zeros => Ok(sound(&vec![0.0; need()?.config().clip_len])),
        Source::Features(features) => Ok(Signal::Frames(features.clone())),
        Source::Text(..) => Err(TrainError::Unfit(format!(
            "{}: it is text: pretrain on text files with task = \"masked_lm\", then finetune on a .csv of text,label",
            sample.id
        ))),
        Source::Image(path) => Err(TrainError::Unfit(format!(
            "{}: it is an image, and the model does not read images: give image = {{ height, width, channels, patch }} in [model]",
            path.display()
        ))),
    }
}

/// All inputs of a batch have one length: the longest that the model reads.
fn check_shape(sample: &Sample, signal: &Signal, input: &InputKind) -> Result<(), TrainError> {
    let expected = input.frames().map_or(0, |(n, features)| n * features);
    match signal {
        Signal::Frames(frames) if frames.len() != expected => {
            let (found, shape) = (frames.len(), input.frames().unwrap_or((0, 0)));
            Err(TrainError::Unfit(format!(
                "{}: {found} numbers, expected {} frames of {} features",
                sample.id, shape.0, shape.1
            )))
        }
        _ => Ok(()),
    }
}

fn fingerprint(samples: &[(Sample, usize)]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for (sample, repeat) in samples {
        let name = Path::new(&sample.id).file_name().unwrap_or_default();
        hash.update(format!("{}\0{}\0{repeat}\n", name.display(), sample.label));
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_arguments_say_what_they_mean() {
        let arg: DataArg = "a/b,language=ar,repeat=3,exclude=zero,exclude=zoom in"
            .parse()
            .unwrap();
        assert_eq!(arg.path, Path::new("a/b"));
        assert_eq!((arg.language.as_deref(), arg.repeat), (Some("ar"), 3));
        assert_eq!(arg.exclude, ["zero", "zoom in"]);
        assert!(
            "a,repeat=0"
                .parse::<DataArg>()
                .unwrap_err()
                .contains("repeat=N")
        );
        assert!(
            "a,colour=red"
                .parse::<DataArg>()
                .unwrap_err()
                .contains("colour")
        );
    }

    #[test]
    fn standardised_features_have_mean_0_and_deviation_1() {
        let mut sample = vec![1.0, 10.0, 3.0, 30.0];
        let standard = Standard::of(&[sample.clone()], 2);
        standard.apply(&mut sample);
        assert!(
            sample
                .iter()
                .zip([-1.0, -1.0, 1.0, 1.0])
                .all(|(a, b)| (a - b).abs() < 1e-5)
        );
    }
}
