//! How often a model with an encoder and a decoder writes a right target.

use crate::float_model::FloatModel;
use crate::metrics::sequence::SequenceErrors;
use crate::reference::{FloatInput, generate};
use crate::text::{Parallel, TextError, tokenizer, word_level};
use rayon::prelude::*;
use std::path::Path;
use tailtune::image::ModelConfig;
use tokenizers::Tokenizer;

/// The tokenizers of a model directory.
#[derive(Debug, Clone)]
pub struct Tokenizers {
    /// Of what the encoder reads.
    pub source: Tokenizer,
    /// Of what the decoder writes.
    pub target: Tokenizer,
}

impl Tokenizers {
    /// Reads tokenizer.json and target_tokenizer.json.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] names the file.
    pub fn read(dir: &Path) -> Result<Self, TextError> {
        Ok(Self {
            source: tokenizer::read(dir)?,
            target: word_level::read_target(dir)?,
        })
    }

    /// Writes both files into `dir`.
    ///
    /// # Errors
    /// [`TextError`] names the file.
    pub fn write(&self, dir: &Path) -> Result<(), TextError> {
        tokenizer::write(&self.source, dir)?;
        word_level::write_target(&self.target, dir)
    }
}

/// A source and its right answers as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the encoder reads.
    pub input: Vec<u32>,
    /// Whether the source was too long, and `input` is its beginning.
    pub truncated: bool,
    /// What may be written, without start and end token.
    pub answers: Vec<Vec<u32>>,
}

/// Returns sources and targets as ids, for a model of this architecture.
///
/// # Errors
/// [`TextError::Tokenizer`].
pub fn questions(
    parallel: &Parallel,
    tokenizers: &Tokenizers,
    config: &ModelConfig,
) -> Result<Vec<Question>, TextError> {
    let seq_len = config.max_input_len();
    let one = |entry: &crate::text::Entry| {
        let whole = word_level::source_ids(&tokenizers.source, &entry.source, usize::MAX)?;
        let answers = entry.targets.iter();
        Ok(Question {
            truncated: whole.len() > seq_len,
            input: word_level::source_ids(&tokenizers.source, &entry.source, seq_len)?,
            answers: answers
                .map(|t| tokenizer::ids(&tokenizers.target, t))
                .collect::<Result<_, _>>()?,
        })
    };
    parallel.entries().par_iter().map(one).collect()
}

/// Counts the errors of what was written, an output for each question.
pub fn count(written: &[Vec<u32>], questions: &[Question]) -> SequenceErrors {
    let mut errors = SequenceErrors::default();
    for (written, question) in written.iter().zip(questions) {
        errors.add(written, &question.answers);
    }
    errors
}

/// Decodes every question greedily in float; `done` is called after each.
pub fn written(
    model: &FloatModel,
    questions: &[Question],
    done: &(dyn Fn() + Sync),
) -> Vec<Vec<u32>> {
    let one = |question: &Question| {
        let input = FloatInput::Tokens {
            ids: &question.input,
            segments: &[],
        };
        let written = generate(model, Some(input));
        done();
        written
    };
    questions.par_iter().map(one).collect()
}

/// Decodes every question greedily in float and counts the errors; `done` is called after each.
pub fn evaluate(
    model: &FloatModel,
    questions: &[Question],
    done: &(dyn Fn() + Sync),
) -> SequenceErrors {
    count(&written(model, questions, done), questions)
}
