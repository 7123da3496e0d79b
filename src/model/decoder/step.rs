//! Up to four tokens through all blocks.
//!
//! The rows of a step are the next tokens of one sequence, of which none sees a later one, or the next
//! token of each of several sequences. All linear layers take the rows together.

use super::super::InputError;
use super::super::attention::{add_contexts, attend_heads, attend_heads_causal, sub_layer_input};
use super::super::embedding::add;
use super::super::feed_forward::feed_forward;
use super::super::view::{Attention, Block, global_norm};
use super::Decoder;
use super::latent::LatentRows;
use super::plan::{DecoderPlan, Regions};
use crate::image::TensorKind;
use crate::kernels::{Context, HeadLayout, Panel, ROWS, layer_norm_i16, linear_panel};
use crate::rows::rows_mut;

/// Which token of which sequence a step's rows are.
#[derive(Debug, Clone, Copy)]
enum Rows {
    /// The tokens of a sequence from the present one on.
    Sequence { lane: usize },
    /// The present token of each sequence from `first` on.
    Lanes { first: usize },
}

impl Rows {
    /// Returns sequence and place in it of a row, where all have `len` tokens.
    const fn place(self, row: usize, len: usize) -> (usize, usize) {
        match self {
            Self::Sequence { lane } => (lane, len + row),
            Self::Lanes { first } => (first + row, len),
        }
    }
}

/// What the sub-layers of a step share.
struct Step<'s> {
    plan: &'s DecoderPlan,
    rows: Rows,
    n: usize,
    len: usize,
    memory_len: usize,
    d: usize,
    /// Of the tokens so far.
    layout: HeadLayout,
    /// Bytes of one block's keys in one lane, and blocks.
    cache: usize,
    layers: usize,
}

impl Decoder<'_> {
    /// Feeds the next token of the first sequence; returns the logits of the one after it, int16
    /// `[outputs]`. Real value = logit · [`logit_scale`](Self::logit_scale).
    ///
    /// # Errors
    /// [`InputError`]: a token outside the vocabulary, a sequence that is full, nothing encoded. The
    /// sequence is as it was.
    pub fn step(&mut self, token: u32) -> Result<&[i16], InputError> {
        self.extend(&[token])
    }

    /// Feeds the next tokens of the first sequence, a prompt for instance; returns the logits after the
    /// last one. The same bits as one [`step`](Self::step) a token.
    ///
    /// # Errors
    /// As [`step`](Self::step); [`InputError::Length`] without a token.
    pub fn extend(&mut self, tokens: &[u32]) -> Result<&[i16], InputError> {
        self.feed(tokens, None, |decoder, index, row| {
            // The others' logits nobody reads.
            if index + 1 == tokens.len() {
                let _ = decoder.project(row, 0);
            }
        })?;
        Ok(self.logits(0))
    }

    /// As [`extend`](Self::extend), and calls `each(i, logits)` with the logits after every token.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn extend_with(
        &mut self,
        tokens: &[u32],
        mut each: impl FnMut(usize, &[i16]),
    ) -> Result<&[i16], InputError> {
        self.feed(tokens, None, |decoder, index, row| {
            let _ = decoder.project(row, 0);
            each(index, decoder.logits(0));
        })?;
        Ok(self.logits(0))
    }

    /// Feeds the next tokens of the first sequence; `each(self, i, row)` says in which row of the residual
    /// a token's last block lies. `latent` keeps what the last block reads.
    pub(super) fn feed(
        &mut self,
        tokens: &[u32],
        mut latent: Option<&mut LatentRows<'_>>,
        mut each: impl FnMut(&mut Self, usize, usize),
    ) -> Result<(), InputError> {
        self.check(tokens, tokens.len())?;
        for (block, tokens) in tokens.chunks(ROWS).enumerate() {
            // `new` has proved that every tensor is there and every region is long enough.
            let _ = self.run(tokens, Rows::Sequence { lane: 0 }, latent.as_deref_mut());
            for row in 0..tokens.len() {
                each(self, block * ROWS + row, row);
            }
            self.state.len += tokens.len();
        }
        Ok(())
    }

    /// Feeds the next token of every sequence; their logits are [`logits`](Self::logits).
    ///
    /// # Errors
    /// As [`step`](Self::step); [`InputError::Lane`] unless there are as many tokens as sequences.
    pub fn advance(&mut self, tokens: &[u32]) -> Result<(), InputError> {
        if tokens.len() != self.lanes {
            let (found, lanes) = (tokens.len(), self.lanes);
            return Err(InputError::Lane { found, lanes });
        }
        self.check(tokens, 1)?;
        for (block, tokens) in tokens.chunks(ROWS).enumerate() {
            let first = block * ROWS;
            let _ = self.run(tokens, Rows::Lanes { first }, None);
            for row in 0..tokens.len() {
                let _ = self.project(row, first + row);
            }
        }
        self.state.len += 1;
        Ok(())
    }

    /// Returns the logits of a sequence, int16 `[outputs]`, as its last token left them.
    pub fn logits(&mut self, lane: usize) -> &[i16] {
        let outputs = self.outputs;
        match Regions::split(&self.plan, self.arena) {
            Ok(r) => r
                .logits
                .get(lane * outputs..(lane + 1) * outputs)
                .unwrap_or(&[]),
            Err(_) => &[],
        }
    }

    /// Makes sequence `to` what sequence `from` is; no logits are copied.
    ///
    /// # Errors
    /// [`InputError::Lane`].
    pub fn copy_lane(&mut self, from: usize, to: usize) -> Result<(), InputError> {
        let lanes = self.lanes;
        for found in [from, to] {
            if found >= lanes {
                return Err(InputError::Lane { found, lanes });
            }
        }
        let size = self.plan.cache / lanes;
        if let Ok(r) = Regions::split(&self.plan, self.arena) {
            for cache in [r.keys, r.values] {
                cache.copy_within(from * size..(from + 1) * size, to * size);
            }
        }
        Ok(())
    }

    /// Checks tokens, and that a sequence has room for `more`.
    fn check(&self, tokens: &[u32], more: usize) -> Result<(), InputError> {
        // As many as there are ids: 32 bits wide.
        let vocab_size = self.outputs as u32;
        if let Some((index, &found)) = tokens.iter().enumerate().find(|&(_, &t)| t >= vocab_size) {
            return Err(InputError::Token {
                index,
                found,
                vocab_size,
            });
        }
        if more == 0 || more > self.room() {
            return Err(InputError::Length {
                found: self.state.len.saturating_add(more),
                multiple_of: 1,
                max: self.config.seq_len.into(),
            });
        }
        if self.image.config().has_encoder() && self.state.memory_len == 0 {
            return Err(InputError::NothingEncoded);
        }
        Ok(())
    }

    /// Takes the rows through all blocks: their residual rows are left.
    fn run(
        &mut self,
        tokens: &[u32],
        rows: Rows,
        mut latent: Option<&mut LatentRows<'_>>,
    ) -> Option<()> {
        let config = self.image.config();
        let d = usize::from(config.d_model);
        let layers = usize::from(self.config.n_layers);
        let step = Step {
            plan: &self.plan,
            rows,
            n: tokens.len(),
            len: self.state.len,
            memory_len: self.state.memory_len,
            d,
            layout: HeadLayout::new(config.head_dim(), self.config.seq_len.into()),
            cache: self.plan.cache / (self.lanes * layers).max(1),
            layers,
        };
        let mut r = Regions::split(&self.plan, self.arena).ok()?;
        let residual = r.residual.get_mut(..step.n * d)?;
        for (row, (out, &token)) in rows_mut(residual, d).zip(tokens).enumerate() {
            let (_, place) = rows.place(row, step.len);
            let token = match self.head {
                Some(head) if token >= self.config.vocab_size => head.fed_as(token),
                _ => token,
            };
            self.table.write(token as usize, out);
            add(out, self.positions.get(place * d..).unwrap_or(&[]));
        }
        if let Some(norm) = global_norm(&self.image, TensorKind::TargetNorm) {
            layer_norm_i16(&norm, residual);
        }
        for index in 0..layers {
            let block = Block::new(&self.image, config.n_layers + index as u16)?;
            if let Some(latent) = latent.as_deref_mut().filter(|_| index + 1 == layers) {
                let residual = r.residual.get(..step.n * d)?;
                latent.keep(&block.attention.input, step.len, residual, r.rows);
            }
            step.self_attention(&block.attention, index, &mut r)?;
            if config.has_encoder() {
                let cross = Attention::cross(&self.image, config.n_layers + index as u16)?;
                step.cross_attention(&cross, index, &mut r)?;
            }
            let residual = r.residual.get_mut(..step.n * d)?;
            feed_forward(&block.feed_forward, residual, d, r.rows, r.scratch);
        }
        Some(())
    }
}

impl Step<'_> {
    /// Returns where a block's keys (or values) of a lane lie in the cache.
    fn cached(&self, lane: usize, index: usize) -> core::ops::Range<usize> {
        let first = (lane * self.layers + index) * self.cache;
        first..first + self.cache
    }

    fn self_attention(
        &self,
        part: &Attention<'_>,
        index: usize,
        r: &mut Regions<'_>,
    ) -> Option<()> {
        let (d, n) = (self.d, self.n);
        let residual = r.residual.get_mut(..n * d)?;
        let rows = sub_layer_input(&part.input, residual, d, r.rows);
        let (weights, panels) = r.scratch.split_at_mut_checked(self.plan.weights / 4)?;
        let (queries, other) = panels.split_at_mut_checked(Panel::words(d))?;
        let mut made = Panel::new(other, n, d);
        linear_panel(&part.key, None, &rows, &mut made);
        self.keep(&made, index, r.keys, |token, c| self.layout.key(token, c));
        linear_panel(&part.value, None, &rows, &mut made);
        self.keep(&made, index, r.values, |token, c| {
            self.layout.value(token, c)
        });
        let mut queries = Panel::new(queries, n, d);
        linear_panel(&part.query, None, &rows, &mut queries);
        let context = |lane: usize, len: usize| {
            let place = self.cached(lane, index);
            Some(Context {
                keys: r.keys.get(place.clone())?,
                values: r.values.get(place)?,
                layout: self.layout,
                len,
                scale: part.scale,
            })
        };
        match self.rows {
            Rows::Sequence { lane } => {
                attend_heads_causal(&context(lane, self.len + n)?, &mut queries, weights);
            }
            Rows::Lanes { first } => {
                for row in 0..n {
                    // Each row attends to a sequence of its own: alone, in a panel of its own.
                    let mut alone = Panel::new(other, 1, d);
                    copy_row(&queries, row, &mut alone, 0);
                    attend_heads_causal(&context(first + row, self.len + 1)?, &mut alone, weights);
                    copy_row(&alone, 0, &mut queries, row);
                }
            }
        }
        add_contexts(part, &queries, residual);
        Some(())
    }

    /// Writes the rows' keys, or values, where `at(token, column)` says, in their sequences' caches.
    fn keep(
        &self,
        made: &Panel<'_>,
        index: usize,
        cache: &mut [i8],
        at: impl Fn(usize, usize) -> usize,
    ) {
        for row in 0..self.n {
            let (lane, token) = self.rows.place(row, self.len);
            let Some(cache) = cache.get_mut(self.cached(lane, index)) else {
                continue;
            };
            for column in 0..self.d {
                if let Some(place) = cache.get_mut(at(token, column)) {
                    *place = made.get(row, column);
                }
            }
        }
    }

    fn cross_attention(
        &self,
        part: &Attention<'_>,
        index: usize,
        r: &mut Regions<'_>,
    ) -> Option<()> {
        let (d, n) = (self.d, self.n);
        let residual = r.residual.get_mut(..n * d)?;
        let rows = sub_layer_input(&part.input, residual, d, r.rows);
        let (weights, queries) = r.scratch.split_at_mut_checked(self.plan.weights / 4)?;
        let mut queries = Panel::new(queries, n, d);
        linear_panel(&part.query, None, &rows, &mut queries);
        let layout = HeadLayout::new(self.layout.head_dim(), self.memory_len);
        let size = layout.capacity() * d;
        let place = index * size..(index + 1) * size;
        let context = Context {
            keys: r.cross_keys.get(place.clone())?,
            values: r.cross_values.get(place)?,
            layout,
            len: self.memory_len,
            scale: part.scale,
        };
        attend_heads(&context, &mut queries, weights);
        add_contexts(part, &queries, residual);
        Some(())
    }
}

fn copy_row(from: &Panel<'_>, row: usize, to: &mut Panel<'_>, to_row: usize) {
    to.fill_row(to_row, (0..from.columns()).map(|c| from.get(row, c)));
}
