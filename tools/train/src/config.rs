//! A training configuration: a TOML file with the task, the architecture, the front end, the
//! schedule and the augmentation.
//!
//! ```toml
//! name = "keywords"
//! task = "supervised"        # or "masked_frames", "masked_lm", "sequence_to_sequence"
//! seed = 1
//!
//! [model]
//! d_model = 64
//! n_layers = 4
//! n_heads = 4
//! d_ff = 256
//!
//! [frontend]                 # sound; else n_frames and n_features, or seq_len for text
//! kind = "log_mel"
//! # …
//!
//! [schedule]
//! steps = 10000
//! batch = 64
//! learning_rate = 2e-3
//! warmup_steps = 500
//! ```

mod text;

pub use text::{DecoderSpec, TextSpec, TokenizerName};

use crate::augment::Augment;
use crate::error::TrainError;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune_tools::audio::FrontEndConfig;
use tailtune_tools::float_model::ActivationFn;

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Classes from labels.
    Supervised,
    /// Hidden spans of frames from the frames around them.
    MaskedFrames,
    /// Hidden tokens, and whether two sentences follow each other (Devlin et al., arXiv 1810.04805).
    MaskedLm,
    /// Targets from sources, by an encoder and a decoder (Vaswani et al., arXiv 1706.03762).
    SequenceToSequence,
}

/// LayerNorm before or after the sub-layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Norm {
    Pre,
    Post,
}

/// The activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ActivationName {
    Gelu,
    GeluTanh,
    Relu,
}

/// What the pooled feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PoolingName {
    ClassToken,
    Mean,
    First,
}

/// The `[model]`: any encoder that the runtime runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Width of the residual stream.
    pub d_model: u16,
    /// Blocks.
    pub n_layers: u16,
    /// Attention heads.
    pub n_heads: u16,
    /// Width of the feed-forward layer.
    pub d_ff: u16,
    /// Where LayerNorm stands.
    #[serde(default = "pre")]
    pub norm: Norm,
    /// Between the feed-forward layers.
    #[serde(default = "gelu")]
    pub activation: ActivationName,
    /// The pooled feature; text models read their first token.
    #[serde(default = "mean")]
    pub pooling: PoolingName,
    /// Whether there is a norm after the embedding.
    #[serde(default)]
    pub embed_norm: bool,
    /// Whether there is a norm after the last block; pre-norm models want one.
    #[serde(default = "yes")]
    pub final_norm: bool,
    /// Frames of one input, where there is no front end.
    pub n_frames: Option<u16>,
    /// Features of one frame, where there is no front end.
    pub n_features: Option<u16>,
    /// Images, in the place of frames.
    pub image: Option<ImageSpec>,
    /// Tokens of one input, for text.
    pub seq_len: Option<u16>,
    /// Entries of the tokenizer that is trained, for text.
    pub vocab_size: Option<u32>,
    /// Added to variances.
    #[serde(default = "eps")]
    pub layer_norm_eps: f32,
    /// What writes targets, for sequence to sequence.
    pub decoder: Option<DecoderSpec>,
}

/// Images that are cut into square patches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Rows, a multiple of `patch`.
    pub height: u16,
    /// Columns, a multiple of `patch`.
    pub width: u16,
    /// Bytes of a pixel: 1, 3 or 4.
    pub channels: u8,
    /// Side of a patch.
    pub patch: u8,
}

fn pre() -> Norm {
    Norm::Pre
}

fn gelu() -> ActivationName {
    ActivationName::Gelu
}

fn mean() -> PoolingName {
    PoolingName::Mean
}

fn yes() -> bool {
    true
}

fn eps() -> f32 {
    1e-5
}

/// The `[distill]`: what a teacher adds to the loss (Hinton et al., arXiv 1503.02531).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distill {
    /// Weight of the squared distance between the teacher's pooled feature, standardised, and a
    /// linear map of the student's.
    #[serde(default)]
    pub features: f32,
    /// Weight of the cross-entropy to the teacher's logits, where both know the same classes.
    #[serde(default)]
    pub logits: f32,
    /// Softens those logits.
    #[serde(default = "temperature")]
    pub temperature: f32,
}

fn temperature() -> f32 {
    2.0
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the model is called.
    pub name: String,
    /// What is learned.
    pub task: Task,
    /// Decides weights, order, augmentation and what is held out.
    #[serde(default = "one")]
    pub seed: u64,
    /// Share of the samples that are held out to watch, 0 to below 1.
    #[serde(default = "hold_out")]
    pub hold_out: f64,
    /// The architecture.
    pub model: ModelSpec,
    /// What makes frames out of sound.
    pub frontend: Option<FrontEndConfig>,
    /// How fast and how long.
    pub schedule: Schedule,
    /// What is done to sounds and frames.
    #[serde(default)]
    pub augment: Augment,
    /// What the pieces of a text are, and what is learned of them.
    #[serde(default)]
    pub text: TextSpec,
    /// What a teacher adds.
    pub distill: Option<Distill>,
    /// Rounds weights and activations to int8 grids while training.
    #[serde(default)]
    pub quantization_aware: bool,
}

fn one() -> u64 {
    1
}

fn hold_out() -> f64 {
    0.05
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TrainError::Config`] names the key.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::Io {
            path: path.into(),
            source,
        })?;
        let bad = |reason: String| TrainError::Config {
            path: path.into(),
            reason,
        };
        let config: Self = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        match config.fault() {
            Some(reason) => Err(bad(reason)),
            None => Ok(config),
        }
    }

    fn fault(&self) -> Option<String> {
        if !(0.0..0.9).contains(&self.hold_out) {
            return Some(format!("hold_out is {}, expected 0 to 0.9", self.hold_out));
        }
        if let Some(front_end) = &self.frontend
            && !front_end.is_sound()
        {
            return Some("frontend: its numbers do not make sense together: 0 < window_len <= fft_len, hop_len > 0, mel_lower < mel_upper <= sample_rate / 2, n_features = mel_bins for log_mel".into());
        }
        self.schedule.fault().or_else(|| self.augment.fault())
    }

    /// Returns the architecture for `n_classes` classes; `vocab_size` for text.
    ///
    /// # Errors
    /// [`TrainError::Unfit`] names the key that is missing or that the runtime refuses.
    pub fn architecture(
        &self,
        n_classes: usize,
        vocab_size: u32,
    ) -> Result<ModelConfig, TrainError> {
        let unfit = |text: String| Err(TrainError::Unfit(text));
        let m = &self.model;
        let text = matches!(self.task, Task::MaskedLm | Task::SequenceToSequence);
        let class_token = m.pooling == PoolingName::ClassToken && !text;
        let input = self.input(vocab_size)?;
        let len = match input.frames() {
            Some((n_frames, _)) => n_frames,
            None => m.seq_len.unwrap_or(0).into(),
        };
        let Ok(tokens) = u16::try_from(len + usize::from(class_token)) else {
            return unfit(format!("{len} frames, expected at most 1024"));
        };
        let Ok(n_classes) = u16::try_from(n_classes) else {
            return unfit(format!("{n_classes} classes, expected at most 65535"));
        };
        let config = ModelConfig {
            n_layers: m.n_layers,
            d_model: m.d_model,
            n_heads: m.n_heads,
            d_ff: m.d_ff,
            seq_len: tokens,
            n_classes,
            input,
            class_token,
            norm: match m.norm {
                Norm::Pre => NormOrder::Pre,
                Norm::Post => NormOrder::Post,
            },
            activation: match m.activation {
                ActivationName::Relu => Activation::Relu,
                _ => Activation::Gelu,
            },
            pooling: match (text, m.pooling) {
                (true, PoolingName::ClassToken) => Pooling::First,
                (_, PoolingName::ClassToken) => Pooling::ClassToken,
                (_, PoolingName::Mean) => Pooling::Mean,
                (_, PoolingName::First) => Pooling::First,
            },
            embed_norm: m.embed_norm,
            final_norm: m.final_norm,
            embedding_rank: 0,
            pooler: false,
            decoder: None,
        };
        match config.check() {
            Ok(()) => Ok(config),
            Err(e) => unfit(format!("[model]: {e}")),
        }
    }

    /// Returns what the encoder reads; `vocab_size` for text.
    ///
    /// # Errors
    /// [`TrainError::Unfit`] names the key that is missing.
    pub fn input(&self, vocab_size: u32) -> Result<InputKind, TrainError> {
        let m = &self.model;
        if matches!(self.task, Task::MaskedLm | Task::SequenceToSequence) {
            let text = "model.seq_len is missing; a text model needs it";
            m.seq_len.ok_or_else(|| TrainError::Unfit(text.into()))?;
            return Ok(InputKind::Tokens {
                vocab_size,
                n_segments: match self.task == Task::MaskedLm && self.text.next_sentence {
                    true => 2,
                    false => 0,
                },
            });
        }
        if let Some(image) = &m.image {
            return Ok(InputKind::Patches {
                height: image.height,
                width: image.width,
                channels: image.channels,
                patch: image.patch,
            });
        }
        let shape = match &self.frontend {
            Some(f) => (f.n_frames().try_into().ok(), f.n_features.try_into().ok()),
            None => (m.n_frames, m.n_features),
        };
        let (Some(n_frames), Some(n_features)) = shape else {
            return Err(TrainError::Unfit(
                "[model] says neither n_frames and n_features nor image, and there is no [frontend]: give one of the three".into(),
            ));
        };
        Ok(InputKind::Frames {
            n_frames,
            n_features,
        })
    }

    /// Returns the exact activation function.
    pub fn activation(&self) -> ActivationFn {
        match self.model.activation {
            ActivationName::Gelu => ActivationFn::GeluErf,
            ActivationName::GeluTanh => ActivationFn::GeluTanh,
            ActivationName::Relu => ActivationFn::Relu,
        }
    }
}
