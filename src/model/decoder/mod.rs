//! The int8 decoder: masked self-attention, cross-attention, feed-forward ("Attention Is All You Need",
//! §3.1), one token at a time or several.
//!
//! ```text
//! plan      bytes of arena, to the byte
//! encode    the encoder, then every block's keys and values of its rows: once an input
//! step      up to four tokens through all blocks: of one sequence, or one of each of several
//! greedy    the likeliest token, again and again
//! beam      the likeliest sequences, several at once
//! ```
//!
//! Keys and values of the tokens so far stay in the arena, so a token costs the same work whether it
//! comes alone or after a prompt, and gives the same bits.

mod beam;
mod encode;
mod greedy;
mod plan;
mod step;

pub use beam::{Beam, BeamOptions};
pub use encode::Encoding;
pub use greedy::{Decoded, argmax};
pub use plan::{DecoderPlan, decoder_arena_bytes};

use super::embedding;
use super::view::{Block, linear, requantize};
use super::{Encoder, EncoderError};
use crate::image::{DecoderConfig, Image, NO_LAYER, TensorKind};
use crate::kernels::{Linear, Requantize};
use plan::Regions;

/// An int8 decoder over an image, with its encoder where the model has one, working in an arena.
#[derive(Debug)]
pub struct Decoder<'a> {
    image: Image<'a>,
    config: DecoderConfig,
    table: embedding::TokenTable<'a>,
    positions: &'a [i16],
    output_input: Requantize<'a>,
    output: Linear<'a>,
    logit_scale: f32,
    plan: DecoderPlan,
    lanes: usize,
    arena: &'a mut [u8],
    state: State,
}

/// How far the sequences are.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Rows that were encoded.
    memory_len: usize,
    /// Tokens of every sequence.
    len: usize,
}

impl<'a> Decoder<'a> {
    /// Makes a decoder of `lanes` sequences at once: 1, or the width of the beam. `arena` must hold
    /// [`decoder_arena_bytes`] and start at a multiple of four.
    ///
    /// # Errors
    /// [`EncoderError`]: an arena too small, with both numbers; an image without a decoder.
    pub fn new(image: &Image<'a>, arena: &'a mut [u8], lanes: usize) -> Result<Self, EncoderError> {
        use TensorKind::*;
        let config = image.config().decoder.ok_or(EncoderError::NoDecoder)?;
        let lanes = lanes.max(1);
        let plan = DecoderPlan::new(image.config(), lanes).ok_or(EncoderError::NoDecoder)?;
        let (needed, found) = (plan.total(), arena.len());
        if found < needed {
            return Err(EncoderError::ArenaTooSmall { needed, found });
        }
        Regions::split(&plan, arena)?;
        if image.config().has_encoder() {
            let (_, _, rest) = plan::split_cross(&plan, arena)?;
            Encoder::new(image, rest)?;
        }
        let missing = EncoderError::MissingTensor;
        for layer in image.config().n_layers..image.config().total_layers() {
            Block::new(image, layer).ok_or(missing)?;
        }
        let get = |kind| image.tensor(kind, NO_LAYER).ok_or(missing);
        let output = if config.tied {
            TargetTable
        } else {
            OutputProjection
        };
        Ok(Self {
            image: *image,
            config,
            table: embedding::TokenTable::new(image, TargetTable, TargetScale).ok_or(missing)?,
            positions: get(TargetPositions)?.data(),
            output_input: requantize(&get(OutputInput)?),
            output: linear(image, output, OutputEpilogue, NO_LAYER).ok_or(missing)?,
            logit_scale: get(OutputEpilogue)?.scale(),
            plan,
            lanes,
            arena,
            state: State::default(),
        })
    }

    /// Returns the image.
    pub const fn image(&self) -> &Image<'a> {
        &self.image
    }

    /// Returns the decoder's architecture.
    pub const fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Returns the sequences that go at once.
    pub const fn lanes(&self) -> usize {
        self.lanes
    }

    /// Returns the tokens of every sequence so far.
    pub const fn tokens(&self) -> usize {
        self.state.len
    }

    /// Returns the tokens that the sequences still have room for.
    pub const fn room(&self) -> usize {
        (self.config.seq_len as usize).saturating_sub(self.state.len)
    }

    /// Returns the real value of one step of a logit.
    pub const fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// Forgets the tokens so far; what was encoded stays.
    pub const fn restart(&mut self) {
        self.state.len = 0;
    }
}
