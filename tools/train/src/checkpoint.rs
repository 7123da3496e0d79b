//! Everything a run needs to go on after a kill: parameters, moments, step and curve, in one
//! safetensors file that is written whole and then renamed.

use crate::curve::Curve;
use crate::error::TrainError;
use crate::optimizer::Moments;
use crate::params::Params;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tailtune_tools::export::{Tensor, write_whole};

/// The name of the file in the output directory.
pub const FILE: &str = "checkpoint.safetensors";

/// A run as it stood after `step` steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// Seconds spent on them.
    pub seconds: f64,
    /// What decides that a checkpoint belongs to a run: its configuration and its data.
    pub run: String,
    /// The parameters' values by name.
    pub values: BTreeMap<String, Vec<f32>>,
    /// The optimizer's moments by name.
    pub moments: BTreeMap<String, Moments>,
    /// The training curve so far.
    pub curve: Curve,
}

impl Checkpoint {
    /// Writes the file.
    ///
    /// # Errors
    /// [`TrainError::Export`] names it; an older one is as it was.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let mut tensors = Vec::new();
        for (name, values) in &self.values {
            tensors.push(Tensor::new(
                format!("value.{name}"),
                &[values.len()],
                values,
            ));
        }
        for (name, m) in &self.moments {
            let shape = [m.first.len()];
            tensors.push(Tensor::new(format!("first.{name}"), &shape, &m.first));
            tensors.push(Tensor::new(format!("second.{name}"), &shape, &m.second));
        }
        let times: BTreeMap<&String, usize> =
            self.moments.iter().map(|(n, m)| (n, m.time)).collect();
        let metadata = HashMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("seconds".to_owned(), self.seconds.to_string()),
            ("run".to_owned(), self.run.clone()),
            (
                "times".to_owned(),
                serde_json::to_string(&times).unwrap_or_default(),
            ),
            ("curve".to_owned(), self.curve.csv()),
        ]);
        let views = tensors.iter().map(|t| (t.name.as_str(), t));
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|e| TrainError::checkpoint(path, &e))?;
        Ok(write_whole(path, &bytes)?)
    }

    /// Reads the file; none if there is none.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] where it is damaged.
    pub fn read(path: &Path) -> Result<Option<Self>, TrainError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(TrainError::checkpoint(path, &e)),
        };
        let bad = |what: &str| TrainError::checkpoint(path, &what);
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| TrainError::checkpoint(path, &e))?;
        let file =
            SafeTensors::deserialize(&bytes).map_err(|e| TrainError::checkpoint(path, &e))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let text = |key: &str| metadata.get(key).ok_or_else(|| bad(&format!("no {key}")));
        let times: BTreeMap<String, usize> =
            serde_json::from_str(text("times")?).map_err(|e| TrainError::checkpoint(path, &e))?;
        let mut checkpoint = Self {
            step: text("step")?
                .parse()
                .map_err(|_| bad("step is no number"))?,
            seconds: text("seconds")?
                .parse()
                .map_err(|_| bad("seconds is no number"))?,
            run: text("run")?.clone(),
            values: BTreeMap::new(),
            moments: BTreeMap::new(),
            curve: Curve::parse(text("curve")?).ok_or_else(|| bad("its curve is damaged"))?,
        };
        for (name, view) in file.tensors() {
            let Some((kind, name)) = name.split_once('.') else {
                return Err(bad("a tensor of another program"));
            };
            if view.dtype() != Dtype::F32 {
                return Err(bad("a tensor that is not float32"));
            }
            let words = view.data().chunks_exact(4);
            let values = words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let values: Vec<f32> = values.collect();
            match kind {
                "value" => {
                    checkpoint.values.insert(name.to_owned(), values);
                }
                "first" => checkpoint.moments_of(name, &times).first = values,
                "second" => checkpoint.moments_of(name, &times).second = values,
                _ => return Err(bad("a tensor of another program")),
            }
        }
        Ok(Some(checkpoint))
    }

    fn moments_of(&mut self, name: &str, times: &BTreeMap<String, usize>) -> &mut Moments {
        self.moments
            .entry(name.to_owned())
            .or_insert_with(|| Moments {
                time: times.get(name).copied().unwrap_or(0),
                first: Vec::new(),
                second: Vec::new(),
            })
    }

    /// Puts the values into `params`.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] where a parameter is missing or of another size.
    pub fn apply(&self, params: &mut Params, path: &Path) -> Result<(), TrainError> {
        for param in params.iter_mut() {
            let (name, values) = (&param.tensor.name, &mut param.tensor.values);
            match self.values.get(name) {
                Some(found) if found.len() == values.len() => values.clone_from(found),
                found => {
                    let (found, expected) = (found.map_or(0, Vec::len), values.len());
                    let what = format!("{name} has {found} elements, expected {expected}");
                    return Err(TrainError::checkpoint(path, &what));
                }
            }
        }
        Ok(())
    }
}
