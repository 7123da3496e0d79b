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
    /// Reads the weights of a model directory.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`ImportError::Format`] where they lie there in another form only.
    pub fn of_directory(dir: &Path) -> Result<Self, ImportError> {
        let path = dir.join("model.safetensors");
        let others = [
            (
                "pytorch_model.bin",
                "a pickle runs code when it is read: write it again in Python with save_pretrained(DIR, safe_serialization=True) of the model that transformers reads from it",
            ),
            (
                "model.safetensors.index.json",
                "join its parts in Python with save_pretrained(DIR, max_shard_size=\"100GB\") of the model that transformers reads from it",
            ),
        ];
        for (name, advice) in others {
            let other = dir.join(name);
            if other.exists() && !path.exists() {
                return Err(ImportError::Format {
                    path: other,
                    advice,
                });
            }
        }
        Self::read(&path)
    }

    /// Returns whether there is a tensor of this name.
    pub fn has(&self, tensor: &str) -> bool {
        self.parse().is_ok_and(|file| file.tensor(tensor).is_ok())
    }

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

    /// Returns the elements of a tensor of 32 or 16 bits.
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
        if view.shape() != shape {
            let (found, expected) = (view.shape().to_vec(), shape.to_vec());
            return Err(ImportError::Shape {
                path,
                tensor: name,
                found,
                expected,
            });
        }
        let Some(values) = elements(view.dtype(), view.data()) else {
            let found = format!("{:?}", view.dtype());
            return Err(ImportError::DataType {
                path,
                tensor: name,
                found,
            });
        };
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

/// Returns numbers of a type as float32, exactly; none of a type that is not read.
fn elements(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let words = || {
        let pairs = bytes.as_chunks::<2>().0.iter();
        pairs.map(|&b| u16::from_le_bytes(b))
    };
    Some(match dtype {
        Dtype::F32 => {
            let words = bytes.as_chunks::<4>().0.iter();
            words.map(|&b| f32::from_le_bytes(b)).collect()
        }
        Dtype::F16 => words().map(half).collect(),
        Dtype::BF16 => words()
            .map(|w| f32::from_bits(u32::from(w) << 16))
            .collect(),
        _ => return None,
    })
}

/// Returns the value of an IEEE 754 half: sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => libm::ldexpf(fraction, -24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => libm::ldexpf(1024.0 + fraction, exponent - 25),
    };
    if bits >> 15 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        let known = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, libm::exp2f(-24.0)),
            (0x0400, libm::exp2f(-14.0)),
            (0x3555, 0.333_251_95),
        ];
        for (bits, value) in known {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
        assert!(half(0x8000).is_sign_negative());
    }
}
