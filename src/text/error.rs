//! Why text could not become token ids.

use core::fmt;

/// Why a tokenizer's section was refused, or a text not encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TextError {
    /// The section was written by a newer (or an unknown) format; empty bytes are no section.
    Version {
        /// The version found.
        found: u8,
        /// The one that this crate reads.
        supported: u8,
    },
    /// A value of the section is out of range, or a table does not fit or contradicts another.
    Section {
        /// The field's name.
        field: &'static str,
        /// What it holds.
        found: u32,
    },
    /// The workspace is too small for this tokenizer.
    Workspace {
        /// Words of 32 bits that it needs.
        needed: usize,
        /// Words lent.
        found: usize,
    },
    /// The segments' buffer is neither empty nor as long as that of the ids.
    Segments {
        /// Elements that it needs.
        needed: usize,
        /// Elements lent.
        found: usize,
    },
    /// A word has more symbols than the workspace holds: only of models that merge.
    WordTooLong {
        /// Symbols that the workspace holds.
        capacity: usize,
    },
    /// A word is not in the vocabulary, and the tokenizer has no piece for unknown ones.
    NoUnknown,
    /// The text to truncate is too short, or the buffer too small for the special tokens alone.
    CannotTruncate {
        /// Tokens that would have to fit.
        needed: usize,
        /// Tokens that there is room for.
        room: usize,
    },
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found, supported } => {
                write!(
                    f,
                    "tokenizer section of version {found}, this build reads version {supported}"
                )
            }
            Self::Section { field, found } => {
                write!(f, "tokenizer section: {field} = {found} is out of range")
            }
            Self::Workspace { needed, found } => {
                write!(
                    f,
                    "the workspace has {found} words, the tokenizer needs {needed}"
                )
            }
            Self::Segments { needed, found } => {
                write!(f, "{found} segments lent, 0 or {needed} needed")
            }
            Self::WordTooLong { capacity } => {
                write!(
                    f,
                    "a word has more than the {capacity} symbols that the workspace holds"
                )
            }
            Self::NoUnknown => {
                write!(
                    f,
                    "a word is not in the vocabulary, which has no unknown piece"
                )
            }
            Self::CannotTruncate { needed, room } => {
                write!(
                    f,
                    "{needed} tokens cannot be cut to the {room} that there is room for"
                )
            }
        }
    }
}

impl core::error::Error for TextError {}
