//! The architecture of a decoder: [`DecoderConfig`] and its 32-byte record in the image.
//!
//! ```text
//! offset size field
//!  0     2    n_layers       1..=64; 0 where the image has no decoder, and then all bytes are 0
//!  2     2    seq_len        1..=1024 tokens of the longest output, the start token counted
//!  4     4    vocab_size     1..=2^20
//!  8     4    start          below vocab_size: the token before the first
//! 12     4    end            below vocab_size: the token after the last
//! 16     1    flags          bit 0 tied, bit 1 embed_norm, bit 2 final_norm; the rest 0
//! 17    15    reserved       0
//! ```

use super::ImageError;
use super::config::{MAX_LAYERS, MAX_SEQ_LEN, MAX_VOCAB};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The architecture of a decoder. Width, heads, feed-forward width, norm order and activation are those
/// of the [`ModelConfig`](super::ModelConfig) that it is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DecoderConfig {
    /// Decoder blocks.
    pub n_layers: u16,
    /// Tokens of the longest output, the start token counted.
    pub seq_len: u16,
    /// Output token ids are below this.
    pub vocab_size: u32,
    /// The token that stands before every output.
    pub start: u32,
    /// The token that ends an output.
    pub end: u32,
    /// Whether the output projection is the token table (Press & Wolf, arXiv 1608.05859).
    pub tied: bool,
    /// Whether a LayerNorm follows the embedding.
    pub embed_norm: bool,
    /// Whether a LayerNorm follows the last block.
    pub final_norm: bool,
}

impl DecoderConfig {
    /// Checks every value against its range and against the others.
    ///
    /// # Errors
    /// [`ImageError::Config`] names the first field that is out of range.
    pub const fn check(&self) -> Result<(), ImageError> {
        const fn bad(field: &'static str, found: u32) -> Result<(), ImageError> {
            Err(ImageError::Config { field, found })
        }
        if self.n_layers == 0 || self.n_layers > MAX_LAYERS {
            return bad("decoder.n_layers", self.n_layers as u32);
        }
        if self.seq_len == 0 || self.seq_len > MAX_SEQ_LEN {
            return bad("decoder.seq_len", self.seq_len as u32);
        }
        if self.vocab_size == 0 || self.vocab_size > MAX_VOCAB {
            return bad("decoder.vocab_size", self.vocab_size);
        }
        if self.start >= self.vocab_size {
            return bad("decoder.start", self.start);
        }
        if self.end >= self.vocab_size {
            return bad("decoder.end", self.end);
        }
        Ok(())
    }
}

/// The 32 bytes of a [`DecoderConfig`] in the image; zeros where there is none.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DecoderRecord {
    n_layers: U16,
    seq_len: U16,
    vocab_size: U32,
    start: U32,
    end: U32,
    flags: u8,
    reserved: [u8; 15],
}

impl From<&DecoderConfig> for DecoderRecord {
    fn from(c: &DecoderConfig) -> Self {
        let flags = u8::from(c.tied) | u8::from(c.embed_norm) << 1 | u8::from(c.final_norm) << 2;
        Self {
            n_layers: c.n_layers.into(),
            seq_len: c.seq_len.into(),
            vocab_size: c.vocab_size.into(),
            start: c.start.into(),
            end: c.end.into(),
            flags,
            reserved: [0; 15],
        }
    }
}

impl TryFrom<&DecoderRecord> for DecoderConfig {
    type Error = ImageError;

    fn try_from(r: &DecoderRecord) -> Result<Self, ImageError> {
        let bad = |field, found| ImageError::Config { field, found };
        if r.flags > 7 {
            return Err(bad("decoder.flags", r.flags.into()));
        }
        if r.reserved != [0; 15] {
            return Err(bad("decoder.reserved", 0));
        }
        let config = Self {
            n_layers: r.n_layers.get(),
            seq_len: r.seq_len.get(),
            vocab_size: r.vocab_size.get(),
            start: r.start.get(),
            end: r.end.get(),
            tied: r.flags & 1 != 0,
            embed_norm: r.flags & 2 != 0,
            final_norm: r.flags & 4 != 0,
        };
        config.check()?;
        Ok(config)
    }
}
