//! Normalisation: what `tools` found the tokenizer's normaliser to do to each character, and canonical
//! order among what combines.
//!
//! A rule is a value of 11 bits: the low three say what becomes of a character, bit 3 that spaces go
//! around it, the upper seven which delta.

use super::ranges::Ranges;
use core::str::Chars;
use zerocopy::little_endian::{I32, U16, U32};

/// The character stays.
pub const KEEP: u32 = 0;
/// It goes, and what combines before and after it is put in order across it.
pub const REMOVE: u32 = 1;
/// It goes, and nothing is put in order across it.
pub const BREAK: u32 = 2;
/// It becomes a space.
pub const SPACE: u32 = 3;
/// A number is added to it.
pub const DELTA: u32 = 4;
/// As [`DELTA`], of every second character of the range, the first included; the others stay.
pub const ALTERNATE: u32 = 5;
/// A table says what it becomes.
pub const LISTED: u32 = 6;
/// A Hangul syllable becomes its letters (Unicode, §3.12).
pub const HANGUL: u32 = 7;
/// Spaces go around it.
pub const ISOLATE: u32 = 8;

/// The tables of a normaliser; all empty where a tokenizer has none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normalizer<'a> {
    pub rules: Ranges<'a>,
    /// The combining class of characters that stay and combine.
    pub marks: Ranges<'a>,
    pub deltas: &'a [I32],
    /// Characters that become another one, both below U+10000.
    pub singles: (&'a [U16], &'a [U16]),
    /// Characters that become several, or one above.
    pub listed: &'a [U32],
    /// Where each of their strings ends; it starts where the one before ends.
    pub ends: &'a [U16],
    pub strings: &'a str,
}

impl<'a> Normalizer<'a> {
    fn single(&self, c: char) -> Option<char> {
        let key = u16::try_from(c as u32).ok()?;
        let (keys, values) = self.singles;
        let at = keys.binary_search_by_key(&key, |k| k.get()).ok()?;
        char::from_u32(values.get(at)?.get().into())
    }

    fn several(&self, c: char) -> Option<&'a str> {
        let at = self.listed.binary_search_by_key(&(c as u32), |k| k.get());
        let at = at.ok()?;
        let start = at.checked_sub(1).and_then(|i| self.ends.get(i));
        let start = start.map_or(0, |e| e.get().into());
        self.strings.get(start..self.ends.get(at)?.get().into())
    }

    fn moved(&self, c: char, rule: u32) -> char {
        let delta = self.deltas.get((rule >> 4) as usize).map_or(0, |d| d.get());
        let moved = (c as u32).checked_add_signed(delta);
        moved.and_then(char::from_u32).unwrap_or(c)
    }

    /// Returns what a character becomes; none where nothing is put in order across it.
    fn map(&self, c: char) -> Option<Output<'a>> {
        let (start, rule) = self.rules.get(c);
        let mut out = Output::nothing();
        out.space = rule & ISOLATE != 0;
        if out.space {
            out.push(' ');
        }
        match rule & 7 {
            REMOVE => {}
            BREAK => return None,
            SPACE => out.push(' '),
            DELTA => out.push(self.moved(c, rule)),
            ALTERNATE if (c as u32 - start).is_multiple_of(2) => out.push(self.moved(c, rule)),
            LISTED => match (self.single(c), self.several(c)) {
                (Some(to), _) => out.push(to),
                (_, Some(to)) => out.rest = to.chars(),
                _ => out.push(c),
            },
            HANGUL => hangul(c, &mut out),
            _ => out.push(c),
        }
        Some(out)
    }
}

/// Decomposes a Hangul syllable.
fn hangul(c: char, out: &mut Output<'_>) {
    let Some(s) = (c as u32).checked_sub(0xac00) else {
        return out.push(c);
    };
    let letters = [0x1100 + s / 588, 0x1161 + s % 588 / 28, 0x11a7 + s % 28];
    let n = if s.is_multiple_of(28) { 2 } else { 3 };
    for letter in letters.into_iter().take(n) {
        out.push(char::from_u32(letter).unwrap_or(c));
    }
}

/// What one character became and was not yet handed out.
#[derive(Debug, Clone)]
struct Output<'a> {
    first: [char; 3],
    at: u8,
    len: u8,
    rest: Chars<'a>,
    /// A space at the end.
    space: bool,
}

impl Output<'_> {
    fn nothing() -> Self {
        Self {
            first: ['\0'; 3],
            at: 0,
            len: 0,
            rest: "".chars(),
            space: false,
        }
    }

    fn push(&mut self, c: char) {
        if let Some(slot) = self.first.get_mut(usize::from(self.len)) {
            *slot = c;
            self.len += 1;
        }
    }

    fn next(&mut self) -> Option<char> {
        if self.at < self.len {
            let c = self.first.get(usize::from(self.at)).copied();
            self.at += 1;
            return c;
        }
        if let Some(c) = self.rest.next() {
            return Some(c);
        }
        core::mem::take(&mut self.space).then_some(' ')
    }
}

/// Characters by the rules, not yet in canonical order; nothing is put in order across a `None`.
#[derive(Debug, Clone)]
struct Mapped<'a> {
    tables: Normalizer<'a>,
    text: Chars<'a>,
    output: Output<'a>,
}

impl Iterator for Mapped<'_> {
    type Item = Option<char>;

    fn next(&mut self) -> Option<Option<char>> {
        loop {
            if let Some(c) = self.output.next() {
                return Some(Some(c));
            }
            let c = self.text.next()?;
            if self.tables.rules.is_empty() {
                return Some(Some(c));
            }
            match self.tables.map(c) {
                Some(output) => self.output = output,
                None => return Some(None),
            }
        }
    }
}

/// Characters that combine, while they are handed out by their classes: one pass a class, so that a run of
/// any length needs no buffer.
#[derive(Debug, Clone)]
struct Run<'a> {
    start: Mapped<'a>,
    at: Mapped<'a>,
    class: u32,
}

impl<'a> Run<'a> {
    /// Returns the next character of the run from `at` on, with its class; `at` stays before what ends the run.
    fn step(at: &mut Mapped<'a>) -> Option<(char, u32)> {
        let mut ahead = at.clone();
        let c = ahead.next()??;
        let class = at.tables.marks.value(c);
        if class == 0 {
            return None;
        }
        *at = ahead;
        Some((c, class))
    }

    /// Returns the next character in canonical order.
    fn next(&mut self) -> Option<char> {
        loop {
            while let Some((c, class)) = Self::step(&mut self.at) {
                if class == self.class {
                    return Some(c);
                }
            }
            let mut at = self.start.clone();
            let classes = core::iter::from_fn(|| Self::step(&mut at).map(|(_, class)| class));
            self.class = classes.filter(|&class| class > self.class).min()?;
            self.at = self.start.clone();
        }
    }
}

/// A text's characters, normalised.
#[derive(Debug, Clone)]
pub(super) struct Normalized<'a> {
    mapped: Mapped<'a>,
    run: Option<Run<'a>>,
}

impl<'a> Normalized<'a> {
    pub(super) fn new(tables: &Normalizer<'a>, text: &'a str) -> Self {
        let mapped = Mapped {
            tables: *tables,
            text: text.chars(),
            output: Output::nothing(),
        };
        Self { mapped, run: None }
    }
}

impl Iterator for Normalized<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            if let Some(run) = &mut self.run {
                let c = run.next();
                if c.is_some() {
                    return c;
                }
                // Its last pass ended where the run does.
                self.mapped = run.at.clone();
                self.run = None;
            }
            if self.mapped.tables.marks.is_empty() {
                match self.mapped.next()? {
                    Some(c) => return Some(c),
                    None => continue,
                }
            }
            let start = self.mapped.clone();
            let Some(c) = self.mapped.next()? else {
                continue;
            };
            if self.mapped.tables.marks.value(c) == 0 {
                return Some(c);
            }
            self.run = Some(Run {
                at: start.clone(),
                start,
                class: 0,
            });
        }
    }
}
