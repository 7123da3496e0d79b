//! The utterances of the Snips benchmark (Coucke et al., arXiv 1805.10190; CC0) as texts with an intent:
//! one JSON file an intent, of `{"INTENT": [{"data": [{"text": "…"}, …]}, …]}`.

use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Utterance {
    data: Vec<Piece>,
}

#[derive(Deserialize)]
struct Piece {
    text: String,
}

/// Returns the utterances of a file with their intents, white space made one space.
///
/// # Errors
/// Says what is wrong with the JSON.
pub fn parse(json: &str) -> Result<Vec<(String, String)>, serde_json::Error> {
    let intents: BTreeMap<String, Vec<Utterance>> = serde_json::from_str(json)?;
    let mut all = Vec::new();
    for (intent, utterances) in intents {
        for utterance in utterances {
            let pieces = utterance.data.iter().map(|piece| piece.text.as_str());
            let text: String = pieces.collect();
            let words: Vec<&str> = text.split_whitespace().collect();
            if !words.is_empty() {
                all.push((words.join(" "), intent.clone()));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined() {
        let json = r#"{"PlayMusic": [{"data": [{"text": "play  "}, {"text": "that song", "entity": "track"}]}]}"#;
        let want = ("play that song".to_owned(), "PlayMusic".to_owned());
        assert_eq!(parse(json).unwrap(), [want]);
        assert!(parse(r#"{"PlayMusic": [{}]}"#).is_err());
    }
}
