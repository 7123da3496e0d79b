//! Byte-pair encoding (Sennrich et al., arXiv 1508.07909), of characters or of bytes (as GPT-2's). Without
//! merges every character, or every byte, is a token.

use super::TextError;
use super::pieces::{NO_ID, Pieces};
use super::section::MAX_AFFIX;
use super::split::Words;
use super::wordpiece::unknown;
use core::ops::Range;
use zerocopy::little_endian::U16;

/// Pairs that merge, sorted: what is on the left, on the right, what comes of both, and which goes first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merges<'a> {
    pub left: &'a [U16],
    pub right: &'a [U16],
    pub merged: &'a [U16],
    /// Ranks; empty where the ids of what is merged ascend as the ranks do.
    pub ranks: &'a [U16],
}

/// A pair that does not merge.
const NEVER: u32 = u32::MAX;

impl Merges<'_> {
    fn find(&self, left: u32, right: u32) -> Option<usize> {
        let (mut low, mut high) = (0, self.left.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let pair = (self.left.get(middle)?, self.right.get(middle)?);
            match (u32::from(pair.0.get()), u32::from(pair.1.get())).cmp(&(left, right)) {
                core::cmp::Ordering::Equal => return Some(middle),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Returns the rank of a pair and the place of its merge, as one number that orders by rank.
    fn rank(&self, left: u32, right: u32) -> u32 {
        let Some(at) = self.find(left, right) else {
            return NEVER;
        };
        let order = self.ranks.get(at).or(self.merged.get(at));
        order.map_or(NEVER, |order| u32::from(order.get()) << 16 | at as u32)
    }

    fn merged(&self, rank: u32) -> u32 {
        let merged = self.merged.get((rank & 0xffff) as usize);
        merged.map_or(0, |id| id.get().into())
    }
}

/// What a BPE model consists of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bpe<'a> {
    pub pieces: Pieces<'a>,
    /// The token of each byte; empty for a model of characters.
    pub bytes: &'a [U16],
    pub merges: Merges<'a>,
    /// What begins every character's piece but a word's first.
    pub prefix: &'a [u8],
    /// What ends the piece of a word's last character.
    pub suffix: &'a [u8],
    /// Unknown characters without one are left out.
    pub unknown: u16,
    /// Unknown characters in a row are one token.
    pub fuse: bool,
}

/// Symbols of a word in the workspace: ids, and as many ranks of the pairs that they begin.
struct Symbols<'w> {
    ids: &'w mut [u32],
    ranks: &'w mut [u32],
    len: usize,
}

impl Symbols<'_> {
    fn push(&mut self, id: u32) -> Result<(), TextError> {
        let capacity = self.ids.len();
        let slot = self.ids.get_mut(self.len);
        *slot.ok_or(TextError::WordTooLong { capacity })? = id;
        self.len += 1;
        Ok(())
    }

    fn rank(&mut self, at: usize, merges: &Merges<'_>) {
        let pair = self.ids.get(..self.len).and_then(|ids| ids.get(at..at + 2));
        let rank = match pair {
            Some(&[left, right]) => merges.rank(left, right),
            _ => NEVER,
        };
        if let Some(slot) = self.ranks.get_mut(at) {
            *slot = rank;
        }
    }

    /// Merges the pair of the lowest rank, the leftmost of them, until none is left.
    fn merge(&mut self, merges: &Merges<'_>) {
        for at in 0..self.len {
            self.rank(at, merges);
        }
        while self.len > 1 {
            let pairs = self.ranks.get(..self.len - 1).unwrap_or(&[]);
            // By the rank alone: the place in the lower half is the same for the same rank.
            let Some((at, &rank)) = pairs.iter().enumerate().min_by_key(|&(_, &rank)| rank) else {
                return;
            };
            if rank == NEVER {
                return;
            }
            if let Some(id) = self.ids.get_mut(at) {
                *id = merges.merged(rank);
            }
            self.ids.copy_within(at + 2..self.len, at + 1);
            self.ranks.copy_within(at + 2..self.len, at + 1);
            self.len -= 1;
            self.rank(at, merges);
            if let Some(before) = at.checked_sub(1) {
                self.rank(before, merges);
            }
        }
    }
}

impl Bpe<'_> {
    /// Words of 32 bits that the model needs at least; twice the symbols of the longest word if it merges.
    pub(super) const WORKSPACE: usize = 8;

    /// Returns whether every symbol is a token.
    const fn plain(&self) -> bool {
        self.merges.left.is_empty()
    }

    /// Reads one word, or one character where nothing merges; its ids lie in the returned range of the
    /// workspace, and `begins` is whether it begins a word. `after_unknown` is whether the character before
    /// was unknown, and in the same word.
    pub(super) fn ids(
        &self,
        words: &mut Words<'_>,
        work: &mut [u32],
        after_unknown: &mut bool,
        begins: &mut bool,
    ) -> Result<Option<Range<usize>>, TextError> {
        let Some((first, first_of_word)) = words.next() else {
            return Ok(None);
        };
        *begins |= first_of_word;
        let half = work.len() / 2;
        let (ids, ranks) = work.split_at_mut_checked(half).unwrap_or_default();
        let mut symbols = Symbols { ids, ranks, len: 0 };
        *after_unknown &= !first_of_word;
        self.symbols(
            first,
            first_of_word,
            words.word_ends(),
            &mut symbols,
            after_unknown,
        )?;
        if self.plain() {
            return Ok(Some(0..symbols.len));
        }
        while let Some(c) = words.next_of_word() {
            self.symbols(c, false, words.word_ends(), &mut symbols, after_unknown)?;
        }
        symbols.merge(&self.merges);
        Ok(Some(0..symbols.len))
    }

    /// Adds the symbols of one character.
    fn symbols(
        &self,
        c: char,
        first: bool,
        last: bool,
        symbols: &mut Symbols<'_>,
        after_unknown: &mut bool,
    ) -> Result<(), TextError> {
        let mut utf8 = [0; 4];
        let utf8 = c.encode_utf8(&mut utf8).as_bytes();
        if self.bytes.is_empty() {
            let prefix = if first { &[] } else { self.prefix };
            let suffix = if last { self.suffix } else { &[] };
            let mut key = [0; 2 * MAX_AFFIX + 4];
            let mut len = 0;
            for part in [prefix, utf8, suffix] {
                if let Some(room) = key.get_mut(len..len + part.len()) {
                    room.copy_from_slice(part);
                    len += part.len();
                }
            }
            let id = self.pieces.id(key.get(..len).unwrap_or(&[]));
            return self.symbol(id.unwrap_or(NO_ID), symbols, after_unknown);
        }
        for &byte in utf8 {
            let id = self.bytes.get(usize::from(byte));
            let id = id.map_or(NO_ID, |id| id.get());
            self.symbol(id, symbols, after_unknown)?;
        }
        Ok(())
    }

    fn symbol(
        &self,
        id: u16,
        symbols: &mut Symbols<'_>,
        after_unknown: &mut bool,
    ) -> Result<(), TextError> {
        if id != NO_ID {
            *after_unknown = false;
            return symbols.push(id.into());
        }
        let fused = core::mem::replace(after_unknown, true) && self.fuse;
        match unknown(self.unknown) {
            Ok(id) if !fused => symbols.push(id),
            _ => Ok(()),
        }
    }
}
