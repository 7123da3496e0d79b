//! The arena: how many bytes a model works in, and where what lies.
//!
//! With `T` tokens, width `d`, hidden width `f`, head size `h` and blocks of `B` tokens:
//!
//! ```text
//! residual stream   int16 [T, d]      2·T·d
//! keys              int8  [T, d]      T·d     (each region rounded up to 4 bytes)
//! values            int8  [T, d]      T·d
//! rows              panel of d        a block's operator input; afterwards the pooled feature
//! then the largest of
//!   attention       i32 [4, T] weights, panel of d: queries, then contexts
//!   feed-forward    panel of f: the hidden layer
//!   embedding       panel of n_features, for models of frames or patches; of a factorised token table's
//!                   columns
//!   pooler          panel of d: its input, where the model has one (no more than attention takes)
//! ```
//!
//! `T` of the keys, the values and the weights is rounded up to even. A [`Panel`] is a block of four
//! tokens, int16, `8 · K` bytes.

use super::EncoderError;
use crate::image::{ModelConfig, Pooling};
use crate::kernels::{Panel, ROWS};
use zerocopy::{FromBytes, IntoBytes};

/// Tokens that go through a block's projections and feed-forward together: the size of a step.
pub const TOKEN_BLOCK: usize = ROWS;

/// Bytes of each region of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ArenaPlan {
    /// The int16 residual stream.
    pub residual: usize,
    /// Keys of one block, int8.
    pub keys: usize,
    /// Values of one block, int8.
    pub values: usize,
    /// A token block's int8 operator input.
    pub rows: usize,
    /// Scratch that attention and the feed-forward share.
    pub scratch: usize,
    /// Of `scratch`: attention weights.
    pub weights: usize,
}

pub(super) const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Bytes of a panel of this many columns.
pub(super) const fn panel(columns: usize) -> usize {
    4 * Panel::words(columns)
}

pub(super) const fn round_up_4(bytes: usize) -> usize {
    (bytes + 3) & !3
}

impl ArenaPlan {
    /// Returns the plan of a model.
    pub const fn new(config: &ModelConfig) -> Self {
        let (tokens, d) = (config.seq_len as usize, config.d_model as usize);
        let even = tokens.next_multiple_of(2);
        let columns = projected_columns(config);
        let weights = 16 * even;
        let attention = weights + panel(d);
        Self {
            residual: round_up_4(2 * tokens * d),
            keys: round_up_4(even * d),
            values: round_up_4(even * d),
            rows: panel(d),
            scratch: max(attention, max(panel(config.d_ff as usize), panel(columns))),
            weights,
        }
    }

    /// Returns the bytes of the whole arena.
    pub const fn total(&self) -> usize {
        self.residual + self.keys + self.values + self.rows + self.scratch
    }
}

/// Returns the bytes of arena that a model needs: exactly, so that one less is refused.
pub const fn arena_bytes(config: &ModelConfig) -> usize {
    ArenaPlan::new(config).total()
}

/// Returns the bytes of weights, biases and mantissas that a forward of a full-length sequence reads from
/// the image, activation tables and norms aside: every block of [`TOKEN_BLOCK`] tokens reads each
/// projection once, and the last encoder block's only where the pooling reads rows. What an image in
/// external flash costs in transfers.
pub const fn weight_bytes_read(config: &ModelConfig) -> usize {
    let (d, ff) = (config.d_model as usize, config.d_ff as usize);
    let columns = projected_columns(config);
    let last = match config.pooling {
        Pooling::ClassToken | Pooling::First => 1,
        Pooling::Mean => config.seq_len as usize,
    };
    let all = (config.seq_len as usize).div_ceil(TOKEN_BLOCK);
    let keys_values = 2 * linear_bytes(d, d);
    let rest = 2 * linear_bytes(d, d) + linear_bytes(d, ff) + linear_bytes(ff, d);
    let blocks = all * (config.n_layers as usize).saturating_sub(1) + last.div_ceil(TOKEN_BLOCK);
    let pooler = config.pooler as usize * linear_bytes(d, d);
    pooler
        + all * linear_bytes(columns, d)
        + all * config.n_layers as usize * keys_values
        + blocks * rest
}

/// Columns that the embedding's projection reads: of a frame, a patch or a factorised token table; 0 where
/// there is no projection.
const fn projected_columns(config: &ModelConfig) -> usize {
    match config.input.frames() {
        Some((_, n)) => n,
        None => config.embedding_rank as usize,
    }
}

/// Bytes of a linear layer's weights and of its bias and mantissa a channel.
const fn linear_bytes(in_features: usize, out_features: usize) -> usize {
    out_features * (in_features + 8)
}

/// An arena of `N` bytes, aligned as [`Encoder::new`](super::Encoder::new) wants it.
#[derive(Debug, Clone)]
#[repr(C, align(8))]
pub struct Arena<const N: usize>([u8; N]);

impl<const N: usize> Arena<N> {
    /// Returns an arena of zeros.
    pub const fn new() -> Self {
        Self([0; N])
    }

    /// Returns its bytes.
    pub const fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The arena, split by its plan.
#[derive(Debug)]
pub(super) struct Regions<'a> {
    pub residual: &'a mut [i16],
    pub keys: &'a mut [i8],
    pub values: &'a mut [i8],
    pub rows: &'a mut [u32],
    pub scratch: &'a mut [u32],
}

impl<'a> Regions<'a> {
    /// Splits `arena`; bytes beyond the plan are left alone.
    pub fn split(plan: &ArenaPlan, arena: &'a mut [u8]) -> Result<Self, EncoderError> {
        let (needed, found) = (plan.total(), arena.len());
        if !arena.as_ptr().addr().is_multiple_of(4) {
            return Err(EncoderError::ArenaMisaligned);
        }
        let small = EncoderError::ArenaTooSmall { needed, found };
        let (residual, rest) = arena.split_at_mut_checked(plan.residual).ok_or(small)?;
        let (keys, rest) = rest.split_at_mut_checked(plan.keys).ok_or(small)?;
        let (values, rest) = rest.split_at_mut_checked(plan.values).ok_or(small)?;
        let (rows, rest) = rest.split_at_mut_checked(plan.rows).ok_or(small)?;
        let (scratch, _) = rest.split_at_mut_checked(plan.scratch).ok_or(small)?;
        let misaligned = EncoderError::ArenaMisaligned;
        Ok(Self {
            residual: <[i16]>::mut_from_bytes(residual).map_err(|_| misaligned)?,
            keys: <[i8]>::mut_from_bytes(keys).map_err(|_| misaligned)?,
            values: <[i8]>::mut_from_bytes(values).map_err(|_| misaligned)?,
            rows: <[u32]>::mut_from_bytes(rows).map_err(|_| misaligned)?,
            scratch: <[u32]>::mut_from_bytes(scratch).map_err(|_| misaligned)?,
        })
    }
}

/// Returns words as int8.
pub(super) fn bytes(words: &[u32]) -> &[i8] {
    <[i8]>::ref_from_bytes(words.as_bytes()).unwrap_or(&[])
}

/// As [`bytes`], to be written.
pub(super) fn bytes_mut(words: &mut [u32]) -> &mut [i8] {
    <[i8]>::mut_from_bytes(words.as_mut_bytes()).unwrap_or_default()
}
