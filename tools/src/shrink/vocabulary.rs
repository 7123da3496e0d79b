//! A vocabulary of only the pieces that a corpus uses.
//!
//! Kept are the pieces that tokenizing the corpus gives, special tokens, and single characters, alone and as
//! continuations: so every text of the corpus gives the same pieces as before, and every word that could be
//! cut into pieces still can. (WordPiece takes the longest piece that fits; taking others away cannot bring
//! a longer one.) Ids are numbered anew, in the old order.

use super::ShrinkError;
use crate::float_model::{Embedding, FloatModel};
use crate::text::tokenizer;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tailtune::image::InputKind;

/// A WordPiece vocabulary's continuation mark, unless its file names another.
const CONTINUATION: &str = "##";

/// Which single characters stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Characters {
    /// All of them.
    All,
    /// Those of ASCII and of the corpus: a word with another one becomes the unknown piece.
    OfTheCorpus,
}

/// A pruned vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// Old ids, in ascending order; their places are the new ids.
    pub kept: Vec<u32>,
    /// Of them, those that the corpus uses.
    pub used: usize,
    /// Of them, single characters that the corpus does not use.
    pub characters: usize,
    /// The new tokenizer.json.
    pub json: String,
}

/// Prunes the vocabulary of a tokenizer.json to a corpus.
///
/// # Errors
/// [`ShrinkError`] for another kind of tokenizer, or a file that is not sound.
pub fn prune<'t>(
    json: &str,
    corpus: impl Iterator<Item = &'t str>,
    characters: Characters,
) -> Result<Pruned, ShrinkError> {
    let bad = |what: String| ShrinkError::Tokenizer(what);
    let mut file: Value = serde_json::from_str(json).map_err(|e| bad(e.to_string()))?;
    let kind = file.pointer("/model/type").and_then(Value::as_str);
    // Older files name no type: only WordPiece has a mark of continuation.
    let mark = file.pointer("/model/continuing_subword_prefix");
    let word_piece = match kind {
        Some(kind) => kind == "WordPiece",
        None => mark.is_some() && file.pointer("/model/merges").is_none(),
    };
    if !word_piece {
        let found = kind.unwrap_or("of no named type").to_owned();
        return Err(ShrinkError::Kind { found });
    }
    let mark = mark
        .and_then(Value::as_str)
        .unwrap_or(CONTINUATION)
        .to_owned();
    let vocabulary = vocabulary(&file)?;
    let special = special(&file)?;
    let used = used(json, corpus)?;

    let seen: BTreeSet<char> = pieces(&vocabulary, &used).flat_map(str::chars).collect();
    let single = |piece: &str| {
        let mut rest = piece.strip_prefix(&mark).unwrap_or(piece).chars();
        match (rest.next(), rest.next()) {
            (Some(c), None) => characters == Characters::All || c.is_ascii() || seen.contains(&c),
            _ => false,
        }
    };
    let unknown = file.pointer("/model/unk_token").and_then(Value::as_str);
    let mut kept: BTreeSet<u32> = used.union(&special).copied().collect();
    kept.extend(unknown.and_then(|u| vocabulary.get(u)));
    let before = kept.len();
    let single = vocabulary.iter().filter(|(piece, _)| single(piece));
    kept.extend(single.map(|(_, id)| *id));
    let characters = kept.len() - before;
    let kept: Vec<u32> = kept.into_iter().collect();
    renumber(&mut file, &kept);
    Ok(Pruned {
        used: used.len(),
        characters,
        json: serde_json::to_string_pretty(&file).unwrap_or_default(),
        kept,
    })
}

/// Returns piece and id of the file's vocabulary.
fn vocabulary(file: &Value) -> Result<BTreeMap<String, u32>, ShrinkError> {
    let pieces = file.pointer("/model/vocab").and_then(Value::as_object);
    let missing = || ShrinkError::Tokenizer("model/vocab is no table of pieces".into());
    let entry = |(piece, id): (&String, &Value)| Some((piece.clone(), id_of(id)?));
    let pieces = pieces.ok_or_else(missing)?.iter().map(entry);
    pieces.collect::<Option<_>>().ok_or_else(missing)
}

fn id_of(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn special(file: &Value) -> Result<BTreeSet<u32>, ShrinkError> {
    let added = file.pointer("/added_tokens").and_then(Value::as_array);
    let ids = added.into_iter().flatten().map(|token| id_of(&token["id"]));
    let ids: Option<BTreeSet<u32>> = ids.collect();
    ids.ok_or_else(|| ShrinkError::Tokenizer("an added token has no id".into()))
}

fn used<'t>(
    json: &str,
    corpus: impl Iterator<Item = &'t str>,
) -> Result<BTreeSet<u32>, ShrinkError> {
    let bad = |e: tokenizers::Error| ShrinkError::Tokenizer(e.to_string());
    let tokenizer = tokenizer::parse(json).map_err(bad)?;
    let mut used = BTreeSet::new();
    for text in corpus {
        let encoding = tokenizer.encode(text, false).map_err(bad)?;
        used.extend(encoding.get_ids());
    }
    Ok(used)
}

fn pieces<'v>(
    vocabulary: &'v BTreeMap<String, u32>,
    ids: &'v BTreeSet<u32>,
) -> impl Iterator<Item = &'v str> {
    let pieces = vocabulary.iter().filter(|(_, id)| ids.contains(id));
    pieces.map(|(piece, _)| piece.as_str())
}

/// Gives every kept id its place in `kept`, wherever the file names ids, and takes out the others.
fn renumber(file: &mut Value, kept: &[u32]) {
    let place = |id: &Value| {
        let place = id_of(id).and_then(|id| kept.binary_search(&id).ok());
        place.map(Value::from)
    };
    if let Some(pieces) = file
        .pointer_mut("/model/vocab")
        .and_then(Value::as_object_mut)
    {
        pieces.retain(|_, id| {
            place(id).is_some_and(|new| {
                *id = new;
                true
            })
        });
    }
    if let Some(added) = file
        .pointer_mut("/added_tokens")
        .and_then(Value::as_array_mut)
    {
        added.retain_mut(|token| {
            place(&token["id"]).is_some_and(|new| {
                token["id"] = new;
                true
            })
        });
    }
    // The special pieces around a text: pairs of piece and id, or lists of ids under their name.
    for key in ["sep", "cls"] {
        if let Some(id) = file.pointer_mut(&format!("/post_processor/{key}/1")) {
            *id = place(id).unwrap_or(Value::Null);
        }
    }
    let special = file.pointer_mut("/post_processor/special_tokens");
    for token in special.and_then(Value::as_object_mut).into_iter().flatten() {
        for id in token.1["ids"].as_array_mut().into_iter().flatten() {
            *id = place(id).unwrap_or(Value::Null);
        }
    }
    if let Some(id) = file.pointer_mut("/padding/pad_id") {
        *id = place(id).unwrap_or(Value::from(0));
    }
}

/// Keeps only these rows of a model's token table.
///
/// # Errors
/// [`ShrinkError::NoTable`]; [`ShrinkError::Row`] for an id that the table does not have.
pub fn keep_rows(model: &mut FloatModel, kept: &[u32]) -> Result<(), ShrinkError> {
    let no_table = ShrinkError::NoTable("--prune-vocab");
    let (
        Embedding::Tokens {
            table,
            projection: None,
            ..
        },
        InputKind::Tokens { vocab_size, .. },
    ) = (&mut model.embedding, &mut model.config.input)
    else {
        return Err(no_table);
    };
    let d = usize::from(model.config.d_model);
    let rows = table.len() / d.max(1);
    let mut pruned = Vec::with_capacity(kept.len() * d);
    for &id in kept {
        let row = table.get(id as usize * d..(id as usize + 1) * d);
        pruned.extend(row.ok_or(ShrinkError::Row { id, rows })?);
    }
    *table = pruned;
    *vocab_size = kept.len() as u32;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r###"{
        "version": "1.0",
        "truncation": null,
        "padding": { "strategy": { "Fixed": 8 }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]" },
        "added_tokens": [
            { "id": 0, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
              "normalized": false, "special": true },
            { "id": 9, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
              "normalized": false, "special": true }],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 9], "cls": ["[PAD]", 0] },
        "decoder": null,
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": { "[PAD]": 0, "[UNK]": 1, "wea": 2, "##ther": 3,
            "weather": 4, "w": 5, "##e": 6, "a": 7, "##ath": 8, "[SEP]": 9, "é": 10, "##é": 11,
            "fog": 12, "e": 13, "##a": 14, "##w": 15 } } }"###;

    fn ids(json: &str, text: &str) -> Vec<u32> {
        let tokenizer = tokenizer::parse(json).unwrap();
        tokenizer.encode(text, true).unwrap().get_ids().to_vec()
    }

    #[test]
    fn the_corpus_gives_the_same_pieces_under_new_numbers() {
        let corpus = ["Weather", "wea"];
        let pruned = prune(FILE, corpus.into_iter(), Characters::All).unwrap();
        assert_eq!(pruned.kept, [0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 13, 14, 15]);
        assert_eq!((pruned.used, pruned.characters), (2, 8));
        for text in corpus {
            let new = ids(&pruned.json, text);
            let old: Vec<u32> = new.iter().map(|&i| pruned.kept[i as usize]).collect();
            assert_eq!(old, ids(FILE, text), "{text}");
        }
        // What is no piece any more is cut into characters, where all of them are there.
        let old: Vec<u32> = ids(&pruned.json, "wae")
            .iter()
            .map(|&i| pruned.kept[i as usize])
            .collect();
        assert_eq!(old, [0, 5, 14, 6, 9]);
    }

    #[test]
    fn characters_of_other_scripts_go_where_that_is_asked() {
        let pruned = prune(FILE, ["wea"].into_iter(), Characters::OfTheCorpus).unwrap();
        assert!(!pruned.kept.contains(&10) && pruned.kept.contains(&13));
    }

    #[test]
    fn another_kind_is_named() {
        let bpe = FILE.replace("\"WordPiece\"", "\"BPE\"");
        let error = prune(&bpe, ["wea"].into_iter(), Characters::All).unwrap_err();
        assert!(error.to_string().contains("BPE"), "{error}");
    }
}
