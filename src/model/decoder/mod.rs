//! The int8 decoder: masked self-attention, cross-attention, feed-forward ("Attention Is All You Need",
//! §3.1), one token at a time or several.
//!
//! ```text
//! plan      bytes of arena, to the byte
//! encode    the encoder, then every block's keys and values of its rows: once an input
//! step      up to four tokens through all blocks: of one sequence, or one of each of several
//! greedy    the likeliest token, again and again
//! output    a row of the last block → logits, by the image's projection or a head in its place
//! beam      the likeliest sequences, several at once
//! latent    the last block's input over a whole output, kept
//! ```
//!
//! Keys and values of the tokens so far stay in the arena, so a token costs the same work whether it
//! comes alone or after a prompt, and gives the same bits.

mod beam;
mod encode;
mod greedy;
mod latent;
mod output;
mod plan;
mod step;

pub use beam::{Beam, BeamOptions};
pub use encode::Encoding;
pub use greedy::{Decoded, argmax};
pub(crate) use latent::set_position;
pub use latent::{SequenceLatent, decoder_latent_bytes};
pub use output::{OUTPUT_HEAD_SCALE, OutputHead};
pub use plan::{DecoderPlan, decoder_arena_bytes, tuned_decoder_arena_bytes};

use super::embedding;
use super::head::output_weight;
use super::view::{Attention, Block, linear};
use super::{Encoder, EncoderError};
use crate::image::{DecoderConfig, Image, NO_LAYER, Tensor, TensorKind};
use crate::kernels::Linear;
use plan::Regions;

/// An int8 decoder over an image, with its encoder where the model has one, working in an arena.
#[derive(Debug)]
pub struct Decoder<'a> {
    image: Image<'a>,
    config: DecoderConfig,
    table: embedding::TokenTable<'a>,
    positions: &'a [i16],
    output_input: Tensor<'a>,
    output: Linear<'a>,
    head: Option<&'a dyn OutputHead>,
    /// Tokens that have a logit.
    outputs: usize,
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
        Self::make(image, arena, lanes, None)
    }

    /// As [`new`](Self::new), with a head in the place of the output projection. `arena` must hold
    /// [`tuned_decoder_arena_bytes`]. Tokens that the head adds have the ids from the vocabulary's size on.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`EncoderError::OutputHead`].
    pub fn with_head(
        image: &Image<'a>,
        arena: &'a mut [u8],
        lanes: usize,
        head: &'a dyn OutputHead,
    ) -> Result<Self, EncoderError> {
        Self::make(image, arena, lanes, Some(head))
    }

    fn make(
        image: &Image<'a>,
        arena: &'a mut [u8],
        lanes: usize,
        head: Option<&'a dyn OutputHead>,
    ) -> Result<Self, EncoderError> {
        use TensorKind::*;
        let config = image.config().decoder.ok_or(EncoderError::NoDecoder)?;
        let lanes = lanes.max(1);
        let mut outputs = config.vocab_size as usize;
        if let Some(head) = head {
            let found = (head.width(), head.outputs());
            let expected = (usize::from(image.config().d_model), outputs);
            if found.0 != expected.0 || found.1 < expected.1 {
                return Err(EncoderError::OutputHead { found, expected });
            }
            outputs = found.1;
        }
        let plan = DecoderPlan::with_outputs(image.config(), lanes, outputs);
        let plan = plan.ok_or(EncoderError::NoDecoder)?;
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
            if image.config().has_encoder() {
                Attention::cross(image, layer).ok_or(missing)?;
            }
        }
        let get = |kind| image.tensor(kind, NO_LAYER).ok_or(missing);
        let output = output_weight(&config);
        let logit_scale = get(OutputEpilogue)?.scale();
        Ok(Self {
            image: *image,
            config,
            table: embedding::TokenTable::new(image, TargetTable, TargetScale).ok_or(missing)?,
            positions: get(TargetPositions)?.data(),
            output_input: get(OutputInput)?,
            output: linear(image, output, OutputEpilogue, NO_LAYER).ok_or(missing)?,
            head,
            outputs,
            logit_scale: head.map_or(logit_scale, |_| OUTPUT_HEAD_SCALE),
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

    /// Returns how many tokens have a logit: the vocabulary's, and those that a head adds.
    pub const fn outputs(&self) -> usize {
        self.outputs
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
