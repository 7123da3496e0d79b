//! A tail as bytes: what the store keeps and what inference reads in place.
//!
//! Little endian, any alignment (a multiple of 16 where there are tensors of a block):
//!
//! ```text
//! offset  bytes
//!      0      1  format version, 2
//!      1      1  method                                (MethodId::id)
//!      2      1  math: 0 exact, 1 fast                 (Math::id)
//!      3      1  what the head reads: 0 an encoder's pooled feature, 1 what a decoder's output projection reads
//!      4      2  d_model, at least 1
//!      6      2  classes
//!      8      2  of which the image's own; the rest were added
//!     10      2  length of the names, bytes
//!     12      4  length of the block's tensors b, bytes, a multiple of 16; 0 where only the head was tuned
//!     16      b  tensors that stand in for the image's  (image::Patch)
//!   16+b      n  names of the added classes in order: one byte of length (0..=63), then UTF-8
//!   …       0–3  zeros, up to a multiple of 4
//!      …         weights, f32 [classes][d_model]
//!      …         biases, f32 [classes]
//!      …         what the method needs to go on, f32: counts [classes] (ncm), the factor
//!                [(d_model + 1)·(d_model + 2)/2] (ridge)
//! ```
//!
//! [`Tail::parse`] is total: whatever the bytes, it gives a tail whose every number is finite and
//! whose names are UTF-8, or a typed error. Bytes that parse are the only bytes for their content.
//! The block's tensors are checked against the image that they are for, by
//! [`Image::patched`](crate::image::Image::patched). Which model a tail belongs to, and its checksum,
//! stand in the store's record around it.

mod emit;
mod error;

pub(super) use emit::{MAX_NAME_BYTES, tail_len};
pub use emit::{Parts, emit_head, head_bytes};
pub use error::TailError;

use super::head::{NAME_BYTES, check, logit};
use super::ridge::factor_len;
use super::{HeadOrigin, Math, MethodId, TuneError};
use crate::model::{Cut, Features};
use crate::rows::rows;

/// The version that is written and that [`Tail::parse`] reads.
pub const TAIL_VERSION: u8 = 2;
/// Bytes before the block's tensors.
pub const HEADER_BYTES: usize = 16;

/// A checked tail, read where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Tail<'t> {
    method: MethodId,
    math: Math,
    cut: Cut,
    d_model: usize,
    classes: usize,
    model_classes: usize,
    names: &'t [u8],
    /// `[classes][d_model]`
    weights: &'t [[u8; 4]],
    bias: &'t [[u8; 4]],
    block: &'t [u8],
    state: &'t [[u8; 4]],
}

impl<'t> Tail<'t> {
    /// Checks bytes and returns the tail that they are.
    ///
    /// # Errors
    /// See [`TailError`].
    pub fn parse(bytes: &'t [u8]) -> Result<Self, TailError> {
        let short = |expected| TailError::Length {
            found: bytes.len(),
            expected,
        };
        let header = bytes.split_first_chunk::<HEADER_BYTES>();
        let (header, rest) = header.ok_or(short(HEADER_BYTES))?;
        let [version, method, math, cut, shape @ ..] = *header;
        let [d0, d1, c0, c1, m0, m1, n0, n1, block @ ..] = shape;
        if version != TAIL_VERSION {
            return Err(TailError::Version {
                found: version,
                expected: TAIL_VERSION,
            });
        }
        let method = MethodId::from_id(method).ok_or(TailError::Method { found: method })?;
        let math = Math::from_id(math).ok_or(TailError::Math { found: math })?;
        let cut = match cut {
            0 => Cut::Pooled,
            1 => Cut::Output,
            found => return Err(TailError::Cut { found }),
        };
        let block_len = u32::from_le_bytes(block);
        if !block_len.is_multiple_of(16) {
            return Err(TailError::BlockLength { found: block_len });
        }
        let [d_model, classes, model_classes, names_len] =
            [[d0, d1], [c0, c1], [m0, m1], [n0, n1]].map(u16::from_le_bytes);
        if d_model == 0 || model_classes > classes {
            return Err(TailError::Shape {
                d_model,
                classes,
                model_classes,
            });
        }
        let [d_model, classes, model_classes, names_len] =
            [d_model, classes, model_classes, names_len].map(usize::from);
        let weights_len = classes.saturating_mul(d_model);
        let padded = names_len.next_multiple_of(4);
        let state_len = state_len(method, d_model, classes);
        let parameters_len = weights_len
            .saturating_add(classes)
            .saturating_add(state_len);
        let expected = HEADER_BYTES
            .saturating_add(block_len as usize)
            .saturating_add(padded)
            .saturating_add(parameters_len.saturating_mul(4));
        if bytes.len() != expected {
            return Err(short(expected));
        }
        let (block, rest) = rest
            .split_at_checked(block_len as usize)
            .ok_or(short(expected))?;
        if block_len > 0 && !bytes.as_ptr().addr().is_multiple_of(16) {
            return Err(TailError::Misaligned);
        }
        let (names, rest) = rest.split_at_checked(names_len).ok_or(short(expected))?;
        let padding = rest.split_at_checked(padded - names_len);
        let (padding, parameters) = padding.ok_or(short(expected))?;
        if padding.iter().any(|&b| b != 0) {
            return Err(TailError::Names);
        }
        check_names(names, classes - model_classes)?;
        let (parameters, _) = parameters.as_chunks::<4>();
        let mut values = parameters.iter().map(|&p| f32::from_le_bytes(p));
        if let Some(index) = values.position(|value| !value.is_finite()) {
            return Err(TailError::NotFinite { index });
        }
        let (weights, rest) = parameters
            .split_at_checked(weights_len)
            .ok_or(short(expected))?;
        let (bias, state) = rest.split_at_checked(classes).ok_or(short(expected))?;
        Ok(Self {
            method,
            math,
            cut,
            d_model,
            classes,
            model_classes,
            names,
            weights,
            bias,
            block,
            state,
        })
    }

    /// Returns the method that made it.
    pub const fn method(&self) -> MethodId {
        self.method
    }

    /// Returns the math that it was trained with.
    pub const fn math(&self) -> Math {
        self.math
    }

    /// Returns the tensors of the block that stand in for the image's, as bytes; empty where only the
    /// head was tuned.
    pub const fn block(&self) -> &'t [u8] {
        self.block
    }

    /// Returns what a method needs to go on from here: of [`Ncm`](super::Ncm) the counts, of
    /// [`Ridge`](super::Ridge) the factor; none where the tail is of another method.
    pub fn state(&self, method: MethodId) -> Option<&'t [[u8; 4]]> {
        (self.method == method && !self.state.is_empty()).then_some(self.state)
    }

    /// Returns the names of the added classes, in order.
    pub fn added_names(&self) -> Names<'t> {
        Names(self.names)
    }

    /// Returns the weights of a class; none of one that the tail does not have.
    pub(super) fn row(&self, class: usize) -> &'t [[u8; 4]] {
        let start = class.saturating_mul(self.d_model);
        let row = self.weights.get(start..start.saturating_add(self.d_model));
        row.unwrap_or(&[])
    }

    /// Writes the logits of the first `out.len()` classes: the same bits as the
    /// [`LinearHead`](super::LinearHead) that was written.
    ///
    /// # Errors
    /// [`TuneError::FeatureLength`] or [`TuneError::FeatureScale`].
    pub fn logits(&self, features: &Features<'_>, out: &mut [f32]) -> Result<(), TuneError> {
        check(features, self.d_model)?;
        let rows = rows(self.weights, self.d_model).zip(self.bias);
        for (out, (row, bias)) in out.iter_mut().zip(rows) {
            let row = row.iter().map(|&w| f32::from_le_bytes(w));
            *out = logit(f32::from_le_bytes(*bias), row, features);
        }
        Ok(())
    }
}

impl HeadOrigin for Tail<'_> {
    fn d_model(&self) -> usize {
        self.d_model
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn cut(&self) -> Cut {
        self.cut
    }

    fn model_classes(&self) -> usize {
        self.model_classes
    }

    fn added_name(&self, index: usize) -> Option<&str> {
        self.added_names().nth(index)
    }

    fn weight(&self, class: usize, k: usize) -> f32 {
        let index = class.saturating_mul(self.d_model).saturating_add(k);
        let weight = self.weights.get(index).copied();
        f32::from_le_bytes(weight.unwrap_or_default())
    }

    fn bias(&self, class: usize) -> f32 {
        f32::from_le_bytes(self.bias.get(class).copied().unwrap_or_default())
    }
}

/// The names of a tail's added classes.
#[derive(Debug, Clone)]
pub struct Names<'t>(&'t [u8]);

impl<'t> Iterator for Names<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let (name, rest) = split_name(self.0)?;
        self.0 = rest;
        Some(name)
    }
}

/// Splits the first name off; `None` at the end, or where the bytes are no name.
fn split_name(names: &[u8]) -> Option<(&str, &[u8])> {
    let (&len, rest) = names.split_first()?;
    let len = usize::from(len);
    let (name, rest) = rest.split_at_checked(len)?;
    let name = core::str::from_utf8(name).ok()?;
    (len <= NAME_BYTES).then_some((name, rest))
}

fn check_names(mut names: &[u8], count: usize) -> Result<(), TailError> {
    for index in 0..count {
        let (_, rest) = split_name(names).ok_or(TailError::Name { index })?;
        names = rest;
    }
    if names.is_empty() {
        Ok(())
    } else {
        Err(TailError::Names)
    }
}

/// Returns the numbers that a method keeps behind the head.
fn state_len(method: MethodId, d_model: usize, classes: usize) -> usize {
    match method {
        MethodId::Ncm => classes,
        MethodId::Ridge => factor_len(d_model),
        _ => 0,
    }
}
