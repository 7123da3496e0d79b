//! A WordPiece tokenizer as BERT uses it (lower case, accents stripped, words and punctuation
//! parted), trained on the corpus and written as tokenizer.json.

use super::pairs::joined;
use super::{Corpus, TextError};
use crate::export::write_whole;
use crate::reference::ModelInput;
use std::path::Path;
use tailtune::image::{InputKind, ModelConfig};
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
    super::section::read(&dir.join("tokenizer.json"))
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

/// Returns what a model reads of a text, or of two: `[CLS] a [SEP] b [SEP]`, cut to its length, with
/// segments where it has some.
///
/// # Errors
/// [`TextError::Tokenizer`]: no `[CLS]` or `[SEP]`, or a vocabulary larger than the model's.
pub fn encode(
    tokenizer: &Tokenizer,
    a: &str,
    b: Option<&str>,
    config: &ModelConfig,
) -> Result<ModelInput, TextError> {
    let special = |name: &str| {
        let id = tokenizer.token_to_id(name);
        id.ok_or_else(|| TextError::Tokenizer(format!("it has no piece {name}")))
    };
    let InputKind::Tokens {
        vocab_size,
        n_segments,
    } = config.input
    else {
        return Err(TextError::Tokenizer("the model reads no tokens".into()));
    };
    let found = tokenizer.get_vocab_size(true);
    if found > vocab_size as usize {
        return Err(TextError::Tokenizer(format!(
            "it has {found} pieces, the model {vocab_size}: give the tokenizer.json that the model was trained with"
        )));
    }
    let first = ids(tokenizer, a)?;
    let second = b.map(|b| ids(tokenizer, b)).transpose()?;
    let marks = [special("[CLS]")?, special("[SEP]")?];
    let (tokens, start) = joined(marks, &first, second.as_deref(), config.max_input_len());
    let segments = match n_segments {
        0 => Vec::new(),
        // A model of one segment knows no second one.
        n => (0..tokens.len())
            .map(|i| u8::from(i >= start && n > 1))
            .collect(),
    };
    Ok(ModelInput::Tokens(tokens, segments))
}
