//! The architecture of a model: [`ModelConfig`] and its 32-byte record in the image.
//!
//! ```text
//! offset size field
//!  0     2    n_layers       1..=64; 0 in a model that is a decoder only
//!  2     2    d_model        1..=4096, a multiple of n_heads
//!  4     2    n_heads        1..=64
//!  6     2    d_ff           1..=16384
//!  8     2    seq_len        1..=1024 tokens, the class token counted
//! 10     2    n_classes      0..=4096 (0: no head, the pooled feature is the result)
//! 12     1    input kind     0 frames, 1 tokens, 2 patches of an image (from minor 1 on)
//! 13     1    norm order     0 pre-norm, 1 post-norm
//! 14     1    activation     0 GELU (table), 1 ReLU
//! 15     1    pooling        0 class token, 1 mean, 2 first
//! 16     1    flags          bit 0 class token, bit 1 embed_norm, bit 2 final_norm, bit 3 pooler (from
//!                            minor 2 on); the rest 0
//! 17     1    architecture   0 encoder, 1 decoder, 2 encoder and decoder (from minor 2 on, see `decoder`)
//! 18     2    embedding_rank 0 for a token table of d_model columns, else their number (from minor 2 on)
//! 20     4    n_frames, vocab_size, or height and width (u16 each)
//! 24     4    n_features, n_segments, or channels and patch side (u8 each), then 0
//! 28     4    reserved       0
//! ```

use super::ImageError;
use super::decoder::{DecoderConfig, DecoderRecord};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most encoder blocks an image may have.
pub const MAX_LAYERS: u16 = 64;
/// The widest residual stream.
pub const MAX_D_MODEL: u16 = 4096;
/// The most attention heads.
pub const MAX_HEADS: u16 = 64;
/// The widest feed-forward hidden layer.
pub const MAX_D_FF: u16 = 16384;
/// The longest sequence: above it the sum of unnormalised attention weights could overflow i32.
pub const MAX_SEQ_LEN: u16 = 1024;
/// The most classes of a head.
pub const MAX_CLASSES: u16 = 4096;
/// The most features of one input frame.
pub const MAX_FEATURES: u16 = 4096;
/// The largest vocabulary.
pub const MAX_VOCAB: u32 = 1 << 20;

/// What the encoder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum InputKind {
    /// Frames of numbers (audio features, sensor windows), projected linearly.
    Frames {
        /// The most frames of one input.
        n_frames: u16,
        /// Numbers in one frame.
        n_features: u16,
    },
    /// Square patches of an 8-bit image, projected linearly (Dosovitskiy et al., arXiv 2010.11929).
    ///
    /// A patch is a frame of `patch · patch · channels` numbers, rows first; patches follow each other
    /// in rows too. A byte v is the int8 value v − 128 and stands for v / 255: nothing is rounded, so
    /// no feature needs a scale of its own.
    Patches {
        /// Rows of the image, a multiple of `patch`.
        height: u16,
        /// Columns of the image, a multiple of `patch`.
        width: u16,
        /// Bytes of a pixel.
        channels: u8,
        /// Side of a patch.
        patch: u8,
    },
    /// Token ids, each with a segment id where `n_segments > 0`.
    Tokens {
        /// Ids are below this.
        vocab_size: u32,
        /// Segment ids are below this; 0 means that the model has no segments.
        n_segments: u8,
    },
}

impl InputKind {
    /// Returns frames (or patches) of the longest input and the numbers in each; none for tokens.
    pub const fn frames(&self) -> Option<(usize, usize)> {
        match *self {
            Self::Frames {
                n_frames,
                n_features,
            } => Some((n_frames as usize, n_features as usize)),
            Self::Patches {
                height,
                width,
                channels,
                patch,
            } => {
                if patch == 0 {
                    return Some((0, 0));
                }
                let side = patch as usize;
                let count = (height as usize / side) * (width as usize / side);
                Some((count, side * side * channels as usize))
            }
            Self::Tokens { .. } => None,
        }
    }
}

/// Where LayerNorm stands in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum NormOrder {
    /// `x + f(norm(x))` (GPT-2, ViT).
    Pre,
    /// `norm(x + f(x))` ("Attention Is All You Need", BERT, KWT-1).
    Post,
}

/// The feed-forward layer's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Activation {
    /// A 256-entry table made from the exact function (any activation fits; GELU is why it exists).
    Gelu,
    /// A clamp, which the saturation of the requantize gives for nothing.
    Relu,
}

/// How a sequence becomes one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Pooling {
    /// The class token's row.
    ClassToken,
    /// The mean over the valid rows.
    Mean,
    /// The first row.
    First,
}

/// The architecture of a model: an encoder, a decoder, or both.
///
/// Of a model that is a decoder only, `n_layers` is 0, the input is the decoder's own tokens, and pooling,
/// class token and norms of this record are those of the encoder that is not there (`First`, none).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelConfig {
    /// Encoder blocks; 0 where the model is a decoder only.
    pub n_layers: u16,
    /// Width of the residual stream.
    pub d_model: u16,
    /// Attention heads; the head size is `d_model / n_heads`.
    pub n_heads: u16,
    /// Width of the feed-forward hidden layer.
    pub d_ff: u16,
    /// Tokens of the longest sequence, the class token counted.
    pub seq_len: u16,
    /// Classes of the head that the image carries; 0 where it carries none.
    pub n_classes: u16,
    /// What the encoder reads.
    pub input: InputKind,
    /// Whether a learned class token stands before the input.
    pub class_token: bool,
    /// Where LayerNorm stands.
    pub norm: NormOrder,
    /// The feed-forward activation.
    pub activation: Activation,
    /// How the sequence is pooled.
    pub pooling: Pooling,
    /// Whether a LayerNorm follows the embedding (BERT).
    pub embed_norm: bool,
    /// Whether a LayerNorm follows the last encoder block (pre-norm models).
    pub final_norm: bool,
    /// Columns of a factorised token table, which a projection widens to `d_model` (Lan et al., arXiv
    /// 1909.11942, §3.1); 0 where the table has `d_model` columns of its own.
    pub embedding_rank: u16,
    /// Whether a linear layer and an activation follow the pooling (BERT's pooler): what they give is the
    /// feature that heads read.
    pub pooler: bool,
    /// The decoder, which attends to every row of the encoder's output, where there is an encoder.
    pub decoder: Option<DecoderConfig>,
}

impl ModelConfig {
    /// Returns the size of one attention head; 0 without heads.
    pub const fn head_dim(&self) -> usize {
        match self.n_heads {
            0 => 0,
            n => self.d_model as usize / n as usize,
        }
    }

    /// Returns whether the model has an encoder.
    pub const fn has_encoder(&self) -> bool {
        self.n_layers > 0
    }

    /// Returns the blocks of encoder and decoder together: a decoder's are numbered after the encoder's.
    pub const fn total_layers(&self) -> u16 {
        match self.decoder {
            Some(decoder) => self.n_layers + decoder.n_layers,
            None => self.n_layers,
        }
    }

    /// Returns the most tokens that an input may have, the class token not counted.
    pub const fn max_input_len(&self) -> usize {
        self.seq_len as usize - self.class_token as usize
    }

    /// Checks every value against its range and against the others.
    ///
    /// # Errors
    /// [`ImageError::Config`] names the first field that is out of range.
    pub const fn check(&self) -> Result<(), ImageError> {
        const fn bad(field: &'static str, found: u32) -> Result<(), ImageError> {
            Err(ImageError::Config { field, found })
        }
        const fn outside(value: u16, max: u16) -> bool {
            value == 0 || value > max
        }
        let no_encoder = self.n_layers == 0 && self.decoder.is_some();
        if outside(self.n_layers, MAX_LAYERS) && !no_encoder {
            return bad("n_layers", self.n_layers as u32);
        }
        if outside(self.d_model, MAX_D_MODEL) {
            return bad("d_model", self.d_model as u32);
        }
        if outside(self.n_heads, MAX_HEADS) || !self.d_model.is_multiple_of(self.n_heads) {
            return bad("n_heads", self.n_heads as u32);
        }
        if outside(self.d_ff, MAX_D_FF) {
            return bad("d_ff", self.d_ff as u32);
        }
        if outside(self.seq_len, MAX_SEQ_LEN) || (self.class_token && self.seq_len < 2) {
            return bad("seq_len", self.seq_len as u32);
        }
        if self.n_classes > MAX_CLASSES {
            return bad("n_classes", self.n_classes as u32);
        }
        match self.input {
            InputKind::Frames {
                n_frames,
                n_features,
            } => {
                if n_frames as usize != self.max_input_len() {
                    return bad("n_frames", n_frames as u32);
                }
                if outside(n_features, MAX_FEATURES) {
                    return bad("n_features", n_features as u32);
                }
            }
            InputKind::Patches {
                height,
                width,
                channels,
                patch,
            } => {
                if patch == 0 {
                    return bad("patch", 0);
                }
                if !height.is_multiple_of(patch as u16) || height == 0 {
                    return bad("height", height as u32);
                }
                if !width.is_multiple_of(patch as u16) || width == 0 {
                    return bad("width", width as u32);
                }
                if channels == 0
                    || patch as u32 * patch as u32 * channels as u32 > MAX_FEATURES as u32
                {
                    return bad("channels", channels as u32);
                }
                let side = patch as usize;
                if (height as usize / side) * (width as usize / side) != self.max_input_len() {
                    return bad("seq_len", self.seq_len as u32);
                }
            }
            InputKind::Tokens { vocab_size, .. } => {
                if vocab_size == 0 || vocab_size > MAX_VOCAB {
                    return bad("vocab_size", vocab_size);
                }
            }
        }
        if matches!(self.pooling, Pooling::ClassToken) && !self.class_token {
            return bad("pooling", 0);
        }
        let tokens = matches!(self.input, InputKind::Tokens { .. });
        if self.embedding_rank != 0 && (!tokens || self.embedding_rank > self.d_model) {
            return bad("embedding_rank", self.embedding_rank as u32);
        }
        match self.decoder {
            Some(decoder) => self.check_decoder(&decoder),
            None => Ok(()),
        }
    }

    /// Checks a decoder against the rest.
    const fn check_decoder(&self, decoder: &DecoderConfig) -> Result<(), ImageError> {
        const fn bad(field: &'static str, found: u32) -> Result<(), ImageError> {
            Err(ImageError::Config { field, found })
        }
        if let Err(error) = decoder.check() {
            return Err(error);
        }
        // A head reads a pooled feature; an encoder with a decoder gives all its rows.
        if self.n_classes != 0 {
            return bad("n_classes", self.n_classes as u32);
        }
        if self.pooler {
            return bad("pooler", 1);
        }
        if self.has_encoder() {
            return Ok(());
        }
        if self.embedding_rank != 0 {
            return bad("embedding_rank", self.embedding_rank as u32);
        }
        if self.seq_len != decoder.seq_len {
            return bad("seq_len", self.seq_len as u32);
        }
        match self.input {
            InputKind::Tokens {
                vocab_size,
                n_segments: 0,
            } if vocab_size == decoder.vocab_size => {}
            _ => return bad("input", decoder.vocab_size),
        }
        if self.class_token || self.embed_norm || self.final_norm {
            return bad("flags", 0);
        }
        match self.pooling {
            Pooling::First => Ok(()),
            _ => bad("pooling", 1),
        }
    }
}

const ENCODER: u8 = 0;
const DECODER: u8 = 1;
const ENCODER_DECODER: u8 = 2;

/// The 32 bytes of a [`ModelConfig`] in the image.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConfigRecord {
    n_layers: U16,
    d_model: U16,
    n_heads: U16,
    d_ff: U16,
    seq_len: U16,
    n_classes: U16,
    input: u8,
    norm: u8,
    activation: u8,
    pooling: u8,
    flags: u8,
    architecture: u8,
    embedding_rank: U16,
    input_a: U32,
    input_b: U32,
    reserved: U32,
}

impl From<&ModelConfig> for ConfigRecord {
    fn from(c: &ModelConfig) -> Self {
        let (input, input_a, input_b) = match c.input {
            InputKind::Frames {
                n_frames,
                n_features,
            } => (0, n_frames.into(), n_features.into()),
            InputKind::Tokens {
                vocab_size,
                n_segments,
            } => (1, vocab_size, n_segments.into()),
            InputKind::Patches {
                height,
                width,
                channels,
                patch,
            } => (
                2,
                u32::from(height) | u32::from(width) << 16,
                u32::from(channels) | u32::from(patch) << 8,
            ),
        };
        let flags = [c.class_token, c.embed_norm, c.final_norm, c.pooler];
        let flags = flags
            .iter()
            .rev()
            .fold(0, |bits, &f| bits << 1 | u8::from(f));
        Self {
            n_layers: c.n_layers.into(),
            d_model: c.d_model.into(),
            n_heads: c.n_heads.into(),
            d_ff: c.d_ff.into(),
            seq_len: c.seq_len.into(),
            n_classes: c.n_classes.into(),
            input,
            norm: (c.norm == NormOrder::Post).into(),
            activation: (c.activation == Activation::Relu).into(),
            pooling: match c.pooling {
                Pooling::ClassToken => 0,
                Pooling::Mean => 1,
                Pooling::First => 2,
            },
            flags,
            architecture: match c.decoder {
                None => ENCODER,
                Some(_) if c.n_layers == 0 => DECODER,
                Some(_) => ENCODER_DECODER,
            },
            embedding_rank: c.embedding_rank.into(),
            input_a: U32::new(input_a),
            input_b: U32::new(input_b),
            reserved: U32::ZERO,
        }
    }
}

fn patches(a: u32, b: u32) -> Result<InputKind, ImageError> {
    if b >> 16 != 0 {
        return Err(ImageError::Config {
            field: "patch",
            found: b,
        });
    }
    let ([h0, h1, w0, w1], [channels, patch, ..]) = (a.to_le_bytes(), b.to_le_bytes());
    Ok(InputKind::Patches {
        height: u16::from_le_bytes([h0, h1]),
        width: u16::from_le_bytes([w0, w1]),
        channels,
        patch,
    })
}

impl ModelConfig {
    /// Reads the two records of an image; without the second there is no decoder.
    ///
    /// # Errors
    /// [`ImageError::Config`] names the first field that is out of range.
    pub fn read(r: &ConfigRecord, decoder: Option<&DecoderRecord>) -> Result<Self, ImageError> {
        let bad = |field, found| ImageError::Config { field, found };
        let narrow =
            |field, value: U32| u16::try_from(value.get()).map_err(|_| bad(field, value.get()));
        let decoder = match (r.architecture, decoder) {
            (ENCODER, _) => None,
            (DECODER | ENCODER_DECODER, Some(record)) => Some(DecoderConfig::try_from(record)?),
            (other, _) => return Err(bad("architecture", other.into())),
        };
        if decoder.is_some() && (r.architecture == DECODER) != (r.n_layers.get() == 0) {
            return Err(bad("n_layers", r.n_layers.get().into()));
        }
        if r.flags > 15 {
            return Err(bad("flags", r.flags.into()));
        }
        if r.reserved.get() != 0 {
            return Err(bad("reserved", r.reserved.get()));
        }
        let config = Self {
            n_layers: r.n_layers.get(),
            d_model: r.d_model.get(),
            n_heads: r.n_heads.get(),
            d_ff: r.d_ff.get(),
            seq_len: r.seq_len.get(),
            n_classes: r.n_classes.get(),
            input: match r.input {
                0 => InputKind::Frames {
                    n_frames: narrow("n_frames", r.input_a)?,
                    n_features: narrow("n_features", r.input_b)?,
                },
                1 => InputKind::Tokens {
                    vocab_size: r.input_a.get(),
                    n_segments: u8::try_from(r.input_b.get())
                        .map_err(|_| bad("n_segments", r.input_b.get()))?,
                },
                2 => patches(r.input_a.get(), r.input_b.get())?,
                other => return Err(bad("input", other.into())),
            },
            class_token: r.flags & 1 != 0,
            norm: match r.norm {
                0 => NormOrder::Pre,
                1 => NormOrder::Post,
                other => return Err(bad("norm", other.into())),
            },
            activation: match r.activation {
                0 => Activation::Gelu,
                1 => Activation::Relu,
                other => return Err(bad("activation", other.into())),
            },
            pooling: match r.pooling {
                0 => Pooling::ClassToken,
                1 => Pooling::Mean,
                2 => Pooling::First,
                other => return Err(bad("pooling", other.into())),
            },
            embed_norm: r.flags & 2 != 0,
            final_norm: r.flags & 4 != 0,
            embedding_rank: r.embedding_rank.get(),
            pooler: r.flags & 8 != 0,
            decoder,
        };
        config.check()?;
        Ok(config)
    }
}
