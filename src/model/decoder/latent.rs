//! Sequence latents: what a decoder's last block reads over a whole output, kept so that the block can be tuned
//! by teacher forcing without running what lies before it again.
//!
//! One latent holds all positions of one output, since they share the keys and values of cross-attention and
//! most of the rows that self-attention reads. With outputs of up to `T` tokens, `S` rows of an encoder (0
//! without one), width `d`:
//!
//! ```text
//! offset       bytes
//!       0          2  position p: whose sample it is, below t
//!       2          2  tokens t, 1 to T
//!       4          2  rows of the encoder s, 0 to S
//!       6          2  reserved, 0
//!       8        2·T  the token after each position: its label
//!     8+2·T    2·T·d  residual rows, int16 [t, d]
//!       …        T·d  self-attention's input, int8 [t, d]
//!       …        S·d  cross-attention's keys, int8 [s, d]
//!       …        S·d  cross-attention's values, int8 [s, d]
//! ```
//!
//! Little endian, zeros behind each part; int8 values, as [`Features`] whose scale and zero point are those of
//! self-attention's input. `d` 128, outputs of 24 tokens, 24 rows: 15,416 bytes; kept position by position, the
//! same would take about six times as much.

use super::super::attention::sub_layer_input;
use super::super::latent::{Latent, Memory, input_grid};
use super::super::view::SubLayerInput;
use super::super::{Features, InputError};
use super::Decoder;
use super::plan::Regions;
use crate::image::ModelConfig;
use crate::kernels::HeadLayout;
use crate::rows::rows_mut;

const HEADER_BYTES: usize = 8;

/// Returns the bytes of a decoder's sequence latents; 0 of a model without a decoder.
pub const fn decoder_latent_bytes(config: &ModelConfig) -> usize {
    match Shape::new(config) {
        Some(shape) => shape.bytes(),
        None => 0,
    }
}

/// How long the parts are.
#[derive(Debug, Clone, Copy)]
struct Shape {
    tokens: usize,
    memory: usize,
    d: usize,
}

impl Shape {
    const fn new(config: &ModelConfig) -> Option<Self> {
        let Some(decoder) = config.decoder else {
            return None;
        };
        let memory = if config.has_encoder() {
            config.seq_len as usize
        } else {
            0
        };
        Some(Self {
            tokens: decoder.seq_len as usize,
            memory,
            d: config.d_model as usize,
        })
    }

    const fn bytes(&self) -> usize {
        HEADER_BYTES + 2 * self.tokens + (3 * self.tokens + 2 * self.memory) * self.d
    }
}

/// A sequence latent, taken apart.
#[derive(Debug, Clone, Copy)]
pub struct SequenceLatent<'l> {
    position: usize,
    labels: &'l [[i8; 2]],
    residual: &'l [i8],
    rows: &'l [i8],
    memory: Option<Memory<'l>>,
    d: usize,
}

impl<'l> SequenceLatent<'l> {
    /// Takes a latent apart; none if it is none of a model of this architecture.
    pub fn parse(values: &'l [i8], config: &ModelConfig) -> Option<Self> {
        let Shape { tokens, memory, d } = Shape::new(config)?;
        if values.len() != decoder_latent_bytes(config) {
            return None;
        }
        let (head, rest) = values.split_at_checked(HEADER_BYTES)?;
        let &[[p0, p1], [t0, t1], [s0, s1], [0, 0]] = head.as_chunks::<2>().0 else {
            return None;
        };
        let [position, len, keys_len] = [[p0, p1], [t0, t1], [s0, s1]]
            .map(|pair| usize::from(u16::from_le_bytes(pair.map(i8::cast_unsigned))));
        let sound = position < len && len <= tokens && keys_len <= memory;
        if !sound || (keys_len == 0) != (memory == 0) {
            return None;
        }
        let (labels, rest) = rest.split_at_checked(2 * tokens)?;
        let (residual, rest) = rest.split_at_checked(2 * tokens * d)?;
        let (rows, rest) = rest.split_at_checked(tokens * d)?;
        let (keys, values) = rest.split_at_checked(memory * d)?;
        Some(Self {
            position,
            labels: labels.as_chunks().0.get(..len)?,
            residual: residual.get(..2 * len * d)?,
            rows: rows.get(..len * d)?,
            memory: match memory {
                0 => None,
                _ => Some(Memory {
                    keys: keys.get(..keys_len * d)?,
                    values: values.get(..keys_len * d)?,
                }),
            },
            d,
        })
    }

    /// Returns the number of positions.
    pub const fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether there is no position, which [`parse`](Self::parse) refuses.
    pub const fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns whose sample it is.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Returns the token after a position.
    pub fn label(&self, position: usize) -> Option<u16> {
        let label = self.labels.get(position)?;
        Some(u16::from_le_bytes(label.map(i8::cast_unsigned)))
    }

    /// Returns what the last block reads at the latent's position: its own row, and those up to it.
    pub fn at_position(&self) -> Option<Latent<'l>> {
        let (p, d) = (self.position, self.d);
        let residual = self.residual.get(2 * p * d..2 * (p + 1) * d)?;
        let rows = self.rows.get(..(p + 1) * d)?;
        Some(Latent::new(residual, rows, p, self.memory, d))
    }
}

/// Makes a latent the sample of another position.
pub(crate) fn set_position(values: &mut [i8], position: u16) {
    let bytes = position.to_le_bytes().map(u8::cast_signed);
    for (to, from) in values.iter_mut().zip(bytes) {
        *to = from;
    }
}

/// Where a forward keeps the rows that the last block reads.
pub(super) struct LatentRows<'l> {
    residual: &'l mut [i8],
    rows: &'l mut [i8],
    d: usize,
}

impl LatentRows<'_> {
    /// Keeps the residual rows of the tokens from `first` on, and what self-attention reads of them.
    pub fn keep(
        &mut self,
        input: &SubLayerInput<'_>,
        first: usize,
        residual: &[i16],
        words: &mut [u32],
    ) {
        let d = self.d;
        let panel = sub_layer_input(input, residual, d, words);
        let kept = self.residual.get_mut(2 * first * d..).unwrap_or_default();
        for (to, from) in kept.as_chunks_mut::<2>().0.iter_mut().zip(residual) {
            *to = from.to_le_bytes().map(u8::cast_signed);
        }
        let kept = self.rows.get_mut(first * d..).unwrap_or_default();
        for (row, to) in rows_mut(kept, d).enumerate().take(panel.rows()) {
            for (column, to) in to.iter_mut().enumerate() {
                *to = panel.get(row, column);
            }
        }
    }
}

impl Decoder<'_> {
    /// Feeds `tokens`, the start token first, to the first sequence from its beginning, and writes what the last
    /// block reads: a sequence latent, [`decoder_latent_bytes`] long. `labels` are the tokens that should
    /// follow each, the end token last; they are kept with it. Writes no logits. The features returned are
    /// `out`.
    ///
    /// # Errors
    /// As [`extend`](Self::extend); [`InputError::Length`] unless there is a label for every token;
    /// [`InputError::Latent`] for a buffer of another length.
    pub fn latent<'o>(
        &mut self,
        tokens: &[u32],
        labels: &[u16],
        out: &'o mut [i8],
    ) -> Result<Features<'o>, InputError> {
        let (found, expected) = (out.len(), decoder_latent_bytes(self.image.config()));
        let wrong = InputError::Latent { found, expected };
        let shape = Shape::new(self.image.config()).ok_or(wrong)?;
        if found != expected {
            return Err(wrong);
        }
        if labels.len() != tokens.len() {
            return Err(InputError::Length {
                found: labels.len(),
                multiple_of: 1,
                max: tokens.len(),
            });
        }
        let (scale, zero_point) = input_grid(&self.image).ok_or(wrong)?;
        let Shape { tokens: t, d, .. } = shape;
        self.restart();
        out.fill(0);
        let (head, rest) = out.split_at_mut_checked(HEADER_BYTES).ok_or(wrong)?;
        let (kept, rest) = rest.split_at_mut_checked(2 * t).ok_or(wrong)?;
        let (residual, rest) = rest.split_at_mut_checked(2 * t * d).ok_or(wrong)?;
        let (rows, memory) = rest.split_at_mut_checked(t * d).ok_or(wrong)?;
        let (keys, values) = memory.split_at_mut_checked(shape.memory * d).ok_or(wrong)?;
        let mut latent = LatentRows { residual, rows, d };
        self.feed(tokens, Some(&mut latent), |_, _, _| ())?;
        self.keep_memory(keys, values).ok_or(wrong)?;
        // Both are at most the format's longest sequence.
        let header = [0, tokens.len() as u16, self.state.memory_len as u16];
        let pairs = [(head, &header[..]), (kept, labels)];
        for (to, numbers) in pairs {
            for (to, number) in to.as_chunks_mut::<2>().0.iter_mut().zip(numbers) {
                *to = number.to_le_bytes().map(u8::cast_signed);
            }
        }
        Ok(Features {
            values: out,
            scale,
            zero_point,
        })
    }

    /// Writes the last block's cross-attention keys and values, `[s, d]`.
    fn keep_memory(&mut self, keys: &mut [i8], values: &mut [i8]) -> Option<()> {
        let config = *self.image.config();
        let d = usize::from(config.d_model);
        let layout = HeadLayout::new(config.head_dim(), self.state.memory_len);
        let size = layout.capacity() * d;
        let last = usize::from(self.config.n_layers).saturating_sub(1);
        let r = Regions::split(&self.plan, self.arena).ok()?;
        let place = last * size..(last + 1) * size;
        let from = (r.cross_keys.get(place.clone())?, r.cross_values.get(place)?);
        let rows = rows_mut(keys, d).zip(rows_mut(values, d));
        for (token, (keys, values)) in rows.enumerate().take(self.state.memory_len) {
            for (column, (key, value)) in keys.iter_mut().zip(values).enumerate() {
                *key = from.0.get(layout.key(token, column)).copied()?;
                *value = from.1.get(layout.value(token, column)).copied()?;
            }
        }
        Some(())
    }
}
