//! Models of tailtune's own, as `tailtune pretrain` and `tailtune finetune` write them
//! ([`crate::export`]): `model_type` `tailtune_encoder`; with a decoder `tailtune_encoder_decoder` or
//! `tailtune_decoder` (see `tailtune_decoder.rs`).
//!
//! config.json (lengths in elements, `frontend` only for models of sound):
//!
//! ```json
//! { "model_type": "tailtune_encoder", "name": "…",
//!   "d_model": 64, "n_layers": 4, "n_heads": 4, "d_ff": 256, "seq_len": 50,
//!   "norm": "pre", "activation": "gelu", "layer_norm_eps": 1e-5,
//!   "pooling": "mean", "class_token": false, "embed_norm": false, "final_norm": true,
//!   "input": { "kind": "frames", "n_frames": 50, "n_features": 40 },
//!   "labels": ["…"], "frontend": { … } }
//! ```
//!
//! `pooler`, `"tanh"` or `"relu"`, of models with a linear layer between pooling and head;
//! `embedding_rank` of text models whose token table is factorised. `input` of a text model is `{ "kind": "tokens", "vocab_size": …, "n_segments": … }`, that of an image
//! model `{ "kind": "patches", "height": …, "width": …, "channels": …, "patch": … }`. Tensors, all
//! float32, dense weights `[out, in]`: [`names`].

use super::{Config, ImportError, Weights, tailtune_decoder};
use crate::audio::FrontEndConfig;
use crate::float_model::{ActivationFn, Embedding, FloatModel, Layer, Linear, Norm, Pooler};
use std::path::Path;
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};

/// The names of the tensors.
pub mod names {
    /// `[d_model, n_features]` and `[d_model]`: `.weight`, `.bias`. Of a factorised token table
    /// `[d_model, embedding_rank]`.
    pub const PROJECTION: &str = "embeddings.projection";
    /// `[vocab_size, d_model]` or `[vocab_size, embedding_rank]`.
    pub const TOKENS: &str = "embeddings.tokens.weight";
    /// `[n_segments, d_model]`; missing where there are none.
    pub const SEGMENTS: &str = "embeddings.segments.weight";
    /// `[seq_len, d_model]`.
    pub const POSITIONS: &str = "embeddings.positions.weight";
    /// `[d_model]`.
    pub const CLASS_TOKEN: &str = "embeddings.class_token";
    /// LayerNorm: `.weight`, `.bias`, both `[d_model]`.
    pub const EMBED_NORM: &str = "embeddings.norm";
    /// LayerNorm.
    pub const FINAL_NORM: &str = "final_norm";
    /// `[d_model, d_model]` and `[d_model]`; missing where there is none.
    pub const POOLER: &str = "pooler";
    /// `[n_classes, d_model]` and `[n_classes]`.
    pub const HEAD: &str = "head";

    /// Returns the name of a part of a block: `attention.{q,k,v,o}`, `ff1`, `ff2`, `norm1`, `norm2`.
    pub fn layer(index: usize, part: &str) -> String {
        format!("layers.{index}.{part}")
    }

    /// `[vocab_size, d_model]`.
    pub const TARGET_TOKENS: &str = "decoder.embeddings.tokens.weight";
    /// `[seq_len, d_model]`.
    pub const TARGET_POSITIONS: &str = "decoder.embeddings.positions.weight";
    /// LayerNorm.
    pub const TARGET_NORM: &str = "decoder.embeddings.norm";
    /// LayerNorm.
    pub const DECODER_NORM: &str = "decoder.final_norm";
    /// `[vocab_size, d_model]` (missing where it is the token table) and `[vocab_size]`.
    pub const OUTPUT: &str = "output";

    /// Returns the name of a part of a decoder block: what [`layer`] has, `cross.{q,k,v,o}`, `cross_norm`.
    pub fn decoder_layer(index: usize, part: &str) -> String {
        format!("decoder.{}", layer(index, part))
    }

    /// Returns the name of a layer's weight.
    pub fn weight(layer: &str) -> String {
        format!("{layer}.weight")
    }

    /// Returns the name of a layer's bias.
    pub fn bias(layer: &str) -> String {
        format!("{layer}.bias")
    }
}

/// The weights with the sizes that every layer needs.
pub(super) struct Tensors {
    pub(super) weights: Weights,
    pub(super) d: usize,
    d_ff: usize,
    eps: f32,
}

impl Tensors {
    pub(super) fn linear(
        &self,
        name: &str,
        out: usize,
        input: usize,
    ) -> Result<Linear, ImportError> {
        let (weight, bias) = (names::weight(name), names::bias(name));
        self.weights.linear(&weight, Some(&bias), out, input)
    }

    pub(super) fn norm(&self, name: &str) -> Result<Norm, ImportError> {
        let (gain, bias) = (names::weight(name), names::bias(name));
        self.weights.norm(&gain, &bias, self.d, self.eps)
    }

    pub(super) fn optional_norm(
        &self,
        there: bool,
        name: &str,
    ) -> Result<Option<Norm>, ImportError> {
        there.then(|| self.norm(name)).transpose()
    }

    /// Returns the block whose parts `name` names.
    pub(super) fn layer(&self, name: impl Fn(&str) -> String) -> Result<Layer, ImportError> {
        let square = |part: &str| self.linear(&name(part), self.d, self.d);
        Ok(Layer {
            q: square("attention.q")?,
            k: square("attention.k")?,
            v: square("attention.v")?,
            o: square("attention.o")?,
            norm1: self.norm(&name("norm1"))?,
            ff1: self.linear(&name("ff1"), self.d_ff, self.d)?,
            ff2: self.linear(&name("ff2"), self.d, self.d_ff)?,
            norm2: self.norm(&name("norm2"))?,
        })
    }

    fn embedding(&self, c: &ModelConfig) -> Result<Embedding, ImportError> {
        let (d, input) = (self.d, c.input);
        let (columns, projection) = match usize::from(c.embedding_rank) {
            0 => (d, None),
            rank => (rank, Some(self.linear(names::PROJECTION, d, rank)?)),
        };
        Ok(match input {
            InputKind::Frames { .. } | InputKind::Patches { .. } => {
                let n_features = input.frames().map_or(0, |(_, n)| n);
                let projection = self.linear(names::PROJECTION, d, n_features)?;
                Embedding::Frames { projection }
            }
            InputKind::Tokens {
                vocab_size,
                n_segments,
            } => Embedding::Tokens {
                table: self
                    .weights
                    .f32(names::TOKENS, &[vocab_size as usize, columns])?,
                projection,
                segments: match usize::from(n_segments) {
                    0 => Vec::new(),
                    n => self.weights.f32(names::SEGMENTS, &[n, d])?,
                },
            },
        })
    }
}

/// Reads the model.
pub(super) fn read(dir: &Path, config: &Config) -> Result<FloatModel, ImportError> {
    let model_config = model_config(dir, config)?;
    let labels = labels(config)?;
    let c = &model_config;
    let (d, n_classes) = (usize::from(c.d_model), usize::from(c.n_classes));
    let tensors = Tensors {
        weights: Weights::read(&dir.join("model.safetensors"))?,
        d,
        d_ff: c.d_ff.into(),
        eps: config.f32("layer_norm_eps")?,
    };
    let class_token = || tensors.weights.f32(names::CLASS_TOKEN, &[d]);
    Ok(FloatModel {
        name: config.str("name")?.to_owned(),
        activation: activation(config)?,
        labels,
        embedding: match c.has_encoder() {
            true => tensors.embedding(c)?,
            false => Embedding::none(),
        },
        class_token: c.class_token.then(class_token).transpose()?,
        positions: match c.has_encoder() {
            true => tensors
                .weights
                .f32(names::POSITIONS, &[c.seq_len.into(), d])?,
            false => Vec::new(),
        },
        embed_norm: tensors.optional_norm(c.embed_norm, names::EMBED_NORM)?,
        layers: (0..c.n_layers.into())
            .map(|l| tensors.layer(|part| names::layer(l, part)))
            .collect::<Result<_, _>>()?,
        final_norm: tensors.optional_norm(c.final_norm, names::FINAL_NORM)?,
        pooler: match c.pooler {
            true => Some(Pooler {
                linear: tensors.linear(names::POOLER, d, d)?,
                activation: pooler_activation(config)?,
            }),
            false => None,
        },
        head: match n_classes {
            0 => Linear::empty(d),
            n => tensors.linear(names::HEAD, n, d)?,
        },
        decoder: tailtune_decoder::read(&tensors, c)?,
        front_end: front_end(config, c)?,
        config: model_config,
    })
}

/// A directory without a head has no labels.
fn labels(config: &Config) -> Result<Vec<String>, ImportError> {
    match config.has("labels") {
        true => config.strings("labels"),
        false => Ok(Vec::new()),
    }
}

/// Returns the architecture that a configuration describes; a training configuration describes it
/// by the same keys.
pub(super) fn model_config(dir: &Path, config: &Config) -> Result<ModelConfig, ImportError> {
    let n_classes = labels(config)?.len();
    let model_config = ModelConfig {
        n_layers: config.u16("n_layers")?,
        d_model: config.u16("d_model")?,
        n_heads: config.u16("n_heads")?,
        d_ff: config.u16("d_ff")?,
        seq_len: config.u16("seq_len")?,
        n_classes: u16::try_from(n_classes)
            .map_err(|_| config.bad("labels", "at most 65535 names"))?,
        input: input(config)?,
        class_token: config.bool("class_token")?,
        norm: match config.str("norm")? {
            "pre" => NormOrder::Pre,
            "post" => NormOrder::Post,
            _ => return Err(config.bad("norm", "\"pre\" or \"post\"")),
        },
        activation: match activation(config)? {
            ActivationFn::Relu => Activation::Relu,
            _ => Activation::Gelu,
        },
        pooling: match config.str("pooling")? {
            "class_token" => Pooling::ClassToken,
            "mean" => Pooling::Mean,
            "first" => Pooling::First,
            _ => return Err(config.bad("pooling", "\"class_token\", \"mean\" or \"first\"")),
        },
        embed_norm: config.bool("embed_norm")?,
        final_norm: config.bool("final_norm")?,
        embedding_rank: match config.has("embedding_rank") {
            true => config.u16("embedding_rank")?,
            false => 0,
        },
        pooler: config.has("pooler"),
        decoder: tailtune_decoder::config(config)?,
    };
    let path = dir.join("config.json");
    model_config
        .check()
        .map_err(|source| ImportError::Architecture { path, source })?;
    Ok(model_config)
}

fn input(config: &Config) -> Result<InputKind, ImportError> {
    match config.str("input/kind")? {
        "frames" => Ok(InputKind::Frames {
            n_frames: config.u16("input/n_frames")?,
            n_features: config.u16("input/n_features")?,
        }),
        "tokens" => Ok(InputKind::Tokens {
            vocab_size: config.u32("input/vocab_size")?,
            n_segments: u8_of(config, "input/n_segments")?,
        }),
        "patches" => Ok(InputKind::Patches {
            height: config.u16("input/height")?,
            width: config.u16("input/width")?,
            channels: u8_of(config, "input/channels")?,
            patch: u8_of(config, "input/patch")?,
        }),
        _ => Err(config.bad("input/kind", "\"frames\", \"patches\" or \"tokens\"")),
    }
}

fn u8_of(config: &Config, key: &str) -> Result<u8, ImportError> {
    u8::try_from(config.u16(key)?).map_err(|_| config.bad(key, "at most 255"))
}

fn activation(config: &Config) -> Result<ActivationFn, ImportError> {
    match config.str("activation")? {
        "gelu" => Ok(ActivationFn::GeluErf),
        "gelu_tanh" => Ok(ActivationFn::GeluTanh),
        "relu" => Ok(ActivationFn::Relu),
        _ => Err(config.bad("activation", "\"gelu\", \"gelu_tanh\" or \"relu\"")),
    }
}

fn pooler_activation(config: &Config) -> Result<ActivationFn, ImportError> {
    match config.str("pooler")? {
        "tanh" => Ok(ActivationFn::Tanh),
        "relu" => Ok(ActivationFn::Relu),
        _ => Err(config.bad("pooler", "\"tanh\" or \"relu\"")),
    }
}

fn front_end(config: &Config, model: &ModelConfig) -> Result<Option<FrontEndConfig>, ImportError> {
    if !config.has("frontend") {
        return Ok(None);
    }
    let front_end: FrontEndConfig = config.parse("frontend", "a front end")?;
    let InputKind::Frames {
        n_frames,
        n_features,
    } = model.input
    else {
        return Err(config.bad("frontend", "none for a model of tokens"));
    };
    let shape = (usize::from(n_frames), usize::from(n_features));
    if !front_end.is_sound() || (front_end.n_frames(), front_end.n_features) != shape {
        let expected = format!("a sound front end of {n_frames} frames of {n_features} features");
        return Err(config.bad("frontend", &expected));
    }
    Ok(Some(front_end))
}
