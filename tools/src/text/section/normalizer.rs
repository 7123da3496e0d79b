//! What a normaliser does to each character: found by asking the `tokenizers` crate about every one, for
//! normalisers that look at single characters and put combining ones in order.

use super::classes::{CODE_POINTS, Split};
use super::json::Json;
use crate::text::TextError;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use tailtune::text::normalize::{
    ALTERNATE, BREAK, DELTA, HANGUL, ISOLATE, KEEP, LISTED, REMOVE, SPACE,
};
use tailtune::text::ranges::range_entry;
use tailtune::text::split::{ALONE, WHITESPACE};
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};
use unicode_normalization_alignments::char::canonical_combining_class;

/// A character that no normaliser touches and that nothing combines with.
const FENCE: char = '\u{338f}';

/// Hangul's syllables.
const SYLLABLES: std::ops::RangeInclusive<u32> = 0xac00..=0xd7a3;

/// The tables of a normaliser.
#[derive(Debug, Default)]
pub struct Tables {
    /// Numbers that rules add.
    pub deltas: Vec<i32>,
    /// What becomes of characters.
    pub rules: Vec<u32>,
    /// Combining classes.
    pub marks: Vec<u32>,
    /// Characters that become one other.
    pub singles: BTreeMap<u16, u16>,
    /// Characters that become several.
    pub listed: BTreeMap<u32, String>,
}

/// What is known of the vocabulary.
pub struct Alphabet {
    /// The characters of all pieces.
    pub chars: HashSet<char>,
    /// Whether one character out of it makes a whole word unknown.
    pub unknown_words: bool,
}

/// What becomes of one character.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// It goes; whether combining characters are put in order across it.
    Gone(bool),
    To(String),
}

/// Refuses what looks at more than single characters.
fn supported(json: Json<'_>) -> Result<(), TextError> {
    match json.kind() {
        "BertNormalizer" | "Lowercase" | "StripAccents" | "NFD" | "NFKD" => Ok(()),
        "Sequence" => json.get("normalizers").array()?.try_for_each(supported),
        _ => json.unsupported(),
    }
}

fn normalized(normalizer: &NormalizerWrapper, text: &str) -> Result<String, TextError> {
    let mut s = NormalizedString::from(text);
    let done = normalizer.normalize(&mut s);
    done.map_err(|e| TextError::Tokenizer(e.to_string()))?;
    Ok(s.get().to_owned())
}

/// Returns what becomes of every character that does not stay.
fn changes(normalizer: &NormalizerWrapper) -> Result<BTreeMap<u32, Change>, TextError> {
    const CHUNK: usize = 4096;
    let chunks = (0..CODE_POINTS).into_par_iter().step_by(CHUNK);
    let fence = FENCE.to_string();
    let found = chunks.map(|start| {
        let chars = (start..start + CHUNK).filter_map(|c| char::from_u32(c as u32));
        let chars: Vec<char> = chars.filter(|&c| c != FENCE).collect();
        let text: String = chars.iter().flat_map(|&c| [FENCE, c]).collect();
        let text = normalized(normalizer, &(text + &fence))?;
        let outputs: Vec<&str> = text.split(FENCE).collect();
        if outputs.len() != chars.len() + 2 && !chars.is_empty() {
            let found = outputs.len();
            return Err(TextError::Unsupported(format!(
                "normalizer: {found} parts of {} characters",
                chars.len()
            )));
        }
        let changed = |(c, output): (char, &str)| {
            let change = match output {
                "" => Change::Gone(true),
                output => Change::To(output.to_owned()),
            };
            (!output.chars().eq([c])).then_some((c as u32, change))
        };
        let pairs = chars.iter().copied().zip(outputs.into_iter().skip(1));
        Ok(pairs.filter_map(changed).collect::<Vec<_>>())
    });
    let found: Result<Vec<Vec<_>>, TextError> = found.collect();
    Ok(found?.into_iter().flatten().collect())
}

/// Returns the combining characters that stay, with their classes, if the normaliser puts them in order;
/// and marks what goes without their being put in order across it.
fn marks(
    normalizer: &NormalizerWrapper,
    changes: &mut BTreeMap<u32, Change>,
) -> Result<BTreeMap<u32, u8>, TextError> {
    let chars = (0..CODE_POINTS as u32).filter(|c| !changes.contains_key(c));
    let class = |c: u32| Some((c, canonical_combining_class(char::from_u32(c)?)));
    let kept = chars.filter_map(class).filter(|(_, class)| *class != 0);
    let kept: BTreeMap<u32, u8> = kept.collect();
    let extreme = |m: Option<(&u32, &u8)>| m.and_then(|(&c, _)| char::from_u32(c));
    let low = extreme(kept.iter().min_by_key(|(_, class)| **class));
    let high = extreme(kept.iter().max_by_key(|(_, class)| **class));
    let (Some(low), Some(high)) = (low, high) else {
        return Ok(BTreeMap::new());
    };
    let swaps = |between: &str| {
        let found = normalized(normalizer, &format!("{FENCE}{high}{between}{low}"))?;
        Ok::<bool, TextError>(found == format!("{FENCE}{low}{high}"))
    };
    if canonical_combining_class(low) == canonical_combining_class(high) || !swaps("")? {
        return Ok(BTreeMap::new());
    }
    for (&c, change) in changes.iter_mut() {
        if let (Change::Gone(across), Some(c)) = (change, char::from_u32(c)) {
            *across = swaps(c.encode_utf8(&mut [0; 4]))?;
        }
    }
    Ok(kept)
}

/// Pages of 256 code points that every vocabulary's text uses: Latin, what combines with it, punctuation,
/// and the last two of the first plane, with the byte order mark and the replacement character.
const PAGES: [u32; 5] = [0x00, 0x03, 0x20, 0xfe, 0xff];

/// Returns the pages whose characters can become those of the vocabulary.
pub fn pages(alphabet: &HashSet<char>, tables: &Known) -> HashSet<u32> {
    let mut pages: HashSet<u32> = alphabet.iter().map(|&c| c as u32 >> 8).collect();
    pages.extend(PAGES);
    let whole = |change: &Change| match change {
        Change::To(s) => s.chars().all(|c| c == ' ' || alphabet.contains(&c)),
        Change::Gone(_) => false,
    };
    let reached = tables.changes.iter().filter(|(_, change)| whole(change));
    pages.extend(reached.map(|(c, _)| c >> 8));
    let mut syllables = SYLLABLES.map(|c| c >> 8);
    if syllables.any(|page| pages.contains(&page)) {
        pages.extend(SYLLABLES.map(|c| c >> 8));
    }
    pages
}

/// Everything that a normaliser does.
#[derive(Debug, Default)]
pub struct Known {
    changes: BTreeMap<u32, Change>,
    marks: BTreeMap<u32, u8>,
}

impl Known {
    /// Asks a normaliser.
    pub fn new(json: Json<'_>, normalizer: Option<&NormalizerWrapper>) -> Result<Self, TextError> {
        let Some(normalizer) = normalizer else {
            return Ok(Self::default());
        };
        supported(json)?;
        let mut changes = changes(normalizer)?;
        let marks = marks(normalizer, &mut changes)?;
        Ok(Self { changes, marks })
    }

    /// Makes the tables, of some pages or of all. Where a word with one unknown character is unknown as a
    /// whole, what a character becomes need not be known if some part of it is in no piece.
    pub fn tables(
        mut self,
        pages: Option<&HashSet<u32>>,
        alphabet: &Alphabet,
        split: &Split,
    ) -> Tables {
        let here = |c: &u32| pages.is_none_or(|pages| pages.contains(&(c >> 8)));
        self.changes.retain(|c, change| {
            let dull = alphabet.unknown_words && stays_unknown(*c, change, alphabet, split);
            here(c) && !dull
        });
        self.marks.retain(|c, _| here(c));
        let mut tables = Tables {
            marks: ranges(self.marks.iter().map(|(&c, &k)| (c, k.into()))),
            ..Tables::default()
        };
        let rules = tables.rules_of(&self.changes);
        tables.rules = ranges(rules.into_iter());
        tables
    }
}

/// Returns whether a character is as unknown as what becomes of it, in the same word.
fn stays_unknown(c: u32, change: &Change, alphabet: &Alphabet, split: &Split) -> bool {
    let (Change::To(to), Some(c)) = (change, char::from_u32(c)) else {
        return false;
    };
    // Syllables are decomposed by a rule, all or none.
    let letter = |c: &char| ('\u{1100}'..='\u{11ff}').contains(c);
    if SYLLABLES.contains(&(c as u32)) && alphabet.chars.iter().any(letter) {
        return false;
    }
    let class = split.class(c);
    !matches!(class, WHITESPACE | ALONE)
        && !alphabet.chars.contains(&c)
        && to.chars().all(|c| split.class(c) == class)
        && to.chars().any(|c| !alphabet.chars.contains(&c))
}

impl Tables {
    /// Returns the rule of each character that has one, and fills the tables that rules refer to.
    fn rules_of(&mut self, changes: &BTreeMap<u32, Change>) -> BTreeMap<u32, u32> {
        let mut rules = BTreeMap::new();
        let hangul = SYLLABLES.clone().all(|c| is_hangul(c, changes.get(&c)));
        // Single characters that become single ones: by runs of the same difference, if they are long.
        let mut moves: BTreeMap<u32, i32> = BTreeMap::new();
        for (&c, change) in changes {
            let (rule, to) = match change {
                Change::Gone(true) => (REMOVE, ""),
                Change::Gone(false) => (BREAK, ""),
                Change::To(to) if to == " " => (SPACE, ""),
                Change::To(_) if hangul && SYLLABLES.contains(&c) => (HANGUL, ""),
                Change::To(to) => match to.strip_prefix(' ').and_then(|t| t.strip_suffix(' ')) {
                    Some(inner) if single(inner) == Some(c) => (KEEP | ISOLATE, ""),
                    Some(inner) => (LISTED | ISOLATE, inner),
                    None => (LISTED, to.as_str()),
                },
            };
            rules.insert(c, rule);
            if to.is_empty() {
                continue;
            }
            match (u16::try_from(c), single(to)) {
                (_, Some(to)) if rule == LISTED => {
                    moves.insert(c, to as i32 - c as i32);
                }
                (Ok(c), Some(to)) if to <= 0xffff => {
                    self.singles.insert(c, to as u16);
                }
                _ => {
                    self.listed.insert(c, to.to_owned());
                }
            }
        }
        self.runs(&moves, &mut rules);
        rules
    }

    /// Gives runs of at least four a rule of their own, and lists the others.
    fn runs(&mut self, moves: &BTreeMap<u32, i32>, rules: &mut BTreeMap<u32, u32>) {
        let mut done = 0;
        for (&c, &delta) in moves {
            if c < done {
                continue;
            }
            let run = |step: u32, gap_free: bool| {
                let at = (0..).map(|i| c + i * step);
                let same = at.take_while(|c| {
                    moves.get(c) == Some(&delta) && (gap_free || !rules.contains_key(&(c + 1)))
                });
                same.count() as u32
            };
            let (plain, second) = (run(1, true), run(2, false));
            let (n, step, kind) = match plain >= second {
                true => (plain, 1, DELTA),
                false => (second, 2, ALTERNATE),
            };
            let known = self.deltas.iter().position(|&d| d == delta);
            let index = known.unwrap_or(self.deltas.len());
            if n < 4 || index > 127 {
                self.list(c, delta);
                continue;
            }
            if known.is_none() {
                self.deltas.push(delta);
            }
            let last = c + (n - 1) * step;
            for c in c..=last {
                rules.insert(c, kind | (index as u32) << 4);
            }
            done = last + 1;
        }
    }

    /// Lists a character that becomes one other.
    fn list(&mut self, c: u32, delta: i32) {
        let to = c.saturating_add_signed(delta);
        match (u16::try_from(c), u16::try_from(to)) {
            (Ok(c), Ok(to)) => {
                self.singles.insert(c, to);
            }
            _ => {
                let to = char::from_u32(to).map(String::from);
                self.listed.insert(c, to.unwrap_or_default());
            }
        }
    }
}

fn single(s: &str) -> Option<u32> {
    let mut chars = s.chars();
    let c = chars.next()?;
    chars.next().is_none().then_some(c as u32)
}

/// Returns whether a syllable becomes its letters.
fn is_hangul(c: u32, change: Option<&Change>) -> bool {
    let s = c - 0xac00;
    let letters = [0x1100 + s / 588, 0x1161 + s % 588 / 28, 0x11a7 + s % 28];
    let n = if s.is_multiple_of(28) { 2 } else { 3 };
    let letters = letters.into_iter().take(n).filter_map(char::from_u32);
    change == Some(&Change::To(letters.collect()))
}

/// Makes a range table of values by code point; those that are not given have value 0. Between two ranges
/// of listed characters there may be others that are not listed: they stay.
pub fn ranges(values: impl Iterator<Item = (u32, u32)>) -> Vec<u32> {
    let mut out = Vec::new();
    let (mut end, mut value) = (0, 0);
    for (c, v) in values {
        if c > end && value != 0 && !(value == LISTED && v == LISTED) {
            out.push(range_entry(end, 0));
            value = 0;
        }
        // A run of every second character counts from its start: one that follows starts anew.
        if v != value {
            out.push(range_entry(c, v));
            value = v;
        }
        end = c + 1;
    }
    if value != 0 && (end as usize) < CODE_POINTS {
        out.push(range_entry(end, 0));
    }
    out
}
