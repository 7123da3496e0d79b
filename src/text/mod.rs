//! Text: a tokenizer read in place from the image (feature `text`).
//!
//! ```text
//! text ─ added ─ normalize ─ split ─ wordpiece | bpe ─ encode → ids, segments
//!                                              decode: ids → text
//! section    the bytes, as `tailtune convert` writes them out of a tokenizer.json
//! pieces     the vocabulary, front-coded
//! ranges     properties of characters
//! ```
//!
//! The ids are those of Hugging Face's `tokenizers`. Nothing is allocated and nothing copied: a text goes
//! through character by character, and only the word at hand lies in a workspace that the caller lends.
//!
//! ```no_run
//! use tailtune::image::Image;
//! use tailtune::text::Tokenizer;
//! # fn read(image: &Image<'_>) -> Result<(), Box<dyn std::error::Error>> {
//! let tokenizer = Tokenizer::parse(image.tokenizer())?;
//! let (mut work, mut ids, mut segments) = ([0; 256], [0; 32], [0; 32]);
//! let texts = ("turn the lamp on", None);
//! let encoded = tokenizer.encode(texts, true, &mut work, &mut ids, &mut segments)?;
//! let (ids, segments) = (&ids[..encoded.len], &segments[..encoded.len]);
//! # Ok(())
//! # }
//! ```

pub mod added;
mod bpe;
mod decode;
mod encode;
mod error;
pub mod normalize;
pub mod pieces;
pub mod ranges;
pub mod section;
pub mod split;
mod tokenizer;
mod tokens;
mod wordpiece;

pub use encode::Encoded;
pub use error::TextError;
pub use pieces::Piece;
pub use tokenizer::{Role, Tokenizer};
pub use tokens::Tokens;
