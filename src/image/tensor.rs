//! The tensor directory: which tensors a model has, in which order, and what an entry says.
//!
//! The directory lists exactly the tensors that the configuration implies, in the one order that
//! [`Layout`] gives. The writer and the parser both follow it, so a tensor's place is computed,
//! never searched for, and an image has no optional surprises.
//!
//! One entry, 32 bytes, little endian:
//!
//! ```text
//! offset size field
//!  0     1    kind           TensorKind
//!  1     1    dtype          0 i8, 1 i16, 2 i32, 3 f32
//!  2     1    packing        0 row-major; 1 (linear layers) output channels in pairs, interleaved:
//!                             w[0][0] w[1][0] w[0][1] w[1][1] …, a last odd row as it is
//!  3     1    shift          requantize: 33..=62; LayerNorm: 1..=15; context: 19..=38
//!  4     2    layer          block, a decoder's after the encoder's; 0xffff for tensors of no block
//!  6     1    pre_shift      requantize: 0..=16
//!  7     1    zero_point     int8, of the operator's output
//!  8     4    rows
//! 12     4    cols
//! 16     4    offset         from the start of the image, a multiple of 16
//! 20     4    len            bytes, rows · cols · size of dtype
//! 24     4    scale          f32, of the operator's output: real = (q − zero_point) · scale
//! 28     4    reserved       0
//! ```

use super::config::{Activation, InputKind, ModelConfig, NormOrder};
use super::decoder::DecoderConfig;
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `layer` of tensors that belong to no block.
pub const NO_LAYER: u16 = 0xffff;

/// A tensor's data type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum DataType {
    /// Signed 8 bit.
    I8 = 0,
    /// Signed 16 bit.
    I16 = 1,
    /// Signed 32 bit.
    I32 = 2,
    /// IEEE 754 single precision.
    F32 = 3,
}

impl DataType {
    /// Returns the size of one element in bytes.
    pub const fn size_bytes(self) -> u32 {
        match self {
            Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

/// What a tensor is. Shapes are `[rows, cols]`, row-major.
///
/// An *epilogue* holds a pair `(bias, mantissa)` of i32 for each output channel: the input's zero
/// point is folded into the bias; shift, pre-shift, output zero point and scale are its entry's.
/// A *norm* holds `d_model` pairs `(gain, bias)` and a last pair, the low and the high word of the
/// variance's epsilon in the kernel's units (see `kernels::layer_norm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum TensorKind {
    /// f32 `[n_features, 2]`: scale and zero point of each input feature.
    InputScale = 0,
    /// i8 `[d_model, n_features]`; of a factorised token table `[d_model, embedding_rank]`.
    FrameProjection = 1,
    /// Epilogue of that projection, to the int16 residual stream.
    FrameEpilogue = 2,
    /// i8 `[vocab_size, d_model]`, or `[vocab_size, embedding_rank]`.
    TokenTable = 3,
    /// i32 `[vocab_size, 1]`: the mantissa of each token's row (absent where the table is factorised: its
    /// columns' scales are in the projection).
    TokenScale = 4,
    /// i16 `[n_segments, d_model]`.
    Segments = 5,
    /// i16 `[1, d_model]`.
    ClassToken = 6,
    /// i16 `[seq_len, d_model]`.
    Positions = 7,
    /// Norm after the embedding, to int16.
    EmbedNorm = 8,
    /// i32 `[d_model, 1]`: mantissas from the int16 residual stream to the attention's int8 input
    /// (post-norm only; a pre-norm LayerNorm writes int8 itself).
    AttnInput = 16,
    /// i8 `[d_model, d_model]`: query projection.
    Query = 17,
    /// Epilogue of the query projection.
    QueryEpilogue = 18,
    /// i8 `[d_model, d_model]`: key projection.
    Key = 19,
    /// Epilogue of the key projection.
    KeyEpilogue = 20,
    /// i8 `[d_model, d_model]`: value projection.
    Value = 21,
    /// Epilogue of the value projection.
    ValueEpilogue = 22,
    /// i32 `[1, 1]`: mantissa from a score difference to 1/256 of a binary exponent.
    Softmax = 23,
    /// i32 `[1, 1]`: mantissa from the values' scale to the context's.
    Context = 24,
    /// i8 `[d_model, d_model]`: output projection.
    Out = 25,
    /// Epilogue of the output projection, to the residual stream.
    OutEpilogue = 26,
    /// Norm of the attention sub-layer: to int16 (post-norm) or int8 (pre-norm).
    Norm1 = 27,
    /// i32 `[d_model, 1]`: as [`AttnInput`](Self::AttnInput), for the feed-forward sub-layer.
    FfInput = 28,
    /// i8 `[d_ff, d_model]`.
    Ff1 = 29,
    /// Epilogue of the first feed-forward layer, to the activation's input.
    Ff1Epilogue = 30,
    /// i8 `[1, 256]`: the activation of −128, −127, … 127 (absent with ReLU).
    ActivationTable = 31,
    /// i8 `[d_model, d_ff]`.
    Ff2 = 32,
    /// Epilogue of the second feed-forward layer, to the residual stream.
    Ff2Epilogue = 33,
    /// Norm of the feed-forward sub-layer.
    Norm2 = 34,
    /// Norm after the last block, to int16.
    FinalNorm = 48,
    /// i32 `[d_model, 1]`: mantissas from the pooled int16 row to the int8 feature; of an encoder with a
    /// decoder, from every row to what cross-attention reads.
    Pooled = 49,
    /// i8 `[d_model, d_model]`: the pooler.
    Pooler = 52,
    /// Its epilogue, to the activation's input.
    PoolerEpilogue = 53,
    /// i8 `[1, 256]`: the pooler's activation of −128, −127, … 127, which gives the feature.
    PoolerTable = 54,
    /// i8 `[n_classes, d_model]`.
    Head = 50,
    /// Epilogue of the head, to int16 logits.
    HeadEpilogue = 51,
    /// i8 `[vocab_size, d_model]`: the decoder's token table; the output projection too, where they are
    /// tied.
    TargetTable = 64,
    /// i32 `[vocab_size, 1]`: the mantissa of each row, as an embedding.
    TargetScale = 65,
    /// i16 `[seq_len, d_model]` of the decoder.
    TargetPositions = 66,
    /// Norm after the decoder's embedding, to int16.
    TargetNorm = 67,
    /// i32 `[d_model, 1]`: as [`AttnInput`](Self::AttnInput), for the queries of cross-attention.
    CrossInput = 80,
    /// i8 `[d_model, d_model]`: query projection of cross-attention.
    CrossQuery = 81,
    /// Its epilogue.
    CrossQueryEpilogue = 82,
    /// i8 `[d_model, d_model]`: key projection of the encoder's rows.
    CrossKey = 83,
    /// Its epilogue.
    CrossKeyEpilogue = 84,
    /// i8 `[d_model, d_model]`: value projection of the encoder's rows.
    CrossValue = 85,
    /// Its epilogue.
    CrossValueEpilogue = 86,
    /// As [`Softmax`](Self::Softmax), of cross-attention.
    CrossSoftmax = 87,
    /// As [`Context`](Self::Context), of cross-attention.
    CrossContext = 88,
    /// i8 `[d_model, d_model]`: output projection of cross-attention.
    CrossOut = 89,
    /// Its epilogue, to the residual stream.
    CrossOutEpilogue = 90,
    /// Norm of the cross-attention sub-layer: to int16 (post-norm) or int8 (pre-norm).
    CrossNorm = 91,
    /// Norm after the last decoder block, to int16.
    DecoderNorm = 112,
    /// i32 `[d_model, 1]`: mantissas from the decoder's int16 row to the output projection's int8 input.
    OutputInput = 113,
    /// i8 `[vocab_size, d_model]`: the output projection, where it is not the token table.
    OutputProjection = 114,
    /// Epilogue of the output projection, to int16 logits.
    OutputEpilogue = 115,
}

const PREFIX: [TensorKind; 9] = {
    use TensorKind::*;
    [
        InputScale,
        FrameProjection,
        FrameEpilogue,
        TokenTable,
        TokenScale,
        Segments,
        ClassToken,
        Positions,
        EmbedNorm,
    ]
};

/// The tensors of a block; those of cross-attention in decoder blocks only.
const BLOCK: [TensorKind; 31] = {
    use TensorKind::*;
    [
        AttnInput,
        Query,
        QueryEpilogue,
        Key,
        KeyEpilogue,
        Value,
        ValueEpilogue,
        Softmax,
        Context,
        Out,
        OutEpilogue,
        Norm1,
        CrossInput,
        CrossQuery,
        CrossQueryEpilogue,
        CrossKey,
        CrossKeyEpilogue,
        CrossValue,
        CrossValueEpilogue,
        CrossSoftmax,
        CrossContext,
        CrossOut,
        CrossOutEpilogue,
        CrossNorm,
        FfInput,
        Ff1,
        Ff1Epilogue,
        ActivationTable,
        Ff2,
        Ff2Epilogue,
        Norm2,
    ]
};

/// What follows the encoder's blocks.
const SUFFIX: [TensorKind; 7] = {
    use TensorKind::*;
    [
        FinalNorm,
        Pooled,
        Pooler,
        PoolerEpilogue,
        PoolerTable,
        Head,
        HeadEpilogue,
    ]
};

/// What stands before the decoder's blocks.
const DECODER_PREFIX: [TensorKind; 4] = {
    use TensorKind::*;
    [TargetTable, TargetScale, TargetPositions, TargetNorm]
};

/// What follows the decoder's blocks.
const DECODER_SUFFIX: [TensorKind; 4] = {
    use TensorKind::*;
    [DecoderNorm, OutputInput, OutputProjection, OutputEpilogue]
};

/// The kinds of an attention sub-layer's tensors: the input's requantize, the norm, then weight and
/// epilogue of query, key, value and output, softmax and context.
pub type AttentionKinds = [TensorKind; 12];

/// Those of self-attention.
pub const SELF_ATTENTION: AttentionKinds = {
    use TensorKind::*;
    [
        AttnInput,
        Norm1,
        Query,
        QueryEpilogue,
        Key,
        KeyEpilogue,
        Value,
        ValueEpilogue,
        Out,
        OutEpilogue,
        Softmax,
        Context,
    ]
};

/// Those of a decoder's attention to its encoder's rows.
pub const CROSS_ATTENTION: AttentionKinds = {
    use TensorKind::*;
    [
        CrossInput,
        CrossNorm,
        CrossQuery,
        CrossQueryEpilogue,
        CrossKey,
        CrossKeyEpilogue,
        CrossValue,
        CrossValueEpilogue,
        CrossOut,
        CrossOutEpilogue,
        CrossSoftmax,
        CrossContext,
    ]
};

/// How the numbers beside a tensor's data (shifts, zero point, scale) are used and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantRule {
    /// Not used.
    None,
    /// A requantize: shift `33..=62`, pre-shift `0..=16`, a scale.
    Requantize,
    /// A LayerNorm: shift `1..=15`, a scale.
    Norm,
    /// The context's mantissa: shift `19..=38`, a scale.
    Context,
    /// Only a scale.
    Scale,
}

impl TensorKind {
    /// Returns the name that messages and `inspect` print.
    pub const fn name(self) -> &'static str {
        use TensorKind::*;
        match self {
            InputScale => "input_scale",
            FrameProjection => "frame_projection",
            FrameEpilogue => "frame_projection.epilogue",
            TokenTable => "token_embedding",
            TokenScale => "token_embedding.scale",
            Segments => "segment_embedding",
            ClassToken => "class_token",
            Positions => "positions",
            EmbedNorm => "embed_norm",
            AttnInput => "attention.input",
            Query => "attention.query",
            QueryEpilogue => "attention.query.epilogue",
            Key => "attention.key",
            KeyEpilogue => "attention.key.epilogue",
            Value => "attention.value",
            ValueEpilogue => "attention.value.epilogue",
            Softmax => "attention.softmax",
            Context => "attention.context",
            Out => "attention.out",
            OutEpilogue => "attention.out.epilogue",
            Norm1 => "norm1",
            FfInput => "feed_forward.input",
            Ff1 => "feed_forward.1",
            Ff1Epilogue => "feed_forward.1.epilogue",
            ActivationTable => "feed_forward.activation",
            Ff2 => "feed_forward.2",
            Ff2Epilogue => "feed_forward.2.epilogue",
            Norm2 => "norm2",
            FinalNorm => "final_norm",
            Pooled => "pooled",
            Pooler => "pooler",
            PoolerEpilogue => "pooler.epilogue",
            PoolerTable => "pooler.activation",
            Head => "head",
            HeadEpilogue => "head.epilogue",
            TargetTable => "decoder.token_embedding",
            TargetScale => "decoder.token_embedding.scale",
            TargetPositions => "decoder.positions",
            TargetNorm => "decoder.embed_norm",
            CrossInput => "cross_attention.input",
            CrossQuery => "cross_attention.query",
            CrossQueryEpilogue => "cross_attention.query.epilogue",
            CrossKey => "cross_attention.key",
            CrossKeyEpilogue => "cross_attention.key.epilogue",
            CrossValue => "cross_attention.value",
            CrossValueEpilogue => "cross_attention.value.epilogue",
            CrossSoftmax => "cross_attention.softmax",
            CrossContext => "cross_attention.context",
            CrossOut => "cross_attention.out",
            CrossOutEpilogue => "cross_attention.out.epilogue",
            CrossNorm => "cross_attention.norm",
            DecoderNorm => "decoder.final_norm",
            OutputInput => "output.input",
            OutputProjection => "output",
            OutputEpilogue => "output.epilogue",
        }
    }

    /// Returns the data type of its elements.
    pub const fn data_type(self) -> DataType {
        use TensorKind::*;
        match self {
            InputScale => DataType::F32,
            FrameProjection | TokenTable | Query | Key | Value | Out | Ff1 | ActivationTable
            | Ff2 | Pooler | PoolerTable | Head | TargetTable | CrossQuery | CrossKey
            | CrossValue | CrossOut | OutputProjection => DataType::I8,
            Segments | ClassToken | Positions | TargetPositions => DataType::I16,
            _ => DataType::I32,
        }
    }

    /// Returns the order of its elements: 1 for the weights of linear layers, else 0.
    pub const fn packing(self) -> u8 {
        use TensorKind::*;
        match self {
            FrameProjection | Query | Key | Value | Out | Ff1 | Ff2 | Pooler | Head
            | TargetTable | CrossQuery | CrossKey | CrossValue | CrossOut | OutputProjection => 1,
            _ => 0,
        }
    }

    /// Returns how the numbers beside its data are used.
    pub const fn quant_rule(self) -> QuantRule {
        use TensorKind::*;
        match self {
            FrameEpilogue | TokenScale | AttnInput | QueryEpilogue | KeyEpilogue
            | ValueEpilogue | Softmax | OutEpilogue | FfInput | Ff1Epilogue | Ff2Epilogue
            | Pooled | PoolerEpilogue | HeadEpilogue | TargetScale | CrossInput
            | CrossQueryEpilogue | CrossKeyEpilogue | CrossValueEpilogue | CrossSoftmax
            | CrossOutEpilogue | OutputInput | OutputEpilogue => QuantRule::Requantize,
            EmbedNorm | Norm1 | Norm2 | FinalNorm | TargetNorm | CrossNorm | DecoderNorm => {
                QuantRule::Norm
            }
            Context | CrossContext => QuantRule::Context,
            ActivationTable | PoolerTable => QuantRule::Scale,
            _ => QuantRule::None,
        }
    }

    /// Returns the bytes of the tensor's data in a model; 0 where it has none.
    pub(crate) const fn len_bytes(self, config: &ModelConfig) -> u64 {
        let (rows, cols) = self.shape(config);
        let (kind, layer) = (self, NO_LAYER);
        let spec = TensorSpec {
            kind,
            layer,
            rows,
            cols,
        };
        if self.present(config) {
            spec.len_bytes()
        } else {
            0
        }
    }

    const fn present(self, c: &ModelConfig) -> bool {
        use TensorKind::*;
        let encoder = c.has_encoder();
        let (decoder, tied, target_norm, decoder_norm) = match c.decoder {
            Some(d) => (true, d.tied, d.embed_norm, d.final_norm),
            None => (false, false, false, false),
        };
        match self {
            InputScale => encoder && matches!(c.input, InputKind::Frames { .. }),
            FrameProjection | FrameEpilogue => {
                encoder && (c.input.frames().is_some() || c.embedding_rank > 0)
            }
            TokenTable => encoder && matches!(c.input, InputKind::Tokens { .. }),
            TokenScale => {
                encoder && matches!(c.input, InputKind::Tokens { .. }) && c.embedding_rank == 0
            }
            Segments => matches!(
                c.input,
                InputKind::Tokens {
                    n_segments: 1..,
                    ..
                }
            ),
            ClassToken => c.class_token,
            Positions | Pooled => encoder,
            EmbedNorm => c.embed_norm,
            AttnInput | FfInput => matches!(c.norm, NormOrder::Post),
            ActivationTable => matches!(c.activation, Activation::Gelu),
            FinalNorm => c.final_norm,
            Pooler | PoolerEpilogue | PoolerTable => c.pooler,
            Head | HeadEpilogue => c.n_classes > 0,
            TargetTable | TargetScale | TargetPositions | OutputInput | OutputEpilogue => decoder,
            TargetNorm => target_norm,
            DecoderNorm => decoder_norm,
            OutputProjection => decoder && !tied,
            CrossInput => decoder && encoder && matches!(c.norm, NormOrder::Post),
            CrossQuery | CrossQueryEpilogue | CrossKey | CrossKeyEpilogue | CrossValue
            | CrossValueEpilogue | CrossSoftmax | CrossContext | CrossOut | CrossOutEpilogue
            | CrossNorm => decoder && encoder,
            _ => true,
        }
    }

    /// Returns whether only decoder blocks have it.
    const fn is_cross(self) -> bool {
        let kind = self as u8;
        kind >= Self::CrossInput as u8 && kind <= Self::CrossNorm as u8
    }

    const fn shape(self, c: &ModelConfig) -> (u32, u32) {
        use TensorKind::*;
        let (d, ff) = (c.d_model as u32, c.d_ff as u32);
        let (target_len, vocab) = match c.decoder {
            Some(DecoderConfig {
                seq_len,
                vocab_size,
                ..
            }) => (seq_len as u32, vocab_size),
            None => (0, 0),
        };
        let (a, b) = match c.input {
            InputKind::Frames { .. } | InputKind::Patches { .. } => match c.input.frames() {
                Some((_, n_features)) => (n_features as u32, 0),
                None => (0, 0),
            },
            InputKind::Tokens {
                vocab_size,
                n_segments,
            } => (vocab_size, n_segments as u32),
        };
        let rank = c.embedding_rank as u32;
        match self {
            InputScale => (a, 2),
            FrameProjection => (d, if rank > 0 { rank } else { a }),
            TokenTable => (a, if rank > 0 { rank } else { d }),
            TokenScale => (a, 1),
            Segments => (b, d),
            ClassToken => (1, d),
            Positions => (c.seq_len as u32, d),
            EmbedNorm | Norm1 | Norm2 | FinalNorm | TargetNorm | CrossNorm | DecoderNorm => {
                (d + 1, 2)
            }
            AttnInput | FfInput | Pooled | CrossInput | OutputInput => (d, 1),
            Query | Key | Value | Out | Pooler | CrossQuery | CrossKey | CrossValue | CrossOut => {
                (d, d)
            }
            PoolerEpilogue | FrameEpilogue | QueryEpilogue | KeyEpilogue | ValueEpilogue
            | OutEpilogue | Ff2Epilogue | CrossQueryEpilogue | CrossKeyEpilogue
            | CrossValueEpilogue | CrossOutEpilogue => (d, 2),
            Softmax | Context | CrossSoftmax | CrossContext => (1, 1),
            Ff1 => (ff, d),
            Ff1Epilogue => (ff, 2),
            ActivationTable | PoolerTable => (1, 256),
            Ff2 => (d, ff),
            Head => (c.n_classes as u32, d),
            HeadEpilogue => (c.n_classes as u32, 2),
            TargetTable | OutputProjection => (vocab, d),
            TargetScale => (vocab, 1),
            TargetPositions => (target_len, d),
            OutputEpilogue => (vocab, 2),
        }
    }
}

/// What the directory must say at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorSpec {
    /// What the tensor is.
    pub kind: TensorKind,
    /// Its block, or [`NO_LAYER`].
    pub layer: u16,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
}

impl TensorSpec {
    /// Returns the size of its data in bytes.
    pub const fn len_bytes(&self) -> u64 {
        self.rows as u64 * self.cols as u64 * self.kind.data_type().size_bytes() as u64
    }
}

/// The order of a model's tensors: the encoder's, then the decoder's.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    config: ModelConfig,
    counts: [u16; PARTS],
}

/// One run of the directory: the tensors of no block of a part, or all blocks of encoder or decoder.
#[derive(Clone, Copy)]
struct Part {
    kinds: &'static [TensorKind],
    /// The first block's number, or [`NO_LAYER`].
    first: u16,
    /// Blocks; 1 for tensors of no block.
    blocks: u16,
    /// Whether its blocks have cross-attention.
    cross: bool,
}

const PARTS: usize = 6;

impl Layout {
    /// Returns the layout of a model.
    pub fn new(config: &ModelConfig) -> Self {
        let mut layout = Self {
            config: *config,
            counts: [0; PARTS],
        };
        for index in 0..PARTS {
            let part = layout.part(index);
            let kinds = part.kinds.iter();
            let count = kinds.filter(|&&k| layout.has(&part, k)).count();
            if let Some(place) = layout.counts.get_mut(index) {
                *place = count as u16;
            }
        }
        layout
    }

    /// Returns the model that it is of.
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns a run of the directory; an empty one after the last.
    const fn part(&self, index: usize) -> Part {
        let c = &self.config;
        let (kinds, first, blocks): (&'static [TensorKind], u16, u16) = match index {
            0 => (&PREFIX, NO_LAYER, 1),
            1 => (&BLOCK, 0, c.n_layers),
            2 => (&SUFFIX, NO_LAYER, 1),
            3 => (&DECODER_PREFIX, NO_LAYER, 1),
            4 => (&BLOCK, c.n_layers, c.total_layers() - c.n_layers),
            5 => (&DECODER_SUFFIX, NO_LAYER, 1),
            _ => (&[], NO_LAYER, 0),
        };
        Part {
            kinds,
            first,
            blocks,
            cross: index == 4,
        }
    }

    /// Returns whether a block of a part, or the part, has a tensor.
    fn has(&self, part: &Part, kind: TensorKind) -> bool {
        (part.cross || !kind.is_cross()) && kind.present(&self.config)
    }

    /// Returns the number of tensors.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        let counts = self.counts.iter().enumerate();
        counts.fold(0, |sum, (index, &count)| {
            sum + usize::from(count) * usize::from(self.part(index).blocks)
        })
    }

    /// Returns the tensors in the directory's order.
    pub fn iter(&self) -> impl Iterator<Item = TensorSpec> + '_ {
        let (mut index, mut block, mut place) = (0, 0, 0);
        core::iter::from_fn(move || {
            while index < PARTS {
                let part = self.part(index);
                if block >= part.blocks {
                    (index, block) = (index + 1, 0);
                    continue;
                }
                let Some(&kind) = part.kinds.get(place) else {
                    (block, place) = (block + 1, 0);
                    continue;
                };
                place += 1;
                if self.has(&part, kind) {
                    let (rows, cols) = kind.shape(&self.config);
                    // Parts without blocks have one, whose number stays.
                    let layer = part.first.saturating_add(block);
                    return Some(TensorSpec {
                        kind,
                        layer,
                        rows,
                        cols,
                    });
                }
            }
            None
        })
    }

    /// Returns a tensor's place in the directory, if the model has it.
    pub fn index(&self, kind: TensorKind, layer: u16) -> Option<usize> {
        let mut before = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            let part = self.part(index);
            let block = layer.wrapping_sub(part.first);
            if block < part.blocks {
                let mut kinds = part.kinds.iter().filter(|&&k| self.has(&part, k));
                if let Some(place) = kinds.position(|&k| k == kind) {
                    return Some(before + usize::from(block) * usize::from(count) + place);
                }
            }
            before += usize::from(count) * usize::from(part.blocks);
        }
        None
    }
}

/// A directory entry: see the [module](self) for its bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TensorEntry {
    /// [`TensorKind`] as a number.
    pub kind: u8,
    /// [`DataType`] as a number.
    pub dtype: u8,
    /// The order of the weights in memory.
    pub packing: u8,
    /// See [`QuantRule`].
    pub shift: u8,
    /// Block or [`NO_LAYER`].
    pub layer: U16,
    /// See [`QuantRule`].
    pub pre_shift: u8,
    /// Zero point of the operator's output.
    pub zero_point: i8,
    /// Rows.
    pub rows: U32,
    /// Columns.
    pub cols: U32,
    /// Bytes from the start of the image to the data.
    pub offset: U32,
    /// Bytes of data.
    pub len: U32,
    /// Scale of the operator's output.
    pub scale: F32,
    /// Zero.
    pub reserved: U32,
}
