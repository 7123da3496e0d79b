//! Tokenizers whose pieces are listed and never split: the characters of a source, the pieces of a
//! target. Hugging Face's `WordLevel` model, with the pre-tokenizer that parts its input.

use super::TextError;
use crate::export::write_whole;
use std::collections::BTreeSet;
use std::path::Path;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

/// The file of the target's tokenizer in a model directory.
pub const TARGET_FILE: &str = "target_tokenizer.json";
/// The id of padding.
pub const PAD: u32 = 0;
/// The id of the token before a target.
pub const START: u32 = 2;
/// The id of the token after a source and after a target.
pub const END: u32 = 3;
/// The special pieces of a target; their ids are 0 to 3.
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "<s>", "</s>"];
/// What hides a character from a source in pretraining; its id is 4.
const MASK: &str = "[MASK]";

/// Makes a tokenizer of the lower-case characters of `texts`. Encoding with special tokens appends the
/// end token, so that a model sees where a source ends.
///
/// # Errors
/// [`TextError::Tokenizer`].
pub fn characters<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Tokenizer, TextError> {
    let characters = texts.flat_map(|t| t.chars().flat_map(char::to_lowercase));
    let pieces: BTreeSet<String> = characters.map(String::from).collect();
    let mut tokenizer = word_level(&[SPECIAL.as_slice(), &[MASK]].concat(), &pieces)?;
    let each = SplitPattern::Regex("(?s).".into());
    let split = Split::new(each, SplitDelimiterBehavior::Isolated, false).map_err(fail)?;
    let end = TemplateProcessing::builder()
        .try_single("$A </s>")
        .map_err(|e| TextError::Tokenizer(e.to_string()))?
        .special_tokens(vec![("</s>", END)])
        .build()
        .map_err(|e| TextError::Tokenizer(e.to_string()))?;
    tokenizer
        .with_normalizer(Some(Lowercase))
        .map_err(fail)?
        .with_pre_tokenizer(Some(split))
        .with_post_processor(Some(end));
    Ok(tokenizer)
}

/// Makes a tokenizer of the pieces of `texts`, which spaces separate.
///
/// # Errors
/// [`TextError::Tokenizer`].
pub fn pieces<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Tokenizer, TextError> {
    let pieces: BTreeSet<String> = texts
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    let mut tokenizer = word_level(&SPECIAL, &pieces)?;
    tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
    Ok(tokenizer)
}

fn word_level(special: &[&str], pieces: &BTreeSet<String>) -> Result<Tokenizer, TextError> {
    let all = special.iter().copied().map(str::to_owned);
    let all = all.chain(
        pieces
            .iter()
            .filter(|p| !special.contains(&p.as_str()))
            .cloned(),
    );
    let model = WordLevel::builder()
        .vocab(all.zip(0..).collect())
        .unk_token("[UNK]".into())
        .build()
        .map_err(fail)?;
    let mut tokenizer = Tokenizer::new(model);
    let special = special.iter().map(|t| AddedToken::from(*t, true));
    tokenizer.add_special_tokens(special).map_err(fail)?;
    Ok(tokenizer)
}

fn fail(error: tokenizers::Error) -> TextError {
    TextError::Tokenizer(error.to_string())
}

/// Reads the target's tokenizer of a model directory.
///
/// # Errors
/// [`TextError::Tokenizer`] names the file.
pub fn read_target(dir: &Path) -> Result<Tokenizer, TextError> {
    let path = dir.join(TARGET_FILE);
    Tokenizer::from_file(&path)
        .map_err(|e| TextError::Tokenizer(format!("{}: {e}", path.display())))
}

/// Writes the target's tokenizer into `dir`.
///
/// # Errors
/// [`TextError`] names the file.
pub fn write_target(tokenizer: &Tokenizer, dir: &Path) -> Result<(), TextError> {
    let text = tokenizer.to_string(true).map_err(fail)?;
    Ok(write_whole(&dir.join(TARGET_FILE), text.as_bytes())?)
}

/// Returns the ids of a source with the special tokens of its tokenizer, at most `seq_len`: the last
/// one stays the last.
///
/// # Errors
/// [`TextError::Tokenizer`].
pub fn source_ids(
    tokenizer: &Tokenizer,
    source: &str,
    seq_len: usize,
) -> Result<Vec<u32>, TextError> {
    let encoding = tokenizer.encode(source, true).map_err(fail)?;
    let mut ids = encoding.get_ids().to_vec();
    if let (true, Some(&last)) = (ids.len() > seq_len, ids.last()) {
        ids.truncate(seq_len.saturating_sub(1));
        ids.push(last);
    }
    Ok(ids)
}

/// Returns the pieces of ids, separated by spaces.
pub fn text(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let piece = |&id: &u32| tokenizer.id_to_token(id).unwrap_or_default();
    let pieces: Vec<String> = ids.iter().map(piece).collect();
    pieces.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer;
    use super::*;

    #[test]
    fn a_source_is_characters_and_an_end() {
        let tokenizer = characters(["Bad", "b'e"].into_iter()).unwrap();
        // ' a b d e, after five special pieces.
        assert_eq!(source_ids(&tokenizer, "Bad", 9).unwrap(), [7, 6, 8, END]);
        assert_eq!(source_ids(&tokenizer, "bz'", 9).unwrap(), [7, 1, 5, END]);
        assert_eq!(source_ids(&tokenizer, "badbad", 4).unwrap(), [7, 6, 8, END]);
        assert_eq!(tokenizer.get_vocab_size(true), 10);
        assert_eq!(tokenizer.token_to_id(MASK), Some(4));
    }

    #[test]
    fn a_target_is_pieces() {
        let target = pieces(["R EH D", "HH IY"].into_iter()).unwrap();
        let ids = tokenizer::ids(&target, "R IY  D").unwrap();
        assert_eq!(text(&target, &ids), "R IY D");
        assert_eq!(target.get_vocab_size(true), 4 + 5);
        assert!(ids.iter().all(|&id| id > END));
    }

    #[test]
    fn both_are_read_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (
            characters(["ab"].into_iter()).unwrap(),
            pieces(["X YY"].into_iter()).unwrap(),
        );
        tokenizer::write(&source, dir.path()).unwrap();
        write_target(&target, dir.path()).unwrap();
        let back = tokenizer::read(dir.path()).unwrap();
        assert_eq!(source_ids(&back, "ba", 9).unwrap(), [6, 5, END]);
        let back = read_target(dir.path()).unwrap();
        assert_eq!(tokenizer::ids(&back, "YY X").unwrap(), [5, 4]);
    }
}
