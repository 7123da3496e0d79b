//! Pretrained weights → [`FloatModel`]: one file a model family, chosen by `model_type` in the
//! directory's config.json.
//!
//! An adapter reads a Hugging Face style directory (config.json, model.safetensors) and names the
//! file, the tensor, what it found and what it expected when something does not fit.

mod bert;
mod kws_transformer;
mod options;
mod sentence;
mod tailtune_decoder;
mod tailtune_encoder;
mod weights;

use crate::float_model::FloatModel;
pub use options::{Options, PoolingChoice};
use serde_json::Value;
use std::path::{Path, PathBuf};
pub use tailtune_encoder::names;
pub use weights::Weights;

/// Why a model directory could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read.
    #[error("{}: {source}; a model directory holds config.json and model.safetensors", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There are weights, in a form that is not read.
    #[error("{}: not read; {advice}, so that model.safetensors lies beside config.json", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What to do with it.
        advice: &'static str,
    },
    /// A head's classes were trained on one pooling, and another was asked for.
    #[error("{}: its classification head reads its own pooler, and --pooling {asked} was given; leave it out", path.display())]
    HeadPooling {
        /// The directory.
        path: PathBuf,
        /// What was asked for.
        asked: &'static str,
    },
    /// A model without head and pooler, of which nobody said how its rows become one feature.
    #[error("{}: it has no classification head, no pooler and no 1_Pooling/config.json, so nothing says how its rows become one feature; give --pooling mean or --pooling cls", path.display())]
    NoPooling {
        /// The directory.
        path: PathBuf,
    },
    /// More was asked for than the model has.
    #[error("{}: {option} {asked} was given, the model has {found}; give 1 to {found}", path.display())]
    TooMany {
        /// config.json.
        path: PathBuf,
        /// The option.
        option: &'static str,
        /// What was asked for.
        asked: u16,
        /// What there is.
        found: u16,
    },
    /// An option that only some models have a meaning for.
    #[error("{}: {option} was given, which is for {meant}; leave it out", path.display())]
    Meaningless {
        /// The directory.
        path: PathBuf,
        /// The option.
        option: &'static str,
        /// The models that it is for.
        meant: &'static str,
    },
    /// config.json is not JSON.
    #[error("{}: not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A key of config.json is missing or has another type or value.
    #[error("{}: key {key:?} is {found}, expected {expected}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it holds.
        found: String,
        /// What would do.
        expected: String,
    },
    /// The file of weights is damaged.
    #[error("{}: not a readable safetensors file: {source}; fetch it again", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is missing.
    #[error("{}: tensor {tensor:?} is missing; it has {present} tensors, the first is {first:?}: is this the right model family?", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How many there are.
        present: usize,
        /// One that is there.
        first: String,
    },
    /// A tensor has another data type.
    #[error("{}: tensor {tensor:?} has data type {found}, expected F32, F16 or BF16; convert the weights to float32 first", path.display())]
    DataType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A tensor has another shape.
    #[error("{}: tensor {tensor:?} has shape {found:?}, expected {expected:?} from config.json; they do not belong together", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What the configuration asks for.
        expected: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error("{}: tensor {tensor:?} holds {found} at element {index}; weights must be finite: the training that wrote them diverged", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The element.
        index: usize,
        /// What it holds.
        found: f32,
    },
    /// The architecture is beyond what the runtime takes.
    #[error("{}: {source}", path.display())]
    Architecture {
        /// config.json.
        path: PathBuf,
        /// Which field.
        source: tailtune::image::ImageError,
    },
}

/// A configuration file, with errors that name it.
pub struct Config {
    path: PathBuf,
    value: Value,
}

impl Config {
    fn read(dir: &Path) -> Result<Self, ImportError> {
        Self::read_file(&dir.join("config.json"))
    }

    fn read_file(path: &Path) -> Result<Self, ImportError> {
        let path = path.to_owned();
        let text = std::fs::read_to_string(&path).map_err(|source| ImportError::Io {
            path: path.clone(),
            source,
        })?;
        let value = serde_json::from_str(&text).map_err(|source| ImportError::Json {
            path: path.clone(),
            source,
        })?;
        Ok(Self { path, value })
    }

    /// Returns the error for a key that does not hold what is expected.
    pub fn bad(&self, key: &str, expected: &str) -> ImportError {
        let found = self
            .value
            .pointer(&pointer(key))
            .map_or("missing".to_owned(), Value::to_string);
        ImportError::Key {
            path: self.path.clone(),
            key: key.into(),
            found,
            expected: expected.into(),
        }
    }

    /// Returns a whole number below 65536; `key` may be a path like `input_shape/0`.
    pub fn u16(&self, key: &str) -> Result<u16, ImportError> {
        let number = self.value.pointer(&pointer(key)).and_then(Value::as_u64);
        let number = number.and_then(|n| u16::try_from(n).ok());
        number.ok_or_else(|| self.bad(key, "a whole number from 0 to 65535"))
    }

    /// Returns a whole number below 2³².
    pub fn u32(&self, key: &str) -> Result<u32, ImportError> {
        let number = self.value.pointer(&pointer(key)).and_then(Value::as_u64);
        let number = number.and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(|| self.bad(key, "a whole number below 4294967296"))
    }

    /// Returns whether a key is missing or null.
    pub fn is_null(&self, key: &str) -> bool {
        self.value.pointer(&pointer(key)).is_none_or(Value::is_null)
    }

    /// Returns whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.value.pointer(&pointer(key)).is_some()
    }

    /// Returns what a key holds, by its type's own reader.
    pub fn parse<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<T, ImportError> {
        let value = self.value.pointer(&pointer(key)).unwrap_or(&Value::Null);
        T::deserialize(value).map_err(|e| self.bad(key, &format!("{expected}: {e}")))
    }

    /// Returns a number.
    pub fn f32(&self, key: &str) -> Result<f32, ImportError> {
        let number = self.value.pointer(&pointer(key)).and_then(Value::as_f64);
        number
            .map(|n| n as f32)
            .ok_or_else(|| self.bad(key, "a number"))
    }

    /// Returns a string.
    pub fn str(&self, key: &str) -> Result<&str, ImportError> {
        self.value
            .pointer(&pointer(key))
            .and_then(Value::as_str)
            .ok_or_else(|| self.bad(key, "a string"))
    }

    /// Returns true or false.
    pub fn bool(&self, key: &str) -> Result<bool, ImportError> {
        let value = self.value.pointer(&pointer(key)).and_then(Value::as_bool);
        value.ok_or_else(|| self.bad(key, "true or false"))
    }

    /// Returns a list of strings.
    pub fn strings(&self, key: &str) -> Result<Vec<String>, ImportError> {
        let list = self.value.pointer(&pointer(key)).and_then(Value::as_array);
        let list = list.and_then(|l| l.iter().map(|v| v.as_str().map(str::to_owned)).collect());
        list.ok_or_else(|| self.bad(key, "a list of strings"))
    }
}

/// The empty key is the whole file.
fn pointer(key: &str) -> String {
    match key {
        "" => String::new(),
        key => format!("/{key}"),
    }
}

/// Reads the model in `dir`.
///
/// # Errors
/// [`ImportError`] names the file, the key or tensor, what was found and what was expected.
pub fn read_model(dir: &Path) -> Result<FloatModel, ImportError> {
    read_model_with(dir, &Options::default())
}

/// Reads the model in `dir`, or as much of it as `options` say.
///
/// # Errors
/// As [`read_model`]; and an option that means nothing to this model.
pub fn read_model_with(dir: &Path, options: &Options) -> Result<FloatModel, ImportError> {
    let config = Config::read(dir)?;
    let own = |read: fn(&Path, &Config) -> Result<FloatModel, ImportError>| {
        options.cut(dir, &config, read(dir, &config)?)
    };
    match config.str("model_type")? {
        "bert" => bert::read(dir, &config, &bert::BERT, options),
        "distilbert" => bert::read(dir, &config, &bert::DISTILBERT, options),
        "kws_transformer" => own(kws_transformer::read),
        "tailtune_encoder" | "tailtune_encoder_decoder" | "tailtune_decoder" => {
            own(tailtune_encoder::read)
        }
        _ => Err(config.bad(
            "model_type",
            "one of: bert, distilbert, kws_transformer, tailtune_encoder, tailtune_encoder_decoder, tailtune_decoder",
        )),
    }
}
