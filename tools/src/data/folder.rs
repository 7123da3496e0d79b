//! A folder with one sub-folder a class; class names are any UTF-8.

use super::{DataError, Sample, Source, id_of, window};
use std::path::{Path, PathBuf};

/// Returns the samples, sorted by class and file name. Hidden files and files of other kinds are
/// passed over.
pub(super) fn read(path: &Path) -> Result<Vec<Sample>, DataError> {
    let mut samples = Vec::new();
    for class in entries(path)?.into_iter().filter(|p| p.is_dir()) {
        let Some(label) = class
            .file_name()
            .and_then(|n| n.to_str())
            .map(str::to_owned)
        else {
            let reason = "the name of this class folder is not UTF-8; rename it".to_owned();
            return Err(DataError::Manifest {
                path: class,
                line: 0,
                reason,
            });
        };
        for file in entries(&class)?.into_iter().filter(|p| p.is_file()) {
            let Some(source) = source(&file)? else {
                continue;
            };
            samples.push(Sample {
                id: id_of(&file),
                label: label.clone(),
                speaker: None,
                source,
            });
        }
    }
    if samples.is_empty() {
        let hint = "expected one sub-folder a class, each with .wav, .png, .pgm or .csv files";
        return Err(DataError::Empty {
            path: path.into(),
            hint,
        });
    }
    Ok(samples)
}

/// Returns the samples that lie in the folder itself, or the one that a file is, all of one class; none where
/// there are none.
pub(super) fn flat(path: &Path, label: &str) -> Result<Vec<Sample>, DataError> {
    let files = match path.is_dir() {
        true => entries(path)?,
        false => vec![path.to_owned()],
    };
    let mut samples = Vec::new();
    for file in files.into_iter().filter(|p| p.is_file()) {
        // Its own form of data, of many samples.
        let manifest = !path.is_dir() && file.extension().is_some_and(|e| e == "csv");
        if manifest {
            continue;
        }
        let Some(source) = source(&file)? else {
            continue;
        };
        samples.push(Sample {
            id: id_of(&file),
            label: label.to_owned(),
            speaker: None,
            source,
        });
    }
    Ok(samples)
}

/// Returns what a file holds by its extension; none for files of other kinds.
pub(super) fn source(path: &Path) -> Result<Option<Source>, DataError> {
    let extension = path.extension().and_then(|e| e.to_str());
    let extension = extension.map(str::to_ascii_lowercase);
    Ok(match extension.as_deref() {
        Some("wav") => Some(Source::Wav(path.into())),
        Some("png" | "pgm" | "ppm") => Some(Source::Image(path.into())),
        Some("csv") => Some(Source::Features(window::read(path)?)),
        _ => None,
    })
}

/// Returns what a folder holds, sorted; hidden files are passed over.
pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io {
        path: path.into(),
        source,
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}
