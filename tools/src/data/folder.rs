//! A folder with one sub-folder a class; class names are any UTF-8.

use super::{DataError, Sample, Source, id_of};
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
        for file in entries(&class)?.into_iter().filter(|p| is_wav(p)) {
            samples.push(Sample {
                id: id_of(&file),
                label: label.clone(),
                speaker: None,
                source: Source::Wav(file),
            });
        }
    }
    if samples.is_empty() {
        let hint = "expected one sub-folder a class, each with .wav files";
        return Err(DataError::Empty {
            path: path.into(),
            hint,
        });
    }
    Ok(samples)
}

fn is_wav(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("wav"))
        && path.is_file()
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, DataError> {
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
