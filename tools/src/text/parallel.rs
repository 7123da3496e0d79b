//! Pairs of a source and a target, as sequence to sequence learns them: a text file of lines
//! `source<TAB>target`. Several lines of one source are several right answers.

use super::TextError;
use crate::synthetic::Random;
use std::collections::HashMap;
use std::path::PathBuf;

/// A source with every target that counts as right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is read.
    pub source: String,
    /// What may be written: pieces separated by spaces. At least one.
    pub targets: Vec<String>,
}

/// Sources and their targets, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parallel {
    entries: Vec<Entry>,
}

impl Parallel {
    /// Reads files one after the other.
    ///
    /// # Errors
    /// [`TextError`] names the file and the line.
    pub fn read(paths: &[PathBuf]) -> Result<Self, TextError> {
        let mut all = Reader::default();
        for path in paths {
            let text = std::fs::read_to_string(path).map_err(|source| TextError::Io {
                path: path.clone(),
                source,
            })?;
            let fault = |e| TextError::Unfit(format!("{}: {e}", path.display()));
            all.read(&text).map_err(fault)?;
        }
        Ok(all.parallel)
    }

    /// Returns the sources with their targets.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Holds about `share` of the sources out, chosen by `seed`: returns the rest and them.
    pub fn split(self, share: f64, seed: u64) -> (Self, Self) {
        let r = &mut Random::new(seed ^ 0x686f_6c64);
        let held_out = |_: &Entry| f64::from(r.below(1 << 20)) < share * f64::from(1 << 20);
        let (held_out, rest) = self.entries.into_iter().partition(held_out);
        (Self { entries: rest }, Self { entries: held_out })
    }

    /// Returns a hash over sources and targets.
    pub fn fingerprint(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for entry in &self.entries {
            hash.update(format!("{}\0{}\n", entry.source, entry.targets.join("\0")));
        }
        let bytes = hash.finalize();
        bytes.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }
}

#[derive(Default)]
struct Reader {
    parallel: Parallel,
    /// Where a source's entry is.
    places: HashMap<String, usize>,
}

impl Reader {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let before = self.parallel.entries.len();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let pair = line.split_once('\t').map(|(s, t)| (s.trim(), t.trim()));
            match pair {
                Some((source, target)) if !source.is_empty() && !target.is_empty() => {
                    self.push(source, target);
                }
                _ => {
                    return Err(format!(
                        "line {number} is {line:?}, expected SOURCE, a tab, and the target's pieces separated by spaces"
                    ));
                }
            }
        }
        match self.parallel.entries.len() == before {
            true => Err("no pairs; expected lines of SOURCE, a tab, and a target".into()),
            false => Ok(()),
        }
    }

    fn push(&mut self, source: &str, target: &str) {
        let entries = &mut self.parallel.entries;
        let next = entries.len();
        let place = *self.places.entry(source.to_owned()).or_insert(next);
        if place == next {
            entries.push(Entry {
                source: source.to_owned(),
                targets: Vec::new(),
            });
        }
        let targets = &mut entries[place].targets;
        if !targets.iter().any(|t| t == target) {
            targets.push(target.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Parallel, String> {
        let mut reader = Reader::default();
        reader.read(text).map(|()| reader.parallel)
    }

    #[test]
    fn lines_of_one_source_are_its_right_answers() {
        let parallel = parse("read\tR EH D\nhe\tHH IY\n\nread\tR IY D\nhe\tHH IY\n");
        let parallel = parallel.unwrap();
        let [read, he] = parallel.entries() else {
            panic!("two sources, found {parallel:?}")
        };
        assert_eq!(read.targets, ["R EH D", "R IY D"]);
        assert_eq!((he.source.as_str(), he.targets.len()), ("he", 1));
        let other = parse("read\tR EH D").unwrap();
        assert_ne!(parallel.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_line_without_a_target_is_named() {
        for (text, part) in [
            ("a\tB\nb C\n", "line 2"),
            ("a\t \n", "line 1"),
            ("\n", "no pairs"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
