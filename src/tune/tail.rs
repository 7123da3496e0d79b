//! A tail as bytes: what the store keeps and what inference reads in place.
//!
//! Little endian, any alignment:
//!
//! ```text
//! offset  bytes
//!      0      1  format version, 1
//!      1      1  method: 3 softmax regression          (other numbers: not yet)
//!      2      1  math: 0 exact, 1 fast                 (Math::id)
//!      3      1  kind of the parameters: 0 = linear head, f32
//!      4      2  d_model, at least 1
//!      6      2  classes
//!      8      2  of which the image's own; the rest were added
//!     10      2  length of the names, bytes
//!     12      n  names of the added classes in order: one byte of length (0..=63), then UTF-8
//!   12+n    0–3  zeros, up to a multiple of 4
//!      …         weights, f32 [classes][d_model]
//!      …         biases, f32 [classes]
//! ```
//!
//! [`Tail::parse`] is total: whatever the bytes, it gives a tail whose every number is finite and
//! whose names are UTF-8, or a typed error. Bytes that parse are the only bytes for their content.
//! Which model a tail belongs to, and its checksum, stand in the store's record around it.

use super::head::{LinearHead, NAME_BYTES, check, logit};
use super::{HeadOrigin, Math, MethodId, TuneError};
use crate::model::Features;
use crate::rows::rows;
use core::fmt;

/// The version that [`emit_head`] writes and [`Tail::parse`] reads.
pub const TAIL_VERSION: u8 = 1;
/// Bytes before the names.
const HEADER_BYTES: usize = 12;
/// The number of the parameters' kind: a linear head in f32.
const KIND_HEAD_F32: u8 = 0;

/// Why bytes are not a tail, or a tail was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TailError {
    /// The bytes are fewer or more than the header says.
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes that the header, or the shortest header, takes.
        expected: usize,
    },
    /// Another format version.
    Version {
        /// Its number.
        found: u8,
        /// The version that is read here.
        expected: u8,
    },
    /// A method of no known number.
    Method {
        /// The number.
        found: u8,
    },
    /// A math implementation of no known number.
    Math {
        /// The number.
        found: u8,
    },
    /// Parameters of no known kind.
    Kind {
        /// The number.
        found: u8,
    },
    /// Features of width 0, or more classes of the image than classes.
    Shape {
        /// Width of a feature.
        d_model: u16,
        /// Classes.
        classes: u16,
        /// The image's own classes.
        model_classes: u16,
    },
    /// The name of an added class is not UTF-8, too long, or runs out of the names.
    Name {
        /// Which added class.
        index: usize,
    },
    /// The names end before or after the last added class, or are not padded with zeros.
    Names,
    /// A parameter is not finite.
    NotFinite {
        /// Its index among weights, then biases.
        index: usize,
    },
    /// The output is too short.
    BufferTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
}

impl fmt::Display for TailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found, expected } => {
                write!(f, "the tail has {found} bytes, it should have {expected}")
            }
            Self::Version { found, expected } => write!(
                f,
                "the tail has format version {found}, {expected} is read here"
            ),
            Self::Method { found } => write!(f, "the tail names the unknown method {found}"),
            Self::Math { found } => write!(f, "the tail names the unknown math {found}"),
            Self::Kind { found } => write!(f, "the tail has parameters of unknown kind {found}"),
            Self::Shape {
                d_model,
                classes,
                model_classes,
            } => write!(
                f,
                "the tail has the impossible shape d_model {d_model}, {classes} classes, \
                 {model_classes} of them the image's"
            ),
            Self::Name { index } => write!(f, "the name of added class {index} is malformed"),
            Self::Names => write!(f, "the names of the added classes do not fill their place"),
            Self::NotFinite { index } => {
                write!(f, "parameter {index} of the tail is not a finite number")
            }
            Self::BufferTooSmall { needed, found } => {
                write!(f, "the tail takes {needed} bytes, the buffer has {found}")
            }
        }
    }
}

impl core::error::Error for TailError {}

/// A checked tail, read where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Tail<'t> {
    method: MethodId,
    math: Math,
    d_model: usize,
    classes: usize,
    model_classes: usize,
    names: &'t [u8],
    /// `[classes][d_model]`
    weights: &'t [[u8; 4]],
    bias: &'t [[u8; 4]],
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
        let [version, method, math, kind, d0, d1, c0, c1, m0, m1, n0, n1] = *header;
        if version != TAIL_VERSION {
            return Err(TailError::Version {
                found: version,
                expected: TAIL_VERSION,
            });
        }
        let method = MethodId::from_id(method).ok_or(TailError::Method { found: method })?;
        let math = Math::from_id(math).ok_or(TailError::Math { found: math })?;
        if kind != KIND_HEAD_F32 {
            return Err(TailError::Kind { found: kind });
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
        let parameters_len = weights_len.saturating_add(classes).saturating_mul(4);
        let expected = HEADER_BYTES
            .saturating_add(padded)
            .saturating_add(parameters_len);
        if bytes.len() != expected {
            return Err(short(expected));
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
        let parameters = parameters.split_at_checked(weights_len);
        let (weights, bias) = parameters.ok_or(short(expected))?;
        Ok(Self {
            method,
            math,
            d_model,
            classes,
            model_classes,
            names,
            weights,
            bias,
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

    /// Returns the names of the added classes, in order.
    pub fn added_names(&self) -> Names<'t> {
        Names(self.names)
    }

    /// Writes the logits of the first `out.len()` classes: the same bits as the
    /// [`LinearHead`] that was written.
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

/// Returns the bytes that the tail of a linear head takes.
pub fn head_bytes(head: &LinearHead<'_>) -> usize {
    let parameters = head.classes() * (head.d_model() + 1) * 4;
    HEADER_BYTES + names_bytes(head).next_multiple_of(4) + parameters
}

fn names_bytes(head: &LinearHead<'_>) -> usize {
    head.added_names().map(|name| 1 + name.len()).sum()
}

/// Writes the tail of a linear head and returns its length.
///
/// # Errors
/// [`TailError::BufferTooSmall`], [`TailError::NotFinite`], or [`TailError::Shape`] for a width that
/// 16 bits do not hold.
pub fn emit_head(
    head: &LinearHead<'_>,
    method: MethodId,
    math: Math,
    out: &mut [u8],
) -> Result<usize, TailError> {
    let needed = head_bytes(head);
    let small = TailError::BufferTooSmall {
        needed,
        found: out.len(),
    };
    let names_len = names_bytes(head);
    let shape = [
        head.d_model(),
        head.classes(),
        head.model_classes(),
        names_len,
    ];
    let [d_model, classes, model_classes, names_len_16] =
        shape.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    if head.d_model() > d_model.into() || names_len > names_len_16.into() {
        return Err(TailError::Shape {
            d_model,
            classes,
            model_classes,
        });
    }
    let out = out.get_mut(..needed).ok_or(small)?;
    let (header, rest) = out.split_first_chunk_mut::<HEADER_BYTES>().ok_or(small)?;
    let [d0, d1] = d_model.to_le_bytes();
    let [c0, c1] = classes.to_le_bytes();
    let [m0, m1] = model_classes.to_le_bytes();
    let [n0, n1] = names_len_16.to_le_bytes();
    *header = [
        TAIL_VERSION,
        method.id(),
        math.id(),
        KIND_HEAD_F32,
        d0,
        d1,
        c0,
        c1,
        m0,
        m1,
        n0,
        n1,
    ];
    let names_end = names_len.next_multiple_of(4);
    let (names, parameters) = rest.split_at_mut_checked(names_end).ok_or(small)?;
    names.fill(0);
    let bytes = head.added_names().flat_map(|name| {
        // A name has at most `NAME_BYTES`.
        core::iter::once(name.len() as u8).chain(name.bytes())
    });
    for (to, from) in names.iter_mut().zip(bytes) {
        *to = from;
    }
    let rows = (0..head.classes()).filter_map(|class| head.weights(class));
    let values = rows.flatten().chain(head.bias());
    let (parameters, _) = parameters.as_chunks_mut::<4>();
    for (index, (to, value)) in parameters.iter_mut().zip(values).enumerate() {
        if !value.is_finite() {
            return Err(TailError::NotFinite { index });
        }
        *to = value.to_le_bytes();
    }
    Ok(needed)
}
