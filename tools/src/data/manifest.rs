//! A CSV manifest: a header line, then `path,label` and optionally `speaker`. Relative paths start
//! from the manifest's folder. `file` and `class` are accepted for `path` and `label`. A manifest of texts
//! has the columns `text,label` and, for tasks about two texts, `text_pair`.

use super::{DataError, Sample, Source, folder, id_of};
use std::path::Path;

/// Returns the samples in the order of the lines.
pub(super) fn read(path: &Path) -> Result<Vec<Sample>, DataError> {
    let bad = |line: u64, reason: String| DataError::Manifest {
        path: path.into(),
        line,
        reason,
    };
    let text = std::fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(&*text);
    let header = reader.headers().map_err(|e| bad(1, e.to_string()))?.clone();
    let column = |names: &[&str]| {
        header
            .iter()
            .position(|h| names.contains(&h.to_lowercase().as_str()))
    };
    let found = || header.iter().collect::<Vec<_>>().join(",");
    let file = column(&["path", "file"]);
    let label = column(&["label", "class"]);
    let text_of = column(&["text", "sentence"]);
    let pair = column(&["text_pair", "sentence2"]);
    let (Some(main), Some(label)) = (file.or(text_of), label) else {
        return Err(bad(
            1,
            format!(
                "the header is {:?}, expected path,label,speaker or text,label,text_pair",
                found()
            ),
        ));
    };
    let speaker = column(&["speaker"]);
    let base = path.parent().unwrap_or(Path::new("."));
    let mut samples = Vec::new();
    for record in reader.records() {
        let record =
            record.map_err(|e| bad(e.position().map_or(0, csv::Position::line), e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |i: usize| record.get(i).filter(|f| !f.is_empty());
        let name = field(main).ok_or_else(|| {
            let what = if file.is_some() { "path" } else { "text" };
            bad(line, format!("the {what} is empty"))
        })?;
        let label = field(label).ok_or_else(|| bad(line, "the label is empty".into()))?;
        let speaker = speaker.and_then(field).map(str::to_owned);
        if file.is_none() {
            samples.push(Sample {
                id: format!("{}: line {line}", id_of(path)),
                label: label.to_owned(),
                speaker,
                source: Source::Text(name.to_owned(), pair.and_then(field).map(str::to_owned)),
            });
            continue;
        }
        let wav = base.join(name);
        if !wav.is_file() {
            return Err(bad(
                line,
                format!(
                    "{} does not exist: correct the path or take the line out",
                    wav.display()
                ),
            ));
        }
        samples.push(Sample {
            id: id_of(&wav),
            label: label.to_owned(),
            speaker,
            source: folder::source(&wav)?.unwrap_or(Source::Wav(wav)),
        });
    }
    if samples.is_empty() {
        let hint = "expected lines path,label,speaker or text,label after the header";
        return Err(DataError::Empty {
            path: path.into(),
            hint,
        });
    }
    Ok(samples)
}
