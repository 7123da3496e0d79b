//! A safetensors file with `features` (f32, `[n, …]`) and `labels` (i32, i64 or u8, `[n]`). The
//! metadata key `labels`, a JSON list of strings, names the classes; without it labels are the
//! numbers of the model's classes.

use super::{DataError, Sample, Source, id_of};
use ::safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::Path;

/// Returns the samples in the order of the rows, and whether their labels are only numbers.
pub(super) fn read(path: &Path) -> Result<(Vec<Sample>, bool), DataError> {
    let bad = |reason: String| DataError::Tensors {
        path: path.into(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| bad(format!("not a safetensors file: {e}")))?;
    let tensor = |name: &str| {
        let view = file.tensor(name);
        view.map_err(|_| {
            bad(format!(
                "tensor {name:?} is missing, features and labels are expected"
            ))
        })
    };
    let (features, labels) = (tensor("features")?, tensor("labels")?);
    if features.dtype() != Dtype::F32 || features.shape().len() < 2 {
        let (dtype, shape) = (features.dtype(), features.shape());
        return Err(bad(format!(
            "features are {dtype:?} {shape:?}, expected F32 [n, …]"
        )));
    }
    let n = features.shape()[0];
    if labels.shape() != [n] {
        return Err(bad(format!(
            "labels have shape {:?}, expected [{n}] as features have",
            labels.shape()
        )));
    }
    let numbers = integers(&labels).ok_or_else(|| {
        bad(format!(
            "labels are {:?}, expected I32, I64 or U8",
            labels.dtype()
        ))
    })?;
    let names = class_names(&bytes).map_err(&bad)?;
    let row = features.data().len() / n.max(1);
    if n == 0 || row == 0 {
        let hint = "its tensors are empty";
        return Err(DataError::Empty {
            path: path.into(),
            hint,
        });
    }
    let id = id_of(path);
    let sample = |(i, (data, number)): (usize, (&[u8], i64))| {
        let label = match &names {
            None if number < 0 => {
                return Err(bad(format!(
                    "label {number} of row {i} is out of range: class numbers start from 0"
                )));
            }
            None => number.to_string(),
            Some(names) => {
                let name = usize::try_from(number).ok().and_then(|i| names.get(i));
                let range = || {
                    bad(format!(
                        "label {number} of row {i} is out of range: {} classes are named",
                        names.len()
                    ))
                };
                name.ok_or_else(range)?.clone()
            }
        };
        let values = data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(Sample {
            id: format!("{id}#{i}"),
            label,
            speaker: None,
            source: Source::Features(values.collect()),
        })
    };
    let rows = features.data().chunks_exact(row).zip(numbers).enumerate();
    let samples: Result<Vec<Sample>, DataError> = rows.map(sample).collect();
    Ok((samples?, names.is_none()))
}

fn integers(view: &TensorView<'_>) -> Option<Vec<i64>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::U8 => data.iter().map(|&b| b.into()).collect(),
        Dtype::I32 => data
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]).into())
            .collect(),
        Dtype::I64 => data
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            .collect(),
        _ => return None,
    })
}

fn class_names(bytes: &[u8]) -> Result<Option<Vec<String>>, String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let Some(text) = metadata.metadata().as_ref().and_then(|m| m.get("labels")) else {
        return Ok(None);
    };
    let names = serde_json::from_str(text);
    names
        .map(Some)
        .map_err(|e| format!("metadata key labels is no JSON list of strings: {e}"))
}
