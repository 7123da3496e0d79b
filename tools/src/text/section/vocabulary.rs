//! The vocabulary's tables: front-coded pieces with their ids, merges, tokens of bytes.

use super::json::Json;
use crate::text::TextError;
use std::collections::{BTreeMap, HashMap};
use tailtune::text::pieces::{MAX_PIECE, NO_ID};
use tailtune::text::section::FLAG_RANKS;

/// Pieces by their bytes.
#[derive(Debug, Default)]
pub struct Vocabulary {
    /// Piece → id, in the order in which they are written.
    pub pieces: BTreeMap<Vec<u8>, u16>,
    /// The pieces as the file spells them.
    pub spelled: HashMap<String, u16>,
}

/// The front-coded table.
#[derive(Debug, Default)]
pub struct FrontCoded {
    /// Where each block starts.
    pub blocks: Vec<u32>,
    /// The ids in the pieces' order.
    pub ids: Vec<u16>,
    /// The entries.
    pub bytes: Vec<u8>,
}

/// Returns an id that fits the section.
pub fn id_of(id: u64) -> Result<u16, TextError> {
    match u16::try_from(id) {
        Ok(id) if id != NO_ID => Ok(id),
        _ => Err(TextError::Unsupported(format!(
            "token id {id}: at most {} fit an image",
            NO_ID - 1
        ))),
    }
}

impl Vocabulary {
    /// Reads `model.vocab`; of a byte-level model, pieces become the bytes that they stand for.
    pub fn read(vocab: Json<'_>, byte_level: bool) -> Result<Self, TextError> {
        let mut read = Self::default();
        let bytes = byte_level.then(bytes_of_characters);
        for (piece, id) in vocab.object()? {
            let id = id_of(id.number()?)?;
            let spelled = match &bytes {
                Some(bytes) => decoded(piece, bytes),
                None => piece.as_bytes().to_vec(),
            };
            if spelled.len() > MAX_PIECE || spelled.is_empty() {
                return Err(TextError::Unsupported(format!(
                    "piece {piece:?} of {} bytes: 1 to {MAX_PIECE} fit an image",
                    spelled.len()
                )));
            }
            if let Some(other) = read.pieces.insert(spelled, id) {
                return Err(TextError::Unsupported(format!(
                    "piece {piece:?}: ids {other} and {id} stand for the same bytes"
                )));
            }
            read.spelled.insert(piece.to_owned(), id);
        }
        Ok(read)
    }

    /// Front-codes the pieces in blocks of `1 << shift`.
    pub fn front_coded(&self, shift: u8) -> FrontCoded {
        let mut out = FrontCoded::default();
        let mut before: &[u8] = &[];
        for (i, (piece, &id)) in self.pieces.iter().enumerate() {
            if i.trailing_zeros() >= shift.into() {
                out.blocks.push(out.bytes.len() as u32);
                before = &[];
            }
            let shared = before.iter().zip(piece).take_while(|(a, b)| a == b).count();
            let counts = [shared, piece.len() - shared];
            let nibble = |n: usize| n.min(15) as u8;
            out.bytes.push(nibble(counts[0]) << 4 | nibble(counts[1]));
            out.bytes
                .extend(counts.iter().filter(|&&n| n >= 15).map(|&n| n as u8));
            out.bytes.extend_from_slice(&piece[shared..]);
            out.ids.push(id);
            before = piece;
        }
        out
    }
}

/// The merges' tables.
#[derive(Debug, Default)]
pub struct MergeTables {
    /// Left, right and merged ids; ranks, if the flag says that they are needed.
    pub columns: [Vec<u16>; 4],
    /// [`FLAG_RANKS`] or 0.
    pub flag: u8,
}

impl MergeTables {
    /// Reads `model.merges`, in the order of their ranks; `prefix` is not repeated in what is merged.
    pub fn read(merges: Json<'_>, vocab: &Vocabulary, prefix: &str) -> Result<Self, TextError> {
        let id = |piece: &str| {
            let id = vocab.spelled.get(piece).copied();
            id.ok_or_else(|| TextError::Tokenizer(format!("{piece:?} of a merge is no piece")))
        };
        let mut pairs: BTreeMap<(u16, u16), (u16, usize)> = BTreeMap::new();
        for (rank, pair) in merges.array()?.enumerate() {
            let mut parts = pair.array()?;
            let (Some(a), Some(b)) = (parts.next(), parts.next()) else {
                return Err(TextError::Tokenizer(format!("merge {rank} is no pair")));
            };
            let (a, b) = (a.str()?, b.str()?);
            let merged = format!("{a}{}", b.get(prefix.len()..).unwrap_or(""));
            pairs.insert((id(a)?, id(b)?), (id(&merged)?, rank));
        }
        if pairs.len() >= usize::from(NO_ID) {
            return Err(TextError::Unsupported(format!("{} merges", pairs.len())));
        }
        let mut by_rank: Vec<_> = pairs.values().collect();
        by_rank.sort_by_key(|(_, rank)| *rank);
        let ordered = by_rank.is_sorted_by(|a, b| a.0 < b.0);
        let mut out = Self {
            flag: if ordered { 0 } else { FLAG_RANKS },
            ..Self::default()
        };
        for (&(left, right), &(merged, rank)) in &pairs {
            let ranks = (!ordered).then_some(rank as u16);
            for (column, x) in
                out.columns
                    .iter_mut()
                    .zip([Some(left), Some(right), Some(merged), ranks])
            {
                column.extend(x);
            }
        }
        Ok(out)
    }
}

/// Returns the tokens of the 256 bytes, of a byte-level model.
pub fn byte_tokens(vocab: &Vocabulary) -> Vec<u16> {
    let token = |byte: u8| vocab.pieces.get(&vec![byte]).copied();
    (0..=255).map(|byte| token(byte).unwrap_or(NO_ID)).collect()
}

/// The byte that each character stands for in byte-level vocabularies (GPT-2's `bytes_to_unicode`).
fn bytes_of_characters() -> HashMap<char, u8> {
    let plain = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = (0x100..).filter_map(char::from_u32);
    let spelled = |byte: u8| match plain(byte) {
        true => char::from(byte),
        false => others.next().expect("there are characters above"),
    };
    (0..=255u8).map(spelled).zip(0..=255).collect()
}

/// Returns what a piece stands for: itself, if some character of it stands for no byte.
fn decoded(piece: &str, bytes: &HashMap<char, u8>) -> Vec<u8> {
    let all: Option<Vec<u8>> = piece.chars().map(|c| bytes.get(&c).copied()).collect();
    all.unwrap_or_else(|| piece.as_bytes().to_vec())
}
