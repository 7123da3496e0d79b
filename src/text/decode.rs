//! Ids → text.

use super::pieces::Piece;
use super::section::{DECODE_JOINED, DECODE_SUFFIX, DECODE_WORD_PIECE, FLAG_CLEAN_UP};
use super::tokenizer::Tokenizer;

/// What WordPiece's clean-up joins to the word before.
const JOINED: [&[u8]; 9] = [b".", b"?", b"!", b",", b"n't", b"'m", b"'s", b"'ve", b"'re"];

impl Tokenizer<'_> {
    /// Hands the text of ids to `sink`, part by part, as the tokenizer's decoder makes it; ids that are not
    /// in the vocabulary are left out, and special ones if `skip_special`. Of a byte-level model the parts
    /// are bytes that may begin or end within a character.
    pub fn decode(&self, ids: &[u32], skip_special: bool, mut sink: impl FnMut(&[u8])) {
        let kept = ids.iter().copied();
        let kept = kept.filter(|&id| !(skip_special && self.is_special(id)));
        let mut space = false;
        for (i, piece) in kept.filter_map(|id| self.piece(id)).enumerate() {
            let mut bytes = piece.as_bytes();
            match self.record.decoder {
                DECODE_JOINED => {}
                DECODE_SUFFIX => {
                    if space {
                        sink(b" ");
                    }
                    let ended = bytes.strip_suffix(self.suffix());
                    space = ended.is_some();
                    bytes = ended.unwrap_or(bytes);
                }
                DECODE_WORD_PIECE if i > 0 => bytes = self.continued(&piece, &mut sink),
                DECODE_WORD_PIECE => {}
                _ if i > 0 => sink(b" "),
                _ => {}
            }
            sink(bytes);
        }
    }

    fn suffix(&self) -> &[u8] {
        let r = self.record;
        r.suffix.get(..r.suffix_len.into()).unwrap_or(&[])
    }

    /// Hands out the space before a piece that begins a word; returns what follows.
    fn continued<'p>(&self, piece: &'p Piece, sink: &mut impl FnMut(&[u8])) -> &'p [u8] {
        let r = self.record;
        let prefix = r.prefix.get(..r.prefix_len.into()).unwrap_or(&[]);
        let bytes = piece.as_bytes();
        if let Some(rest) = bytes.strip_prefix(prefix) {
            return rest;
        }
        let clean_up = r.flags & FLAG_CLEAN_UP != 0;
        if !(clean_up && JOINED.iter().any(|joined| bytes.starts_with(joined))) {
            sink(b" ");
        }
        bytes
    }
}
