//! The tokenizer's section of an image: its bytes.
//!
//! ```text
//! record           [`SectionRecord`], 88 bytes
//! deltas           i32                      what rules add to characters
//! rules            range table              what becomes of a character (see `normalize`)
//! classes          range table              which class it has (see `split`)
//! marks            range table              its combining class, where order matters
//! singles          u16 sorted; u16          characters that become one other
//! listed           u32 sorted; u16          characters that become several; where each string ends
//! strings          UTF-8
//! template         4 bytes an item          of one text; of two
//! blocks           u32                      where each block of pieces starts
//! ids              u16                      the id of each piece, in the pieces' order
//! inverse          u16                      the place of each id; where the flag says so
//! bytes            u16, 256                 the token of each byte; of a byte-level model
//! merges           u16 left; right; merged  sorted by (left, right)
//! ranks            u16                      of each merge; where the flag says so
//! pieces           front-coded              (see `pieces`)
//! added            records                  tokens that are found in the text
//! ```
//!
//! A range table's entries are u32: 21 bits of code point, 11 of value. The tables fill the section
//! exactly. Ids are below 65,535, which stands for none.

use super::TextError;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of the section that this crate reads.
pub const VERSION: u8 = 1;
/// The most bytes of a prefix or a suffix.
pub const MAX_AFFIX: usize = 8;
/// The most characters of a word that WordPiece takes apart.
pub const MAX_WORD_CHARS: u16 = 1024;

/// WordPiece.
pub const MODEL_WORD_PIECE: u8 = 0;
/// Byte-pair encoding.
pub const MODEL_BPE: u8 = 1;
/// Whole words.
pub const MODEL_WORD_LEVEL: u8 = 2;

/// A model of bytes: the table of bytes is there, pieces are bytes.
pub const FLAG_BYTES: u8 = 1;
/// Unknown characters in a row are one token.
pub const FLAG_FUSE_UNKNOWN: u8 = 2;
/// The table of ranks is there.
pub const FLAG_RANKS: u8 = 4;
/// The inverse table is there.
pub const FLAG_INVERSE: u8 = 8;
/// A space goes before a text that begins with none.
pub const FLAG_SPACE_FIRST: u8 = 16;
/// WordPiece's decoder takes spaces before punctuation away.
pub const FLAG_CLEAN_UP: u8 = 32;

/// Pieces are joined by spaces.
pub const DECODE_SPACED: u8 = 0;
/// Pieces that begin with the prefix are joined, others by spaces.
pub const DECODE_WORD_PIECE: u8 = 1;
/// Pieces are joined.
pub const DECODE_JOINED: u8 = 2;
/// Pieces are joined; one that ends with the suffix ends a word.
pub const DECODE_SUFFIX: u8 = 3;

/// The first bytes of the section: see the [module](self).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SectionRecord {
    /// [`VERSION`].
    pub version: u8,
    /// `MODEL_`….
    pub model: u8,
    /// `FLAG_`….
    pub flags: u8,
    /// 0 by classes, 1 by GPT-2's pattern.
    pub splitter: u8,
    /// `DECODE_`….
    pub decoder: u8,
    /// The logarithm, to the base 2, of the pieces of a block: 0..=8.
    pub block_shift: u8,
    /// Bytes of the prefix.
    pub prefix_len: u8,
    /// Bytes of the suffix.
    pub suffix_len: u8,
    /// What begins a piece that continues a word.
    pub prefix: [u8; MAX_AFFIX],
    /// What ends a piece that ends a word.
    pub suffix: [u8; MAX_AFFIX],
    /// Characters of a word that WordPiece takes apart, at most [`MAX_WORD_CHARS`].
    pub max_word_chars: U16,
    /// Which texts give way: 0 the longer, 1 the first, 2 the second; from which end: 16 the left.
    pub truncation: u8,
    /// 0 none, 1 at the right, 2 at the left.
    pub padding: u8,
    /// The most tokens, special ones counted; 0 for no limit.
    pub max_length: U32,
    /// The length to pad to; 0 for that of the text.
    pub pad_length: U32,
    /// The padded length is a multiple of this; 0 for any.
    pub pad_multiple: U16,
    /// The segment of padding.
    pub pad_segment: u8,
    /// Added tokens.
    pub n_added: u8,
    /// Ids by role, in the order of [`Role`](super::Role).
    pub roles: [U16; 7],
    /// Items of the templates: of one text, of two.
    pub n_template: [u8; 2],
    /// One above the largest id.
    pub vocab_size: U32,
    /// Pieces.
    pub n_pieces: U32,
    /// Merges.
    pub n_merges: U32,
    /// Bytes of the front-coded pieces.
    pub pieces_len: U32,
    /// Deltas.
    pub n_deltas: U16,
    /// Entries of the rules.
    pub n_rules: U16,
    /// Entries of the classes.
    pub n_classes: U16,
    /// Entries of the marks.
    pub n_marks: U16,
    /// Characters that become one other.
    pub n_singles: U16,
    /// Characters that become several.
    pub n_listed: U16,
    /// Bytes of the strings that they become.
    pub strings_len: U16,
    /// Zero.
    pub reserved: U16,
}

/// One item of a template.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TemplateItem {
    /// 0 a special token, 1 the first text, 2 the second.
    pub kind: u8,
    /// The segment.
    pub segment: u8,
    /// The special token.
    pub id: U16,
}

/// One added token; its text follows.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddedRecord {
    /// The token.
    pub id: U16,
    /// `LEFT_STRIP`, `RIGHT_STRIP`, `SPECIAL`.
    pub flags: u8,
    /// Bytes of its text.
    pub len: u8,
}

/// Splits tables off, one after the other.
pub(super) struct Tables<'a> {
    pub rest: &'a [u8],
}

impl<'a> Tables<'a> {
    /// Splits a table of `n` elements off.
    pub(super) fn next<T: FromBytes + Immutable + KnownLayout>(
        &mut self,
        n: usize,
        field: &'static str,
    ) -> Result<&'a [T], TextError> {
        let found = n as u32;
        let bad = |_| TextError::Section { field, found };
        let (table, rest) = <[T]>::ref_from_prefix_with_elems(self.rest, n).map_err(bad)?;
        self.rest = rest;
        Ok(table)
    }
}
