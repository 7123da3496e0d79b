//! The CMU Pronouncing Dictionary (version 0.7b and later) as pairs of a word and its phonemes.
//!
//! Stress marks are removed, and with them duplicates; words with other characters than a–z and the
//! apostrophe are left out; variants of a word, `read(2)`, are further right answers.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Words with their pronunciations, phonemes separated by spaces, parted by a hash of the word: all
/// pronunciations of a word are on one side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// 90 % of the words.
    pub train: Words,
    /// 5 %.
    pub valid: Words,
    /// 5 %.
    pub test: Words,
}

/// Pronunciations by word.
pub type Words = BTreeMap<String, Vec<String>>;

/// Reads a dictionary's text and parts it.
///
/// # Errors
/// Names the line that is not `WORD PHONEME…`.
pub fn parse(text: &str) -> Result<Parts, String> {
    let mut parts = Parts::default();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with(";;;") {
            continue;
        }
        let line = line.split('#').next().unwrap_or_default();
        let mut fields = line.split_whitespace();
        let Some(word) = fields.next() else { continue };
        let word = word.split('(').next().unwrap_or_default().to_lowercase();
        let plain = |p: &str| p.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let phonemes: Vec<String> = fields.map(plain).collect();
        if phonemes.is_empty() {
            return Err(format!(
                "line {number} is {line:?}, expected a word and its phonemes: is this cmudict.dict?"
            ));
        }
        if !word.chars().all(|c| c.is_ascii_lowercase() || c == '\'') || word.is_empty() {
            continue;
        }
        let side = match percent(&word) {
            0..90 => &mut parts.train,
            90..95 => &mut parts.valid,
            _ => &mut parts.test,
        };
        let known = side.entry(word).or_default();
        let phonemes = phonemes.join(" ");
        if !known.contains(&phonemes) {
            known.push(phonemes);
        }
    }
    Ok(parts)
}

/// Returns the lines `word<TAB>phonemes`.
pub fn lines(words: &Words) -> String {
    let of = |(word, all): (&String, &Vec<String>)| -> String {
        all.iter().map(|p| format!("{word}\t{p}\n")).collect()
    };
    words.iter().map(of).collect()
}

/// Returns the words, one a line, in the order of their hashes: any run of them is a fair sample.
pub fn shuffled(words: &Words) -> String {
    let mut all: Vec<&String> = words.keys().collect();
    all.sort_by_key(|w| hash(w));
    all.iter().map(|w| format!("{w}\n")).collect()
}

fn hash(word: &str) -> u64 {
    let digest = Sha256::digest(word);
    digest.iter().take(8).fold(0, |h, &b| h << 8 | u64::from(b))
}

/// Returns a number from 0 to 99 that the word alone decides.
fn percent(word: &str) -> u64 {
    // The low bits: the high ones order the words of a part.
    hash(word) % 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ";;; a comment\n\
        read R EH1 D\n\
        read(2) R IY1 D # verb\n\
        record(2) R IH0 K AO1 R D\n\
        record R IH1 K AO0 R D\n\
        \n\
        x-ray EH1 K S R EY2\n\
        a.m. EY2 EH1 M\n\
        OLD  OW1 L D\n\
        'em AH0 M\n";

    fn all(parts: &Parts) -> Words {
        let sides = [&parts.train, &parts.valid, &parts.test];
        sides
            .into_iter()
            .flatten()
            .map(|(w, p)| (w.clone(), p.clone()))
            .collect()
    }

    #[test]
    fn stress_variants_and_odd_words_are_handled() {
        let words = all(&parse(TEXT).unwrap());
        assert_eq!(words["read"], ["R EH D", "R IY D"]);
        assert_eq!(words["record"], ["R IH K AO R D"]);
        assert_eq!(words["old"], ["OW L D"]);
        assert_eq!(words["'em"], ["AH M"]);
        assert_eq!(words.len(), 4);
        assert!(parse("a EY1\nb\n").unwrap_err().contains("line 2"));
    }

    #[test]
    fn the_parts_are_a_hash_of_the_word() {
        let text: String = (0..2000u32)
            .map(|i| {
                let letter = |k: u32| char::from(b'a' + (i / 26u32.pow(k) % 26) as u8);
                format!("{}{}{} AH\n", letter(0), letter(1), letter(2))
            })
            .collect();
        let parts = parse(&text).unwrap();
        let share = |words: &Words| words.len() as f64 / 2000.0;
        assert!(
            (share(&parts.train) - 0.9).abs() < 0.02,
            "{}",
            share(&parts.train)
        );
        assert!((share(&parts.valid) - 0.05).abs() < 0.015);
        assert_eq!(all(&parts).len(), 2000);
        assert_eq!(shuffled(&parts.test).lines().count(), parts.test.len());
        assert!(lines(&parts.test).lines().all(|l| l.ends_with("\tAH")));
    }
}
