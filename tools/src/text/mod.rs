//! Text: sentences, pieces, and pairs with hidden pieces to pretrain on and to evaluate; sources with
//! targets for sequence to sequence.

pub mod cmudict;
mod corpus;
pub mod documents;
mod pairs;
mod parallel;
pub mod section;
pub mod snips;
pub mod tokenizer;
pub mod word_level;

pub use corpus::Corpus;
pub use pairs::{Sequence, Shape, Text};
pub use parallel::{Entry, Parallel};

use crate::export::ExportError;
use std::path::PathBuf;

/// Why text could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is too little text.
    #[error("{0}")]
    Unfit(String),
    /// The tokenizer cannot be trained, read or used.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A part of the tokenizer that a device cannot do.
    #[error("tokenizer.json: not supported: {0}")]
    Unsupported(String),
    /// The tokenizer cannot be written.
    #[error(transparent)]
    Write(#[from] ExportError),
}
