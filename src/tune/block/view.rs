//! The last block in real numbers.

use super::cross::CrossView;
use crate::image::{Activation, Image, NO_LAYER, NormOrder, Pooling, Tensor, TensorKind};
use crate::kernels::Linear;
use crate::model::Cut;
use crate::model::latent::input_grid;
use crate::model::view::{Block, linear};

/// A linear layer of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Projection {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Attention's output.
    Out,
    /// The first feed-forward layer.
    Ff1,
    /// The second.
    Ff2,
}

impl Projection {
    /// All, in the layout's order.
    pub const ALL: [Self; 6] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Out,
        Self::Ff1,
        Self::Ff2,
    ];

    /// Returns the kinds of its weights and of its epilogue.
    pub const fn kinds(self) -> (TensorKind, TensorKind) {
        use TensorKind as K;
        match self {
            Self::Query => (K::Query, K::QueryEpilogue),
            Self::Key => (K::Key, K::KeyEpilogue),
            Self::Value => (K::Value, K::ValueEpilogue),
            Self::Out => (K::Out, K::OutEpilogue),
            Self::Ff1 => (K::Ff1, K::Ff1Epilogue),
            Self::Ff2 => (K::Ff2, K::Ff2Epilogue),
        }
    }
}

/// An int8 grid: `real = (units − zero) · scale`, units −128 to 127.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    pub scale: f32,
    pub zero: f32,
}

impl Grid {
    pub fn of(tensor: &Tensor<'_>) -> Self {
        Self {
            scale: tensor.scale(),
            zero: tensor.zero_point() as f32,
        }
    }

    /// Returns the real value of units.
    pub fn real(self, units: f32) -> f32 {
        (units - self.zero) * self.scale
    }

    /// Returns the units of a real value, not rounded.
    pub fn units(self, real: f32) -> f32 {
        real / self.scale + self.zero
    }

    /// Returns units as a vector of reals.
    pub const fn scaled(self, values: &[f32]) -> Scaled<'_> {
        let Self { scale, zero } = self;
        Scaled {
            values,
            scale,
            zero,
        }
    }
}

/// A vector of reals: `real = (values − zero) · scale`.
#[derive(Debug, Clone, Copy)]
pub struct Scaled<'x> {
    pub values: &'x [f32],
    pub scale: f32,
    pub zero: f32,
}

impl<'x> Scaled<'x> {
    /// Returns reals as they are.
    pub const fn real(values: &'x [f32]) -> Self {
        Self {
            values,
            scale: 1.0,
            zero: 0.0,
        }
    }

    /// Returns the reals.
    pub fn reals(self) -> impl Iterator<Item = f32> + use<'x> {
        let (scale, zero) = (self.scale, self.zero);
        self.values.iter().map(move |v| (v - zero) * scale)
    }
}

/// A norm: where its gains and biases lie, and what they are in.
#[derive(Debug, Clone, Copy)]
pub struct RealNorm<'a> {
    pub kind: TensorKind,
    pub layer: u16,
    /// Gain and bias of every column, in fixed point.
    pub params: &'a [[i32; 2]],
    pub epsilon: f32,
    pub out: Grid,
    pub shift: u8,
}

impl<'a> RealNorm<'a> {
    /// Returns a norm of a stream of scale `stream`.
    pub fn new(image: &Image<'a>, kind: TensorKind, layer: u16, stream: f32) -> Option<Self> {
        let tensor = image.tensor(kind, layer)?;
        let pairs: &[[i32; 2]] = tensor.data();
        let (&[low, high], params) = pairs.split_last()?;
        let epsilon = (high as u32 as u64) << 32 | low as u32 as u64;
        let unit = stream / params.len().max(1) as f32;
        Some(Self {
            kind,
            layer,
            params,
            epsilon: epsilon as f32 * unit * unit,
            out: Grid::of(&tensor),
            shift: tensor.entry().shift,
        })
    }

    /// Returns gain and bias of every column, real.
    pub fn columns(&self) -> impl Iterator<Item = [f32; 2]> {
        let unit = (1u32 << (self.shift & 15)) as f32;
        let half = unit / 2.0;
        let out = self.out;
        self.params.iter().map(move |&[gain, bias]| {
            let gain = gain as f32 / (1024.0 * unit) * out.scale;
            [gain, out.real((bias as f32 - half) / unit)]
        })
    }
}

/// A projection's numbers beside its weights.
#[derive(Debug, Clone, Copy)]
pub struct Scales {
    /// Of the input.
    pub input: Grid,
    /// Scale of a channel's weights by its mantissa.
    pub factor: f32,
}

impl Scales {
    /// Returns the scale of a channel's weights.
    pub fn weight(&self, [_, mantissa]: [i32; 2]) -> f32 {
        mantissa as f32 * self.factor
    }

    /// Returns what one step of a channel's accumulator is.
    pub fn accumulator(&self, epilogue: [i32; 2]) -> f32 {
        self.input.scale * self.weight(epilogue)
    }
}

/// The last block: see the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct BlockView<'a> {
    pub d: usize,
    pub ff: usize,
    pub heads: usize,
    pub seq_len: usize,
    pub layer: u16,
    /// What reads the block's output.
    pub cut: Cut,
    pub post: bool,
    /// Attention's input.
    pub input: Grid,
    /// The residual stream that latents hold.
    pub stream: f32,
    pub query: Grid,
    pub context: Grid,
    pub ff_input: Grid,
    /// Divides each column of the stream on the way to `ff_input` (post-norm): the units' factor.
    pub ff_factor: Option<(&'a [i32], f32)>,
    /// σ's input; with ReLU its output.
    pub pre: Grid,
    pub hidden: Grid,
    pub table: Option<&'a [i8; 256]>,
    pub pooled: Grid,
    /// Pre-norm: before attention; post-norm: after it.
    pub norm1: RealNorm<'a>,
    pub norm2: RealNorm<'a>,
    pub final_norm: Option<RealNorm<'a>>,
    /// Of a decoder that reads an encoder's rows.
    pub cross: Option<CrossView<'a>>,
    linears: [Linear<'a>; 6],
    scales: [Scales; 6],
}

/// Returns 2 to the power of `exponent`.
pub fn power(exponent: i32) -> f32 {
    libm::ldexpf(1.0, exponent)
}

/// Returns what one real unit of each column of a stream is in units of a sub-layer's input: mantissa times the
/// factor.
pub fn ff_factor<'a>(tensor: &Tensor<'a>, stream: f32) -> (&'a [i32], f32) {
    let shifts = i32::from(tensor.entry().pre_shift) - i32::from(tensor.entry().shift);
    // One unit of the stream is `mantissa · 2^shifts` units of the input.
    (tensor.data(), power(shifts) / stream)
}

impl<'a> BlockView<'a> {
    /// Returns the last block of an image, the decoder's where it has one; none of an encoder that pools by the
    /// mean or that has a pooler.
    pub fn new(image: &Image<'a>) -> Option<Self> {
        let config = image.config();
        if config.decoder.is_none() && (config.pooling == Pooling::Mean || config.pooler) {
            return None;
        }
        let layer = config.total_layers().checked_sub(1)?;
        let block = Block::new(image, layer)?;
        let get = |kind| image.tensor(kind, layer);
        let post = config.norm == NormOrder::Post;
        let (scale, zero) = input_grid(image)?;
        let input = Grid {
            scale,
            zero: zero.into(),
        };
        use TensorKind as K;
        let attention_stream = get(K::OutEpilogue)?.scale();
        let stream = get(K::Ff2Epilogue)?.scale();
        let pre = Grid::of(&get(K::Ff1Epilogue)?);
        let hidden = match config.activation {
            Activation::Gelu => Grid::of(&get(K::ActivationTable)?),
            Activation::Relu => pre,
        };
        let context = Grid::of(&get(K::Context)?);
        let (ff_input, ff_factor) = if post {
            let tensor = get(K::FfInput)?;
            (Grid::of(&tensor), Some(ff_factor(&tensor, stream)))
        } else {
            (Grid::of(&get(K::Norm2)?), None)
        };
        let mut linears = [block.attention.query; 6];
        let mut scales = [Scales { input, factor: 0.0 }; 6];
        let places = linears.iter_mut().zip(&mut scales).zip(Projection::ALL);
        for ((place, scales), projection) in places {
            let (weight, epilogue) = projection.kinds();
            *place = linear(image, weight, epilogue, layer)?;
            let input = match projection {
                Projection::Query | Projection::Key | Projection::Value => input,
                Projection::Out => context,
                Projection::Ff1 => ff_input,
                Projection::Ff2 => hidden,
            };
            let entry = get(epilogue)?;
            let shifts = i32::from(entry.entry().pre_shift) - i32::from(entry.entry().shift);
            let factor = power(shifts) * (entry.scale() / input.scale);
            *scales = Scales { input, factor };
        }
        let (cut, pooled, final_norm) = match config.decoder {
            Some(_) => (Cut::Output, K::OutputInput, K::DecoderNorm),
            None => (Cut::Pooled, K::Pooled, K::FinalNorm),
        };
        // The last norm of a block that is post-norm makes the stream anew.
        let last_stream = match post {
            true => get(K::Norm2)?.scale(),
            false => stream,
        };
        let norm = |kind, layer, stream| RealNorm::new(image, kind, layer, stream);
        Some(Self {
            d: config.d_model.into(),
            ff: config.d_ff.into(),
            heads: config.n_heads.into(),
            seq_len: match config.decoder {
                Some(decoder) => decoder.seq_len.into(),
                None => config.seq_len.into(),
            },
            layer,
            cut,
            post,
            input,
            stream: attention_stream,
            query: Grid::of(&get(K::QueryEpilogue)?),
            context,
            ff_input,
            ff_factor,
            pre,
            hidden,
            table: block.feed_forward.table,
            pooled: Grid::of(&image.tensor(pooled, NO_LAYER)?),
            cross: match config.decoder.is_some() && config.has_encoder() {
                true => Some(CrossView::new(image, layer)?),
                false => None,
            },
            norm1: norm(K::Norm1, layer, attention_stream)?,
            norm2: norm(K::Norm2, layer, stream)?,
            final_norm: norm(final_norm, NO_LAYER, last_stream),
            linears,
            scales,
        })
    }

    /// Returns a projection's weights as the image has them.
    pub fn linear(&self, projection: Projection) -> Linear<'a> {
        let [query, key, value, out, ff1, ff2] = self.linears;
        match projection {
            Projection::Query => query,
            Projection::Key => key,
            Projection::Value => value,
            Projection::Out => out,
            Projection::Ff1 => ff1,
            Projection::Ff2 => ff2,
        }
    }

    /// Returns a projection's scales.
    pub fn scales(&self, projection: Projection) -> Scales {
        let [query, key, value, out, ff1, ff2] = self.scales;
        match projection {
            Projection::Query => query,
            Projection::Key => key,
            Projection::Value => value,
            Projection::Out => out,
            Projection::Ff1 => ff1,
            Projection::Ff2 => ff2,
        }
    }

    /// Returns a projection's shape, `[out, in]`.
    pub fn shape(&self, projection: Projection) -> (usize, usize) {
        let linear = self.linear(projection);
        (linear.epilogue.len(), linear.in_features)
    }

    /// Returns the width of a head.
    pub fn head_dim(&self) -> usize {
        self.d / self.heads.max(1)
    }
}
