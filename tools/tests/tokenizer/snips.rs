//! Every line of the snips data.

use crate::{Both, FULL, byte_level, word_piece};
use tailtune_tools::testing::shared;
use tailtune_tools::text::section::Options;
use tokenizers::normalizers::BertNormalizer;

/// Returns the utterances; none where the data is not there.
pub fn lines() -> Option<Vec<String>> {
    let dir = shared("data/snips")?.join("2017-06-custom-intent-engines");
    let mut lines = Vec::new();
    let mut intents: Vec<_> = std::fs::read_dir(dir).unwrap().flatten().collect();
    intents.sort_by_key(|entry| entry.file_name());
    for intent in intents.iter().filter(|entry| entry.path().is_dir()) {
        let name = intent.file_name().into_string().unwrap();
        for file in [
            format!("train_{name}_full.json"),
            format!("validate_{name}.json"),
        ] {
            // Two of the files are in Latin-1.
            let bytes = std::fs::read(intent.path().join(file)).unwrap();
            let text = String::from_utf8(bytes)
                .unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect());
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            for utterance in json[&name].as_array().unwrap() {
                let parts = utterance["data"].as_array().unwrap().iter();
                lines.push(parts.map(|part| part["text"].as_str().unwrap()).collect());
            }
        }
    }
    Some(lines)
}

#[test]
fn the_ids_of_every_line_are_the_crates() {
    let Some(lines) = lines() else { return };
    assert!(lines.len() > 14_000, "{} lines", lines.len());
    let words = word_piece(&lines, 4096, BertNormalizer::default());
    let cased = BertNormalizer::new(true, true, Some(false), false);
    let tokenizers = [
        Both::new(words.clone(), Options::default()),
        Both::new(words, FULL),
        Both::new(word_piece(&lines, 2000, cased), Options::default()),
        Both::new(byte_level(&lines, 2000, true), Options::default()),
        Both::new(byte_level(&lines, 600, false), FULL),
    ];
    for both in &tokenizers {
        for (i, line) in lines.iter().enumerate() {
            let ids = both.compare(line);
            if i % 20 == 0 {
                assert!(!both.compare_text(&ids).is_empty());
            }
        }
    }
}
