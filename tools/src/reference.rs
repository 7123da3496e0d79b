//! The float forward, written from the formulas: what int8 is measured against, what calibration
//! watches through a [`Probe`], and what a [`Transform`] changes on its way.

mod decoder;
mod operators;

pub use decoder::{Decoded, decode, decode_through, generate};
pub use operators::softmax;
pub(crate) use operators::{linear, normalise};

use crate::float_model::{Embedding, FloatModel, Layer, Norm};
use operators::{Mask, add, attention};
use tailtune::image::{NormOrder, Pooling};

/// A place in the model whose values calibration or a comparison may want. Blocks count from 0; a
/// decoder's are counted on after the encoder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Frames as they come in.
    Input,
    /// Sum of projection (or token), class token, position and segment.
    EmbeddingSum,
    /// The residual stream after the embedding and its norm.
    Embedded,
    /// What query, key and value projections read.
    AttnInput(usize),
    /// Queries.
    Query(usize),
    /// Keys.
    Key(usize),
    /// Values.
    Value(usize),
    /// Weighted values: what the output projection reads.
    Context(usize),
    /// The residual stream plus attention, before a post-norm.
    AttnResidual(usize),
    /// The residual stream between the sub-layers: after the attention's post-norm, if it has one.
    AttnOut(usize),
    /// What the first feed-forward layer reads.
    FfInput(usize),
    /// Before the activation.
    FfPre(usize),
    /// After the activation.
    FfHidden(usize),
    /// The residual stream plus feed-forward, before a post-norm.
    FfResidual(usize),
    /// The residual stream after the block.
    BlockOut(usize),
    /// The pooled row.
    Pooled,
    /// Before the pooler's activation, where the model has a pooler.
    PoolerPre,
    /// What heads read: the pooler's output, or the pooled row itself.
    Feature,
    /// The head's output.
    Logits,
    /// The encoder's output, all rows: what keys and values of cross-attention are made of.
    Memory,
    /// In a decoder, sum of token and position.
    TargetSum,
    /// The decoder's residual stream after the embedding and its norm.
    TargetEmbedded,
    /// What the query projection of cross-attention reads.
    CrossInput(usize),
    /// Queries of cross-attention.
    CrossQuery(usize),
    /// Keys of cross-attention.
    CrossKey(usize),
    /// Values of cross-attention.
    CrossValue(usize),
    /// Weighted values of cross-attention.
    CrossContext(usize),
    /// The residual stream plus cross-attention, before a post-norm.
    CrossResidual(usize),
    /// The residual stream after cross-attention's post-norm, if it has one.
    CrossOut(usize),
    /// What the output projection reads.
    OutputInput,
    /// The output projection's output, before the softmax.
    OutputLogits,
}

/// Watches a forward.
pub trait Probe {
    /// Takes the values at `site`, `[rows, cols]` row-major.
    fn record(&mut self, site: Site, values: &[f32], cols: usize);
}

/// Watches nothing.
impl Probe for () {
    fn record(&mut self, _: Site, _: &[f32], _: usize) {}
}

/// Changes values on their way through a forward.
pub trait Transform {
    /// Takes the values at `site`, `[rows, cols]` row-major; the forward goes on with what is left.
    fn apply(&mut self, site: Site, values: &mut [f32], cols: usize);
}

/// A probe as a transform that changes nothing.
struct Watch<'p>(&'p mut dyn Probe);

impl Transform for Watch<'_> {
    fn apply(&mut self, site: Site, values: &mut [f32], cols: usize) {
        self.0.record(site, values, cols);
    }
}

/// What the float model reads.
#[derive(Debug, Clone, Copy)]
pub enum FloatInput<'a> {
    /// `[n, n_features]`, at most the model's `n_frames`.
    Frames(&'a [f32]),
    /// Token ids and, where the model has segments, segment ids.
    Tokens {
        /// `[n]`, each below `vocab_size`.
        ids: &'a [u32],
        /// `[n]` or empty.
        segments: &'a [u8],
    },
}

/// An input that owns what it reads.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelInput {
    /// `[n, n_features]`.
    Frames(Vec<f32>),
    /// Ids `[n]`; segment ids `[n]`, or none where the model has no segments.
    Tokens(Vec<u32>, Vec<u8>),
}

impl ModelInput {
    /// Returns the inputs of a model of frames.
    pub fn frames(clips: Vec<Vec<f32>>) -> Vec<Self> {
        clips.into_iter().map(Self::Frames).collect()
    }

    /// Returns the input as the reference takes it.
    pub fn float(&self) -> FloatInput<'_> {
        match self {
            Self::Frames(frames) => FloatInput::Frames(frames),
            Self::Tokens(ids, segments) => FloatInput::Tokens { ids, segments },
        }
    }
}

/// What the float model gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// `[rows, d_model]`: the residual stream after the last block and the final norm.
    pub hidden: Vec<f32>,
    /// `[d_model]`: the feature that heads read, after the pooler where the model has one.
    pub pooled: Vec<f32>,
    /// `[n_classes]`.
    pub logits: Vec<f32>,
}

/// Runs `model` on one input, whose kind and length whoever reads the data has checked.
pub fn forward(model: &FloatModel, input: FloatInput<'_>, probe: &mut dyn Probe) -> Output {
    forward_through(model, input, &mut Watch(probe))
}

/// Runs `model` on one input, as [`forward`] does; `through` may change the values at every site.
pub fn forward_through(
    model: &FloatModel,
    input: FloatInput<'_>,
    through: &mut dyn Transform,
) -> Output {
    let d = usize::from(model.config.d_model);
    let x = encode(model, input, through);
    let rows = x.len() / d;
    let mut pooled: Vec<f32> = match model.config.pooling {
        Pooling::ClassToken | Pooling::First => x[..d].to_vec(),
        Pooling::Mean => (0..d)
            .map(|c| x.iter().skip(c).step_by(d).sum::<f32>() / rows as f32)
            .collect(),
    };
    through.apply(Site::Pooled, &mut pooled, d);
    if let Some(pooler) = &model.pooler {
        pooled = linear(&pooler.linear, &pooled);
        through.apply(Site::PoolerPre, &mut pooled, d);
        for x in &mut pooled {
            *x = pooler.activation.apply(*x);
        }
    }
    through.apply(Site::Feature, &mut pooled, d);
    let mut logits = linear(&model.head, &pooled);
    if !logits.is_empty() {
        let n = logits.len();
        through.apply(Site::Logits, &mut logits, n);
    }
    Output {
        hidden: x,
        pooled,
        logits,
    }
}

/// Returns the rows `[n, d_model]` of the encoder's output.
fn encode(model: &FloatModel, input: FloatInput<'_>, through: &mut dyn Transform) -> Vec<f32> {
    let d = usize::from(model.config.d_model);
    let mut x = embed(model, input, through);
    for (l, layer) in model.layers.iter().enumerate() {
        self_attention(model, layer, l, &mut x, Mask::None, through);
        feed_forward(model, layer, l, &mut x, through);
        through.apply(Site::BlockOut(l), &mut x, d);
    }
    if let Some(norm) = &model.final_norm {
        normalise(norm, &mut x);
    }
    x
}

fn embed(model: &FloatModel, input: FloatInput<'_>, through: &mut dyn Transform) -> Vec<f32> {
    let d = usize::from(model.config.d_model);
    let mut x = model.class_token.clone().unwrap_or_default();
    match (&model.embedding, input) {
        (Embedding::Frames { projection }, FloatInput::Frames(frames)) => {
            let mut frames = frames.to_vec();
            through.apply(Site::Input, &mut frames, projection.in_features);
            x.extend(linear(projection, &frames));
        }
        (
            Embedding::Tokens {
                table,
                projection,
                segments,
            },
            FloatInput::Tokens {
                ids,
                segments: ids2,
            },
        ) => {
            let columns = projection.as_ref().map_or(d, |p| p.in_features);
            for (i, &id) in ids.iter().enumerate() {
                let at = x.len();
                let row = &table[id as usize * columns..][..columns];
                match projection {
                    Some(projection) => x.extend(linear(projection, row)),
                    None => x.extend_from_slice(row),
                }
                if let Some(&segment) = ids2.get(i) {
                    add(&mut x[at..], &segments[usize::from(segment) * d..][..d]);
                }
            }
        }
        _ => panic!("the input's kind is checked where data is read"),
    }
    let len = x.len();
    add(&mut x, &model.positions[..len]);
    through.apply(Site::EmbeddingSum, &mut x, d);
    if let Some(norm) = &model.embed_norm {
        normalise(norm, &mut x);
    }
    through.apply(Site::Embedded, &mut x, d);
    x
}

/// Returns what a sub-layer reads: the stream, through its norm in a pre-norm model.
fn sub_layer_input(model: &FloatModel, norm: &Norm, x: &[f32]) -> Vec<f32> {
    let mut input = x.to_vec();
    if model.config.norm == NormOrder::Pre {
        normalise(norm, &mut input);
    }
    input
}

fn self_attention(
    model: &FloatModel,
    layer: &Layer,
    l: usize,
    x: &mut [f32],
    mask: Mask,
    through: &mut dyn Transform,
) {
    let d = usize::from(model.config.d_model);
    let mut input = sub_layer_input(model, &layer.norm1, x);
    through.apply(Site::AttnInput(l), &mut input, d);
    let (mut q, mut k, mut v) = (
        linear(&layer.q, &input),
        linear(&layer.k, &input),
        linear(&layer.v, &input),
    );
    through.apply(Site::Query(l), &mut q, d);
    through.apply(Site::Key(l), &mut k, d);
    through.apply(Site::Value(l), &mut v, d);
    let mut context = attention(&q, &k, &v, d, model.config.head_dim(), mask);
    through.apply(Site::Context(l), &mut context, d);
    add(x, &linear(&layer.o, &context));
    through.apply(Site::AttnResidual(l), x, d);
    if model.config.norm == NormOrder::Post {
        normalise(&layer.norm1, x);
    }
    through.apply(Site::AttnOut(l), x, d);
}

fn feed_forward(
    model: &FloatModel,
    layer: &Layer,
    l: usize,
    x: &mut [f32],
    through: &mut dyn Transform,
) {
    let (d, d_ff) = (
        usize::from(model.config.d_model),
        usize::from(model.config.d_ff),
    );
    let mut input = sub_layer_input(model, &layer.norm2, x);
    through.apply(Site::FfInput(l), &mut input, d);
    let mut hidden = linear(&layer.ff1, &input);
    through.apply(Site::FfPre(l), &mut hidden, d_ff);
    for h in &mut hidden {
        *h = model.activation.apply(*h);
    }
    through.apply(Site::FfHidden(l), &mut hidden, d_ff);
    add(x, &linear(&layer.ff2, &hidden));
    through.apply(Site::FfResidual(l), x, d);
    if model.config.norm == NormOrder::Post {
        normalise(&layer.norm2, x);
    }
}
