//! Pre-tokenization: characters → words.

use super::normalize::{Normalized, Normalizer};
use super::ranges::Ranges;

/// Parts of a word: a run of characters of one class.
pub const WORD: u32 = 0;
/// Parts words and belongs to none.
pub const WHITESPACE: u32 = 1;
/// A word of its own.
pub const ALONE: u32 = 2;
/// Classes from here on are as [`WORD`]: runs of each are words.
pub const OTHER: u32 = 3;

/// How words are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Splitter {
    /// By the classes alone.
    Classes,
    /// As GPT-2's pattern does, with the classes [`WORD`] for letters, [`WHITESPACE`], and two more for
    /// numbers and for the rest:
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Gpt2,
}

/// A text's characters with three ahead, and a space before them where the tokenizer wants one.
#[derive(Debug, Clone)]
struct Ahead<'a> {
    chars: Normalized<'a>,
    ahead: [Option<char>; 4],
}

impl Ahead<'_> {
    fn next(&mut self) -> Option<char> {
        let [c, a, b, d] = self.ahead;
        self.ahead = match d {
            Some(_) => [a, b, d, None],
            None => [a, b, self.chars.next(), None],
        };
        c
    }
}

/// A text's words, character by character.
#[derive(Debug, Clone)]
pub(super) struct Words<'a> {
    classes: Ranges<'a>,
    splitter: Splitter,
    text: Ahead<'a>,
    /// What the word so far is made of; none before a word.
    run: Option<u32>,
    /// Characters of a contraction that are still to come.
    contraction: u8,
    next: Option<(char, bool)>,
}

impl<'a> Words<'a> {
    pub(super) fn new(
        normalizer: &Normalizer<'a>,
        classes: Ranges<'a>,
        splitter: Splitter,
        space_first: bool,
        text: &'a str,
    ) -> Self {
        let mut chars = Normalized::new(normalizer, text);
        let first = chars.next();
        let ahead = match first {
            Some(c) if space_first && c != ' ' => [Some(' '), first, chars.next(), chars.next()],
            _ => [first, chars.next(), chars.next(), None],
        };
        let mut words = Self {
            classes,
            splitter,
            text: Ahead { chars, ahead },
            run: None,
            contraction: 0,
            next: None,
        };
        words.next = words.step();
        words
    }

    /// Returns the next character, and whether it begins a word.
    pub(super) fn next(&mut self) -> Option<(char, bool)> {
        let next = self.next?;
        self.next = self.step();
        Some(next)
    }

    /// Returns the next character if it belongs to the word that was begun.
    pub(super) fn next_of_word(&mut self) -> Option<char> {
        match self.next {
            Some((c, false)) => {
                self.next = self.step();
                Some(c)
            }
            _ => None,
        }
    }

    /// Returns whether the word that was begun has no more characters.
    pub(super) fn word_ends(&self) -> bool {
        !matches!(self.next, Some((_, false)))
    }

    fn class(&self, c: char) -> u32 {
        self.classes.value(c)
    }

    fn step(&mut self) -> Option<(char, bool)> {
        match self.splitter {
            Splitter::Classes => self.step_by_class(),
            Splitter::Gpt2 => self.step_by_pattern(),
        }
    }

    fn step_by_class(&mut self) -> Option<(char, bool)> {
        loop {
            let c = self.text.next()?;
            let class = self.class(c);
            if class == WHITESPACE {
                self.run = None;
                continue;
            }
            let begins = class == ALONE || self.run != Some(class);
            self.run = Some(class);
            return Some((c, begins));
        }
    }

    fn step_by_pattern(&mut self) -> Option<(char, bool)> {
        let [first, second, third, _] = self.text.ahead;
        let c = first?;
        let class = self.class(c);
        let after = second.map(|c| self.class(c));
        let goes_on = match self.run {
            _ if self.contraction > 0 => true,
            // The last space before a word is left to it.
            Some(WHITESPACE) => {
                class == WHITESPACE && after.is_none_or(|after| after == WHITESPACE)
            }
            run => run == Some(class),
        };
        self.text.next();
        if goes_on {
            self.contraction = self.contraction.saturating_sub(1);
            return Some((c, false));
        }
        self.run = Some(class);
        self.contraction = match (c, second, third) {
            ('\'', Some('s' | 't' | 'm' | 'd'), _) => 1,
            ('\'', Some('r' | 'v'), Some('e')) | ('\'', Some('l'), Some('l')) => 2,
            _ => 0,
        };
        if self.contraction > 0 {
            self.run = None;
        } else if c == ' ' && after.is_some_and(|after| after != WHITESPACE) {
            self.run = after;
        }
        Some((c, true))
    }
}
