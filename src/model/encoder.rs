//! The encoder: which step comes when.
//!
//! A forward is a sequence of bounded steps, at most [`TOKEN_BLOCK`] tokens of one part of one
//! block each: embedding by token blocks; then for every block the keys and values of all tokens,
//! and attention with feed-forward token block by token block; then pooling. Within a block a
//! row's result depends on its own residual and on all keys and values, so rows are replaced in
//! place. The last block computes only the rows that the pooling reads.

use super::attention::{attention, keys_values};
use super::embedding::{Embedding, Input};
use super::feed_forward::feed_forward;
use super::plan::{ArenaPlan, Regions, TOKEN_BLOCK, bytes, bytes_mut};
use super::view::{Block, Pooler, global_norm, requantize};
use super::{EncoderError, Features, InputError};
use crate::image::{Image, NO_LAYER, Pooling, Tensor, TensorKind};
use crate::kernels::{
    HeadLayout, Panel, layer_norm_i16, linear_i8, mean_rows, requantize_panel, requantize_row,
};
use core::ops::Range;

/// An int8 encoder over an image, working in an arena.
#[derive(Debug)]
pub struct Encoder<'a> {
    pub(super) image: Image<'a>,
    embedding: Embedding<'a>,
    pub(super) pooled: Tensor<'a>,
    pooler: Option<Pooler<'a>>,
    /// Whose scale and zero point the feature has.
    feature: Tensor<'a>,
    pub(super) plan: ArenaPlan,
    pub(super) regions: Regions<'a>,
}

impl<'a> Encoder<'a> {
    /// Makes an encoder. `arena` must hold [`arena_bytes`](super::arena_bytes) bytes and start at a
    /// multiple of four.
    ///
    /// # Errors
    /// [`EncoderError`] says how many bytes are needed and how many were given.
    pub fn new(image: &Image<'a>, arena: &'a mut [u8]) -> Result<Self, EncoderError> {
        if !image.config().has_encoder() {
            return Err(EncoderError::NoEncoder);
        }
        let plan = ArenaPlan::new(image.config());
        let regions = Regions::split(&plan, arena)?;
        let missing = EncoderError::MissingTensor;
        for layer in 0..image.config().n_layers {
            Block::new(image, layer).ok_or(missing)?;
        }
        Ok(Self {
            image: *image,
            embedding: Embedding::new(image).ok_or(missing)?,
            pooled: image.tensor(TensorKind::Pooled, NO_LAYER).ok_or(missing)?,
            pooler: match image.config().pooler {
                true => Some(Pooler::new(image).ok_or(missing)?),
                false => None,
            },
            feature: image.feature().ok_or(missing)?,
            plan,
            regions,
        })
    }

    /// Returns the image.
    pub const fn image(&self) -> &Image<'a> {
        &self.image
    }

    /// Runs the whole encoder.
    ///
    /// # Errors
    /// [`InputError`] if the input does not fit the model.
    pub fn forward(&mut self, input: Input<'_>) -> Result<Features<'_>, InputError> {
        self.begin(input).map(Forward::finish)
    }

    /// Starts a forward that the caller runs step by step: firmware feeds its watchdog, or awaits,
    /// between them.
    ///
    /// # Errors
    /// [`InputError`] if the input does not fit the model.
    pub fn begin<'e, 'i>(
        &'e mut self,
        input: Input<'i>,
    ) -> Result<Forward<'e, 'a, 'i>, InputError> {
        let progress = self.start(input)?;
        Ok(Forward {
            encoder: self,
            progress,
        })
    }

    /// Checks an input and returns where its forward starts.
    pub(super) fn start<'i>(&self, input: Input<'i>) -> Result<Progress<'a, 'i>, InputError> {
        let len = input.check(&self.image)?;
        Ok(Progress {
            input,
            len,
            stage: Stage::Embed { row: 0 },
            block: None,
        })
    }

    pub(super) fn d_model(&self) -> usize {
        self.image.config().d_model.into()
    }

    /// Rows of the last block that the pooling, or a decoder, reads.
    fn pooled_rows(&self, len: usize) -> usize {
        match self.image.config().pooling {
            Pooling::ClassToken | Pooling::First if self.image.config().decoder.is_none() => 1,
            _ => len,
        }
    }
}

/// Where a forward stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Embed { row: usize },
    KeysValues { layer: u16, row: usize },
    Rows { layer: u16, row: usize },
    Pool,
    Done,
}

/// What a forward has come to; the rest is in the encoder's arena.
#[derive(Debug)]
pub(super) struct Progress<'a, 'i> {
    input: Input<'i>,
    pub len: usize,
    stage: Stage,
    /// The block that the stage is in, with its number.
    block: Option<(u16, Block<'a>)>,
}

/// A forward under way. The same bits as [`Encoder::forward`], however it is run.
#[derive(Debug)]
pub struct Forward<'e, 'a, 'i> {
    pub(super) encoder: &'e mut Encoder<'a>,
    pub(super) progress: Progress<'a, 'i>,
}

impl<'e, 'a> Forward<'e, 'a, '_> {
    /// Returns a forward of which only the pooling is left.
    pub(super) fn at_pooling(encoder: &'e mut Encoder<'a>, len: usize) -> Self {
        Self {
            encoder,
            progress: Progress {
                input: Input::Frames(&[]),
                len,
                stage: Stage::Pool,
                block: None,
            },
        }
    }

    /// Returns whether the input of the last block is there, and nothing of that block is computed.
    pub(super) fn at_last_block(&self) -> bool {
        let last = self.encoder.image.config().n_layers.saturating_sub(1);
        self.progress.stage
            == (Stage::KeysValues {
                layer: last,
                row: 0,
            })
    }

    /// Runs one step; returns whether any is left.
    pub fn step(&mut self) -> bool {
        self.progress.step(self.encoder)
    }

    /// Returns how many steps are left.
    pub fn steps_left(&self) -> usize {
        self.progress.steps_left(self.encoder)
    }

    /// Returns how many encoder blocks are done, none while the input is being embedded.
    pub fn blocks_done(&self) -> Option<usize> {
        match self.progress.stage {
            Stage::Embed { .. } => None,
            Stage::KeysValues { layer, .. } | Stage::Rows { layer, .. } => Some(layer.into()),
            Stage::Pool | Stage::Done => Some(self.encoder.image.config().n_layers.into()),
        }
    }

    /// Returns the residual stream, int16 `[len, d_model]`, as far as it is computed: what a host
    /// compares with a float model. After the last block only the rows that are pooled are new.
    pub fn residual(&self) -> &[i16] {
        let end = self.progress.len * self.encoder.d_model();
        self.encoder.regions.residual.get(..end).unwrap_or(&[])
    }

    /// Runs what is left and returns the pooled feature.
    pub fn finish(mut self) -> Features<'e> {
        while self.step() {}
        let encoder = self.encoder;
        let d = encoder.d_model();
        Features {
            values: bytes(encoder.regions.rows).get(..d).unwrap_or(&[]),
            scale: encoder.feature.scale(),
            zero_point: encoder.feature.entry().zero_point,
        }
    }
}

impl<'a> Progress<'a, '_> {
    /// Runs one step; returns whether any is left.
    pub fn step(&mut self, e: &mut Encoder<'a>) -> bool {
        // `Encoder::new` has proved that every tensor is there and every region is long enough.
        let _ = self.run(e);
        self.stage = self.next(e);
        self.stage != Stage::Done
    }

    /// Returns whether the last block is done and nothing is pooled.
    pub fn at_pooling(&self) -> bool {
        self.stage == Stage::Pool
    }

    /// Returns how many steps are left, the pooling counted.
    pub fn steps_left(&self, e: &Encoder<'a>) -> usize {
        let layers = usize::from(e.image.config().n_layers);
        let all = self.len.div_ceil(TOKEN_BLOCK);
        let last = e.pooled_rows(self.len).div_ceil(TOKEN_BLOCK);
        let total = all + layers * all + layers.saturating_sub(1) * all + last + 1;
        let before = |layer: u16| all + usize::from(layer) * 2 * all;
        let done = match self.stage {
            Stage::Embed { row } => row / TOKEN_BLOCK,
            Stage::KeysValues { layer, row } => before(layer) + row / TOKEN_BLOCK,
            Stage::Rows { layer, row } => before(layer) + all + row / TOKEN_BLOCK,
            Stage::Pool => total - 1,
            Stage::Done => total,
        };
        total - done
    }

    fn rows(&self, e: &Encoder<'a>, layer: u16) -> usize {
        if layer + 1 == e.image.config().n_layers {
            e.pooled_rows(self.len)
        } else {
            self.len
        }
    }

    fn next(&self, e: &Encoder<'a>) -> Stage {
        let layers = e.image.config().n_layers;
        match self.stage {
            Stage::Embed { row } if row + TOKEN_BLOCK < self.len => Stage::Embed {
                row: row + TOKEN_BLOCK,
            },
            Stage::Embed { .. } => Stage::KeysValues { layer: 0, row: 0 },
            Stage::KeysValues { layer, row } if row + TOKEN_BLOCK < self.len => Stage::KeysValues {
                layer,
                row: row + TOKEN_BLOCK,
            },
            Stage::KeysValues { layer, .. } => Stage::Rows { layer, row: 0 },
            Stage::Rows { layer, row } if row + TOKEN_BLOCK < self.rows(e, layer) => Stage::Rows {
                layer,
                row: row + TOKEN_BLOCK,
            },
            Stage::Rows { layer, .. } if layer + 1 < layers => Stage::KeysValues {
                layer: layer + 1,
                row: 0,
            },
            Stage::Rows { .. } => Stage::Pool,
            Stage::Pool | Stage::Done => Stage::Done,
        }
    }

    fn run(&mut self, e: &mut Encoder<'a>) -> Option<()> {
        let tokens = |row: usize, end: usize| -> Range<usize> { row..end.min(row + TOKEN_BLOCK) };
        let (len, d) = (self.len, e.d_model());
        let layout = HeadLayout::new(e.image.config().head_dim(), len);
        match self.stage {
            Stage::Embed { row } => self.embed(e, tokens(row, len)),
            Stage::KeysValues { layer, row } => {
                self.enter(e, layer)?;
                let (_, block) = self.block.as_ref()?;
                keys_values(
                    &block.attention,
                    &mut e.regions,
                    d,
                    tokens(row, len),
                    &layout,
                )
            }
            Stage::Rows { layer, row } => {
                let tokens = tokens(row, self.rows(e, layer));
                let (_, block) = self.block.as_ref()?;
                let (part, r) = (&block.attention, &mut e.regions);
                attention(part, &e.plan, r, d, tokens.clone(), &layout, len, None)?;
                let residual = r.residual.get_mut(tokens.start * d..tokens.end * d)?;
                feed_forward(&block.feed_forward, residual, d, r.rows, r.scratch);
                Some(())
            }
            Stage::Pool => self.pool(e),
            Stage::Done => None,
        }
    }

    /// Makes the block's view, once for all its steps: its keys and values come first.
    fn enter(&mut self, e: &Encoder<'a>, layer: u16) -> Option<()> {
        if self.block.as_ref().is_none_or(|(at, _)| *at != layer) {
            self.block = Some((layer, Block::new(&e.image, layer)?));
        }
        Some(())
    }

    fn embed(&self, e: &mut Encoder<'a>, tokens: Range<usize>) -> Option<()> {
        let d = e.d_model();
        let rows = e
            .regions
            .residual
            .get_mut(tokens.start * d..tokens.end * d)?;
        e.embedding
            .write(&self.input, tokens.start, rows, e.regions.scratch);
        if let Some(norm) = global_norm(&e.image, TensorKind::EmbedNorm) {
            layer_norm_i16(&norm, rows);
        }
        Some(())
    }

    fn pool(&self, e: &mut Encoder<'a>) -> Option<()> {
        let d = e.d_model();
        let rows = match e.image.config().pooling {
            Pooling::ClassToken | Pooling::First => 1,
            Pooling::Mean => self.len,
        };
        let residual = e.regions.residual.get_mut(..rows * d)?;
        if let Some(norm) = global_norm(&e.image, TensorKind::FinalNorm) {
            layer_norm_i16(&norm, residual);
        }
        mean_rows(residual, d);
        let (row, pooled) = (residual.get(..d)?, requantize(&e.pooled));
        let Some(pooler) = &e.pooler else {
            requantize_row(&pooled, row, bytes_mut(e.regions.rows).get_mut(..d)?);
            return Some(());
        };
        // The pooler reads a panel, so the scratch holds the pooled row, and `rows` what comes of it.
        let mut input = Panel::new(e.regions.scratch, 1, d);
        requantize_panel(&pooled, row, &mut input);
        let feature = bytes_mut(e.regions.rows).get_mut(..d)?;
        linear_i8(&pooler.linear, Some(pooler.table), &input, feature);
        Some(())
    }
}
