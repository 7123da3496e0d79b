//! Sections that are not what `tools` writes: a typed error, or ids without panic or end.

use crate::{byte_level, lines, word_piece};
use proptest::prelude::*;
use std::sync::OnceLock;
use tailtune::text::{TextError, Tokenizer};
use tailtune_tools::text::section::{Options, section};
use tokenizers::normalizers::BertNormalizer;

fn sections() -> &'static [Vec<u8>; 2] {
    static SECTIONS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    SECTIONS.get_or_init(|| {
        let words = word_piece(&lines(), 120, BertNormalizer::default());
        let bytes = byte_level(&lines(), 320, true);
        let options = Options {
            inverse: true,
            ..Options::default()
        };
        [words, bytes].map(|t| section(&t, options).unwrap().bytes)
    })
}

/// Uses all that a section offers, if it parses.
fn used(bytes: &[u8]) -> Result<(), TextError> {
    let tokenizer = Tokenizer::parse(bytes)?;
    let mut work = vec![0; tokenizer.workspace_len().max(64)];
    let texts = (
        "Café a\u{323}\u{1d165}\u{302e} can't 各 [MASK]!",
        Some("한글 <s>, naïve"),
    );
    let (mut ids, mut segments) = ([0; 24], [0; 24]);
    for special in [true, false] {
        let found = tokenizer.encode(texts, special, &mut work, &mut ids, &mut segments);
        if let Ok(found) = found {
            assert!(found.len <= found.padded && found.padded <= 24);
        }
    }
    // A token needs a character or a byte at least.
    let tokens = tokenizer.tokens(texts.0, &mut work)?;
    assert!(tokens.take(1000).count() < 1000);
    ids[0] = 70_000;
    let mut len = 0;
    tokenizer.decode(&ids, false, |part| len += part.len());
    assert!(len <= 24 * 256);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn mutated_sections_are_refused_or_used(
        which in 0..2usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut bytes = sections()[which].clone();
        for (i, (at, byte)) in changes.iter().enumerate() {
            // The record is where most depends on a byte.
            let range = if i % 2 == 0 { bytes.len() } else { 88 };
            let at = at.index(range);
            bytes[at] = *byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = used(&bytes);
    }
}

#[test]
fn a_section_parses_whole_or_not_at_all() {
    for bytes in sections() {
        used(bytes).unwrap();
        for len in 0..bytes.len() {
            assert!(Tokenizer::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
    let none = TextError::Version {
        found: 0,
        supported: 1,
    };
    assert_eq!(Tokenizer::parse(&[]).unwrap_err(), none);
}
