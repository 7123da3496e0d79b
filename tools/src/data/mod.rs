//! Labelled data, wherever the commands take it: a folder with one sub-folder a class of WAV files,
//! of images or of sensor windows, a CSV manifest, or a safetensors file of features.

mod folder;
mod manifest;
mod picture;
mod safetensors;
mod spoken;
mod window;

use crate::audio::{FrontEnd, WavError, centre, read_wav};
use crate::cmd::terminal::progress;
use crate::reference::ModelInput;
use crate::synthetic::Random;
use crate::text::{TextError, tokenizer};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tailtune::image::{InputKind, ModelConfig};
use tokenizers::Tokenizer;

/// Returns at most `most` of the items, evenly spread over them.
pub fn spread<T>(items: &[T], most: usize) -> impl Iterator<Item = &T> {
    items.iter().step_by(items.len().div_ceil(most).max(1))
}

/// Why data could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The path is none of the three forms.
    #[error("{}: not data; give a folder with one sub-folder a class of .wav, .png, .pgm or .csv files, a .csv manifest with columns path,label,speaker or text,label, or a .safetensors file with features and labels", .0.display())]
    Form(PathBuf),
    /// There is nothing in it.
    #[error("{}: no samples; {hint}", path.display())]
    Empty {
        /// The data.
        path: PathBuf,
        /// What was looked for.
        hint: &'static str,
    },
    /// A line of a manifest is wrong.
    #[error("{}: line {line}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A clip of which nobody knows who spoke.
    #[error("{}: {id} names no speaker; {hint}", path.display())]
    NoSpeaker {
        /// The folder or manifest.
        path: PathBuf,
        /// The clip.
        id: String,
        /// What was looked for.
        hint: &'static str,
    },
    /// A safetensors file does not hold features and labels.
    #[error("{}: {reason}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A sound cannot be read.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// Sound, but no front end to make features of it.
    #[error(
        "{id}: it is sound, and the model names no front end; give features (.safetensors) instead"
    )]
    NoFrontEnd {
        /// The sample.
        id: String,
    },
    /// Text for a model of something else.
    #[error("{id}: it is text, and the model reads no tokens")]
    NoText {
        /// The sample.
        id: String,
    },
    /// Something else for a model of text.
    #[error("{id}: it is no text, and the model reads tokens; give a .csv of text,label")]
    OnlyText {
        /// The sample.
        id: String,
    },
    /// A text cannot be cut into pieces.
    #[error("{id}: {source}")]
    Text {
        /// The sample.
        id: String,
        /// Why.
        source: TextError,
    },
    /// An image cannot be used.
    #[error("{}: {reason}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A feature is NaN or infinite.
    #[error("{id}: feature {index} is not a finite number")]
    NotFinite {
        /// The sample.
        id: String,
        /// The feature.
        index: usize,
    },
    /// A sample has features of another shape than the model reads.
    #[error(
        "{id}: {found} numbers, expected 1 to {n_frames} frames of {n_features} features; give features as the model's own front end makes them"
    )]
    Shape {
        /// The sample.
        id: String,
        /// How many numbers it has.
        found: usize,
        /// The most frames that the model reads.
        n_frames: u16,
        /// Features of one frame.
        n_features: u16,
    },
    /// No sample of a speaker.
    #[error("no sample of speaker {wanted:?}; speakers here: {known}")]
    Speaker {
        /// Who was asked for.
        wanted: String,
        /// Who is there.
        known: String,
    },
    /// A class has too few samples for the shots asked for.
    #[error("class {label:?} has {found} samples, {wanted} shots were asked for")]
    TooFew {
        /// The class.
        label: String,
        /// Its samples.
        found: usize,
        /// The shots.
        wanted: usize,
    },
}

/// Where a sample's features come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A WAV file.
    Wav(PathBuf),
    /// One clip of zeros.
    Zeros,
    /// An image file, to be cut into patches.
    Image(PathBuf),
    /// The features themselves.
    Features(Vec<f32>),
    /// A text, and one beside it where the task is about two.
    Text(String, Option<String>),
}

/// A labelled sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its file, or its place in its file: equal for the same sample in two datasets.
    pub id: String,
    /// Its class.
    pub label: String,
    /// Who spoke, where a manifest says so.
    pub speaker: Option<String>,
    /// Its features, or what they are made of.
    pub source: Source,
}

/// Labelled samples in a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The samples.
    pub samples: Vec<Sample>,
    /// Whether labels are class numbers, because the data names no classes.
    pub numbered: bool,
}

impl Dataset {
    /// Opens a folder, a manifest or a safetensors file. Sounds are not read yet.
    ///
    /// # Errors
    /// [`DataError`] names the file and what would do.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(|source| DataError::Io {
            path: path.into(),
            source,
        })?;
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_ascii_lowercase);
        let (samples, numbered) = match extension.as_deref() {
            _ if metadata.is_dir() => (folder::read(path)?, false),
            Some("csv") => (manifest::read(path)?, false),
            Some("safetensors") => safetensors::read(path)?,
            _ => return Err(DataError::Form(path.into())),
        };
        Ok(Self { samples, numbered })
    }

    /// Opens samples that are all of one class: a folder of files, one file, or any other form of data, whose own
    /// labels are passed over.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(path: &Path, label: &str) -> Result<Self, DataError> {
        let mut samples = folder::flat(path, label)?;
        if samples.is_empty() {
            samples = Self::open(path)?.samples;
            samples.iter_mut().for_each(|s| s.label = label.to_owned());
        }
        Ok(Self {
            samples,
            numbered: false,
        })
    }

    /// Opens data whose labels nobody reads: as [`open`](Self::open), or a .txt file of one text a line.
    ///
    /// # Errors
    /// [`DataError`] names the file and what would do.
    pub fn open_texts(path: &Path) -> Result<Self, DataError> {
        if path.extension().is_none_or(|e| e != "txt") {
            return Self::open(path);
        }
        let text = std::fs::read_to_string(path).map_err(|source| DataError::Io {
            path: path.into(),
            source,
        })?;
        let lines = text.lines().map(str::trim).enumerate();
        let sample = |(index, line): (usize, &str)| Sample {
            id: format!("{}: line {}", id_of(path), index + 1),
            label: String::new(),
            speaker: None,
            source: Source::Text(line.to_owned(), None),
        };
        let lines = lines.filter(|(_, line)| !line.is_empty());
        let samples: Vec<Sample> = lines.map(sample).collect();
        if samples.is_empty() {
            let (path, hint) = (path.into(), "expected one text a line");
            return Err(DataError::Empty { path, hint });
        }
        Ok(Self {
            samples,
            numbered: false,
        })
    }

    /// Replaces class numbers by the model's `names`. A number beyond them stays: it is a class that
    /// the model does not know.
    pub fn name_classes(&mut self, names: &[String]) {
        if !std::mem::take(&mut self.numbered) {
            return;
        }
        for sample in &mut self.samples {
            let number = sample.label.parse::<usize>().ok();
            if let Some(name) = number.and_then(|n| names.get(n)) {
                sample.label.clone_from(name);
            }
        }
    }

    /// Returns the samples at these places.
    pub fn subset(&self, places: &[usize]) -> Self {
        let samples = places.iter().filter_map(|&i| self.samples.get(i).cloned());
        Self {
            samples: samples.collect(),
            numbered: self.numbered,
        }
    }

    /// Replaces the sound of every sample labelled `_silence_` by zeros.
    pub fn silence_zeros(&mut self) {
        for sample in self.samples.iter_mut().filter(|s| s.label == "_silence_") {
            sample.source = Source::Zeros;
        }
    }

    /// Returns the data with its images cut into the patches that a model reads, bytes as 0 to 1;
    /// for a model of something else, as it is.
    ///
    /// # Errors
    /// [`DataError::Image`] names the file that cannot be read or has another size.
    pub fn cut(&self, input: &InputKind) -> Result<Self, DataError> {
        let mut data = self.clone();
        let InputKind::Patches { .. } = input else {
            return Ok(data);
        };
        for sample in &mut data.samples {
            if let Source::Image(path) = &sample.source {
                sample.source = Source::Features(picture::patches(path, input)?);
            }
        }
        Ok(data)
    }

    /// Keeps the samples of one speaker.
    ///
    /// # Errors
    /// [`DataError::Speaker`] names the speakers that are there.
    pub fn only_speaker(mut self, speaker: &str) -> Result<Self, DataError> {
        let mut known: Vec<&str> = self
            .samples
            .iter()
            .filter_map(|s| s.speaker.as_deref())
            .collect();
        if !known.contains(&speaker) {
            known.sort_unstable();
            known.dedup();
            let known = if known.is_empty() {
                "none is named".into()
            } else {
                known.join(", ")
            };
            return Err(DataError::Speaker {
                wanted: speaker.into(),
                known,
            });
        }
        self.samples
            .retain(|s| s.speaker.as_deref() == Some(speaker));
        Ok(self)
    }

    /// Draws `shots` samples of each class, by the seed; returns their places in ascending order.
    ///
    /// # Errors
    /// [`DataError::TooFew`] names the class.
    pub fn pick_shots(&self, shots: usize, seed: u64) -> Result<Vec<usize>, DataError> {
        let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, sample) in self.samples.iter().enumerate() {
            classes.entry(&sample.label).or_default().push(i);
        }
        let random = &mut Random::new(seed);
        let mut picked = Vec::new();
        for (label, mut places) in classes {
            if places.len() < shots {
                let (label, found) = (label.to_owned(), places.len());
                return Err(DataError::TooFew {
                    label,
                    found,
                    wanted: shots,
                });
            }
            random.draw(&mut places, shots);
            picked.extend_from_slice(&places[..shots]);
        }
        picked.sort_unstable();
        Ok(picked)
    }

    /// Returns each sample's features, in the order of the samples, on all cores.
    ///
    /// # Errors
    /// The first sample that cannot be read, is not finite, or is sound where there is no front end.
    pub fn features(&self, front_end: Option<&FrontEnd>) -> Result<Vec<Vec<f32>>, DataError> {
        let bar = progress("features, clips", self.samples.len());
        let one = |sample: &Sample| {
            let features = sample.features(front_end)?;
            bar.inc(1);
            match features.iter().position(|x| !x.is_finite()) {
                Some(index) => Err(DataError::NotFinite {
                    id: sample.id.clone(),
                    index,
                }),
                None => Ok(features),
            }
        };
        let features = self.samples.par_iter().map(one).collect();
        bar.finish_and_clear();
        features
    }
}

impl Dataset {
    /// Returns each clip's features with white noise in it, `db` decibels below its power; the noise is drawn
    /// by the clip's place.
    ///
    /// # Errors
    /// The first sample that is no sound or cannot be read.
    pub fn in_noise(&self, front_end: &FrontEnd, db: f64) -> Result<Vec<Vec<f32>>, DataError> {
        let bar = progress("features in noise, clips", self.samples.len());
        let config = front_end.config();
        let one = |(index, sample): (usize, &Sample)| {
            let Source::Wav(path) = &sample.source else {
                return sample.features(Some(front_end));
            };
            let samples = read_wav(path, config.sample_rate)?;
            let mut clip = centre(&samples, config.clip_len);
            let power: f64 = clip.iter().map(|&x| f64::from(x).powi(2)).sum();
            let power = power / clip.len().max(1) as f64;
            let size = libm::sqrt(power * libm::pow(10.0, -db / 10.0)) as f32;
            let random = &mut Random::new(index as u64 + 1);
            // `normal` has a standard deviation of 1.
            clip.iter_mut().for_each(|x| *x += size * random.normal());
            bar.inc(1);
            Ok(front_end.features(&clip))
        };
        let features = self.samples.par_iter().enumerate().map(one).collect();
        bar.finish_and_clear();
        features
    }
}

impl Sample {
    fn features(&self, front_end: Option<&FrontEnd>) -> Result<Vec<f32>, DataError> {
        let front_end = || {
            front_end.ok_or_else(|| DataError::NoFrontEnd {
                id: self.id.clone(),
            })
        };
        match &self.source {
            Source::Features(features) => Ok(features.clone()),
            Source::Zeros => Ok(front_end()?.silence()),
            Source::Image(path) => Err(DataError::Image {
                path: path.clone(),
                reason: "it is an image, and the model does not read images".into(),
            }),
            Source::Text(..) => Err(DataError::NoText {
                id: self.id.clone(),
            }),
            Source::Wav(path) => {
                let front_end = front_end()?;
                let config = front_end.config();
                let samples = read_wav(path, config.sample_rate)?;
                Ok(front_end.features(&centre(&samples, config.clip_len)))
            }
        }
    }
}

/// Returns the tokens of a text sample as a model of text reads them.
///
/// # Errors
/// [`DataError`] names the sample that is no text or that the tokenizer refuses.
pub fn tokens(
    sample: &Sample,
    tokenizer: &Tokenizer,
    config: &ModelConfig,
) -> Result<ModelInput, DataError> {
    let Source::Text(a, b) = &sample.source else {
        let id = sample.id.clone();
        return Err(DataError::OnlyText { id });
    };
    tokenizer::encode(tokenizer, a, b.as_deref(), config).map_err(|source| DataError::Text {
        id: sample.id.clone(),
        source,
    })
}

/// Returns a name for a file that is the same however the data that holds it was given.
fn id_of(path: &Path) -> String {
    std::fs::canonicalize(path)
        .unwrap_or_else(|_| path.into())
        .display()
        .to_string()
}

#[cfg(test)]
mod tests;
