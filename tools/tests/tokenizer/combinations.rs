//! Other models, pre-tokenizers and decoders; and what is refused.

use crate::{Both, FULL, SENTENCES, byte_level, lines, random_text, word_piece};
use std::str::FromStr;
use tailtune::text::{Role, TextError};
use tailtune_tools::synthetic::Random;
use tailtune_tools::text::section::{Options, section};
use tokenizers::Tokenizer;
use tokenizers::normalizers::BertNormalizer;

/// A tokenizer.json of a model, with more members if need be.
fn with_model(model: &str, more: &str) -> Tokenizer {
    let json = format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "post_processor":null,"decoder":null,"pre_tokenizer":null{more},"model":{model}}}"#
    );
    // A later member overrides an earlier one of the same name.
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    Tokenizer::from_str(&value.to_string()).unwrap()
}

/// As grapheme-to-phoneme models read words.
const LETTERS: &str = r#"{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,
    "end_of_word_suffix":null,"fuse_unk":FUSE,"byte_fallback":false,"ignore_merges":false,
    "vocab":{"<unk>":0,"a":1,"b":2,"é":3,"'":4,"n":5,"ab":6,"abn":7,"bn":8},"merges":MERGES}"#;

fn letters(fuse: bool, merges: &str, more: &str) -> Tokenizer {
    let model = LETTERS.replace("FUSE", if fuse { "true" } else { "false" });
    with_model(&model.replace("MERGES", merges), more)
}

#[test]
fn characters_with_and_without_merges() {
    let merges = r#"[["b","n"],["a","b"],["a","bn"]]"#;
    let mut r = Random::new(3);
    for fuse in [true, false] {
        for merges in ["[]", merges] {
            for more in [
                "",
                r#","pre_tokenizer":{"type":"WhitespaceSplit"},"decoder":{"type":"Fuse"}"#,
            ] {
                let both = Both::new(letters(fuse, merges, more), FULL);
                for _ in 0..500 {
                    let text: Vec<char> = "aabbnné'x z".chars().collect();
                    let n = r.below(20);
                    let text = (0..n).map(|_| text[r.below(text.len() as u32) as usize]);
                    let ids = both.compare(&text.collect::<String>());
                    both.compare_text(&ids);
                }
            }
        }
    }
    // The rank decides, not the order of ids: bn goes before ab.
    let both = Both::new(letters(true, merges, ""), FULL);
    assert_eq!(both.compare("abn"), [7]);
}

#[test]
fn characters_with_a_suffix() {
    let model = r#"{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"@",
        "end_of_word_suffix":"</w>","fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
        "vocab":{"a":0,"b":1,"@a":2,"@b":3,"@a</w>":4,"@b</w>":5,"ab</w>":6,"a</w>":7,"aa":8},
        "merges":[["a","@b</w>"],["a","@a"]]}"#;
    let more = r#","pre_tokenizer":{"type":"WhitespaceSplit"},"decoder":{"type":"BPEDecoder","suffix":"</w>"}"#;
    let both = Both::new(with_model(model, more), FULL);
    assert_eq!(both.compare("ab aab a b"), [6, 8, 5, 7]);
    assert_eq!(both.compare_text(&[6, 8, 5, 7]), "ab aa@b a");
}

#[test]
fn whole_words_as_targets() {
    let model = r#"{"type":"WordLevel","unk_token":"<unk>","vocab":{"<pad>":0,"<unk>":3,"<s>":1,"</s>":2,
        "AH":4,"B":5,"K":9,"AE":7,"!":8,"日":10}}"#;
    let pre = [
        r#"{"type":"WhitespaceSplit"}"#,
        r#"{"type":"Whitespace"}"#,
        r#"{"type":"BertPreTokenizer"}"#,
        r#"{"type":"CharDelimiterSplit","delimiter":" "}"#,
        r#"{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Punctuation","behavior":"Isolated"}]}"#,
        r#"{"type":"Sequence","pretokenizers":[{"type":"Whitespace"},{"type":"Digits","individual_digits":true}]}"#,
        r#"{"type":"Split","pattern":{"Regex":"."},"behavior":"Isolated","invert":false}"#,
    ];
    let mut r = Random::new(4);
    for pre in pre {
        let tokens = r#","added_tokens":[{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":true,
            "normalized":false,"special":true},{"id":2,"content":"</s>","single_word":false,"lstrip":true,
            "rstrip":false,"normalized":false,"special":true}]"#;
        let both = Both::new(
            with_model(model, &format!(r#","pre_tokenizer":{pre}{tokens}"#)),
            FULL,
        );
        for text in [
            "AH B K",
            "<s> AH K!</s>",
            "  <s>  AE!!B  </s> 日 ",
            "",
            " ",
            "12 AH3",
            "a</s></s>",
        ] {
            let ids = both.compare(text);
            both.compare_text(&ids);
        }
        for _ in 0..2000 {
            both.compare(&random_text(&mut r));
        }
        let device = both.device();
        assert_eq!(device.special(Role::Start), Some(1));
        assert_eq!(device.special(Role::End), Some(2));
        assert_eq!(device.special(Role::Mask), None);
        assert_eq!(device.piece(9).unwrap().as_bytes(), b"K");
        assert!(device.piece(6).is_none() && device.piece(70_000).is_none());
        assert_eq!(device.vocab_size(), 11);
    }
}

#[test]
fn pieces_are_found_by_id_in_both_ways() {
    let host = word_piece(&lines(), 300, BertNormalizer::default());
    for inverse in [true, false] {
        for block_shift in [0, 2, 4, 6] {
            let options = Options {
                inverse,
                block_shift,
                ..Options::default()
            };
            let both = Both::new(host.clone(), options);
            for id in 0..host.get_vocab_size(true) as u32 + 2 {
                let piece = both.device().piece(id);
                let piece = piece.map(|p| String::from_utf8(p.as_bytes().to_vec()).unwrap());
                assert_eq!(piece, host.id_to_token(id));
            }
            for text in SENTENCES {
                both.compare(text);
            }
        }
    }
}

#[test]
fn a_word_of_any_length_or_an_error() {
    let both = Both::new(
        word_piece(&lines(), 300, BertNormalizer::default()),
        Options::default(),
    );
    for n in [99, 100, 101, 5000] {
        let ids = both.compare(&"a".repeat(n));
        assert_eq!(ids == [1], n > 100);
    }
    let both = Both::new(byte_level(&lines(), 400, false), Options::default());
    both.compare(&"ab".repeat(500));
    let mut work = [0; 64];
    let text = "x".repeat(33);
    let device = both.device();
    let found: Vec<_> = device.tokens(&text, &mut work).unwrap().collect();
    assert_eq!(found, [Err(TextError::WordTooLong { capacity: 32 })]);
    let unknown = with_model(
        r#"{"type":"WordLevel","unk_token":"<unk>","vocab":{"a":0}}"#,
        "",
    );
    let bytes = section(&unknown, FULL).unwrap().bytes;
    let device = tailtune::text::Tokenizer::parse(&bytes).unwrap();
    let mut work = [0; 64];
    let found: Vec<_> = device.tokens("b", &mut work).unwrap().collect();
    assert_eq!(found, [Err(TextError::NoUnknown)]);
}

#[test]
fn what_is_not_supported_is_named() {
    let bpe = LETTERS.replace("FUSE", "false").replace("MERGES", "[]");
    let fallback = bpe.replace(r#""byte_fallback":false"#, r#""byte_fallback":true"#);
    let token = r#","added_tokens":[{"id":0,"content":"<unk>","single_word":true,"lstrip":false,
        "rstrip":false,"normalized":false,"special":true}]"#;
    let cases = [
        (
            bpe.as_str(),
            r#","normalizer":{"type":"NFC"}"#,
            "normalizer NFC",
        ),
        (
            &bpe,
            r#","pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"always","split":true}"#,
            "pre_tokenizer Metaspace",
        ),
        (
            &bpe,
            r#","decoder":{"type":"Metaspace","replacement":"_","prepend_scheme":"always","split":true}"#,
            "decoder Metaspace",
        ),
        (&fallback, "", "byte_fallback true"),
        (&bpe, token, "single_word"),
        (
            r#"{"type":"Unigram","unk_id":0,"vocab":[["a",0.0]],"byte_fallback":false}"#,
            "",
            "Unigram",
        ),
    ];
    for (model, more, named) in cases {
        let said = section(&with_model(model, more), FULL)
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("not supported") && said.contains(named),
            "{said}"
        );
    }
}
