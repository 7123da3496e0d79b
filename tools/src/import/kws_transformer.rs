//! The Keyword Transformer (Berg et al., arXiv 2104.00769): `model_type` `kws_transformer`.
//!
//! The published weights keep the names of their TensorFlow graph; `name_map.json` beside them
//! gives each tensor's role. Dense weights are `[out, in]`.

use super::{Config, ImportError, Weights};
use crate::audio::{FrontEndConfig, FrontEndKind};
use crate::float_model::{ActivationFn, Embedding, FloatModel, Layer, Linear, Norm};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};

/// The weights with the names of their roles.
struct Named {
    weights: Weights,
    map_path: PathBuf,
    map: HashMap<String, String>,
}

impl Named {
    fn read(dir: &Path) -> Result<Self, ImportError> {
        let map_path = dir.join("name_map.json");
        let text = std::fs::read_to_string(&map_path).map_err(|source| ImportError::Io {
            path: map_path.clone(),
            source,
        })?;
        let map = serde_json::from_str(&text).map_err(|source| ImportError::Json {
            path: map_path.clone(),
            source,
        })?;
        Ok(Self {
            weights: Weights::read(&dir.join("model.safetensors"))?,
            map_path,
            map,
        })
    }

    fn name(&self, role: &str) -> Result<&str, ImportError> {
        self.map
            .get(role)
            .map(String::as_str)
            .ok_or_else(|| ImportError::Key {
                path: self.map_path.clone(),
                key: role.into(),
                found: "missing".into(),
                expected: "the name of a tensor".into(),
            })
    }

    fn f32(&self, role: &str, shape: &[usize]) -> Result<Vec<f32>, ImportError> {
        self.weights.f32(self.name(role)?, shape)
    }

    fn linear(&self, role: &str, bias: bool, n: usize, k: usize) -> Result<Linear, ImportError> {
        let weight = self.name(&format!("{role}.weight"))?;
        let bias_role = format!("{role}.bias");
        let bias = if bias {
            Some(self.name(&bias_role)?)
        } else {
            None
        };
        self.weights.linear(weight, bias, n, k)
    }

    fn norm(&self, role: &str, d: usize, eps: f32) -> Result<Norm, ImportError> {
        let (gain, bias) = (format!("{role}.weight"), format!("{role}.bias"));
        self.weights
            .norm(self.name(&gain)?, self.name(&bias)?, d, eps)
    }
}

/// Reads the model.
pub(super) fn read(dir: &Path, config: &Config) -> Result<FloatModel, ImportError> {
    let model_config = model_config(dir, config)?;
    let labels = config.strings("labels")?;
    if labels.len() != usize::from(model_config.n_classes) {
        return Err(config.bad("labels", &format!("{} names", model_config.n_classes)));
    }
    let eps = config.f32("layer_norm_eps")?;
    let named = Named::read(dir)?;
    let d = usize::from(model_config.d_model);
    let d_ff = usize::from(model_config.d_ff);
    let InputKind::Frames { n_features, .. } = model_config.input else {
        return Err(config.bad("input_shape", "[frames, features]"));
    };
    let qkv_bias = config.bool("qkv_bias")?;
    let out_bias = config.bool("attn_out_bias")?;
    let layer = |l: u16| -> Result<Layer, ImportError> {
        let role = |part: &str| format!("layers.{l}.{part}");
        Ok(Layer {
            q: named.linear(&role("att.q"), qkv_bias, d, d)?,
            k: named.linear(&role("att.k"), qkv_bias, d, d)?,
            v: named.linear(&role("att.v"), qkv_bias, d, d)?,
            o: named.linear(&role("att.o"), out_bias, d, d)?,
            norm1: named.norm(&role("ln1"), d, eps)?,
            ff1: named.linear(&role("ffn1"), true, d_ff, d)?,
            ff2: named.linear(&role("ffn2"), true, d, d_ff)?,
            norm2: named.norm(&role("ln2"), d, eps)?,
        })
    };
    let seq_len = usize::from(model_config.seq_len);
    Ok(FloatModel {
        name: config
            .str("name")
            .unwrap_or("keyword transformer")
            .to_owned(),
        front_end: Some(front_end(config, &model_config)?),
        config: model_config,
        activation: activation(config)?,
        labels,
        embedding: Embedding::Frames {
            projection: named.linear("patch_proj", true, d, n_features.into())?,
        },
        class_token: Some(named.f32("class_emb", &[1, 1, d])?),
        positions: named.f32("pos_emb", &[1, seq_len, d])?,
        embed_norm: None,
        layers: (0..model_config.n_layers)
            .map(layer)
            .collect::<Result<_, _>>()?,
        final_norm: None,
        pooler: None,
        head: named.linear("head", true, model_config.n_classes.into(), d)?,
        decoder: None,
    })
}

/// The `frontend` object, in which lengths are in milliseconds.
fn front_end(config: &Config, model: &ModelConfig) -> Result<FrontEndConfig, ImportError> {
    if config.str("frontend/feature")? != "mfcc_tf" {
        return Err(config.bad("frontend/feature", "\"mfcc_tf\""));
    }
    if config.f32("frontend/preemph")? != 0.0 || config.bool("frontend/fft_magnitude_squared")? {
        return Err(config.bad(
            "frontend",
            "no pre-emphasis and magnitudes that are not squared",
        ));
    }
    let sample_rate = config.u16("frontend/sample_rate")?;
    let samples = |key: &str| -> Result<usize, ImportError> {
        Ok(usize::from(config.u16(key)?) * usize::from(sample_rate) / 1000)
    };
    let front_end = FrontEndConfig {
        kind: FrontEndKind::Mfcc,
        sample_rate: sample_rate.into(),
        clip_len: sample_rate.into(),
        window_len: samples("frontend/window_ms")?,
        hop_len: samples("frontend/hop_ms")?,
        fft_len: (usize::from(config.u16("frontend/dft_bins")?).max(1) - 1) * 2,
        mel_bins: config.u16("frontend/mel_bins")?.into(),
        mel_lower: config.f32("frontend/mel_lower")?.into(),
        mel_upper: config.f32("frontend/mel_upper")?.into(),
        n_features: config.u16("frontend/dct")?.into(),
        floor: config.f32("frontend/log_epsilon")?,
    };
    let InputKind::Frames {
        n_frames,
        n_features,
    } = model.input
    else {
        return Err(config.bad("input_shape", "[frames, features]"));
    };
    let shape = (usize::from(n_frames), usize::from(n_features));
    if !front_end.is_sound() || (front_end.n_frames(), front_end.n_features) != shape {
        let expected = format!("a sound front end of {n_frames} frames of {n_features} features");
        return Err(config.bad("frontend", &expected));
    }
    Ok(front_end)
}

fn model_config(dir: &Path, config: &Config) -> Result<ModelConfig, ImportError> {
    if !config.bool("class_token_first")? {
        return Err(config.bad("class_token_first", "true"));
    }
    let model_config = ModelConfig {
        n_layers: config.u16("num_layers")?,
        d_model: config.u16("d_model")?,
        n_heads: config.u16("num_heads")?,
        d_ff: config.u16("mlp_dim")?,
        seq_len: config.u16("num_tokens")?,
        n_classes: config.u16("num_labels")?,
        input: InputKind::Frames {
            n_frames: config.u16("input_shape/0")?,
            n_features: config.u16("input_shape/1")?,
        },
        class_token: true,
        norm: match config.str("norm")? {
            "post" => NormOrder::Post,
            "pre" => NormOrder::Pre,
            _ => return Err(config.bad("norm", "\"post\" or \"pre\"")),
        },
        activation: match activation(config)? {
            ActivationFn::Relu => Activation::Relu,
            _ => Activation::Gelu,
        },
        pooling: Pooling::ClassToken,
        embed_norm: false,
        final_norm: false,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    };
    let path = dir.join("config.json");
    model_config
        .check()
        .map_err(|source| ImportError::Architecture { path, source })?;
    Ok(model_config)
}

/// The published TensorFlow Lite model computes GELU by its tanh approximation, and its config says so
/// in words.
fn activation(config: &Config) -> Result<ActivationFn, ImportError> {
    match config.str("activation")? {
        "relu" => Ok(ActivationFn::Relu),
        text if text.starts_with("gelu") && text.contains("tanh") => Ok(ActivationFn::GeluTanh),
        text if text.starts_with("gelu") => Ok(ActivationFn::GeluErf),
        _ => Err(config.bad(
            "activation",
            "\"relu\", or a text that starts with \"gelu\"",
        )),
    }
}
