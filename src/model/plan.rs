//! The arena: how many bytes a model works in, and where what lies.
//!
//! With `T` tokens, width `d`, hidden width `f`, head size `h` and blocks of `B` tokens:
//!
//! ```text
//! residual stream   int16 [T, d]      2·T·d
//! keys              int8  [T, d]      T·d     (each region rounded up to 4 bytes)
//! values            int8  [T, d]      T·d
//! rows              int8  [B, d]      a block's operator input; afterwards the pooled feature
//! then the larger of
//!   attention       i32 [T] weights, i32 [h] sums, int8 [B, d] queries and contexts
//!   feed-forward    int8 [B, f] hidden layer
//!   patches         int8 [B, n_features], for models of patches
//! then
//!   panel           a token block widened to int16, [B, K] of the longest operator input
//! ```

use super::EncoderError;
use crate::image::{InputKind, ModelConfig};
use zerocopy::FromBytes;

/// Tokens that go through a block's projections and feed-forward together: the size of a step.
pub const TOKEN_BLOCK: usize = 4;

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
    /// Four rows of an operator's input, widened to int16, as kernels read them.
    pub panel: usize,
    /// Of `scratch`: attention weights, i32.
    pub weights: usize,
    /// Of `scratch`: attention sums, i32.
    pub sums: usize,
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

const fn round_up_4(bytes: usize) -> usize {
    (bytes + 3) & !3
}

impl ArenaPlan {
    /// Returns the plan of a model.
    pub const fn new(config: &ModelConfig) -> Self {
        let (tokens, d) = (config.seq_len as usize, config.d_model as usize);
        let block = if tokens < TOKEN_BLOCK {
            tokens
        } else {
            TOKEN_BLOCK
        };
        let (weights, sums) = (4 * tokens, 4 * config.head_dim());
        let attention = weights + sums + round_up_4(block * d);
        let feed_forward = round_up_4(block * config.d_ff as usize);
        let patches = match (config.input, config.input.frames()) {
            (InputKind::Patches { .. }, Some((_, n_features))) => round_up_4(block * n_features),
            _ => 0,
        };
        let columns = match config.input.frames() {
            Some((_, n_features)) => max(n_features, max(d, config.d_ff as usize)),
            None => max(d, config.d_ff as usize),
        };
        let shared = if attention > feed_forward {
            attention
        } else {
            feed_forward
        };
        Self {
            residual: round_up_4(2 * tokens * d),
            keys: round_up_4(tokens * d),
            values: round_up_4(tokens * d),
            rows: round_up_4(block * d),
            scratch: if shared > patches { shared } else { patches },
            panel: 8 * columns,
            weights,
            sums,
        }
    }

    /// Returns the bytes of the whole arena.
    pub const fn total(&self) -> usize {
        self.residual + self.keys + self.values + self.rows + self.scratch + self.panel
    }
}

/// Returns the bytes of arena that a model needs: exactly, so that one less is refused.
pub const fn arena_bytes(config: &ModelConfig) -> usize {
    ArenaPlan::new(config).total()
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
    pub rows: &'a mut [i8],
    pub scratch: &'a mut [u8],
    pub panel: &'a mut [u32],
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
        let (scratch, rest) = rest.split_at_mut_checked(plan.scratch).ok_or(small)?;
        let (panel, _) = rest.split_at_mut_checked(plan.panel).ok_or(small)?;
        let misaligned = EncoderError::ArenaMisaligned;
        Ok(Self {
            residual: <[i16]>::mut_from_bytes(residual).map_err(|_| misaligned)?,
            keys: <[i8]>::mut_from_bytes(keys).map_err(|_| misaligned)?,
            values: <[i8]>::mut_from_bytes(values).map_err(|_| misaligned)?,
            rows: <[i8]>::mut_from_bytes(rows).map_err(|_| misaligned)?,
            scratch,
            panel: <[u32]>::mut_from_bytes(panel).map_err(|_| misaligned)?,
        })
    }
}

/// What attention makes of the scratch: weights `[len]`, sums `[head_dim]`, queries `[B, d]`.
pub(super) fn attention_scratch<'s>(
    plan: &ArenaPlan,
    scratch: &'s mut [u8],
) -> Option<(&'s mut [i32], &'s mut [i32], &'s mut [i8])> {
    let (weights, rest) = scratch.split_at_mut_checked(plan.weights)?;
    let (sums, queries) = rest.split_at_mut_checked(plan.sums)?;
    Some((
        <[i32]>::mut_from_bytes(weights).ok()?,
        <[i32]>::mut_from_bytes(sums).ok()?,
        <[i8]>::mut_from_bytes(queries).ok()?,
    ))
}

/// What the feed-forward makes of the scratch: its hidden layer `[B, d_ff]`.
pub(super) fn hidden_scratch(scratch: &mut [u8]) -> Option<&mut [i8]> {
    <[i8]>::mut_from_bytes(scratch).ok()
}
