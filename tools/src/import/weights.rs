//! A safetensors file whose tensors are asked for by name and shape.

use super::ImportError;
use crate::float_model::{Linear, Norm};
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// The bytes of a safetensors file.
pub struct Weights {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Weights {
    /// Reads `path` and checks its header.
    ///
    /// # Errors
    /// [`ImportError::Io`] or [`ImportError::Safetensors`].
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let bytes = std::fs::read(path).map_err(|source| ImportError::Io {
            path: path.into(),
            source,
        })?;
        let weights = Self {
            path: path.into(),
            bytes,
        };
        weights.parse()?;
        Ok(weights)
    }

    fn parse(&self) -> Result<SafeTensors<'_>, ImportError> {
        SafeTensors::deserialize(&self.bytes).map_err(|source| ImportError::Safetensors {
            path: self.path.clone(),
            source,
        })
    }

    /// Returns whether there is a tensor of this name.
    pub fn has(&self, tensor: &str) -> bool {
        self.parse().is_ok_and(|file| file.tensor(tensor).is_ok())
    }

    /// Returns the elements of a tensor.
    ///
    /// # Errors
    /// An error that names the tensor, if it is missing, of another type or shape, or not finite.
    pub fn f32(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, ImportError> {
        let file = self.parse()?;
        let (path, name) = (self.path.clone(), tensor.to_owned());
        let Ok(view) = file.tensor(tensor) else {
            let mut names = file.names();
            names.sort_unstable();
            let first = names.first().copied().unwrap_or_default().to_owned();
            return Err(ImportError::MissingTensor {
                path,
                tensor: name,
                present: names.len(),
                first,
            });
        };
        if view.dtype() != Dtype::F32 {
            let found = format!("{:?}", view.dtype());
            return Err(ImportError::DataType {
                path,
                tensor: name,
                found,
            });
        }
        if view.shape() != shape {
            let (found, expected) = (view.shape().to_vec(), shape.to_vec());
            return Err(ImportError::Shape {
                path,
                tensor: name,
                found,
                expected,
            });
        }
        let values = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let values: Vec<f32> = values.collect();
        match values.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(ImportError::NotFinite {
                path,
                tensor: name,
                index,
                found: values[index],
            }),
            None => Ok(values),
        }
    }

    /// Returns a linear layer whose weights lie as `[out, in]`; no `bias` means zeros.
    ///
    /// # Errors
    /// As [`f32`](Self::f32).
    pub fn linear(
        &self,
        weight: &str,
        bias: Option<&str>,
        out_features: usize,
        in_features: usize,
    ) -> Result<Linear, ImportError> {
        let bias = match bias {
            Some(bias) => self.f32(bias, &[out_features])?,
            None => vec![0.0; out_features],
        };
        let weight = self.f32(weight, &[out_features, in_features])?;
        Ok(Linear {
            out_features,
            in_features,
            weight,
            bias,
        })
    }

    /// Returns a LayerNorm.
    ///
    /// # Errors
    /// As [`f32`](Self::f32).
    pub fn norm(&self, gain: &str, bias: &str, d: usize, eps: f32) -> Result<Norm, ImportError> {
        Ok(Norm {
            gain: self.f32(gain, &[d])?,
            bias: self.f32(bias, &[d])?,
            eps,
        })
    }
}
