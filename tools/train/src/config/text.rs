//! What a configuration says of text: its pieces, and the decoder that writes them.

use super::{Config, yes};
use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use tailtune::image::{DecoderConfig, ModelConfig};
use tailtune_tools::text::word_level;

/// The `[model.decoder]`: width, heads, norm order and activation are the encoder's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSpec {
    /// Blocks.
    pub n_layers: u16,
    /// Tokens of the longest target, the start token counted.
    pub seq_len: u16,
    /// Whether the output projection is the token table.
    #[serde(default = "yes")]
    pub tied: bool,
    /// Whether there is a norm after the embedding.
    #[serde(default)]
    pub embed_norm: bool,
    /// Whether there is a norm after the last block; pre-norm models want one.
    #[serde(default = "yes")]
    pub final_norm: bool,
}

/// What the pieces of a text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerName {
    /// Parts of words, as BERT has them.
    #[default]
    WordPiece,
    /// Characters.
    Characters,
}

/// The `[text]` of masked_lm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// What the pieces are.
    #[serde(default)]
    pub tokenizer: TokenizerName,
    /// Whether pairs of sentences are read, and whether they follow each other is learned too.
    #[serde(default = "yes")]
    pub next_sentence: bool,
}

impl Default for TextSpec {
    fn default() -> Self {
        Self {
            tokenizer: TokenizerName::default(),
            next_sentence: true,
        }
    }
}

impl Config {
    /// Returns the architecture of an encoder with a decoder, for a source's and a target's vocabulary.
    ///
    /// # Errors
    /// [`TrainError::Unfit`] names the key that is missing or that the runtime refuses.
    pub fn sequence_architecture(
        &self,
        source_vocab: u32,
        target_vocab: u32,
    ) -> Result<ModelConfig, TrainError> {
        let Some(d) = &self.model.decoder else {
            let text = "[model.decoder] is missing; sequence to sequence needs n_layers and seq_len of one";
            return Err(TrainError::Unfit(text.into()));
        };
        let config = ModelConfig {
            decoder: Some(DecoderConfig {
                n_layers: d.n_layers,
                seq_len: d.seq_len,
                vocab_size: target_vocab,
                start: word_level::START,
                end: word_level::END,
                tied: d.tied,
                embed_norm: d.embed_norm,
                final_norm: d.final_norm,
            }),
            ..self.architecture(0, source_vocab)?
        };
        match config.check() {
            Ok(()) => Ok(config),
            Err(e) => Err(TrainError::Unfit(format!("[model.decoder]: {e}"))),
        }
    }
}
