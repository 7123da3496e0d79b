//! Data as the commands take it: a folder, a manifest or a safetensors file, with a front end where
//! it is audio.

use super::CommandError;
use crate::audio::FrontEnd;
use crate::data::{DataError, Dataset};
use std::path::Path;
use tailtune::image::ModelConfig;

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

/// Returns each sample's features, all of a shape that the model reads.
pub fn features(
    data: &Dataset,
    front_end: Option<&FrontEnd>,
    config: &ModelConfig,
) -> Result<Vec<Vec<f32>>, CommandError> {
    let Some((rows, columns)) = config.input.frames() else {
        return Err("the model reads token ids; this command reads frames so far".into());
    };
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
