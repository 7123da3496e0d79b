//! Full tables: any text.

use crate::{Both, FULL, byte_level, lines, random_text, word_piece};
use tailtune_tools::synthetic::Random;
use tailtune_tools::text::section::Options;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::normalizers::unicode::NFD;
use tokenizers::normalizers::utils::{Lowercase, Sequence};
use tokenizers::pre_tokenizers::whitespace::Whitespace;

/// Lines whose pieces hold characters of many scripts, so that not all of the text is unknown.
fn of_many_scripts() -> Vec<String> {
    let mut r = Random::new(5);
    let mut lines = lines();
    lines.extend((0..3000).map(|_| random_text(&mut r)));
    lines
}

#[test]
fn random_text_has_the_crates_ids() {
    let lines = of_many_scripts();
    let bert = BertNormalizer::default();
    let accents = BertNormalizer::new(true, true, Some(false), true);
    let cased = BertNormalizer::new(false, false, Some(true), false);
    let (one, two) = (NFD.into(), Lowercase.into());
    let mut canonical = word_piece(&lines, 3000, bert);
    canonical
        .with_normalizer(Some(Sequence::new(vec![one, two])))
        .unwrap();
    canonical.with_pre_tokenizer(Some(Whitespace {}));
    let tokenizers = [
        // Almost all that is random is unknown.
        Both::new(word_piece(&crate::lines(), 200, bert), FULL),
        Both::new(word_piece(&lines, 6000, bert), FULL),
        Both::new(word_piece(&lines, 6000, accents), FULL),
        Both::new(word_piece(&lines, 6000, cased), FULL),
        Both::new(canonical, FULL),
        Both::new(byte_level(&lines, 1500, false), FULL),
    ];
    let mut known = [0; 6];
    for (both, known) in tokenizers.iter().zip(&mut known) {
        let mut r = Random::new(7);
        for _ in 0..10_000 {
            let ids = both.compare(&random_text(&mut r));
            *known += ids.iter().filter(|&&id| id > 4).count();
            both.compare_text(&ids);
        }
    }
    assert!(known.iter().all(|&n| n > 5000), "{known:?}");
}

#[test]
fn the_scripts_of_the_vocabulary_are_known_without_full_tables() {
    let both = Both::new(
        word_piece(&lines(), 400, BertNormalizer::default()),
        Options::default(),
    );
    for text in crate::SENTENCES {
        assert!(!both.compare(text).is_empty());
    }
    // Letters with marks in one character and in two, fullwidth punctuation, a joiner, an emoji's variant.
    for text in [
        "CAFE\u{301} Ǻ",
        "x\u{200d}y",
        "lamp！on",
        "on ☀\u{fe0f}",
        "\u{feff}the",
    ] {
        both.compare(text);
    }
}

#[test]
fn marks_are_put_in_order_over_any_distance() {
    let both = Both::new(
        word_piece(&of_many_scripts(), 6000, BertNormalizer::default()),
        FULL,
    );
    // Marks that stay, of classes 216, 220, 224 and 226; between them some that go.
    let marks = [
        '\u{1d165}',
        '\u{302e}',
        '\u{1d16d}',
        '\u{301}',
        '\u{323}',
        '\u{7}',
        '\u{93f}',
        '\u{cc6}',
    ];
    let mut r = Random::new(2);
    for _ in 0..2000 {
        let n = r.below(12);
        let run = (0..n).map(|_| marks[r.below(marks.len() as u32) as usize]);
        both.compare(&format!("a{}b", run.collect::<String>()));
    }
}
