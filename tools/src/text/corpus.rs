//! Text to pretrain on: files of one sentence a line, with an empty line between documents.

use super::TextError;
use std::path::PathBuf;

/// Documents of sentences.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    documents: Vec<Vec<String>>,
}

impl Corpus {
    /// Reads files one after the other; the end of a file ends a document.
    ///
    /// # Errors
    /// [`TextError`] names the file, or says that there is too little to learn from.
    pub fn read(paths: &[PathBuf]) -> Result<Self, TextError> {
        let mut documents = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(path).map_err(|source| TextError::Io {
                path: path.clone(),
                source,
            })?;
            documents.extend(Self::parse(&text).documents);
        }
        let corpus = Self { documents };
        if corpus.sentences() < 16 {
            return Err(TextError::Unfit(format!(
                "{} sentences, expected at least 16: give text files of one sentence a line, an empty line between documents",
                corpus.sentences()
            )));
        }
        Ok(corpus)
    }

    fn parse(text: &str) -> Self {
        let mut documents = vec![Vec::new()];
        for line in text.lines().map(str::trim) {
            match (line.is_empty(), documents.last_mut()) {
                (false, Some(document)) => document.push(line.to_owned()),
                _ => documents.push(Vec::new()),
            }
        }
        documents.retain(|d| !d.is_empty());
        Self { documents }
    }

    /// Returns the documents.
    pub fn documents(&self) -> &[Vec<String>] {
        &self.documents
    }

    /// Returns how many sentences there are.
    pub fn sentences(&self) -> usize {
        self.documents.iter().map(Vec::len).sum()
    }

    /// Returns all sentences in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.documents.iter().flatten().map(String::as_str)
    }

    /// Returns a hash over the text.
    pub fn fingerprint(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for document in &self.documents {
            for sentence in document {
                hash.update(sentence);
                hash.update("\n");
            }
            hash.update("\n");
        }
        hash.finalize()
            .iter()
            .take(8)
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    /// Splits off the last documents that hold about `share` of the sentences; of a single document,
    /// its last sentences.
    pub fn split(mut self, share: f64) -> (Self, Self) {
        let wanted = (self.sentences() as f64 * share) as usize;
        if self.documents.len() == 1 {
            let document = &mut self.documents[0];
            let held_out = document.split_off(document.len() - wanted);
            return (self, Self::of(held_out));
        }
        let (mut count, mut first) = (0, self.documents.len());
        while first > 1 && count + self.documents[first - 1].len() <= wanted {
            first -= 1;
            count += self.documents[first].len();
        }
        let held_out = self.documents.split_off(first);
        (
            self,
            Self {
                documents: held_out,
            },
        )
    }

    fn of(document: Vec<String>) -> Self {
        let documents = if document.is_empty() {
            Vec::new()
        } else {
            vec![document]
        };
        Self { documents }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_part_documents() {
        let corpus = Corpus::parse("a b\nc\n\n\nd\n");
        assert_eq!(
            corpus.documents(),
            [vec!["a b".to_owned(), "c".into()], vec!["d".into()]]
        );
        let (kept, held_out) = corpus.split(0.4);
        assert_eq!((kept.sentences(), held_out.sentences()), (2, 1));
        let (kept, held_out) = Corpus::parse("a\nb\nc\nd").split(0.25);
        assert_eq!((kept.sentences(), held_out.sentences()), (3, 1));
    }
}
