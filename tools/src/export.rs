//! [`FloatModel`] → a model directory, Hugging Face style: config.json and model.safetensors, as
//! [`crate::import`] reads them back.

use crate::float_model::{ActivationFn, Embedding, FloatDecoder, FloatModel, Layer, Linear, Norm};
use crate::import::names;
use safetensors::{Dtype, View};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use tailtune::image::{InputKind, NormOrder, Pooling};

/// Why a model directory could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A file cannot be written; an older one of its name is as it was.
    #[error("{}: cannot be written: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The tensors do not make a safetensors file.
    #[error("{}: {source}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
}

/// A named float32 tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub values: Vec<f32>,
}

impl Tensor {
    /// Returns a tensor.
    pub fn new(name: impl Into<String>, shape: &[usize], values: &[f32]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            values: values.to_vec(),
        }
    }
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

/// Writes a model directory; `extra` are tensors beyond the encoder's own, such as the heads of
/// pretraining. Each file is written whole and then renamed, so a full disk loses nothing.
///
/// # Errors
/// [`ExportError`] names the file.
pub fn write_model(dir: &Path, model: &FloatModel, extra: &[Tensor]) -> Result<(), ExportError> {
    let config = serde_json::to_vec_pretty(&config(model)).unwrap_or_default();
    let tensors = tensors(model);
    let all: Vec<&Tensor> = tensors.iter().chain(extra).collect();
    write_tensors(&dir.join("model.safetensors"), &all)?;
    write_whole(&dir.join("config.json"), &config)
}

/// Writes a safetensors file.
///
/// # Errors
/// [`ExportError`] names the file.
pub fn write_tensors(path: &Path, tensors: &[&Tensor]) -> Result<(), ExportError> {
    let views = tensors.iter().map(|t| (t.name.as_str(), *t));
    let bytes = safetensors::serialize(views, None).map_err(|source| ExportError::Safetensors {
        path: path.into(),
        source,
    })?;
    write_whole(path, &bytes)
}

/// Writes a file under another name and renames it when it is whole.
///
/// # Errors
/// [`ExportError::Io`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let io = |source| ExportError::Io {
        path: path.into(),
        source,
    };
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty());
    std::fs::create_dir_all(dir.unwrap_or(Path::new("."))).map_err(io)?;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let write = || {
        let mut file = std::fs::File::create(&part)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|source| {
        // What was written of it is of no use to anyone.
        let _ = std::fs::remove_file(&part);
        io(source)
    })
}

/// Returns what config.json says of a model.
pub fn config(model: &FloatModel) -> Value {
    let c = &model.config;
    let mut value = json!({
        "model_type": match (&c.decoder, c.has_encoder()) {
            (None, _) => "tailtune_encoder",
            (Some(_), true) => "tailtune_encoder_decoder",
            (Some(_), false) => "tailtune_decoder",
        },
        "name": model.name,
        "d_model": c.d_model,
        "n_layers": c.n_layers,
        "n_heads": c.n_heads,
        "d_ff": c.d_ff,
        "seq_len": c.seq_len,
        "norm": match c.norm { NormOrder::Pre => "pre", NormOrder::Post => "post" },
        "activation": activation_name(model.activation),
        "layer_norm_eps": f64::from(model.eps()),
        "pooling": match c.pooling {
            Pooling::ClassToken => "class_token",
            Pooling::Mean => "mean",
            Pooling::First => "first",
        },
        "class_token": c.class_token,
        "embed_norm": c.embed_norm,
        "final_norm": c.final_norm,
        "input": match c.input {
            InputKind::Frames { n_frames, n_features } =>
                json!({ "kind": "frames", "n_frames": n_frames, "n_features": n_features }),
            InputKind::Patches { height, width, channels, patch } => json!({
                "kind": "patches", "height": height, "width": width, "channels": channels,
                "patch": patch,
            }),
            InputKind::Tokens { vocab_size, n_segments } =>
                json!({ "kind": "tokens", "vocab_size": vocab_size, "n_segments": n_segments }),
        },
        "labels": model.labels,
    });
    if let Some(d) = &c.decoder {
        value["decoder"] = json!({
            "n_layers": d.n_layers, "seq_len": d.seq_len, "vocab_size": d.vocab_size,
            "start": d.start, "end": d.end, "tied": d.tied,
            "embed_norm": d.embed_norm, "final_norm": d.final_norm,
        });
    }
    if c.embedding_rank > 0 {
        value["embedding_rank"] = json!(c.embedding_rank);
    }
    if let Some(pooler) = &model.pooler {
        value["pooler"] = json!(activation_name(pooler.activation));
    }
    if let Some(front_end) = &model.front_end {
        value["frontend"] = json!(front_end);
    }
    value
}

fn activation_name(activation: ActivationFn) -> &'static str {
    match activation {
        ActivationFn::GeluErf => "gelu",
        ActivationFn::GeluTanh => "gelu_tanh",
        ActivationFn::Relu => "relu",
        ActivationFn::Tanh => "tanh",
    }
}

/// Returns the tensors of a model under the names of [`names`], in the order of the forward.
pub fn tensors(model: &FloatModel) -> Vec<Tensor> {
    let mut model = model.clone();
    let all = tensors_mut(&mut model).into_iter();
    all.map(|(name, shape, values)| Tensor::new(name, &shape, values))
        .collect()
}

/// A tensor of a model in place: its name, its shape and its elements.
pub type TensorMut<'a> = (String, Vec<usize>, &'a mut Vec<f32>);

/// Returns the tensors of a model in place, in the same order as [`tensors`].
pub fn tensors_mut(model: &mut FloatModel) -> Vec<TensorMut<'_>> {
    let d = usize::from(model.config.d_model);
    let mut all = Vec::new();
    match &mut model.embedding {
        Embedding::Frames { projection } => linear(&mut all, names::PROJECTION, projection),
        Embedding::Tokens {
            table,
            projection,
            segments,
        } => {
            let columns = projection.as_ref().map_or(d, |p| p.in_features);
            rows(&mut all, names::TOKENS, table, columns);
            if let Some(projection) = projection {
                linear(&mut all, names::PROJECTION, projection);
            }
            rows(&mut all, names::SEGMENTS, segments, d);
        }
    }
    rows(&mut all, names::POSITIONS, &mut model.positions, d);
    if let Some(token) = &mut model.class_token {
        all.push((names::CLASS_TOKEN.into(), vec![d], token));
    }
    if let Some(n) = &mut model.embed_norm {
        norm(&mut all, names::EMBED_NORM, n);
    }
    for (index, layer) in model.layers.iter_mut().enumerate() {
        block(&mut all, |part| names::layer(index, part), layer);
    }
    if let Some(n) = &mut model.final_norm {
        norm(&mut all, names::FINAL_NORM, n);
    }
    if let Some(pooler) = &mut model.pooler {
        linear(&mut all, names::POOLER, &mut pooler.linear);
    }
    if model.head.out_features > 0 {
        linear(&mut all, names::HEAD, &mut model.head);
    }
    if let Some(decoder) = &mut model.decoder {
        decoder_tensors(&mut all, decoder, d);
    }
    all
}

fn decoder_tensors<'a>(all: &mut Vec<TensorMut<'a>>, decoder: &'a mut FloatDecoder, d: usize) {
    rows(all, names::TARGET_TOKENS, &mut decoder.tokens, d);
    rows(all, names::TARGET_POSITIONS, &mut decoder.positions, d);
    if let Some(n) = &mut decoder.embed_norm {
        norm(all, names::TARGET_NORM, n);
    }
    for (index, layer) in decoder.layers.iter_mut().enumerate() {
        let name = |part: &str| names::decoder_layer(index, part);
        block(all, name, &mut layer.block);
        if let Some(cross) = &mut layer.cross {
            linear(all, &name("cross.q"), &mut cross.q);
            linear(all, &name("cross.k"), &mut cross.k);
            linear(all, &name("cross.v"), &mut cross.v);
            linear(all, &name("cross.o"), &mut cross.o);
            norm(all, &name("cross_norm"), &mut cross.norm);
        }
    }
    if let Some(n) = &mut decoder.final_norm {
        norm(all, names::DECODER_NORM, n);
    }
    if let Some(output) = &mut decoder.output {
        rows(all, &names::weight(names::OUTPUT), output, d);
    }
    let shape = vec![decoder.output_bias.len()];
    all.push((names::bias(names::OUTPUT), shape, &mut decoder.output_bias));
}

fn block<'a>(all: &mut Vec<TensorMut<'a>>, name: impl Fn(&str) -> String, layer: &'a mut Layer) {
    linear(all, &name("attention.q"), &mut layer.q);
    linear(all, &name("attention.k"), &mut layer.k);
    linear(all, &name("attention.v"), &mut layer.v);
    linear(all, &name("attention.o"), &mut layer.o);
    norm(all, &name("norm1"), &mut layer.norm1);
    linear(all, &name("ff1"), &mut layer.ff1);
    linear(all, &name("ff2"), &mut layer.ff2);
    norm(all, &name("norm2"), &mut layer.norm2);
}

/// A table of rows of `d`; one without rows is left out.
fn rows<'a>(all: &mut Vec<TensorMut<'a>>, name: &str, table: &'a mut Vec<f32>, d: usize) {
    if !table.is_empty() {
        all.push((name.into(), vec![table.len() / d, d], table));
    }
}

fn linear<'a>(all: &mut Vec<TensorMut<'a>>, name: &str, linear: &'a mut Linear) {
    let (out, input) = (linear.out_features, linear.in_features);
    all.push((names::weight(name), vec![out, input], &mut linear.weight));
    all.push((names::bias(name), vec![out], &mut linear.bias));
}

fn norm<'a>(all: &mut Vec<TensorMut<'a>>, name: &str, norm: &'a mut Norm) {
    let d = norm.gain.len();
    all.push((names::weight(name), vec![d], &mut norm.gain));
    all.push((names::bias(name), vec![d], &mut norm.bias));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::read_model;
    use crate::synthetic;
    use tailtune::image::{Activation, DecoderConfig, ModelConfig};

    const CONFIG: ModelConfig = ModelConfig {
        n_layers: 2,
        d_model: 8,
        n_heads: 2,
        d_ff: 12,
        seq_len: 6,
        n_classes: 3,
        input: InputKind::Frames {
            n_frames: 5,
            n_features: 4,
        },
        class_token: true,
        norm: NormOrder::Pre,
        activation: Activation::Gelu,
        pooling: Pooling::ClassToken,
        embed_norm: false,
        final_norm: true,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    };

    const TOKENS: ModelConfig = ModelConfig {
        input: InputKind::Tokens {
            vocab_size: 70_000,
            n_segments: 2,
        },
        class_token: false,
        norm: NormOrder::Post,
        activation: Activation::Relu,
        pooling: Pooling::Mean,
        embed_norm: true,
        final_norm: false,
        n_classes: 0,
        ..CONFIG
    };

    const DECODER: DecoderConfig = DecoderConfig {
        n_layers: 2,
        seq_len: 9,
        vocab_size: 11,
        start: 2,
        end: 3,
        tied: true,
        embed_norm: false,
        final_norm: true,
    };

    #[test]
    fn a_model_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let patches = ModelConfig {
            seq_len: 7,
            input: InputKind::Patches {
                height: 8,
                width: 12,
                channels: 1,
                patch: 4,
            },
            ..CONFIG
        };
        let sequence = ModelConfig {
            n_classes: 0,
            decoder: Some(DECODER),
            ..TOKENS
        };
        let frames = ModelConfig {
            n_classes: 0,
            decoder: Some(DecoderConfig {
                tied: false,
                embed_norm: true,
                ..DECODER
            }),
            ..CONFIG
        };
        let decoder_only = ModelConfig {
            n_layers: 0,
            seq_len: 9,
            input: InputKind::Tokens {
                vocab_size: 11,
                n_segments: 0,
            },
            pooling: Pooling::First,
            embed_norm: false,
            ..sequence
        };
        let factorised = ModelConfig {
            embedding_rank: 3,
            pooler: true,
            ..TOKENS
        };
        for config in [
            CONFIG,
            TOKENS,
            patches,
            factorised,
            sequence,
            frames,
            decoder_only,
        ] {
            let model = synthetic::model(&config, 7);
            write_model(dir.path(), &model, &[]).unwrap();
            assert_eq!(read_model(dir.path()).unwrap(), model);
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write_whole(&file.path().join("config.json"), b"{}").unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
    }
}
