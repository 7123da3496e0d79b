//! The vocabulary: pieces sorted by their bytes and front-coded, in blocks.
//!
//! An entry says how many bytes it shares with the one before it and what follows. Its first byte holds
//! both counts, four bits each; 15 says that a byte of its own follows with the count, the shared one
//! first. The first entry of a block shares nothing, so blocks are found by binary search.

use super::TextError;
use zerocopy::little_endian::{U16, U32};

/// The longest piece, in bytes.
pub const MAX_PIECE: usize = 255;

/// The id that stands for none.
pub const NO_ID: u16 = u16::MAX;

/// A vocabulary in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces<'a> {
    /// Where each block starts.
    pub blocks: &'a [U32],
    /// The id of each piece, in the sorted order.
    pub ids: &'a [U16],
    /// The place of each id in the sorted order; empty where the writer left it out.
    pub inverse: &'a [U16],
    pub bytes: &'a [u8],
    /// A block has `1 << shift` pieces.
    pub shift: u8,
    /// Bytes of the longest piece.
    pub longest: usize,
}

/// A piece's bytes, decoded.
#[derive(Clone, Copy)]
pub struct Piece {
    bytes: [u8; MAX_PIECE],
    len: u8,
}

impl Piece {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; MAX_PIECE],
        len: 0,
    };

    pub(super) fn push(&mut self, shared: usize, suffix: &[u8]) {
        let end = shared.saturating_add(suffix.len());
        if let Some(room) = self.bytes.get_mut(shared..end) {
            room.copy_from_slice(suffix);
            self.len = end as u8;
        }
    }

    /// Returns the piece; of a byte-level vocabulary, the bytes that it stands for.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

struct Entry<'a> {
    shared: usize,
    suffix: &'a [u8],
}

/// Splits an entry off.
fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&counts, mut rest) = bytes.split_first()?;
    let mut count = |nibble: u8| {
        if nibble < 15 {
            return Some(usize::from(nibble));
        }
        let (&count, after) = rest.split_first()?;
        rest = after;
        Some(usize::from(count))
    };
    let (shared, len) = (count(counts >> 4)?, count(counts & 15)?);
    let (suffix, rest) = rest.split_at_checked(len)?;
    Some((Entry { shared, suffix }, rest))
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl<'a> Pieces<'a> {
    /// Checks every entry, and finds the longest piece.
    pub(super) fn checked(mut self) -> Result<Self, TextError> {
        let bad = |field, found: usize| TextError::Section {
            field,
            found: found as u32,
        };
        let mut rest = self.bytes;
        for (index, block) in self.blocks.iter().enumerate() {
            let at = self.bytes.len() - rest.len();
            if block.get() as usize != at {
                return Err(bad("piece blocks", index));
            }
            let mut before = 0;
            for _ in 0..self.block_len(index) {
                let (e, after) = entry(rest).ok_or(bad("pieces", index))?;
                let len = e.shared + e.suffix.len();
                if e.shared > before || len > MAX_PIECE {
                    return Err(bad("pieces", index));
                }
                (before, rest) = (len, after);
                self.longest = self.longest.max(len);
            }
        }
        match rest.is_empty() {
            true => Ok(self),
            false => Err(bad("pieces", self.bytes.len())),
        }
    }

    fn block_len(&self, block: usize) -> usize {
        let size = 1usize << self.shift;
        self.ids.len().saturating_sub(block * size).min(size)
    }

    fn block(&self, block: usize) -> &'a [u8] {
        let start = self.blocks.get(block).map(|b| b.get() as usize);
        start.and_then(|s| self.bytes.get(s..)).unwrap_or(&[])
    }

    fn head(&self, block: usize) -> &'a [u8] {
        entry(self.block(block)).map_or(&[], |(e, _)| e.suffix)
    }

    /// Returns the last block whose first piece is not above `key`.
    fn block_of(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.head(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }

    /// Returns the longest piece of a block that `key` starts with, as its place and length, and how many
    /// bytes the last piece that is not above `key` has in common with it.
    fn scan(&self, block: usize, key: &[u8]) -> (Option<(usize, usize)>, usize) {
        let (mut best, mut matched) = (None, 0);
        let mut rest = self.block(block);
        for i in 0..self.block_len(block) {
            let Some((e, after)) = entry(rest) else { break };
            rest = after;
            // What shares more with the piece before than the key does stands to the key as that one.
            if e.shared > matched {
                continue;
            }
            if e.shared < matched {
                break;
            }
            let wanted = key.get(matched..).unwrap_or(&[]);
            let n = common(e.suffix, wanted);
            match (e.suffix.get(n), wanted.get(n)) {
                (None, _) => {
                    matched += n;
                    best = Some(((block << self.shift) + i, matched));
                }
                (Some(a), Some(b)) if a < b => matched += n,
                _ => break,
            }
        }
        (best, matched)
    }

    /// Returns the id of the longest piece that `key` starts with, and its bytes.
    pub(super) fn longest_prefix(&self, key: &[u8]) -> Option<(u16, usize)> {
        let mut key = key.get(..self.longest).unwrap_or(key);
        loop {
            let (best, matched) = self.scan(self.block_of(key)?, key);
            if let Some((place, len)) = best {
                return Some((self.ids.get(place)?.get(), len));
            }
            // A shorter piece shares no more with the key than the piece before the key does.
            if matched == 0 || matched >= key.len() {
                return None;
            }
            key = key.get(..matched)?;
        }
    }

    /// Returns the id of a piece.
    pub(super) fn id(&self, key: &[u8]) -> Option<u16> {
        let (best, _) = self.scan(self.block_of(key)?, key);
        let (place, len) = best?;
        let id = self.ids.get(place)?.get();
        (len == key.len()).then_some(id)
    }

    /// Returns the piece of an id: by the inverse table, or where there is none by a search through all ids.
    pub(super) fn piece(&self, id: u16) -> Option<Piece> {
        let place = match self.inverse.get(usize::from(id)) {
            Some(place) => place.get().into(),
            None if self.inverse.is_empty() => self.ids.iter().position(|i| i.get() == id)?,
            None => return None,
        };
        if self.ids.get(place)?.get() != id || id == NO_ID {
            return None;
        }
        let mut piece = Piece::EMPTY;
        let mut rest = self.block(place >> self.shift);
        for _ in 0..=place & ((1 << self.shift) - 1) {
            let (e, after) = entry(rest)?;
            piece.push(e.shared, e.suffix);
            rest = after;
        }
        Some(piece)
    }
}
