//! One block's tensors, as the kernels take them.

use crate::image::{Image, NO_LAYER, NormOrder, Tensor, TensorKind};
use crate::kernels::{AttentionScale, Linear, Norm, Requantize};

/// From the residual stream to a sub-layer's int8 input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SubLayerInput<'a> {
    /// Post-norm: a requantize with one mantissa a column.
    Requantize(Requantize<'a>),
    /// Pre-norm: the sub-layer's LayerNorm.
    Norm(Norm<'a>),
}

/// An encoder block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    pub attn_input: SubLayerInput<'a>,
    pub query: Linear<'a>,
    pub key: Linear<'a>,
    pub value: Linear<'a>,
    pub attention: AttentionScale,
    pub out: Linear<'a>,
    /// Post-norm: the LayerNorm after attention.
    pub norm1: Option<Norm<'a>>,
    pub ff_input: SubLayerInput<'a>,
    pub ff1: Linear<'a>,
    /// The activation's table; none with ReLU.
    pub table: Option<&'a [i8; 256]>,
    pub ff2: Linear<'a>,
    /// Post-norm: the LayerNorm after the feed-forward.
    pub norm2: Option<Norm<'a>>,
}

impl<'a> Block<'a> {
    /// Returns block `layer`; none if the image lacks a tensor, which a parsed image does not.
    pub fn new(image: &Image<'a>, layer: u16) -> Option<Self> {
        use TensorKind::*;
        let get = |kind| image.tensor(kind, layer);
        let linear = |weight, epilogue| linear(image, weight, epilogue, layer);
        let (softmax, context) = (get(Softmax)?, get(Context)?);
        let norm = |kind| Some(norm(&get(kind)?));
        let (norm1, norm2) = (norm(Norm1)?, norm(Norm2)?);
        let post = image.config().norm == NormOrder::Post;
        let input = |kind, norm| {
            if !post {
                return Some(SubLayerInput::Norm(norm));
            }
            Some(SubLayerInput::Requantize(requantize(&get(kind)?)))
        };
        Some(Self {
            attn_input: input(AttnInput, norm1)?,
            query: linear(Query, QueryEpilogue)?,
            key: linear(Key, KeyEpilogue)?,
            value: linear(Value, ValueEpilogue)?,
            attention: AttentionScale {
                softmax: softmax.scaling(),
                softmax_mantissa: *softmax.data().first()?,
                context_shift: context.entry().shift,
                context_mantissa: *context.data().first()?,
                zero_point: context.zero_point(),
            },
            out: linear(Out, OutEpilogue)?,
            norm1: post.then_some(norm1),
            ff_input: input(FfInput, norm2)?,
            ff1: linear(Ff1, Ff1Epilogue)?,
            table: match get(ActivationTable) {
                Some(table) => Some(table.data::<i8>().try_into().ok()?),
                None => None,
            },
            ff2: linear(Ff2, Ff2Epilogue)?,
            norm2: post.then_some(norm2),
        })
    }
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
