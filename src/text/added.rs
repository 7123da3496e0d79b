//! Tokens that are found in the text before anything else: special ones, and those added to a vocabulary.

use super::TextError;
use super::section::AddedRecord;
use zerocopy::FromBytes;

/// Whitespace before the token belongs to it.
pub const LEFT_STRIP: u8 = 1;
/// Whitespace after the token belongs to it.
pub const RIGHT_STRIP: u8 = 2;
/// The token is special: decoding can leave it out.
pub const SPECIAL: u8 = 4;

/// One added token.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddedToken<'a> {
    pub id: u16,
    pub flags: u8,
    pub text: &'a str,
}

/// The added tokens in place: records, each followed by its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Added<'a> {
    bytes: &'a [u8],
    /// Which bytes a token starts with.
    first: [u32; 8],
}

fn split(bytes: &[u8]) -> Option<(AddedToken<'_>, &[u8])> {
    let (record, rest) = AddedRecord::ref_from_prefix(bytes).ok()?;
    let (text, rest) = rest.split_at_checked(record.len.into())?;
    let token = AddedToken {
        id: record.id.get(),
        flags: record.flags,
        text: core::str::from_utf8(text).ok()?,
    };
    Some((token, rest))
}

impl<'a> Added<'a> {
    pub(super) fn parse(bytes: &'a [u8], n: u8) -> Result<Self, TextError> {
        let mut first = [0; 8];
        let mut rest = bytes;
        for index in 0..n {
            let bad = TextError::Section {
                field: "added tokens",
                found: index.into(),
            };
            let (token, after) = split(rest).ok_or(bad)?;
            let &byte = token.text.as_bytes().first().ok_or(bad)?;
            if let Some(word) = first.get_mut(usize::from(byte / 32)) {
                *word |= 1u32 << (byte % 32);
            }
            rest = after;
        }
        match rest.is_empty() {
            true => Ok(Self { bytes, first }),
            false => Err(TextError::Section {
                field: "added tokens",
                found: n.into(),
            }),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = AddedToken<'a>> + use<'a> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (token, after) = split(rest)?;
            rest = after;
            Some(token)
        })
    }

    /// Returns the token of an id.
    pub(super) fn token(&self, id: u16) -> Option<AddedToken<'a>> {
        self.iter().find(|token| token.id == id)
    }

    /// Returns where the first token at or after `from` begins, the longest of those that begin there.
    fn find(&self, text: &str, from: usize) -> Option<(usize, AddedToken<'a>)> {
        let bytes = text.as_bytes();
        let begins = |byte: u8| {
            let word = self.first.get(usize::from(byte / 32));
            word.is_some_and(|word| word >> (byte % 32) & 1 == 1)
        };
        (from..bytes.len()).find_map(|at| {
            let rest = bytes.get(at..)?;
            if !begins(*rest.first()?) {
                return None;
            }
            let here = self.iter().filter(|t| rest.starts_with(t.text.as_bytes()));
            Some((at, here.max_by_key(|t| t.text.len())?))
        })
    }
}

/// A part of a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment<'a> {
    Text(&'a str),
    Token(u16),
}

/// A text in parts: added tokens and what lies between them.
#[derive(Debug, Clone)]
pub(super) struct Segments<'a> {
    added: Added<'a>,
    text: &'a str,
    /// Where the part that was not handed out begins.
    at: usize,
    /// Where the next token may begin.
    from: usize,
    /// A token that follows what was handed out.
    token: Option<u16>,
}

impl<'a> Segments<'a> {
    pub(super) const fn new(added: Added<'a>, text: &'a str) -> Self {
        Self {
            added,
            text,
            at: 0,
            from: 0,
            token: None,
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        if let Some(id) = self.token.take() {
            return Some(Segment::Token(id));
        }
        let (text, begin) = (self.text, self.at);
        let part = |end: usize| text.get(begin..end).filter(|part| !part.is_empty());
        let Some((mut start, token)) = self.added.find(text, self.from) else {
            (self.at, self.from) = (text.len(), text.len());
            return part(text.len()).map(Segment::Text);
        };
        self.from = start + token.text.len();
        self.at = self.from;
        if token.flags & LEFT_STRIP != 0 {
            let before = text.get(..start).unwrap_or("");
            start = before.trim_end().len().max(begin);
        }
        if token.flags & RIGHT_STRIP != 0 {
            let after = text.get(self.at..).unwrap_or("");
            self.at = text.len() - after.trim_start().len();
        }
        match part(start) {
            Some(part) => {
                self.token = Some(token.id);
                Some(Segment::Text(part))
            }
            None => Some(Segment::Token(token.id)),
        }
    }
}
