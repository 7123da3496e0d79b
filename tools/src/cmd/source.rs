//! Data as the commands take it: a folder, a manifest or a safetensors file, with a front end where
//! it is audio.

use super::CommandError;
use super::model_args::Taken;
use crate::audio::FrontEnd;
use crate::data::{self, DataError, Dataset};
use crate::float_model::FloatModel;
use crate::reference::ModelInput;
use crate::text::tokenizer;
use std::path::Path;
use tailtune::image::{Image, InputKind, ModelConfig};
use tokenizers::Tokenizer;

/// What `--silence` says of clips labelled `_silence_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Silence {
    /// The clips as they are.
    Clips,
    /// All-zero audio, as the published accuracy of Speech Commands models counts it.
    Zeros,
}

/// Opens a dataset.
pub fn open(path: &Path, speaker: Option<&str>, silence: Silence) -> Result<Dataset, CommandError> {
    let mut data = Dataset::open(path)?;
    if let Some(speaker) = speaker {
        data = data.only_speaker(speaker)?;
    }
    if silence == Silence::Zeros {
        data.silence_zeros();
    }
    Ok(data)
}

/// Opens data to calibrate on or to compare features on: its labels do not matter, so that a .txt file of
/// one text a line serves too.
pub fn open_unlabelled(path: &Path) -> Result<Dataset, CommandError> {
    Ok(Dataset::open_texts(path)?)
}

/// What makes a model's inputs of samples.
pub struct Reader {
    config: ModelConfig,
    front_end: Option<FrontEnd>,
    tokenizer: Option<Tokenizer>,
}

impl Reader {
    /// Returns the reader of the model in `dir`, with its front end or its tokenizer.
    pub fn of_model(dir: &Path, model: &FloatModel) -> Result<Self, CommandError> {
        Self::new(
            model.config,
            model.front_end.as_ref().map(FrontEnd::new).transpose()?,
            Some(dir),
        )
    }

    /// Returns the reader of what was taken of the model in `dir`: with its pruned tokenizer, if it has one.
    pub fn of_taken(dir: &Path, taken: &Taken) -> Result<Self, CommandError> {
        let Some(pruned) = &taken.pruned else {
            return Self::of_model(dir, &taken.model);
        };
        Ok(Self {
            config: taken.model.config,
            front_end: None,
            tokenizer: Some(tokenizer::parse(&pruned.json)?),
        })
    }

    /// Returns the reader of an image; that of a text model needs the directory of its tokenizer.
    pub fn of_image(image: &Image<'_>, tokenizer: Option<&Path>) -> Result<Self, CommandError> {
        Self::new(*image.config(), FrontEnd::of(image), tokenizer)
    }

    fn new(
        config: ModelConfig,
        front_end: Option<FrontEnd>,
        tokenizer: Option<&Path>,
    ) -> Result<Self, CommandError> {
        let tokenizer = match (config.input, tokenizer) {
            (InputKind::Tokens { .. }, Some(dir)) => Some(tokenizer::read(dir)?),
            (InputKind::Tokens { .. }, None) => {
                let hint = "give the directory of its tokenizer.json with --tokenizer";
                return Err(format!("the image reads tokens: {hint}").into());
            }
            _ => None,
        };
        Ok(Self {
            config,
            front_end,
            tokenizer,
        })
    }

    /// Returns an input for each sample, all of a shape that the model reads.
    pub fn read(&self, data: &Dataset) -> Result<Vec<ModelInput>, CommandError> {
        if let Some(tokenizer) = &self.tokenizer {
            let read = |sample| Ok(data::tokens(sample, tokenizer, &self.config)?);
            return data.samples.iter().map(read).collect();
        }
        let clips = features(data, self.front_end.as_ref(), &self.config)?;
        Ok(ModelInput::frames(clips))
    }

    /// As [`Self::read`] of sound, with white noise `db` decibels below each clip's power: the same noise on
    /// every call.
    pub fn read_in_noise(&self, data: &Dataset, db: f64) -> Result<Vec<ModelInput>, CommandError> {
        let front_end = self.front_end.as_ref();
        let front_end = front_end.ok_or("noise is added to sound, and the model hears none")?;
        let clips = data.in_noise(front_end, db)?;
        Ok(ModelInput::frames(clips))
    }

    /// As [`Self::read`], with silence where the model hears sound: what a microphone hears most,
    /// calibration must have seen.
    pub fn read_to_calibrate(&self, data: &Dataset) -> Result<Vec<ModelInput>, CommandError> {
        let mut inputs = self.read(data)?;
        let silence = self.front_end.as_ref().map(FrontEnd::silence);
        inputs.extend(silence.map(ModelInput::Frames));
        Ok(inputs)
    }
}

/// Returns each sample's features, all of a shape that the model reads.
fn features(
    data: &Dataset,
    front_end: Option<&FrontEnd>,
    config: &ModelConfig,
) -> Result<Vec<Vec<f32>>, CommandError> {
    let (rows, columns) = config.input.frames().unwrap_or((0, 1));
    let (n_frames, n_features) = (config.max_input_len() as u16, columns as u16);
    let clips = data.cut(&config.input)?.features(front_end)?;
    for (sample, clip) in data.samples.iter().zip(&clips) {
        let found = clip.len();
        if found == 0 || !found.is_multiple_of(columns) || found / columns > rows {
            let id = sample.id.clone();
            let shape = DataError::Shape {
                id,
                found,
                n_frames,
                n_features,
            };
            return Err(shape.into());
        }
    }
    Ok(clips)
}

/// Returns each sample's class, none for one that the model does not know.
pub fn classes(data: &Dataset, labels: &[String]) -> Vec<Option<usize>> {
    let class = |label: &String| labels.iter().position(|l| l == label);
    data.samples.iter().map(|s| class(&s.label)).collect()
}
