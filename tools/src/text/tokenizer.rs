//! A WordPiece tokenizer as BERT uses it (lower case, accents stripped, words and punctuation
//! parted), trained on the corpus and written as tokenizer.json.

use super::{Corpus, TextError};
use crate::export::write_whole;
use std::path::Path;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

/// The special tokens; their ids are 0 to 4.
pub const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Trains a tokenizer of at most `vocab_size` pieces.
///
/// # Errors
/// [`TextError::Tokenizer`].
pub fn train(corpus: &Corpus, vocab_size: u32) -> Result<Tokenizer, TextError> {
    let fail = |e: tokenizers::Error| TextError::Tokenizer(e.to_string());
    let model = WordPiece::builder()
        .unk_token("[UNK]".into())
        .build()
        .map_err(fail)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::default()))
        .map_err(fail)?
        .with_pre_tokenizer(Some(BertPreTokenizer));
    let special = SPECIAL.map(|t| AddedToken::from(t, true)).to_vec();
    let trainer = WordPieceTrainer::builder()
        .vocab_size(vocab_size as usize)
        .special_tokens(special)
        .show_progress(false)
        .build();
    let mut trainer: TrainerWrapper = trainer.into();
    tokenizer.train(&mut trainer, corpus.iter()).map_err(fail)?;
    Ok(tokenizer)
}

/// Reads the tokenizer.json of a model directory.
///
/// # Errors
/// [`TextError::Tokenizer`] names the file.
pub fn read(dir: &Path) -> Result<Tokenizer, TextError> {
    let path = dir.join("tokenizer.json");
    Tokenizer::from_file(&path)
        .map_err(|e| TextError::Tokenizer(format!("{}: {e}", path.display())))
}

/// Writes tokenizer.json into `dir`.
///
/// # Errors
/// [`TextError`] names the file.
pub fn write(tokenizer: &Tokenizer, dir: &Path) -> Result<(), TextError> {
    let text = tokenizer
        .to_string(true)
        .map_err(|e| TextError::Tokenizer(e.to_string()))?;
    Ok(write_whole(&dir.join("tokenizer.json"), text.as_bytes())?)
}

/// Returns the ids of a sentence, without special tokens.
///
/// # Errors
/// [`TextError::Tokenizer`].
pub fn ids(tokenizer: &Tokenizer, sentence: &str) -> Result<Vec<u32>, TextError> {
    let encoding = tokenizer.encode(sentence, false);
    let encoding = encoding.map_err(|e| TextError::Tokenizer(e.to_string()))?;
    Ok(encoding.get_ids().to_vec())
}
