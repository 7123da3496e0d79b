//! Data as the commands take it: a folder, a manifest or a safetensors file, with a front end where
//! it is audio.

use super::CommandError;
use crate::audio::FrontEnd;
use crate::data::Dataset;
use std::path::Path;

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

/// Returns the front end that an image's provenance names, if any.
pub fn front_end_of(provenance: &str) -> Result<Option<FrontEnd>, CommandError> {
    let line = provenance.lines().find_map(|l| l.strip_prefix("frontend="));
    line.map(|text| Ok(FrontEnd::new(&serde_json::from_str(text)?)))
        .transpose()
}

/// Returns each sample's class, none for one that the model does not know.
pub fn classes(data: &Dataset, labels: &[String]) -> Vec<Option<usize>> {
    let class = |label: &String| labels.iter().position(|l| l == label);
    data.samples.iter().map(|s| class(&s.label)).collect()
}
