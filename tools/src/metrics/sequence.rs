//! How far written sequences are from right ones: edit distance, token error rate and sequence error
//! rate. Where a source has several right answers, the nearest one counts.

use serde::Serialize;

/// Returns the fewest insertions, deletions and substitutions that make `b` of `a` (Levenshtein 1966).
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What is counted over sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SequenceErrors {
    /// Sequences.
    pub n: usize,
    /// Of them, those that equal no right answer.
    pub wrong: usize,
    /// Edits from what was written to the nearest right answers.
    pub edits: usize,
    /// Tokens of the nearest right answers.
    pub tokens: usize,
}

impl SequenceErrors {
    /// Counts one sequence against its right answers, of which the first of the nearest ones counts.
    pub fn add<T: PartialEq, A: AsRef<[T]>>(&mut self, written: &[T], right: &[A]) {
        let distance = |a: &A| (edit_distance(written, a.as_ref()), a.as_ref().len());
        let (edits, len) = right
            .iter()
            .map(distance)
            .min_by_key(|(edits, _)| *edits)
            .unwrap_or((written.len(), 0));
        self.n += 1;
        self.wrong += usize::from(edits > 0);
        self.edits += edits;
        self.tokens += len;
    }

    /// Adds the counts of others.
    pub fn merge(self, other: Self) -> Self {
        Self {
            n: self.n + other.n,
            wrong: self.wrong + other.wrong,
            edits: self.edits + other.edits,
            tokens: self.tokens + other.tokens,
        }
    }

    /// Returns edits a token of the right answers: of phonemes, the phoneme error rate.
    pub fn token_error_rate(&self) -> f64 {
        self.edits as f64 / self.tokens.max(1) as f64
    }

    /// Returns the share of sequences that are wrong: of words, the word error rate.
    pub fn sequence_error_rate(&self) -> f64 {
        self.wrong as f64 / self.n.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        let distance = |a: &str, b: &str| edit_distance(a.as_bytes(), b.as_bytes());
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("saturday", "sunday"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn the_nearest_right_answer_counts() {
        let mut errors = SequenceErrors::default();
        errors.add(&[1, 2, 3], &[vec![9, 9, 9, 9], vec![1, 2, 4]]);
        errors.add(&[5], &[vec![6, 6], vec![5]]);
        let expected = SequenceErrors {
            n: 2,
            wrong: 1,
            edits: 1,
            tokens: 4,
        };
        assert_eq!(errors, expected);
        assert_eq!(errors.merge(errors).tokens, 8);
        assert!((errors.token_error_rate() - 0.25).abs() < 1e-12);
        assert!((errors.sequence_error_rate() - 0.5).abs() < 1e-12);
    }
}
