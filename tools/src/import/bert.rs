//! BERT (Devlin et al., arXiv 1810.04805) and DistilBERT (Sanh et al., arXiv 1910.01108) as Hugging Face
//! keeps them: `model_type` `bert` and `distilbert`.
//!
//! Read are config.json and model.safetensors; and beside them, where a directory is a sentence
//! transformer's, modules.json, `1_Pooling/config.json` and sentence_bert_config.json. Tensors may have the
//! prefix that a model with a head gives them (`bert.`, `distilbert.`) or not, and norms the old names
//! `gamma` and `beta`. Heads of pretraining are left out.
//!
//! | directory | feature | head |
//! |---|---|---|
//! | `BertForSequenceClassification` | first row, `pooler.dense`, tanh | `classifier` |
//! | `DistilBertForSequenceClassification` | first row, `pre_classifier`, ReLU | `classifier` |
//! | sentence transformer | mean or first row, as `1_Pooling` says | none |
//! | `BertModel` with a pooler | first row, `pooler.dense`, tanh | none |
//! | any without head, `--pooling` | as it says | none |

use super::sentence;
use super::{Config, ImportError, Options, PoolingChoice, Weights};
use crate::float_model::{ActivationFn, Embedding, FloatModel, Layer, Linear, Norm, Pooler};
use std::path::Path;
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};

/// What one of the two calls things.
pub(super) struct Family {
    prefix: &'static str,
    d_model: &'static str,
    n_layers: &'static str,
    n_heads: &'static str,
    d_ff: &'static str,
    activation: &'static str,
    blocks: &'static str,
    /// Query, key, value, output.
    attention: [&'static str; 4],
    norm1: &'static str,
    ff: [&'static str; 2],
    norm2: &'static str,
    pooler: &'static str,
    /// Whether the pooler is part of the model without its head, and so has its prefix.
    pooler_inside: bool,
    pooler_activation: ActivationFn,
}

pub(super) const BERT: Family = Family {
    prefix: "bert.",
    d_model: "hidden_size",
    n_layers: "num_hidden_layers",
    n_heads: "num_attention_heads",
    d_ff: "intermediate_size",
    activation: "hidden_act",
    blocks: "encoder.layer",
    attention: [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
    ],
    norm1: "attention.output.LayerNorm",
    ff: ["intermediate.dense", "output.dense"],
    norm2: "output.LayerNorm",
    pooler: "pooler.dense",
    pooler_inside: true,
    pooler_activation: ActivationFn::Tanh,
};

pub(super) const DISTILBERT: Family = Family {
    prefix: "distilbert.",
    d_model: "dim",
    n_layers: "n_layers",
    n_heads: "n_heads",
    d_ff: "hidden_dim",
    activation: "activation",
    blocks: "transformer.layer",
    attention: [
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
    ],
    norm1: "sa_layer_norm",
    ff: ["ffn.lin1", "ffn.lin2"],
    norm2: "output_layer_norm",
    pooler: "pre_classifier",
    pooler_inside: false,
    pooler_activation: ActivationFn::Relu,
};

const WORDS: &str = "embeddings.word_embeddings.weight";
const CLASSIFIER: &str = "classifier";

/// The weights with the sizes that every layer needs.
struct Tensors<'f> {
    family: &'f Family,
    weights: Weights,
    prefix: &'static str,
    d: usize,
    d_ff: usize,
    eps: f32,
}

impl Tensors<'_> {
    fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ImportError> {
        self.weights.f32(&format!("{}{name}", self.prefix), shape)
    }

    fn linear(&self, name: &str, out: usize, input: usize) -> Result<Linear, ImportError> {
        self.linear_at(&format!("{}{name}", self.prefix), out, input)
    }

    fn linear_at(&self, name: &str, out: usize, input: usize) -> Result<Linear, ImportError> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        self.weights.linear(&weight, Some(&bias), out, input)
    }

    fn norm(&self, name: &str) -> Result<Norm, ImportError> {
        let at = |part: &str| format!("{}{name}.{part}", self.prefix);
        let [gain, bias] = match self.weights.has(&at("gamma")) {
            true => ["gamma", "beta"],
            false => ["weight", "bias"],
        };
        self.weights.norm(&at(gain), &at(bias), self.d, self.eps)
    }

    fn layer(&self, index: u16) -> Result<Layer, ImportError> {
        let f = self.family;
        let at = |part: &str| format!("{}.{index}.{part}", f.blocks);
        let square = |part: usize| self.linear(&at(f.attention[part]), self.d, self.d);
        Ok(Layer {
            q: square(0)?,
            k: square(1)?,
            v: square(2)?,
            o: square(3)?,
            norm1: self.norm(&at(f.norm1))?,
            ff1: self.linear(&at(f.ff[0]), self.d_ff, self.d)?,
            ff2: self.linear(&at(f.ff[1]), self.d, self.d_ff)?,
            norm2: self.norm(&at(f.norm2))?,
        })
    }

    /// Returns the full name of the pooler.
    fn pooler_name(&self) -> String {
        let prefix = match self.family.pooler_inside {
            true => self.prefix,
            false => "",
        };
        format!("{prefix}{}", self.family.pooler)
    }

    fn has_pooler(&self) -> bool {
        self.weights.has(&format!("{}.weight", self.pooler_name()))
    }

    /// Returns positions `[seq_len, d]` of the longer table that the file has.
    fn positions(&self, config: &Config, seq_len: u16) -> Result<Vec<f32>, ImportError> {
        let rows = usize::from(config.u16("max_position_embeddings")?);
        let mut positions = self.f32("embeddings.position_embeddings.weight", &[rows, self.d])?;
        positions.truncate(usize::from(seq_len) * self.d);
        Ok(positions)
    }
}

/// Reads the model.
pub(super) fn read(
    dir: &Path,
    config: &Config,
    family: &Family,
    options: &Options,
) -> Result<FloatModel, ImportError> {
    unsupported(config)?;
    let weights = Weights::of_directory(dir)?;
    let prefixed = weights.has(&format!("{}{WORDS}", family.prefix));
    let tensors = Tensors {
        family,
        prefix: if prefixed { family.prefix } else { "" },
        d: config.u16(family.d_model)?.into(),
        d_ff: config.u16(family.d_ff)?.into(),
        // DistilBERT's is not in its configuration.
        eps: match config.has("layer_norm_eps") {
            true => config.f32("layer_norm_eps")?,
            false => 1e-12,
        },
        weights,
    };
    let labels = match has_head(config, &tensors.weights)? {
        true => labels(config)?,
        false => Vec::new(),
    };
    let (pooling, pooler) = pooling(dir, options, &tensors, !labels.is_empty())?;
    let c = model_config(dir, config, family, options, labels.len(), pooling, pooler)?;
    let InputKind::Tokens {
        vocab_size,
        n_segments,
    } = c.input
    else {
        return Err(config.bad("vocab_size", "a number of pieces"));
    };
    let d = tensors.d;
    Ok(FloatModel {
        name: name(dir, config),
        activation: activation(config, family)?,
        embedding: Embedding::Tokens {
            table: tensors.f32(WORDS, &[vocab_size as usize, d])?,
            projection: None,
            segments: match usize::from(n_segments) {
                0 => Vec::new(),
                n => tensors.f32("embeddings.token_type_embeddings.weight", &[n, d])?,
            },
        },
        class_token: None,
        positions: tensors.positions(config, c.seq_len)?,
        embed_norm: Some(tensors.norm("embeddings.LayerNorm")?),
        layers: (0..c.n_layers)
            .map(|l| tensors.layer(l))
            .collect::<Result<_, _>>()?,
        final_norm: None,
        pooler: match pooler {
            true => Some(Pooler {
                linear: tensors.linear_at(&tensors.pooler_name(), d, d)?,
                activation: family.pooler_activation,
            }),
            false => None,
        },
        head: match labels.len() {
            0 => Linear::empty(d),
            n => tensors.linear_at(CLASSIFIER, n, d)?,
        },
        labels,
        decoder: None,
        front_end: None,
        config: c,
    })
}

/// Refuses what changes the forward and is not known here.
fn unsupported(config: &Config) -> Result<(), ImportError> {
    for key in ["is_decoder", "add_cross_attention"] {
        if config.has(key) && config.bool(key)? {
            return Err(config.bad(key, "false: an encoder"));
        }
    }
    let key = "position_embedding_type";
    match config.has(key) && config.str(key)? != "absolute" {
        true => Err(config.bad(key, "\"absolute\"")),
        false => Ok(()),
    }
}

/// Returns whether the directory has a head of classes: as its architecture says, or where it says
/// nothing, its tensors.
fn has_head(config: &Config, weights: &Weights) -> Result<bool, ImportError> {
    let key = "architectures/0";
    if !config.has(key) {
        return Ok(weights.has(&format!("{CLASSIFIER}.weight")));
    }
    let name = config.str(key)?;
    let without = ["Model", "MaskedLM", "PreTraining", "NextSentencePrediction"];
    match name.ends_with("ForSequenceClassification") {
        true => Ok(true),
        false if without.iter().any(|end| name.ends_with(end)) => Ok(false),
        false => Err(config.bad(
            key,
            "a model, or one for sequence classification, masked words or pretraining: other heads read single rows",
        )),
    }
}

/// Returns how the rows become one, and whether a pooler follows.
fn pooling(
    dir: &Path,
    options: &Options,
    tensors: &Tensors<'_>,
    head: bool,
) -> Result<(Pooling, bool), ImportError> {
    let said = options.pooling;
    if head {
        return match said {
            None | Some(PoolingChoice::Pooler) => Ok((Pooling::First, true)),
            Some(other) => Err(ImportError::HeadPooling {
                path: dir.into(),
                asked: other.name(),
            }),
        };
    }
    let said = match said {
        Some(said) => Some(said),
        None => sentence::pooling(dir)?,
    };
    match said {
        Some(PoolingChoice::Mean) => Ok((Pooling::Mean, false)),
        Some(PoolingChoice::Cls) => Ok((Pooling::First, false)),
        Some(PoolingChoice::Pooler) => Ok((Pooling::First, true)),
        None if tensors.has_pooler() => Ok((Pooling::First, true)),
        None => Err(ImportError::NoPooling { path: dir.into() }),
    }
}

fn model_config(
    dir: &Path,
    config: &Config,
    family: &Family,
    options: &Options,
    n_classes: usize,
    pooling: Pooling,
    pooler: bool,
) -> Result<ModelConfig, ImportError> {
    let n_segments = match config.has("type_vocab_size") {
        true => config.u16("type_vocab_size")?,
        false => 0,
    };
    let config_of = ModelConfig {
        n_layers: options.keep(config, family.n_layers, options.layers, None)?,
        d_model: config.u16(family.d_model)?,
        n_heads: config.u16(family.n_heads)?,
        d_ff: config.u16(family.d_ff)?,
        seq_len: options.keep(
            config,
            "max_position_embeddings",
            options.seq_len,
            sentence::max_len(dir)?,
        )?,
        n_classes: u16::try_from(n_classes)
            .map_err(|_| config.bad("id2label", "at most 65535 names"))?,
        input: InputKind::Tokens {
            vocab_size: config.u32("vocab_size")?,
            n_segments: u8::try_from(n_segments)
                .map_err(|_| config.bad("type_vocab_size", "at most 255"))?,
        },
        class_token: false,
        norm: NormOrder::Post,
        activation: match activation(config, family)? {
            ActivationFn::Relu => Activation::Relu,
            _ => Activation::Gelu,
        },
        pooling,
        embed_norm: true,
        final_norm: false,
        embedding_rank: 0,
        pooler,
        decoder: None,
    };
    let path = dir.join("config.json");
    config_of
        .check()
        .map_err(|source| ImportError::Architecture { path, source })?;
    Ok(config_of)
}

fn activation(config: &Config, family: &Family) -> Result<ActivationFn, ImportError> {
    match config.str(family.activation)? {
        "gelu" | "gelu_python" => Ok(ActivationFn::GeluErf),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(ActivationFn::GeluTanh),
        "relu" => Ok(ActivationFn::Relu),
        _ => Err(config.bad(family.activation, "\"gelu\", \"gelu_new\" or \"relu\"")),
    }
}

/// Returns the class names of `id2label`, in the order of their numbers.
fn labels(config: &Config) -> Result<Vec<String>, ImportError> {
    let key = "id2label";
    let expected = "a name for each class from \"0\" on";
    if !config.has(key) {
        // What the library itself assumes of a configuration that names nothing.
        return Ok(vec!["LABEL_0".into(), "LABEL_1".into()]);
    }
    let names: std::collections::HashMap<String, String> = config.parse(key, expected)?;
    let name = |i: usize| names.get(&i.to_string()).cloned();
    let labels: Option<Vec<String>> = (0..names.len()).map(name).collect();
    labels.ok_or_else(|| config.bad(key, expected))
}

fn name(dir: &Path, config: &Config) -> String {
    let said = config.str("_name_or_path").ok().filter(|n| !n.is_empty());
    let own = dir.file_name().map(|n| n.to_string_lossy().into_owned());
    said.map(str::to_owned)
        .or(own)
        .unwrap_or_else(|| "bert".into())
}
