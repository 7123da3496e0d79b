//! Clips that name their speakers: by a manifest, or by their files' names.

use super::folder::entries;
use super::{DataError, Dataset, Sample, Source, id_of};
use std::path::{Path, PathBuf};

const HINT: &str =
    "expected DIGIT_SPEAKER_TAKE.wav, WORD/SPEAKER_TAKE.wav, or a manifest path,label,speaker";

impl Dataset {
    /// Opens a folder of `WORD_SPEAKER_….wav` (as the Free Spoken Digit Dataset), one of
    /// `WORD/SPEAKER_….wav`, or a manifest with speakers.
    ///
    /// # Errors
    /// [`DataError`] names the file and what would do.
    pub fn open_spoken(path: &Path) -> Result<Self, DataError> {
        let data = if path.is_dir() {
            Self {
                samples: read(path)?,
                numbered: false,
            }
        } else {
            Self::open(path)?
        };
        match data.samples.iter().find(|s| s.speaker.is_none()) {
            Some(sample) => Err(DataError::NoSpeaker {
                path: path.into(),
                id: sample.id.clone(),
                hint: HINT,
            }),
            None => Ok(data),
        }
    }
}

fn read(path: &Path) -> Result<Vec<Sample>, DataError> {
    let mut samples = Vec::new();
    for entry in entries(path)? {
        let (word, clips) = match entry.is_dir() {
            true => (Some(name(&entry)), entries(&entry)?),
            false => (None, vec![entry]),
        };
        let is_wav = |clip: &&PathBuf| {
            let extension = clip.extension();
            extension.is_some_and(|e| e.eq_ignore_ascii_case("wav"))
        };
        for clip in clips.iter().filter(is_wav) {
            let file = name(clip);
            let mut parts = file.split('_').map(str::to_owned);
            let label = word.clone().or_else(|| parts.next());
            samples.push(Sample {
                id: id_of(clip),
                label: label.unwrap_or_default(),
                speaker: parts.next(),
                source: Source::Wav(clip.clone()),
            });
        }
    }
    if samples.is_empty() {
        return Err(DataError::Empty {
            path: path.into(),
            hint: HINT,
        });
    }
    Ok(samples)
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
