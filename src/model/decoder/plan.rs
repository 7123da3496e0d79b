//! A decoder's arena: how many bytes it works in, and where what lies.
//!
//! With width `d`, `S` input tokens, outputs of `T` tokens, `L` decoder blocks, `W` sequences (lanes), hidden
//! width `f`, `V` outputs (the vocabulary, or those of a
//! head in the output projection's place):
//!
//! ```text
//! cross keys     int8 [L, S, d]      made once an input from the encoder's rows
//! cross values   int8 [L, S, d]
//! then the larger of
//!   the encoder's own arena, while it encodes
//!   and, while it decodes,
//!     keys       int8 [W, L, T, d]   of the tokens so far
//!     values     int8 [W, L, T, d]
//!     residual   int16 [4, d]
//!     rows       panel of d          an operator's input
//!     scratch    attention: i32 [4, max(S, T)] weights, two panels of d
//!                feed-forward: panel of f
//!     logits     int16 [W, V]
//! ```
//!
//! `S`, `T` of keys, values and weights are rounded up to even, every region to 4 bytes.

use super::super::EncoderError;
use super::super::plan::{ArenaPlan, max, panel, round_up_4};
use crate::image::{DecoderConfig, ModelConfig};
use crate::kernels::ROWS;
use zerocopy::FromBytes;

/// Bytes of each region of a decoder's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DecoderPlan {
    /// Keys of the encoder's rows, of all blocks; the values take as many.
    pub cross: usize,
    /// The encoder's arena, which lies where the decoder's state does.
    pub encoder: usize,
    /// Keys of the tokens so far, of all lanes and blocks; the values take as many.
    pub cache: usize,
    /// The int16 residual rows of a step.
    pub residual: usize,
    /// An operator's input.
    pub rows: usize,
    /// What attention and the feed-forward share.
    pub scratch: usize,
    /// Of `scratch`: attention weights.
    pub weights: usize,
    /// The int16 logits of every lane.
    pub logits: usize,
}

impl DecoderPlan {
    /// Returns the plan of a model with `lanes` sequences at once (1 for greedy search, the width of the
    /// beam for beam search); none of a model without a decoder.
    pub const fn new(config: &ModelConfig, lanes: usize) -> Option<Self> {
        match config.decoder {
            Some(decoder) => Self::with_outputs(config, lanes, decoder.vocab_size as usize),
            None => None,
        }
    }

    /// As [`new`](Self::new), with so many outputs: of a head that stands in for the output projection.
    pub const fn with_outputs(config: &ModelConfig, lanes: usize, outputs: usize) -> Option<Self> {
        let Some(decoder) = config.decoder else {
            return None;
        };
        let d = config.d_model as usize;
        let memory = if config.has_encoder() {
            config.seq_len as usize
        } else {
            0
        };
        let weights = 16 * max(memory, decoder.seq_len as usize).next_multiple_of(2);
        Some(Self {
            cross: decoder.n_layers as usize * cached(memory, d),
            encoder: if config.has_encoder() {
                ArenaPlan::new(config).total()
            } else {
                0
            },
            cache: lanes.saturating_mul(lane_bytes(&decoder, d)),
            residual: round_up_4(2 * ROWS * d),
            rows: panel(d),
            scratch: max(weights + 2 * panel(d), panel(config.d_ff as usize)),
            weights,
            logits: round_up_4(lanes.saturating_mul(outputs.saturating_mul(2))),
        })
    }

    /// Returns the bytes of the state that decoding works in.
    const fn state(&self) -> usize {
        let caches = self.cache.saturating_mul(2);
        let rest = self.residual + self.rows + self.scratch;
        caches.saturating_add(rest).saturating_add(self.logits)
    }

    /// Returns the bytes of the whole arena.
    pub const fn total(&self) -> usize {
        (2 * self.cross).saturating_add(max(self.encoder, self.state()))
    }
}

/// Bytes of the keys of `len` tokens in one block.
const fn cached(len: usize, d: usize) -> usize {
    round_up_4(len.next_multiple_of(2) * d)
}

/// Bytes of one lane's keys in all blocks.
const fn lane_bytes(decoder: &DecoderConfig, d: usize) -> usize {
    decoder.n_layers as usize * cached(decoder.seq_len as usize, d)
}

/// Returns the bytes of arena that a model's decoder needs for `lanes` sequences at once, its encoder's
/// included: exactly, so that one less is refused. 0 of a model without a decoder.
pub const fn decoder_arena_bytes(config: &ModelConfig, lanes: usize) -> usize {
    match DecoderPlan::new(config, lanes) {
        Some(plan) => plan.total(),
        None => 0,
    }
}

/// As [`decoder_arena_bytes`], with a head of so many outputs in the place of the output projection.
pub const fn tuned_decoder_arena_bytes(
    config: &ModelConfig,
    lanes: usize,
    outputs: usize,
) -> usize {
    match DecoderPlan::with_outputs(config, lanes, outputs) {
        Some(plan) => plan.total(),
        None => 0,
    }
}

/// The arena while it decodes.
#[derive(Debug)]
pub(super) struct Regions<'a> {
    pub cross_keys: &'a mut [i8],
    pub cross_values: &'a mut [i8],
    pub keys: &'a mut [i8],
    pub values: &'a mut [i8],
    pub residual: &'a mut [i16],
    pub rows: &'a mut [u32],
    pub scratch: &'a mut [u32],
    pub logits: &'a mut [i16],
}

impl<'a> Regions<'a> {
    /// Splits `arena`; bytes beyond the plan are left alone.
    pub fn split(plan: &DecoderPlan, arena: &'a mut [u8]) -> Result<Self, EncoderError> {
        let small = too_small(plan, arena);
        let (cross_keys, cross_values, state) = split_cross(plan, arena)?;
        let mut rest = state;
        let mut next = |bytes: usize| {
            let (region, after) = core::mem::take(&mut rest)
                .split_at_mut_checked(bytes)
                .ok_or(small)?;
            rest = after;
            Ok(region)
        };
        let (keys, values) = (next(plan.cache)?, next(plan.cache)?);
        let (residual, rows) = (next(plan.residual)?, next(plan.rows)?);
        let (scratch, logits) = (next(plan.scratch)?, next(plan.logits)?);
        let misaligned = EncoderError::ArenaMisaligned;
        Ok(Self {
            cross_keys,
            cross_values,
            keys: <[i8]>::mut_from_bytes(keys).map_err(|_| misaligned)?,
            values: <[i8]>::mut_from_bytes(values).map_err(|_| misaligned)?,
            residual: <[i16]>::mut_from_bytes(residual).map_err(|_| misaligned)?,
            rows: <[u32]>::mut_from_bytes(rows).map_err(|_| misaligned)?,
            scratch: <[u32]>::mut_from_bytes(scratch).map_err(|_| misaligned)?,
            logits: <[i16]>::mut_from_bytes(logits).map_err(|_| misaligned)?,
        })
    }
}

/// An arena's cross keys, cross values, and the rest.
type Split<'a> = (&'a mut [i8], &'a mut [i8], &'a mut [u8]);

/// Splits off what the encoder's rows become.
pub(super) fn split_cross<'a>(
    plan: &DecoderPlan,
    arena: &'a mut [u8],
) -> Result<Split<'a>, EncoderError> {
    if !arena.as_ptr().addr().is_multiple_of(4) {
        return Err(EncoderError::ArenaMisaligned);
    }
    let small = too_small(plan, arena);
    let (keys, rest) = arena.split_at_mut_checked(plan.cross).ok_or(small)?;
    let (values, rest) = rest.split_at_mut_checked(plan.cross).ok_or(small)?;
    let misaligned = EncoderError::ArenaMisaligned;
    let keys = <[i8]>::mut_from_bytes(keys).map_err(|_| misaligned)?;
    let values = <[i8]>::mut_from_bytes(values).map_err(|_| misaligned)?;
    Ok((keys, values, rest))
}

fn too_small(plan: &DecoderPlan, arena: &[u8]) -> EncoderError {
    EncoderError::ArenaTooSmall {
        needed: plan.total(),
        found: arena.len(),
    }
}
