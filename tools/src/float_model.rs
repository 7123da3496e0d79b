//! A model in single precision, as its weights were read: what every importer makes and what the
//! reference, the calibration and the quantizer read.

use crate::audio::FrontEndConfig;
use tailtune::image::ModelConfig;

/// `y = x · Wᵀ + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Rows of `weight`.
    pub out_features: usize,
    /// Columns of `weight`.
    pub in_features: usize,
    /// `[out_features, in_features]`, row-major.
    pub weight: Vec<f32>,
    /// `[out_features]`; zeros where the layer has none.
    pub bias: Vec<f32>,
}

impl Linear {
    /// Returns a layer with no outputs: the head of a model that has none.
    pub fn empty(in_features: usize) -> Self {
        Self {
            out_features: 0,
            in_features,
            weight: Vec::new(),
            bias: Vec::new(),
        }
    }
}

/// LayerNorm.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// `[d_model]`.
    pub gain: Vec<f32>,
    /// `[d_model]`.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

/// One encoder block.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Query projection.
    pub q: Linear,
    /// Key projection.
    pub k: Linear,
    /// Value projection.
    pub v: Linear,
    /// Output projection.
    pub o: Linear,
    /// Norm of the attention sub-layer.
    pub norm1: Norm,
    /// First feed-forward layer.
    pub ff1: Linear,
    /// Second feed-forward layer.
    pub ff2: Linear,
    /// Norm of the feed-forward sub-layer.
    pub norm2: Norm,
}

/// What follows the pooling: a linear layer and an activation.
#[derive(Debug, Clone, PartialEq)]
pub struct Pooler {
    /// `[d_model, d_model]`.
    pub linear: Linear,
    /// `tanh` (BERT) or ReLU (DistilBERT's classifiers).
    pub activation: ActivationFn,
}

/// The activation function between the feed-forward layers, or of a pooler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationFn {
    /// `x · Φ(x)`, exact.
    GeluErf,
    /// GELU by its tanh approximation (Hendrycks & Gimpel, arXiv 1606.08415, §2).
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

impl ActivationFn {
    /// Returns the function's value.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::GeluErf => 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::GeluTanh => {
                let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
                0.5 * x * (1.0 + libm::tanhf(inner))
            }
            Self::Relu => x.max(0.0),
            Self::Tanh => libm::tanhf(x),
        }
    }
}

/// From an input to `d_model` columns.
#[derive(Debug, Clone, PartialEq)]
pub enum Embedding {
    /// Frames, projected linearly.
    Frames {
        /// `[d_model, n_features]`.
        projection: Linear,
    },
    /// Token ids.
    Tokens {
        /// `[vocab_size, d_model]`, or `[vocab_size, rank]` where a projection follows.
        table: Vec<f32>,
        /// `[d_model, rank]` of a factorised table; its bias is added to every row.
        projection: Option<Linear>,
        /// `[n_segments, d_model]`; empty where the model has no segments.
        segments: Vec<f32>,
    },
}

/// An encoder with its head.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatModel {
    /// What it is called, for the provenance of images made from it.
    pub name: String,
    /// The architecture.
    pub config: ModelConfig,
    /// The exact activation function.
    pub activation: ActivationFn,
    /// Class names in the order of the logits.
    pub labels: Vec<String>,
    /// From an input to the residual stream.
    pub embedding: Embedding,
    /// `[d_model]`.
    pub class_token: Option<Vec<f32>>,
    /// `[seq_len, d_model]`.
    pub positions: Vec<f32>,
    /// Norm after the embedding.
    pub embed_norm: Option<Norm>,
    /// The encoder blocks.
    pub layers: Vec<Layer>,
    /// Norm after the last block.
    pub final_norm: Option<Norm>,
    /// Between the pooling and the head.
    pub pooler: Option<Pooler>,
    /// `[n_classes, d_model]`.
    pub head: Linear,
    /// What makes its frames out of sound, for models of sound.
    pub front_end: Option<FrontEndConfig>,
}

impl FloatModel {
    /// Returns the number of parameters; a bias of zeros stands for none.
    pub fn parameters(&self) -> usize {
        let linear = |l: &Linear| {
            let bias = l.bias.iter().any(|b| *b != 0.0);
            l.weight.len() + if bias { l.bias.len() } else { 0 }
        };
        let norm = |n: &Norm| n.gain.len() + n.bias.len();
        let layer = |l: &Layer| {
            [&l.q, &l.k, &l.v, &l.o, &l.ff1, &l.ff2]
                .into_iter()
                .map(linear)
                .sum::<usize>()
                + norm(&l.norm1)
                + norm(&l.norm2)
        };
        let embedding = match &self.embedding {
            Embedding::Frames { projection } => linear(projection),
            Embedding::Tokens {
                table,
                projection,
                segments,
            } => table.len() + segments.len() + projection.as_ref().map_or(0, linear),
        };
        embedding
            + self.class_token.as_ref().map_or(0, Vec::len)
            + self.positions.len()
            + self.embed_norm.as_ref().map_or(0, norm)
            + self.layers.iter().map(layer).sum::<usize>()
            + self.final_norm.as_ref().map_or(0, norm)
            + self.pooler.as_ref().map_or(0, |p| linear(&p.linear))
            + linear(&self.head)
    }
}
