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

impl Embedding {
    /// Returns the embedding of a model that has no encoder.
    pub fn none() -> Self {
        Self::Tokens {
            table: Vec::new(),
            projection: None,
            segments: Vec::new(),
        }
    }
}

/// Attention of a decoder block to the encoder's output.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossAttention {
    /// Query projection, of the decoder's stream.
    pub q: Linear,
    /// Key projection, of the encoder's output.
    pub k: Linear,
    /// Value projection, of the encoder's output.
    pub v: Linear,
    /// Output projection.
    pub o: Linear,
    /// Norm of the sub-layer.
    pub norm: Norm,
}

/// One decoder block.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderLayer {
    /// Masked self-attention and feed-forward.
    pub block: Layer,
    /// Between the two; none in a model without an encoder.
    pub cross: Option<CrossAttention>,
}

/// A decoder. Width, heads, norm order and activation are those of the model that it is part of.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatDecoder {
    /// `[vocab_size, d_model]`.
    pub tokens: Vec<f32>,
    /// `[seq_len, d_model]`.
    pub positions: Vec<f32>,
    /// Norm after the embedding.
    pub embed_norm: Option<Norm>,
    /// The decoder blocks.
    pub layers: Vec<DecoderLayer>,
    /// Norm after the last block.
    pub final_norm: Option<Norm>,
    /// `[vocab_size, d_model]`; none where the output projection is the token table.
    pub output: Option<Vec<f32>>,
    /// `[vocab_size]`; zeros where the projection has none.
    pub output_bias: Vec<f32>,
}

impl FloatDecoder {
    /// Returns the weights of the output projection, `[vocab_size, d_model]`.
    pub fn output_weight(&self) -> &[f32] {
        self.output.as_deref().unwrap_or(&self.tokens)
    }
}

/// An encoder with its head, a decoder, or an encoder with a decoder.
///
/// In a model without an encoder the table of `embedding` and `positions` are empty.
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
    /// What writes a sequence of tokens.
    pub decoder: Option<FloatDecoder>,
    /// What makes its frames out of sound, for models of sound.
    pub front_end: Option<FrontEndConfig>,
}

impl FloatModel {
    /// Returns what its norms add to the variance.
    pub fn eps(&self) -> f32 {
        let decoder = self.decoder.iter().flat_map(|d| &d.layers);
        let layer = self.layers.iter().chain(decoder.map(|l| &l.block)).next();
        layer.map_or(1e-5, |l| l.norm1.eps)
    }

    /// Returns all its norms.
    pub fn norms_mut(&mut self) -> Vec<&mut Norm> {
        let mut all: Vec<&mut Norm> = Vec::new();
        all.extend(&mut self.embed_norm);
        all.extend(self.layers.iter_mut().flat_map(Layer::norms_mut));
        all.extend(&mut self.final_norm);
        if let Some(decoder) = &mut self.decoder {
            all.extend(&mut decoder.embed_norm);
            for layer in &mut decoder.layers {
                all.extend(layer.block.norms_mut());
                all.extend(layer.cross.as_mut().map(|c| &mut c.norm));
            }
            all.extend(&mut decoder.final_norm);
        }
        all
    }

    /// Returns the number of parameters; a bias of zeros stands for none.
    pub fn parameters(&self) -> usize {
        let embedding = match &self.embedding {
            Embedding::Frames { projection } => projection.parameters(),
            Embedding::Tokens {
                table,
                projection,
                segments,
            } => table.len() + segments.len() + projection.as_ref().map_or(0, Linear::parameters),
        };
        embedding
            + self.class_token.as_ref().map_or(0, Vec::len)
            + self.positions.len()
            + optional(&self.embed_norm)
            + self.layers.iter().map(Layer::parameters).sum::<usize>()
            + optional(&self.final_norm)
            + self.pooler.as_ref().map_or(0, |p| p.linear.parameters())
            + self.head.parameters()
            + self.decoder.as_ref().map_or(0, FloatDecoder::parameters)
    }
}

impl Linear {
    fn parameters(&self) -> usize {
        self.weight.len() + bias(&self.bias)
    }
}

impl Norm {
    fn parameters(&self) -> usize {
        self.gain.len() + self.bias.len()
    }
}

impl Layer {
    fn norms_mut(&mut self) -> [&mut Norm; 2] {
        [&mut self.norm1, &mut self.norm2]
    }

    fn parameters(&self) -> usize {
        [&self.q, &self.k, &self.v, &self.o, &self.ff1, &self.ff2]
            .into_iter()
            .map(Linear::parameters)
            .sum::<usize>()
            + self.norm1.parameters()
            + self.norm2.parameters()
    }
}

impl CrossAttention {
    fn parameters(&self) -> usize {
        [&self.q, &self.k, &self.v, &self.o]
            .into_iter()
            .map(Linear::parameters)
            .sum::<usize>()
            + self.norm.parameters()
    }
}

impl FloatDecoder {
    fn parameters(&self) -> usize {
        let layer = |l: &DecoderLayer| {
            l.block.parameters() + l.cross.as_ref().map_or(0, CrossAttention::parameters)
        };
        self.tokens.len()
            + self.positions.len()
            + optional(&self.embed_norm)
            + self.layers.iter().map(layer).sum::<usize>()
            + optional(&self.final_norm)
            + self.output.as_ref().map_or(0, Vec::len)
            + bias(&self.output_bias)
    }
}

fn bias(bias: &[f32]) -> usize {
    match bias.iter().any(|b| *b != 0.0) {
        true => bias.len(),
        false => 0,
    }
}

fn optional(norm: &Option<Norm>) -> usize {
    norm.as_ref().map_or(0, Norm::parameters)
}
