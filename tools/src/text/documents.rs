//! Pages of HTML as documents of sentences, for pretraining: the text of paragraphs and list items,
//! split where a sentence ends, without code listings and without what repeats from page to page.

use html5gum::{Token, Tokenizer};
use std::collections::HashSet;

/// The fewest and the most words of a sentence that is kept.
const WORDS: std::ops::RangeInclusive<usize> = 4..=60;
/// Of its characters, at least this share must be letters and spaces, in percent.
const LETTERS: usize = 88;

/// Elements whose text is read, and that end a block of it.
const BLOCKS: [&[u8]; 4] = [b"p", b"dd", b"li", b"blockquote"];
/// Elements whose text is not.
const SKIPPED: [&[u8]; 6] = [b"pre", b"script", b"style", b"nav", b"table", b"header"];

/// Collects documents.
#[derive(Debug, Default)]
pub struct Documents {
    seen: HashSet<String>,
    text: String,
    /// Documents with at least two sentences.
    pub documents: usize,
    /// Their sentences.
    pub sentences: usize,
}

impl Documents {
    /// Adds a page: one document. A sentence that an earlier page had is left out.
    pub fn add(&mut self, html: &str) {
        let blocks = blocks(html);
        let sentences = blocks.iter().flat_map(|block| sentences(block));
        let mut kept = Vec::new();
        for sentence in sentences.filter(|s| is_prose(s)) {
            if self.seen.insert(sentence.clone()) {
                kept.push(sentence);
            }
        }
        if kept.len() < 2 {
            return;
        }
        self.documents += 1;
        self.sentences += kept.len();
        self.text.push_str(&kept.join("\n"));
        self.text.push_str("\n\n");
    }

    /// Returns the documents, one sentence a line, an empty line between two.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Returns the texts of a page's paragraphs and list items, white space made one space.
fn blocks(html: &str) -> Vec<String> {
    let (mut blocks, mut skipped) = (Vec::new(), 0usize);
    // One string for each block that is open.
    let mut open: Vec<String> = Vec::new();
    let mut finish = |text: Option<String>| {
        let words: Vec<&str> = text.as_deref().unwrap_or("").split_whitespace().collect();
        if !words.is_empty() {
            blocks.push(words.join(" "));
        }
    };
    for token in Tokenizer::new(html) {
        match token.unwrap_or_else(|never| match never {}) {
            Token::StartTag(tag) if SKIPPED.contains(&&tag.name[..]) && !tag.self_closing => {
                skipped += 1;
            }
            Token::EndTag(tag) if SKIPPED.contains(&&tag.name[..]) => {
                skipped = skipped.saturating_sub(1);
            }
            Token::StartTag(tag) if BLOCKS.contains(&&tag.name[..]) => open.push(String::new()),
            Token::EndTag(tag) if BLOCKS.contains(&&tag.name[..]) => finish(open.pop()),
            Token::String(text) if skipped == 0 => {
                if let Some(block) = open.last_mut() {
                    block.push_str(&String::from_utf8_lossy(&text));
                }
            }
            _ => {}
        }
    }
    blocks
}

/// Splits a paragraph after `.`, `?` or `!` that a space and a capital follow.
fn sentences(block: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let bytes = block.as_bytes();
    for (i, window) in bytes.windows(3).enumerate() {
        if matches!(window, [b'.' | b'?' | b'!', b' ', next] if next.is_ascii_uppercase()) {
            sentences.push(block[start..=i].to_owned());
            start = i + 2;
        }
    }
    sentences.push(block[start..].to_owned());
    sentences
}

fn is_prose(sentence: &str) -> bool {
    let letters = sentence
        .chars()
        .filter(|c| c.is_alphabetic() || *c == ' ')
        .count();
    WORDS.contains(&sentence.split(' ').count())
        && letters * 100 >= sentence.chars().count() * LETTERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_sentences_and_code_does_not() {
        let page = "<html><nav><p>Go to the next page now.</p></nav><p>A first sentence is\n \
                    here. The <b>second</b> one follows it.</p><pre><p>let x = 1; let y = 2;</p></pre>\
                    <ul><li>An item that is long enough.</li></ul><p>Too short.</p></html>";
        let mut documents = Documents::default();
        documents.add(page);
        let want = "A first sentence is here.\nThe second one follows it.\nAn item that is long enough.\n\n";
        assert_eq!(documents.text(), want);
        assert_eq!((documents.documents, documents.sentences), (1, 3));
        // What was seen before is not new.
        documents.add(page);
        assert_eq!(documents.documents, 1);
    }

    #[test]
    fn signs_are_no_prose() {
        assert!(is_prose("This is a sentence, as people write them."));
        assert!(!is_prose("a[0] = {1, 2, 3}; b += a[1] * 4 (see 5.1)"));
    }
}
