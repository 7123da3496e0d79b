//! A word as pieces: WordPiece (greedy, the longest first; Devlin et al., arXiv 1810.04805, after Wu et al.,
//! arXiv 1609.08144), and WordLevel, whose pieces are whole words.

use super::TextError;
use super::pieces::{MAX_PIECE, NO_ID, Pieces};
use super::section::MAX_AFFIX;
use super::split::Words;
use core::ops::Range;
use zerocopy::IntoBytes;

/// WordPiece's numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct WordPiece<'a> {
    pub pieces: Pieces<'a>,
    /// What begins every piece but a word's first.
    pub prefix: &'a [u8],
    pub unknown: u16,
    /// A word of more characters is unknown.
    pub max_chars: usize,
}

/// Words of 32 bits before a word, where a prefix may stand.
const SPARE: usize = MAX_AFFIX / 4;

impl WordPiece<'_> {
    /// Words of 32 bits that the longest word and its ids take.
    pub(super) const fn workspace_len(&self) -> usize {
        SPARE + 2 * self.max_chars
    }

    /// Reads one word; its ids lie in the returned range of the workspace.
    pub(super) fn ids(
        &self,
        words: &mut Words<'_>,
        work: &mut [u32],
    ) -> Result<Option<Range<usize>>, TextError> {
        let Some((first, _)) = words.next() else {
            return Ok(None);
        };
        let found = work.len();
        let text_len = SPARE + self.max_chars;
        let (text, ids) = work.split_at_mut_checked(text_len).unwrap_or_default();
        let text = text.as_mut_bytes();
        let len = read(first, words, text, MAX_AFFIX, self.max_chars);
        let needed = self.workspace_len();
        let short = TextError::Workspace { needed, found };
        match len.and_then(|len| self.parts(text.get_mut(..len)?, ids)) {
            Some(n) => Ok(Some(text_len..text_len + n)),
            None => {
                *ids.first_mut().ok_or(short)? = unknown(self.unknown)?;
                Ok(Some(text_len..text_len + 1))
            }
        }
    }

    /// Splits the word after the spare bytes; returns the number of pieces, none where some part is no piece.
    fn parts(&self, text: &mut [u8], ids: &mut [u32]) -> Option<usize> {
        let (mut at, mut n) = (MAX_AFFIX, 0);
        while at < text.len() {
            let prefix = if n == 0 { 0 } else { self.prefix.len() };
            // What is before was read: the prefix takes its place.
            let start = at.checked_sub(prefix)?;
            text.get_mut(start..at)?
                .copy_from_slice(self.prefix.get(..prefix)?);
            let (id, len) = self.pieces.longest_prefix(text.get(start..)?)?;
            if len <= prefix {
                return None;
            }
            *ids.get_mut(n)? = id.into();
            (at, n) = (start + len, n + 1);
        }
        Some(n)
    }
}

/// WordLevel's numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct WordLevel<'a> {
    pub pieces: Pieces<'a>,
    pub unknown: u16,
}

impl WordLevel<'_> {
    /// Words of 32 bits that the longest piece takes.
    pub(super) const WORKSPACE: usize = MAX_PIECE.div_ceil(4);

    /// As [`WordPiece::ids`].
    pub(super) fn ids(
        &self,
        words: &mut Words<'_>,
        work: &mut [u32],
    ) -> Result<Option<Range<usize>>, TextError> {
        let Some((first, _)) = words.next() else {
            return Ok(None);
        };
        let (needed, found) = (Self::WORKSPACE, work.len());
        let text = work.as_mut_bytes();
        let len = read(first, words, text, 0, MAX_PIECE);
        let word = len.and_then(|len| text.get(..len));
        let id = match word.and_then(|word| self.pieces.id(word)) {
            Some(id) => id.into(),
            None => unknown(self.unknown)?,
        };
        let short = TextError::Workspace { needed, found };
        *work.first_mut().ok_or(short)? = id;
        Ok(Some(0..1))
    }
}

/// Returns the id for what is unknown.
pub(super) fn unknown(id: u16) -> Result<u32, TextError> {
    match id {
        NO_ID => Err(TextError::NoUnknown),
        id => Ok(id.into()),
    }
}

/// Reads a word whose first character was taken into `text` from `start` on; returns where it ends, or
/// none where it has more than `max_chars` characters or does not fit. It is taken whole either way.
fn read(
    first: char,
    words: &mut Words<'_>,
    text: &mut [u8],
    start: usize,
    max_chars: usize,
) -> Option<usize> {
    let (mut end, mut n) = (Some(start), 0);
    let mut next = Some(first);
    while let Some(c) = next {
        n += 1;
        end = end.and_then(|end| {
            let room = text.get_mut(end..end + c.len_utf8())?;
            c.encode_utf8(room);
            Some(end + c.len_utf8())
        });
        next = words.next_of_word();
    }
    end.filter(|_| n <= max_chars)
}
