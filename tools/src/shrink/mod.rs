//! Smaller embeddings, before a model is quantized: most of a small text model's bytes are its token table.
//!
//! ```text
//! vocabulary  only the pieces that a corpus uses, with a tokenizer.json of its own
//! factorise   the table as a product of two, by its principal components
//! ```

pub mod factorise;
pub mod vocabulary;

use std::path::PathBuf;

/// Why an embedding cannot be made smaller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShrinkError {
    /// The model reads no tokens, or its table is factorised already.
    #[error("the model has no plain token table; {0} is for models of text")]
    NoTable(&'static str),
    /// The tokenizer is of another kind.
    #[error(
        "tokenizer.json: its model is {found}, expected WordPiece; only its vocabularies can be pruned"
    )]
    Kind {
        /// What its model says.
        found: String,
    },
    /// tokenizer.json is not what its kind asks for.
    #[error("tokenizer.json: {0}; take the file that came with the model")]
    Tokenizer(String),
    /// A piece has no row in the model's table.
    #[error(
        "tokenizer.json: a piece has id {id}, the model's table has {rows} rows; they do not belong together"
    )]
    Row {
        /// The piece's id.
        id: u32,
        /// Rows of the table.
        rows: usize,
    },
    /// The corpus holds nothing.
    #[error("{}: no text in it; give a file of one text a line, or a .csv manifest of texts", .0.display())]
    Empty(PathBuf),
    /// A rank out of range.
    #[error("--factorise-embedding {found}: expected 1 to {most}, below the model's width")]
    Rank {
        /// What was asked for.
        found: u16,
        /// The greatest that makes anything smaller.
        most: u16,
    },
}
