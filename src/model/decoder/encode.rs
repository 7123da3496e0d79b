//! From an input to what cross-attention reads: the encoder's rows, and every decoder block's keys and
//! values of them.

use super::super::attention::keys_values_at;
use super::super::encoder::Progress;
use super::super::plan::TOKEN_BLOCK;
use super::super::view::{Attention, global_norm, requantize};
use super::super::{Encoder, Input, InputError};
use super::plan::split_cross;
use super::{Decoder, State};
use crate::image::TensorKind;
use crate::kernels::{HeadLayout, Panel, layer_norm_i16, requantize_panel};
use crate::rows::rows_mut;

/// An input that is being encoded, step by step. Dropped before its end, nothing is encoded.
#[derive(Debug)]
pub struct Encoding<'e, 'i> {
    encoder: Encoder<'e>,
    progress: Progress<'e, 'i>,
    cross_keys: &'e mut [i8],
    cross_values: &'e mut [i8],
    state: &'e mut State,
    /// The next row that becomes keys and values.
    row: usize,
}

impl<'a> Decoder<'a> {
    /// Encodes an input for the sequences to come; those so far are forgotten.
    ///
    /// # Errors
    /// [`InputError`] if the input does not fit the model; [`InputError::Kind`] of a model without an
    /// encoder. Then nothing is encoded.
    pub fn encode(&mut self, input: Input<'_>) -> Result<(), InputError> {
        let mut encoding = self.begin(input)?;
        while encoding.step() {}
        Ok(())
    }

    /// As [`encode`](Self::encode), in bounded steps that the caller runs.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn begin<'e, 'i>(&'e mut self, input: Input<'i>) -> Result<Encoding<'e, 'i>, InputError> {
        self.state = State::default();
        if !self.image.config().has_encoder() {
            return Err(InputError::Kind);
        }
        // `Decoder::new` has split the same arena and made the same encoder.
        let split = split_cross(&self.plan, self.arena).map_err(|_| InputError::Kind)?;
        let (cross_keys, cross_values, rest) = split;
        let encoder = Encoder::new(&self.image, rest).map_err(|_| InputError::Kind)?;
        let progress = encoder.start(input)?;
        Ok(Encoding {
            encoder,
            progress,
            cross_keys,
            cross_values,
            state: &mut self.state,
            row: 0,
        })
    }
}

impl Encoding<'_, '_> {
    /// Runs one step; returns whether any is left.
    pub fn step(&mut self) -> bool {
        if !self.progress.at_pooling() {
            return self.progress.step(&mut self.encoder);
        }
        // `Decoder::new` has proved that every tensor is there and every region is long enough.
        let _ = self.remember();
        self.row += TOKEN_BLOCK;
        if self.row < self.progress.len {
            return true;
        }
        self.state.memory_len = self.progress.len;
        false
    }

    /// Returns how many steps are left.
    pub fn steps_left(&self) -> usize {
        let rows = self.progress.len.saturating_sub(self.row);
        // The pooling is not run.
        self.progress.steps_left(&self.encoder) - 1 + rows.div_ceil(TOKEN_BLOCK)
    }

    /// Makes the keys and values of up to [`TOKEN_BLOCK`] rows, of every decoder block.
    fn remember(&mut self) -> Option<()> {
        let (e, len) = (&mut self.encoder, self.progress.len);
        let (config, d) = (*e.image.config(), e.d_model());
        let layout = HeadLayout::new(config.head_dim(), len);
        let end = len.min(self.row + TOKEN_BLOCK);
        let residual = e.regions.residual.get_mut(self.row * d..end * d)?;
        if let Some(norm) = global_norm(&e.image, TensorKind::FinalNorm) {
            layer_norm_i16(&norm, residual);
        }
        let mut memory = Panel::new(e.regions.rows, end - self.row, d);
        requantize_panel(&requantize(&e.pooled), residual, &mut memory);
        let layers = config.n_layers..config.total_layers();
        let size = layout.capacity() * d;
        let caches = rows_mut(self.cross_keys, size).zip(rows_mut(self.cross_values, size));
        for (layer, (keys, values)) in layers.zip(caches) {
            let cross = Attention::cross(&e.image, layer)?;
            keys_values_at(&cross, &memory, self.row, &layout, keys, values);
        }
        Some(())
    }
}
