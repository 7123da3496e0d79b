//! Latents: what the last block reads, kept so that the block can be tuned without running the trunk again.
//!
//! With pooling by the class token (or the first row) the last block needs of its input: the row that is
//! pooled, int16, for the residual sums; and the int8 input of attention, of every token, for the keys and
//! values and that row's query.
//!
//! ```text
//! offset       bytes
//!       0        2·d  residual row that is pooled, int16
//!     2·d          2  tokens t, at least 1
//!   2·d+2        t·d  attention's input, int8 [t, d]
//!       …             zeros, up to seq_len tokens
//! ```
//!
//! All of it as int8 values, little endian, so that it is kept where features are kept: a
//! [`Features`] whose scale and zero point are those of attention's input. For KWT-1, 99 tokens of 64: 6,466
//! bytes. What the integer runtime makes of a latent is what it makes of the input, bit by bit.

use super::attention::{attention, keys_values_of, sub_layer_input};
use super::encoder::{Encoder, Forward};
use super::feed_forward::feed_forward;
use super::plan::TOKEN_BLOCK;
use super::view::Block;
use super::{Features, Input, InputError};
use crate::image::{Image, ModelConfig, NormOrder, Pooling, TensorKind};
use crate::kernels::HeadLayout;

/// Bytes that count the tokens.
const LEN_BYTES: usize = 2;

/// Returns the bytes of a model's latents.
pub const fn latent_bytes(config: &ModelConfig) -> usize {
    let (tokens, d) = (config.seq_len as usize, config.d_model as usize);
    (tokens + 2) * d + LEN_BYTES
}

/// Keys and values of an encoder's rows, as the last block of a decoder reads them, int8 `[len, d_model]`.
#[derive(Debug, Clone, Copy)]
pub struct Memory<'l> {
    /// Keys.
    pub keys: &'l [i8],
    /// Values, as many.
    pub values: &'l [i8],
}

/// What the last block reads for one row.
#[derive(Debug, Clone, Copy)]
pub struct Latent<'l> {
    residual: &'l [[i8; 2]],
    rows: &'l [i8],
    /// Which of `rows` is the row's own.
    own: usize,
    memory: Option<Memory<'l>>,
    d_model: usize,
}

impl<'l> Latent<'l> {
    pub(super) fn new(
        residual: &'l [i8],
        rows: &'l [i8],
        own: usize,
        memory: Option<Memory<'l>>,
        d_model: usize,
    ) -> Self {
        Self {
            residual: residual.as_chunks().0,
            rows,
            own,
            memory,
            d_model,
        }
    }

    /// Takes an encoder's latent apart; none if it is none of a model of this width.
    pub fn parse(values: &'l [i8], d_model: usize) -> Option<Self> {
        let (residual, rest) = values.split_at_checked(2 * d_model)?;
        let (&[low, high], rows) = rest.split_first_chunk::<LEN_BYTES>()?;
        let len = usize::from(u16::from_le_bytes([low as u8, high as u8]));
        let rows = rows.get(..len.checked_mul(d_model)?)?;
        (len > 0).then(|| Self::new(residual, rows, 0, None, d_model))
    }

    /// Returns the number of tokens.
    pub const fn len(&self) -> usize {
        match self.rows.len().checked_div(self.d_model) {
            Some(len) => len,
            None => 0,
        }
    }

    /// Returns whether there is no token, which [`parse`](Self::parse) refuses.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the residual row whose output counts, int16 `[d_model]`.
    pub fn residual(&self) -> impl Iterator<Item = i16> + use<'l> {
        let pairs = self.residual.iter();
        pairs.map(|&[low, high]| i16::from_le_bytes([low as u8, high as u8]))
    }

    /// Returns attention's input, int8 `[len, d_model]`.
    pub const fn rows(&self) -> &'l [i8] {
        self.rows
    }

    /// Returns that of the row whose output counts, int8 `[d_model]`.
    pub fn row(&self) -> &'l [i8] {
        let start = self.own * self.d_model;
        self.rows.get(start..start + self.d_model).unwrap_or(&[])
    }

    /// Returns what cross-attention reads; none of an encoder, or of a decoder without one.
    pub const fn memory(&self) -> Option<Memory<'l>> {
        self.memory
    }
}

/// Returns scale and zero point of self-attention's input in the last block, a decoder's where there is one.
pub fn input_grid(image: &Image<'_>) -> Option<(f32, i8)> {
    let last = image.config().total_layers().checked_sub(1)?;
    let tensor = match image.config().norm {
        NormOrder::Post => image.tensor(TensorKind::AttnInput, last)?,
        NormOrder::Pre => image.tensor(TensorKind::Norm1, last)?,
    };
    Some((tensor.scale(), tensor.entry().zero_point))
}

fn pools_one_row(image: &Image<'_>) -> Result<(), InputError> {
    if image.config().decoder.is_some() {
        return Err(InputError::Decodes);
    }
    match image.config().pooling {
        Pooling::ClassToken | Pooling::First => Ok(()),
        Pooling::Mean => Err(InputError::PoolsMean),
    }
}

impl<'a> Encoder<'a> {
    /// Runs the trunk up to the last block and writes its latent, [`latent_bytes`] long. The features
    /// returned are `out`.
    ///
    /// # Errors
    /// [`InputError`]: an input that does not fit the model, a buffer of another length, or a model that
    /// pools by the mean.
    pub fn latent<'o>(
        &mut self,
        input: Input<'_>,
        out: &'o mut [i8],
    ) -> Result<Features<'o>, InputError> {
        let mut run = self.begin(input)?;
        while !run.at_last_block() && run.step() {}
        run.latent(out)
    }

    /// Runs the last block over a latent and returns the pooled feature: the bits that
    /// [`forward`](Self::forward) gives for the input that the latent was made of.
    ///
    /// # Errors
    /// [`InputError::Latent`] or [`InputError::PoolsMean`].
    pub fn forward_latent(&mut self, latent: &[i8]) -> Result<Features<'_>, InputError> {
        pools_one_row(&self.image)?;
        let (found, expected) = (latent.len(), latent_bytes(self.image.config()));
        let wrong = InputError::Latent { found, expected };
        let d = self.d_model();
        let latent = Latent::parse(latent, d).filter(|_| found == expected);
        let latent = latent.ok_or(wrong)?;
        let len = latent.len();
        let last = self.image.config().n_layers.saturating_sub(1);
        let block = Block::new(&self.image, last).ok_or(wrong)?;
        let layout = HeadLayout::new(self.image.config().head_dim(), len);
        let r = &mut self.regions;
        for (to, from) in r.residual.iter_mut().zip(latent.residual()) {
            *to = from;
        }
        for (index, rows) in latent.rows().chunks(TOKEN_BLOCK * d.max(1)).enumerate() {
            keys_values_of(&block.attention, r, d, index * TOKEN_BLOCK, rows, &layout);
        }
        let first = latent.rows().get(..d).unwrap_or(&[]);
        let part = &block.attention;
        attention(part, &self.plan, r, d, 0..1, &layout, len, Some(first)).ok_or(wrong)?;
        let residual = r.residual.get_mut(..d).ok_or(wrong)?;
        feed_forward(&block.feed_forward, residual, d, r.rows, r.scratch);
        Ok(Forward::at_pooling(self, len).finish())
    }
}

impl Forward<'_, '_, '_> {
    /// Writes the latent of a forward that has come to the last block; see [`Encoder::latent`].
    fn latent<'o>(self, out: &'o mut [i8]) -> Result<Features<'o>, InputError> {
        let e = self.encoder;
        pools_one_row(&e.image)?;
        let (found, expected) = (out.len(), latent_bytes(e.image.config()));
        let wrong = InputError::Latent { found, expected };
        if found != expected {
            return Err(wrong);
        }
        let (d, len) = (e.d_model(), self.progress.len);
        let last = e.image.config().n_layers.saturating_sub(1);
        let block = Block::new(&e.image, last).ok_or(wrong)?;
        let (scale, zero_point) = input_grid(&e.image).ok_or(wrong)?;
        out.fill(0);
        let (residual, rest) = out.split_at_mut_checked(2 * d).ok_or(wrong)?;
        let (tokens, rows) = rest.split_at_mut_checked(LEN_BYTES).ok_or(wrong)?;
        let (pairs, _) = residual.as_chunks_mut::<2>();
        for (to, from) in pairs.iter_mut().zip(e.regions.residual.iter()) {
            *to = from.to_le_bytes().map(u8::cast_signed);
        }
        // A sequence has at most `MAX_SEQ_LEN` tokens.
        for (to, from) in tokens.iter_mut().zip((len as u16).to_le_bytes()) {
            *to = from.cast_signed();
        }
        let stream = e.regions.residual.get(..len * d).unwrap_or(&[]);
        let width = TOKEN_BLOCK * d.max(1);
        for (stream, rows) in stream.chunks(width).zip(rows.chunks_mut(width)) {
            let panel = sub_layer_input(&block.attention.input, stream, d, e.regions.rows);
            for (row, values) in crate::rows::rows_mut(rows, d)
                .enumerate()
                .take(panel.rows())
            {
                for (column, value) in values.iter_mut().enumerate() {
                    *value = panel.get(row, column);
                }
            }
        }
        Ok(Features {
            values: out,
            scale,
            zero_point,
        })
    }
}
