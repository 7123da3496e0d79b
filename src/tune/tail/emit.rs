//! A tail's bytes, written.

use super::{HEADER_BYTES, TAIL_VERSION, TailError};
use crate::model::Cut;
use crate::tune::head::{LinearHead, NAME_BYTES};
use crate::tune::{Math, MethodId};

/// What a tail is written of.
pub struct Parts<'p, 'm> {
    /// The head.
    pub head: &'p LinearHead<'m>,
    /// What tuned it.
    pub method: MethodId,
    /// With which math.
    pub math: Math,
    /// Bytes of the block's tensors, a multiple of 16.
    pub block_bytes: usize,
    /// What the method needs to go on.
    pub state: &'p [f32],
}

impl Parts<'_, '_> {
    /// Returns the bytes of the whole.
    pub fn bytes(&self) -> usize {
        let head = self.head;
        let (d_model, classes) = (head.d_model(), head.classes());
        let (names, state) = (names_bytes(head), self.state.len());
        tail_len(d_model, classes, names, self.block_bytes, state)
    }

    /// Returns the bytes behind the block's tensors.
    pub fn behind_block_bytes(&self) -> usize {
        self.bytes() - HEADER_BYTES - self.block_bytes
    }

    /// Returns the header's bytes.
    ///
    /// # Errors
    /// [`TailError::Shape`] for a width that 16 bits do not hold.
    pub fn header(&self) -> Result<[u8; HEADER_BYTES], TailError> {
        let head = self.head;
        let names_len = names_bytes(head);
        let shape = [
            head.d_model(),
            head.classes(),
            head.model_classes(),
            names_len,
        ];
        let [d_model, classes, model_classes, names] =
            shape.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        if head.d_model() > d_model.into() || names_len > names.into() {
            return Err(TailError::Shape {
                d_model,
                classes,
                model_classes,
            });
        }
        let [d0, d1] = d_model.to_le_bytes();
        let [c0, c1] = classes.to_le_bytes();
        let [m0, m1] = model_classes.to_le_bytes();
        let [n0, n1] = names.to_le_bytes();
        let [b0, b1, b2, b3] = (self.block_bytes as u32).to_le_bytes();
        let (method, math) = (self.method.id(), self.math.id());
        Ok([
            TAIL_VERSION,
            method,
            math,
            match head.cut() {
                Cut::Pooled => 0,
                Cut::Output => 1,
            },
            d0,
            d1,
            c0,
            c1,
            m0,
            m1,
            n0,
            n1,
            b0,
            b1,
            b2,
            b3,
        ])
    }

    /// Writes the tail, its block by `block`, and returns its length.
    ///
    /// # Errors
    /// [`TailError::BufferTooSmall`], [`TailError::NotFinite`], [`TailError::Shape`], or what `block` says.
    pub fn emit(
        &self,
        out: &mut [u8],
        block: impl FnOnce(&mut [u8]) -> Result<(), TailError>,
    ) -> Result<usize, TailError> {
        let needed = self.bytes();
        let small = TailError::BufferTooSmall {
            needed,
            found: out.len(),
        };
        let out = out.get_mut(..needed).ok_or(small)?;
        if self.block_bytes > 0 && !out.as_ptr().addr().is_multiple_of(16) {
            return Err(TailError::Misaligned);
        }
        let (header, rest) = out.split_first_chunk_mut::<HEADER_BYTES>().ok_or(small)?;
        *header = self.header()?;
        let (tensors, rest) = rest.split_at_mut_checked(self.block_bytes).ok_or(small)?;
        self.emit_behind_block(rest)?;
        block(tensors)?;
        Ok(needed)
    }

    /// Writes what follows the block's tensors, all of `out`: for a tail whose parts lie apart.
    ///
    /// # Errors
    /// [`TailError::BufferTooSmall`] or [`TailError::NotFinite`].
    pub fn emit_behind_block(&self, out: &mut [u8]) -> Result<(), TailError> {
        let small = TailError::BufferTooSmall {
            needed: self.bytes() - HEADER_BYTES - self.block_bytes,
            found: out.len(),
        };
        let head = self.head;
        let names_end = names_bytes(head).next_multiple_of(4);
        let (names, parameters) = out.split_at_mut_checked(names_end).ok_or(small)?;
        names.fill(0);
        let bytes = head.added_names().flat_map(|name| {
            // A name has at most `NAME_BYTES`.
            core::iter::once(name.len() as u8).chain(name.bytes())
        });
        for (to, from) in names.iter_mut().zip(bytes) {
            *to = from;
        }
        let rows = (0..head.classes()).filter_map(|class| head.weights(class));
        let values = rows.flatten().chain(head.bias()).chain(self.state);
        let (parameters, _) = parameters.as_chunks_mut::<4>();
        for (index, (to, value)) in parameters.iter_mut().zip(values).enumerate() {
            if !value.is_finite() {
                return Err(TailError::NotFinite { index });
            }
            *to = value.to_le_bytes();
        }
        Ok(())
    }
}

/// Returns the bytes that the tail of a linear head takes, without a block and a method's state.
pub fn head_bytes(head: &LinearHead<'_>) -> usize {
    tail_len(head.d_model(), head.classes(), names_bytes(head), 0, 0)
}

/// Returns the bytes of a tail; `names` and `block` in bytes, `state` in numbers.
pub const fn tail_len(
    d_model: usize,
    classes: usize,
    names: usize,
    block: usize,
    state: usize,
) -> usize {
    let parameters = classes * (d_model + 1) + state;
    HEADER_BYTES + block + names.next_multiple_of(4) + 4 * parameters
}

/// The most bytes that a name takes in a tail.
pub const MAX_NAME_BYTES: usize = 1 + NAME_BYTES;

fn names_bytes(head: &LinearHead<'_>) -> usize {
    head.added_names().map(|name| 1 + name.len()).sum()
}

/// Writes the tail of a linear head and returns its length.
///
/// # Errors
/// As [`Parts::emit`].
pub fn emit_head(
    head: &LinearHead<'_>,
    method: MethodId,
    math: Math,
    out: &mut [u8],
) -> Result<usize, TailError> {
    let parts = Parts {
        head,
        method,
        math,
        block_bytes: 0,
        state: &[],
    };
    parts.emit(out, |_| Ok(()))
}
