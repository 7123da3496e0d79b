//! A text's tokens, one after the other.

use super::TextError;
use super::added::{Segment, Segments};
use super::split::Words;
use super::tokenizer::{Model, Tokenizer};
use core::ops::Range;

/// The ids of a text, without special tokens but those that stand in it: what
/// [`Tokenizer::tokens`] returns. It ends after an error.
#[derive(Debug)]
pub struct Tokens<'a, 'w> {
    tokenizer: Tokenizer<'a>,
    segments: Segments<'a>,
    words: Option<Words<'a>>,
    work: &'w mut [u32],
    /// Ids in the workspace that were not handed out.
    ready: Range<usize>,
    after_unknown: bool,
    /// Whether the token that was handed out last begins a word, and whether it stands in the text as it is.
    pub(super) begins: bool,
    pub(super) added: bool,
    failed: bool,
}

impl<'a, 'w> Tokens<'a, 'w> {
    pub(super) fn new(tokenizer: Tokenizer<'a>, text: &'a str, work: &'w mut [u32]) -> Self {
        Self {
            segments: Segments::new(tokenizer.added, text),
            tokenizer,
            words: None,
            work,
            ready: 0..0,
            after_unknown: false,
            begins: false,
            added: false,
            failed: false,
        }
    }

    /// Reads the next word's ids, or a segment; returns a token that stands in the text as it is.
    fn read(&mut self) -> Result<Option<u32>, TextError> {
        loop {
            let Some(words) = &mut self.words else {
                match self.segments.next() {
                    None => return Ok(None),
                    Some(Segment::Token(id)) => {
                        (self.begins, self.added) = (true, true);
                        return Ok(Some(id.into()));
                    }
                    Some(Segment::Text(text)) => self.words = Some(self.tokenizer.words(text)),
                }
                continue;
            };
            let ids = match &self.tokenizer.model {
                Model::WordPiece(model) => {
                    self.begins = true;
                    model.ids(words, self.work)?
                }
                Model::WordLevel(model) => {
                    self.begins = true;
                    model.ids(words, self.work)?
                }
                Model::Bpe(model) => {
                    let after_unknown = &mut self.after_unknown;
                    model.ids(words, self.work, after_unknown, &mut self.begins)?
                }
            };
            match ids {
                None => self.words = None,
                Some(ids) => {
                    self.ready = ids;
                    if let Some(id) = self.pop() {
                        return Ok(Some(id));
                    }
                }
            }
        }
    }

    fn pop(&mut self) -> Option<u32> {
        let id = *self.work.get(self.ready.next()?)?;
        Some(id)
    }
}

impl Iterator for Tokens<'_, '_> {
    type Item = Result<u32, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        (self.begins, self.added) = (false, false);
        if let Some(id) = self.pop() {
            return Some(Ok(id));
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}
