//! Pairs of a source and a target, as sequence to sequence learns them: a text file of lines
//! `source<TAB>target`. Several lines of one source are several right answers.

use super::TextError;
use std::collections::HashMap;
use std::path::Path;

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
    /// Reads a file.
    ///
    /// # Errors
    /// [`TextError`] names the file and the line.
    pub fn read(path: &Path) -> Result<Self, TextError> {
        let text = std::fs::read_to_string(path).map_err(|source| TextError::Io {
            path: path.into(),
            source,
        })?;
        Self::parse(&text).map_err(|e| TextError::Unfit(format!("{}: {e}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut parallel = Self::default();
        let mut places = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let pair = line.split_once('\t').map(|(s, t)| (s.trim(), t.trim()));
            match pair {
                Some((source, target)) if !source.is_empty() && !target.is_empty() => {
                    parallel.push(&mut places, source, target);
                }
                _ => {
                    return Err(format!(
                        "line {number} is {line:?}, expected SOURCE, a tab, and the target's pieces separated by spaces"
                    ));
                }
            }
        }
        match parallel.entries.is_empty() {
            true => Err("no pairs; expected lines of SOURCE, a tab, and a target".into()),
            false => Ok(parallel),
        }
    }

    fn push(&mut self, places: &mut HashMap<String, usize>, source: &str, target: &str) {
        let next = self.entries.len();
        let place = *places.entry(source.to_owned()).or_insert(next);
        if place == next {
            self.entries.push(Entry {
                source: source.to_owned(),
                targets: Vec::new(),
            });
        }
        let targets = &mut self.entries[place].targets;
        if !targets.iter().any(|t| t == target) {
            targets.push(target.to_owned());
        }
    }

    /// Returns the sources with their targets.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_source_are_its_right_answers() {
        let parallel = Parallel::parse("read\tR EH D\nhe\tHH IY\n\nread\tR IY D\nhe\tHH IY\n");
        let parallel = parallel.unwrap();
        let [read, he] = parallel.entries() else {
            panic!("two sources, found {parallel:?}")
        };
        assert_eq!(read.targets, ["R EH D", "R IY D"]);
        assert_eq!((he.source.as_str(), he.targets.len()), ("he", 1));
        let other = Parallel::parse("read\tR EH D").unwrap();
        assert_ne!(parallel.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_line_without_a_target_is_named() {
        for (text, part) in [
            ("a\tB\nb C\n", "line 2"),
            ("a\t \n", "line 1"),
            ("\n", "no pairs"),
        ] {
            let error = Parallel::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
