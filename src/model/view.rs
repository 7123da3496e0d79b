//! One block's tensors, as the kernels take them.

use crate::image::{
    AttentionKinds, CROSS_ATTENTION, Image, NO_LAYER, NormOrder, SELF_ATTENTION, Tensor, TensorKind,
};
use crate::kernels::{AttentionScale, Linear, Norm, Requantize};

/// From the residual stream to a sub-layer's int8 input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SubLayerInput<'a> {
    /// Post-norm: a requantize with one mantissa a column.
    Requantize(Requantize<'a>),
    /// Pre-norm: the sub-layer's LayerNorm.
    Norm(Norm<'a>),
}

/// An attention sub-layer: of a block over itself, or over the encoder's rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// Of the queries; of the keys and values too, unless they are the encoder's.
    pub input: SubLayerInput<'a>,
    pub query: Linear<'a>,
    pub key: Linear<'a>,
    pub value: Linear<'a>,
    pub scale: AttentionScale,
    pub out: Linear<'a>,
    /// Post-norm: the LayerNorm after it.
    pub norm: Option<Norm<'a>>,
}

/// The position-wise feed-forward sub-layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeedForward<'a> {
    pub input: SubLayerInput<'a>,
    pub ff1: Linear<'a>,
    /// The activation's table; none with ReLU.
    pub table: Option<&'a [i8; 256]>,
    pub ff2: Linear<'a>,
    /// Post-norm: the LayerNorm after it.
    pub norm: Option<Norm<'a>>,
}

/// A block of an encoder or a decoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    pub attention: Attention<'a>,
    pub feed_forward: FeedForward<'a>,
}

impl<'a> Block<'a> {
    /// Returns block `layer`; none if the image lacks a tensor, which a parsed image does not.
    pub fn new(image: &Image<'a>, layer: u16) -> Option<Self> {
        Some(Self {
            attention: Attention::new(image, layer, &SELF_ATTENTION)?,
            feed_forward: FeedForward::new(image, layer)?,
        })
    }
}

impl<'a> Attention<'a> {
    /// Returns the cross-attention of decoder block `layer`; none where there is no encoder, and as
    /// [`Block::new`]. Not part of a block: an encoder's would carry its room.
    pub fn cross(image: &Image<'a>, layer: u16) -> Option<Self> {
        Self::new(image, layer, &CROSS_ATTENTION)
    }

    fn new(image: &Image<'a>, layer: u16, kinds: &AttentionKinds) -> Option<Self> {
        let &[
            input,
            norm,
            q,
            q_end,
            k,
            k_end,
            v,
            v_end,
            o,
            o_end,
            softmax,
            context,
        ] = kinds;
        let (softmax, context) = (image.tensor(softmax, layer)?, image.tensor(context, layer)?);
        let (input, norm) = sub_layer_input(image, layer, input, norm)?;
        Some(Self {
            input,
            query: linear(image, q, q_end, layer)?,
            key: linear(image, k, k_end, layer)?,
            value: linear(image, v, v_end, layer)?,
            scale: AttentionScale {
                softmax: softmax.scaling(),
                softmax_mantissa: *softmax.data().first()?,
                context_shift: context.entry().shift,
                context_mantissa: *context.data().first()?,
                zero_point: context.zero_point(),
            },
            out: linear(image, o, o_end, layer)?,
            norm,
        })
    }
}

impl<'a> FeedForward<'a> {
    fn new(image: &Image<'a>, layer: u16) -> Option<Self> {
        use TensorKind::*;
        let (input, norm) = sub_layer_input(image, layer, FfInput, Norm2)?;
        Some(Self {
            input,
            ff1: linear(image, Ff1, Ff1Epilogue, layer)?,
            table: match image.tensor(ActivationTable, layer) {
                Some(table) => Some(table.data::<i8>().try_into().ok()?),
                None => None,
            },
            ff2: linear(image, Ff2, Ff2Epilogue, layer)?,
            norm,
        })
    }
}

/// What follows the pooling, where something does (BERT: Devlin et al., arXiv 1810.04805).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pooler<'a> {
    pub linear: Linear<'a>,
    /// The activation's table.
    pub table: &'a [i8; 256],
}

impl<'a> Pooler<'a> {
    /// Returns the image's pooler; none where it has none.
    pub fn new(image: &Image<'a>) -> Option<Self> {
        use TensorKind::{Pooler, PoolerEpilogue, PoolerTable};
        let table = image.tensor(PoolerTable, NO_LAYER)?;
        Some(Self {
            linear: linear(image, Pooler, PoolerEpilogue, NO_LAYER)?,
            table: table.data::<i8>().try_into().ok()?,
        })
    }
}

/// Returns what makes a sub-layer's input, and the norm after it.
fn sub_layer_input<'a>(
    image: &Image<'a>,
    layer: u16,
    input: TensorKind,
    norm_kind: TensorKind,
) -> Option<(SubLayerInput<'a>, Option<Norm<'a>>)> {
    let norm = norm(&image.tensor(norm_kind, layer)?);
    Some(match image.config().norm {
        NormOrder::Pre => (SubLayerInput::Norm(norm), None),
        NormOrder::Post => {
            let input = requantize(&image.tensor(input, layer)?);
            (SubLayerInput::Requantize(input), Some(norm))
        }
    })
}

/// Returns a linear layer of block `layer`.
pub(crate) fn linear<'a>(
    image: &Image<'a>,
    weight: TensorKind,
    epilogue: TensorKind,
    layer: u16,
) -> Option<Linear<'a>> {
    let (weight, epilogue) = (image.tensor(weight, layer)?, image.tensor(epilogue, layer)?);
    Some(Linear {
        weight: weight.data(),
        epilogue: epilogue.data(),
        in_features: weight.entry().cols.get() as usize,
        scaling: epilogue.scaling(),
        zero_point: epilogue.zero_point(),
    })
}

/// Returns a requantize of rows.
pub(crate) fn requantize<'a>(tensor: &Tensor<'a>) -> Requantize<'a> {
    Requantize {
        mantissas: tensor.data(),
        scaling: tensor.scaling(),
        zero_point: tensor.zero_point(),
    }
}

/// Returns a LayerNorm of no block.
pub(crate) fn global_norm<'a>(image: &Image<'a>, kind: TensorKind) -> Option<Norm<'a>> {
    Some(norm(&image.tensor(kind, NO_LAYER)?))
}

fn norm<'a>(tensor: &Tensor<'a>) -> Norm<'a> {
    let pairs: &[[i32; 2]] = tensor.data();
    let (params, epsilon) = match pairs.split_last() {
        Some((&[low, high], params)) => (params, (high as u32 as u64) << 32 | low as u32 as u64),
        None => (pairs, 0),
    };
    Norm {
        params,
        epsilon,
        shift: tensor.entry().shift,
    }
}
