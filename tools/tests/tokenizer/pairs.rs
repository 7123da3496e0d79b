//! Pairs, truncation and padding.

use crate::{Both, SENTENCES, byte_level, lines, word_piece};
use tailtune::text::TextError;
use tailtune_tools::text::section::Options;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{
    PaddingDirection, PaddingParams, PaddingStrategy, Tokenizer, TruncationDirection,
    TruncationParams, TruncationStrategy,
};

fn compare(both: &Both, texts: (&str, Option<&str>), special: bool) -> bool {
    let host = match texts {
        (a, Some(b)) => both.host.encode((a, b), special),
        (a, None) => both.host.encode(a, special),
    };
    let device = both.device();
    let (mut work, mut ids, mut segments) = ([0; 2048], [9; 256], [9; 256]);
    let found = device.encode(texts, special, &mut work, &mut ids, &mut segments);
    match (host, found) {
        (Ok(host), Ok(found)) => {
            assert_eq!(&ids[..found.padded], host.get_ids(), "{texts:?}");
            let wanted: Vec<u8> = host.get_type_ids().iter().map(|&x| x as u8).collect();
            assert_eq!(segments[..found.padded], wanted, "{texts:?}");
            let real: usize = host.get_attention_mask().iter().map(|&x| x as usize).sum();
            assert_eq!(found.len, real);
            if found.len > 0 {
                assert_eq!(host.get_attention_mask()[found.start], 1);
            }
            true
        }
        (Err(_), Err(TextError::CannotTruncate { .. })) => false,
        (host, found) => panic!("{texts:?}: {host:?}, {found:?}"),
    }
}

/// Every strategy, side and padding of a tokenizer.
fn compare_all(mut host: Tokenizer) -> [usize; 2] {
    let mut results = [0; 2];
    let strategies = [
        TruncationStrategy::LongestFirst,
        TruncationStrategy::OnlyFirst,
        TruncationStrategy::OnlySecond,
    ];
    for (i, strategy) in strategies.into_iter().enumerate() {
        for max_length in [5, 6, 9, 16, 31] {
            for (direction, side) in [
                (TruncationDirection::Right, PaddingDirection::Left),
                (TruncationDirection::Left, PaddingDirection::Right),
            ] {
                let truncation = TruncationParams {
                    direction,
                    max_length,
                    strategy,
                    stride: 0,
                };
                host.with_truncation(Some(truncation)).unwrap();
                let padding = PaddingParams {
                    strategy: match i {
                        0 => PaddingStrategy::Fixed(12),
                        _ => PaddingStrategy::BatchLongest,
                    },
                    direction: side,
                    pad_to_multiple_of: (max_length % 2 == 0).then_some(8),
                    pad_id: 0,
                    pad_type_id: 1,
                    pad_token: "[PAD]".into(),
                };
                host.with_padding((max_length != 9).then_some(padding));
                let both = Both::new(host.clone(), Options::default());
                for a in SENTENCES.iter().chain(&["", "a"]) {
                    for b in [
                        None,
                        Some(""),
                        Some("on"),
                        Some(SENTENCES[5]),
                        Some(SENTENCES[0]),
                    ] {
                        if b.is_none() && i == 2 {
                            continue;
                        }
                        for special in [true, false] {
                            results[usize::from(compare(&both, (a, b), special))] += 1;
                        }
                    }
                }
            }
        }
    }
    results
}

#[test]
fn truncation_and_padding_are_the_crates() {
    let host = word_piece(&lines(), 300, BertNormalizer::default());
    let [refused, same] = compare_all(host);
    assert!(refused > 100 && same > 1000, "{refused} {same}");
}

#[test]
fn templates_of_other_families() {
    let mut host = byte_level(&lines(), 400, true);
    compare_all(host.clone());
    let (sep, cls) = (("</s>".into(), 2), ("<s>".into(), 1));
    host.with_post_processor(Some(RobertaProcessing::new(sep, cls)));
    compare_all(host);
}

#[test]
fn the_buffer_is_a_limit_too() {
    let both = Both::new(
        word_piece(&lines(), 300, BertNormalizer::default()),
        Options::default(),
    );
    let whole = both.encode((SENTENCES[5], Some(SENTENCES[0])), true, 100);
    let (ids, segments, encoded) = both.encode((SENTENCES[5], Some(SENTENCES[0])), true, 11);
    assert_eq!(
        (encoded.len, encoded.padded, ids.len(), segments.len()),
        (11, 11, 11, 11)
    );
    assert_eq!(encoded.cut, whole.2.len - 11);
    assert_eq!((ids[0], ids[10], ids[5], segments[5]), (2, 3, 3, 0));
    assert_eq!(ids[1..5], whole.0[1..5]);
    let device = both.device();
    let (mut work, mut ids) = ([0; 512], [0; 2]);
    let room = device.encode(("on", Some("off")), true, &mut work, &mut ids, &mut []);
    assert_eq!(room, Err(TextError::CannotTruncate { needed: 3, room: 2 }));
    let segments = device.encode(("on", None), true, &mut work, &mut ids, &mut [0]);
    assert_eq!(
        segments,
        Err(TextError::Segments {
            needed: 2,
            found: 1
        })
    );
    let small = device.encode(("on", None), true, &mut work[..9], &mut ids, &mut []);
    assert_eq!(
        small,
        Err(TextError::Workspace {
            needed: 202,
            found: 9
        })
    );
}
