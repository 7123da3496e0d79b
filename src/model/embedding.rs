//! From an input to the residual stream: projection or table, class token, positions.

use super::InputError;
use super::view::linear;
use crate::image::{Image, InputKind, NO_LAYER, TensorKind};
use crate::kernels::{Linear, Panel, channel_place, linear_i16};
use crate::quant::{Scaling, saturate_i16};
use crate::rows::{rows, rows_mut};

/// What the encoder reads. A shorter input than the model's longest is a padded one: what is
/// missing takes part in nothing.
#[derive(Debug, Clone, Copy)]
pub enum Input<'i> {
    /// Frames, int8 `[n, n_features]`, each feature in its own scale (see
    /// [`quantize_frames`]).
    Frames(&'i [i8]),
    /// A whole 8-bit image `[height, width, channels]`, row-major. (A model of patches reads
    /// [`Frames`](Self::Frames) too: patches that were cut elsewhere, each byte less 128.)
    Patches(&'i [u8]),
    /// Token ids `[n]`, and as many segment ids where the model has segments (else none).
    Tokens {
        /// Below `vocab_size`.
        ids: &'i [u32],
        /// Below `n_segments`.
        segments: &'i [u8],
    },
}

impl Input<'_> {
    /// Checks the input against the model; returns its tokens, the class token counted.
    pub(super) fn check(&self, image: &Image<'_>) -> Result<usize, InputError> {
        let config = image.config();
        let whole = |found: usize, multiple_of: usize| {
            let max = config.max_input_len() * multiple_of;
            if found == 0 || found > max || !found.is_multiple_of(multiple_of) {
                return Err(InputError::Length {
                    found,
                    multiple_of,
                    max,
                });
            }
            Ok(found / multiple_of + usize::from(config.class_token))
        };
        match (*self, config.input) {
            (Input::Frames(frames), InputKind::Frames { .. } | InputKind::Patches { .. }) => {
                let n_features = config.input.frames().map_or(0, |(_, n)| n);
                whole(frames.len(), n_features.max(1))
            }
            (
                Input::Patches(image),
                InputKind::Patches {
                    height,
                    width,
                    channels,
                    ..
                },
            ) => {
                let max = usize::from(height) * usize::from(width) * usize::from(channels);
                if image.len() != max {
                    return Err(InputError::Length {
                        found: image.len(),
                        multiple_of: max,
                        max,
                    });
                }
                Ok(config.seq_len.into())
            }
            (
                Input::Tokens { ids, segments },
                InputKind::Tokens {
                    vocab_size,
                    n_segments,
                },
            ) => {
                let len = whole(ids.len(), 1)?;
                if let Some((index, &found)) =
                    ids.iter().enumerate().find(|&(_, &id)| id >= vocab_size)
                {
                    return Err(InputError::Token {
                        index,
                        found,
                        vocab_size,
                    });
                }
                let expected = if n_segments == 0 { 0 } else { ids.len() };
                if segments.len() != expected {
                    let index = segments.len().min(expected);
                    return Err(InputError::Segment { index, n_segments });
                }
                match segments.iter().position(|&s| s >= n_segments) {
                    Some(index) => Err(InputError::Segment { index, n_segments }),
                    None => Ok(len),
                }
            }
            _ => Err(InputError::Kind),
        }
    }
}

/// Quantizes frames f32 `[n, n_features]` as the model reads them: each feature in its own scale,
/// `clamp(round(x / scale) + zero_point)`, ties to even. IEEE single precision in a fixed order:
/// the same bits everywhere. Patches, 0 to 1, become their bytes less 128.
///
/// # Errors
/// [`InputError::Kind`] for a model of tokens, [`InputError::Length`] if `frames` is not a whole
/// number of frames or `output` is not as long, [`InputError::NotFinite`].
pub fn quantize_frames(
    image: &Image<'_>,
    frames: &[f32],
    output: &mut [i8],
) -> Result<(), InputError> {
    let (_, n) = image.config().input.frames().ok_or(InputError::Kind)?;
    let n = n.max(1);
    if !frames.len().is_multiple_of(n) || output.len() != frames.len() {
        let max = image.config().max_input_len() * n;
        return Err(InputError::Length {
            found: frames.len(),
            multiple_of: n,
            max,
        });
    }
    if let Some(index) = frames.iter().position(|x| !x.is_finite()) {
        return Err(InputError::NotFinite { index });
    }
    if let InputKind::Patches { .. } = image.config().input {
        for (&x, out) in frames.iter().zip(output) {
            *out = (libm::rintf(x * 255.0) - 128.0).clamp(-128.0, 127.0) as i8;
        }
        return Ok(());
    }
    let scales = image.tensor(TensorKind::InputScale, NO_LAYER);
    let scales: &[[f32; 2]] = scales.map_or(&[], |t| t.data());
    for (frame, out) in rows(frames, n).zip(rows_mut(output, n)) {
        for ((&x, out), &[scale, zero_point]) in frame.iter().zip(out).zip(scales) {
            let q = libm::rintf(x / scale) + zero_point;
            *out = q.clamp(-128.0, 127.0) as i8;
        }
    }
    Ok(())
}

/// The tensors of the embedding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Embedding<'a> {
    source: Source<'a>,
    class_token: &'a [i16],
    positions: &'a [i16],
    d_model: usize,
}

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Frames(Linear<'a>),
    Patches(Linear<'a>, Grid),
    Tokens {
        table: TokenTable<'a>,
        segments: &'a [i16],
    },
    /// Rows of `projection.in_features` columns, all in one scale, that the projection widens.
    Factorised {
        table: &'a [i8],
        projection: Linear<'a>,
        segments: &'a [i16],
    },
}

/// A table of token embeddings.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenTable<'a> {
    table: &'a [i8],
    mantissas: &'a [i32],
    scaling: Scaling,
    /// Whether its rows lie as a linear layer's channels do, in pairs.
    paired: bool,
}

impl<'a> TokenTable<'a> {
    pub fn new(image: &Image<'a>, table: TensorKind, scale: TensorKind) -> Option<Self> {
        let (paired, scale) = (table.packing() != 0, image.tensor(scale, NO_LAYER)?);
        Some(Self {
            table: image.tensor(table, NO_LAYER)?.data(),
            mantissas: scale.data(),
            scaling: scale.scaling(),
            paired,
        })
    }

    /// Writes a token's int16 row `[d]`; of an id that the table does not have, nothing.
    pub fn write(&self, id: usize, row: &mut [i16]) {
        let (d, n) = (row.len(), self.mantissas.len());
        let Some(&mantissa) = self.mantissas.get(id) else {
            return;
        };
        let (start, step) = match self.paired {
            true => channel_place(id, n, d),
            false => (id * d, 1),
        };
        let values = self.table.get(start..).unwrap_or(&[]);
        for (x, &v) in row.iter_mut().zip(values.iter().step_by(step)) {
            *x = saturate_i16(self.scaling.apply(v.into(), mantissa, 0));
        }
    }
}

impl<'a> Embedding<'a> {
    pub fn new(image: &Image<'a>) -> Option<Self> {
        use TensorKind::*;
        let get = |kind| image.tensor(kind, NO_LAYER);
        let source = match image.config().input {
            InputKind::Frames { .. } => {
                Source::Frames(linear(image, FrameProjection, FrameEpilogue, NO_LAYER)?)
            }
            InputKind::Patches {
                width,
                channels,
                patch,
                ..
            } => {
                let projection = linear(image, FrameProjection, FrameEpilogue, NO_LAYER)?;
                let grid = Grid {
                    width: width.into(),
                    channels: channels.into(),
                    patch: patch.into(),
                };
                Source::Patches(projection, grid)
            }
            InputKind::Tokens { .. } => {
                let segments = get(Segments).map_or(&[][..], |t| t.data());
                if image.config().embedding_rank > 0 {
                    let source = Source::Factorised {
                        table: get(TensorKind::TokenTable)?.data(),
                        projection: linear(image, FrameProjection, FrameEpilogue, NO_LAYER)?,
                        segments,
                    };
                    return Self::of(image, source);
                }
                let table = self::TokenTable::new(image, TokenTable, TokenScale)?;
                Source::Tokens { table, segments }
            }
        };
        Self::of(image, source)
    }

    /// Adds what every source has beside it.
    fn of(image: &Image<'a>, source: Source<'a>) -> Option<Self> {
        let get = |kind| image.tensor(kind, NO_LAYER);
        let class_token = get(TensorKind::ClassToken).map_or(&[][..], |t| t.data());
        let positions = get(TensorKind::Positions)?.data();
        Some(Self {
            source,
            class_token,
            positions,
            d_model: image.config().d_model.into(),
        })
    }

    /// Writes rows `first .. first + n` of the residual stream, `n` being `rows`' length in rows;
    /// `scratch` has room for a panel of the projection's input.
    pub fn write(&self, input: &Input<'_>, first: usize, rows: &mut [i16], scratch: &mut [u32]) {
        let d = self.d_model;
        let offset = usize::from(!self.class_token.is_empty());
        let (head, body) = rows.split_at_mut(if first < offset { d.min(rows.len()) } else { 0 });
        for (x, &class) in head.iter_mut().zip(self.class_token) {
            *x = class;
        }
        let start = first.max(offset) - offset;
        match (&self.source, input) {
            (Source::Patches(projection, grid), Input::Patches(image)) => {
                let k = projection.in_features;
                let n = body.len() / d.max(1);
                let mut panel = Panel::new(scratch, n, k);
                for row in 0..n {
                    panel.fill_row(row, grid.patch(image, start + row));
                }
                linear_i16(projection, &panel, body);
            }
            (
                Source::Frames(projection) | Source::Patches(projection, _),
                Input::Frames(frames),
            ) => {
                let k = projection.in_features;
                let n = body.len() / d.max(1);
                let frames = frames.get(start * k..(start + n) * k).unwrap_or(&[]);
                let mut panel = Panel::new(scratch, n, k);
                panel.fill(frames);
                linear_i16(projection, &panel, body);
            }
            (
                Source::Tokens { table, segments },
                Input::Tokens {
                    ids,
                    segments: segment_ids,
                },
            ) => {
                for (i, row) in rows_mut(body, d).enumerate() {
                    let id = ids.get(start + i).map_or(0, |&id| id as usize);
                    table.write(id, row);
                    add(row, segment(segments, segment_ids, start + i, d));
                }
            }
            (
                Source::Factorised {
                    table,
                    projection,
                    segments,
                },
                Input::Tokens {
                    ids,
                    segments: segment_ids,
                },
            ) => {
                let (k, n) = (projection.in_features, body.len() / d.max(1));
                let mut panel = Panel::new(scratch, n, k);
                for row in 0..n {
                    let id = ids.get(start + row).map_or(0, |&id| id as usize);
                    let values = table.get(id * k..).unwrap_or(&[]);
                    panel.fill_row(row, values.iter().copied());
                }
                linear_i16(projection, &panel, body);
                for (i, row) in rows_mut(body, d).enumerate() {
                    add(row, segment(segments, segment_ids, start + i, d));
                }
            }
            _ => {}
        }
        add(rows, self.positions.get(first * d..).unwrap_or(&[]));
    }
}

/// Returns the row `[d]` of the segment that token `place` is in, and what follows it.
fn segment<'a>(segments: &'a [i16], ids: &[u8], place: usize, d: usize) -> &'a [i16] {
    let id = ids.get(place).map_or(0, |&s| usize::from(s));
    segments.get(id * d..).unwrap_or(&[])
}

/// How an image is cut into patches.
#[derive(Debug, Clone, Copy)]
struct Grid {
    width: usize,
    channels: usize,
    patch: usize,
}

impl Grid {
    /// Returns patch `index` as int8.
    fn patch(self, image: &[u8], index: usize) -> impl Iterator<Item = i8> {
        let (side, columns) = (self.patch.max(1), (self.width / self.patch.max(1)).max(1));
        let (row, column) = (index / columns * side, index % columns * side);
        let line = side * self.channels;
        (row..row + side).flat_map(move |y| {
            let start = (y * self.width + column) * self.channels;
            let bytes = image.get(start..start + line).unwrap_or(&[]);
            bytes.iter().map(|&byte| (byte ^ 0x80).cast_signed())
        })
    }
}

/// Adds, saturating.
pub(super) fn add(rows: &mut [i16], other: &[i16]) {
    for (x, &y) in rows.iter_mut().zip(other) {
        *x = x.saturating_add(y);
    }
}
