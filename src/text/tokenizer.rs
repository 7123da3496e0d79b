//! The section, checked and ready for use.

use super::TextError;
use super::added::Added;
use super::bpe::{Bpe, Merges};
use super::normalize::Normalizer;
use super::pieces::{NO_ID, Piece, Pieces};
use super::ranges::Ranges;
use super::section::{self, MAX_AFFIX, MAX_WORD_CHARS, SectionRecord, Tables, TemplateItem};
use super::split::{Splitter, Words};
use super::tokens::Tokens;
use super::wordpiece::{WordLevel, WordPiece};
use zerocopy::FromBytes;

/// What a special token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Fills sequences up.
    Pad,
    /// Stands for what is not in the vocabulary.
    Unknown,
    /// Begins an encoder's input: its output is the sentence's.
    Class,
    /// Ends a sentence.
    Separator,
    /// Hides a piece.
    Mask,
    /// Begins what a decoder writes.
    Start,
    /// Ends what a decoder writes.
    End,
}

/// The way from words to ids.
#[derive(Debug, Clone, Copy)]
pub(super) enum Model<'a> {
    WordPiece(WordPiece<'a>),
    Bpe(Bpe<'a>),
    WordLevel(WordLevel<'a>),
}

/// A tokenizer whose tables lie where they are: in flash, as [`Image::tokenizer`] returns them.
///
/// [`Image::tokenizer`]: crate::image::Image::tokenizer
#[derive(Debug, Clone, Copy)]
pub struct Tokenizer<'a> {
    pub(super) record: &'a SectionRecord,
    pub(super) model: Model<'a>,
    pub(super) pieces: Pieces<'a>,
    pub(super) added: Added<'a>,
    /// The templates of one text and of two.
    pub(super) templates: [&'a [TemplateItem]; 2],
    normalizer: Normalizer<'a>,
    classes: Ranges<'a>,
    splitter: Splitter,
}

fn bad(field: &'static str, found: impl Into<u32>) -> TextError {
    let found = found.into();
    TextError::Section { field, found }
}

impl<'a> Tokenizer<'a> {
    /// Checks a section's bytes: in a time that grows with their number, as an image's checksum does.
    ///
    /// # Errors
    /// [`TextError::Version`], or [`TextError::Section`] with the first field or table that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TextError> {
        let found = bytes.first().copied().unwrap_or(0);
        if found != section::VERSION {
            let supported = section::VERSION;
            return Err(TextError::Version { found, supported });
        }
        let short = |_| bad("length", bytes.len() as u32);
        let (record, rest) = SectionRecord::ref_from_prefix(bytes).map_err(short)?;
        let splitter = check(record)?;
        let t = &mut Tables { rest };
        let normalizer = Normalizer {
            deltas: t.next(record.n_deltas.get().into(), "deltas")?,
            rules: Ranges::parse(t.next(record.n_rules.get().into(), "rules")?, "rules")?,
            marks: Ranges::parse(&[], "marks")?,
            singles: (&[], &[]),
            listed: &[],
            ends: &[],
            strings: "",
        };
        let classes = t.next(record.n_classes.get().into(), "classes")?;
        let classes = Ranges::parse(classes, "classes")?;
        let normalizer = strings(normalizer, record, t)?;
        let templates = [
            template(t.next(record.n_template[0].into(), "template")?, 1)?,
            template(t.next(record.n_template[1].into(), "template")?, 2)?,
        ];
        let (pieces, model) = model(record, t)?;
        let added = Added::parse(t.rest, record.n_added)?;
        Ok(Self {
            record,
            model,
            pieces,
            added,
            templates,
            normalizer,
            classes,
            splitter,
        })
    }

    /// Returns the least workspace, in words of 32 bits. A model that merges takes longer words with more:
    /// words of up to half as many symbols.
    pub const fn workspace_len(&self) -> usize {
        match &self.model {
            Model::WordPiece(model) => model.workspace_len(),
            Model::WordLevel(_) => WordLevel::WORKSPACE,
            Model::Bpe(_) => Bpe::WORKSPACE,
        }
    }

    /// Returns the model's name.
    pub const fn model_name(&self) -> &'static str {
        match &self.model {
            Model::WordPiece(_) => "WordPiece",
            Model::WordLevel(_) => "WordLevel",
            Model::Bpe(_) => "BPE",
        }
    }

    /// Returns one above the largest id.
    pub fn vocab_size(&self) -> usize {
        self.record.vocab_size.get() as usize
    }

    /// Returns the special token of a role, if there is one.
    pub fn special(&self, role: Role) -> Option<u32> {
        let id = self.record.roles.get(role as usize)?.get();
        (id != NO_ID).then_some(id.into())
    }

    /// Returns an id's piece.
    pub fn piece(&self, id: u32) -> Option<Piece> {
        let id = u16::try_from(id).ok()?;
        if let Some(token) = self.added.token(id) {
            let mut piece = Piece::EMPTY;
            piece.push(0, token.text.as_bytes());
            return Some(piece);
        }
        self.pieces.piece(id)
    }

    /// Returns whether an id is of a special token.
    pub fn is_special(&self, id: u32) -> bool {
        let token = u16::try_from(id).ok().and_then(|id| self.added.token(id));
        token.is_some_and(|token| token.flags & super::added::SPECIAL != 0)
    }

    /// Returns a text's tokens, one after the other. The workspace is only needed meanwhile: the arena's
    /// memory serves.
    ///
    /// # Errors
    /// [`TextError::Workspace`]; the tokens are errors where a word has none.
    pub fn tokens<'t, 'w>(
        &self,
        text: &'t str,
        work: &'w mut [u32],
    ) -> Result<Tokens<'t, 'w>, TextError>
    where
        'a: 't,
    {
        let (needed, found) = (self.workspace_len(), work.len());
        match found < needed {
            true => Err(TextError::Workspace { needed, found }),
            false => Ok(Tokens::new(*self, text, work)),
        }
    }

    /// Returns the words of a text that holds no added token.
    pub(super) fn words<'t>(&self, text: &'t str) -> Words<'t>
    where
        'a: 't,
    {
        let space_first = self.record.flags & section::FLAG_SPACE_FIRST != 0;
        let classes: Ranges<'t> = self.classes;
        Words::new(&self.normalizer, classes, self.splitter, space_first, text)
    }
}

/// Checks the numbers that need no table.
fn check(r: &SectionRecord) -> Result<Splitter, TextError> {
    let splitter = match r.splitter {
        0 => Splitter::Classes,
        1 => Splitter::Gpt2,
        other => return Err(bad("splitter", other)),
    };
    if r.decoder > section::DECODE_SUFFIX {
        return Err(bad("decoder", r.decoder));
    }
    if r.block_shift > 8 {
        return Err(bad("block_shift", r.block_shift));
    }
    for (field, len) in [("prefix", r.prefix_len), ("suffix", r.suffix_len)] {
        if usize::from(len) > MAX_AFFIX {
            return Err(bad(field, len));
        }
    }
    if !(1..=MAX_WORD_CHARS).contains(&r.max_word_chars.get()) {
        return Err(bad("max_word_chars", r.max_word_chars.get()));
    }
    if !matches!(r.truncation, 0..=2 | 16..=18) {
        return Err(bad("truncation", r.truncation));
    }
    if r.padding > 2 {
        return Err(bad("padding", r.padding));
    }
    let ids = u32::from(NO_ID);
    for (field, n) in [
        ("vocab_size", r.vocab_size),
        ("n_pieces", r.n_pieces),
        ("n_merges", r.n_merges),
    ] {
        if n.get() > ids {
            return Err(bad(field, n.get()));
        }
    }
    Ok(splitter)
}

/// Adds the tables of single characters and strings.
fn strings<'a>(
    normalizer: Normalizer<'a>,
    record: &SectionRecord,
    t: &mut Tables<'a>,
) -> Result<Normalizer<'a>, TextError> {
    let (n_marks, n_singles) = (record.n_marks.get().into(), record.n_singles.get().into());
    let n_listed = record.n_listed.get().into();
    let marks = Ranges::parse(t.next(n_marks, "marks")?, "marks")?;
    let singles = (t.next(n_singles, "singles")?, t.next(n_singles, "singles")?);
    let (listed, ends) = (t.next(n_listed, "listed")?, t.next(n_listed, "listed")?);
    let strings = t.next(record.strings_len.get().into(), "strings")?;
    let not_utf8 = |_| bad("strings", record.strings_len.get());
    Ok(Normalizer {
        marks,
        singles,
        listed,
        ends,
        strings: core::str::from_utf8(strings).map_err(not_utf8)?,
        ..normalizer
    })
}

/// Checks a template of `texts` texts: each once, and nothing else but special tokens. No template stands
/// for the texts alone.
fn template(items: &[TemplateItem], texts: u8) -> Result<&[TemplateItem], TextError> {
    for text in 1..=2 {
        let n = items.iter().filter(|item| item.kind == text).count();
        let wanted = usize::from(text <= texts && !items.is_empty());
        if n != wanted {
            return Err(bad("template", text));
        }
    }
    match items.iter().find(|item| item.kind > 2) {
        Some(item) => Err(bad("template", item.kind)),
        None => Ok(items),
    }
}

/// Reads vocabulary and model.
fn model<'a>(
    r: &'a SectionRecord,
    t: &mut Tables<'a>,
) -> Result<(Pieces<'a>, Model<'a>), TextError> {
    let n_pieces = r.n_pieces.get() as usize;
    let has = |flag: u8, n: usize| if r.flags & flag != 0 { n } else { 0 };
    let pieces = Pieces {
        blocks: t.next(n_pieces.div_ceil(1 << r.block_shift), "piece blocks")?,
        ids: t.next(n_pieces, "ids")?,
        inverse: t.next(
            has(section::FLAG_INVERSE, r.vocab_size.get() as usize),
            "inverse",
        )?,
        bytes: &[],
        shift: r.block_shift,
        longest: 0,
    };
    let bytes = t.next(has(section::FLAG_BYTES, 256), "bytes")?;
    let n_merges = r.n_merges.get() as usize;
    let merges = Merges {
        left: t.next(n_merges, "merges")?,
        right: t.next(n_merges, "merges")?,
        merged: t.next(n_merges, "merges")?,
        ranks: t.next(has(section::FLAG_RANKS, n_merges), "ranks")?,
    };
    let pieces = Pieces {
        bytes: t.next(r.pieces_len.get() as usize, "pieces")?,
        ..pieces
    };
    let pieces = pieces.checked()?;
    let prefix = r.prefix.get(..r.prefix_len.into()).unwrap_or(&[]);
    let suffix = r.suffix.get(..r.suffix_len.into()).unwrap_or(&[]);
    let unknown = r.roles.get(Role::Unknown as usize);
    let unknown = unknown.map_or(NO_ID, |id| id.get());
    let model = match r.model {
        section::MODEL_WORD_PIECE => Model::WordPiece(WordPiece {
            pieces,
            prefix,
            unknown,
            max_chars: r.max_word_chars.get().into(),
        }),
        section::MODEL_BPE => Model::Bpe(Bpe {
            pieces,
            bytes,
            merges,
            prefix,
            suffix,
            unknown,
            fuse: r.flags & section::FLAG_FUSE_UNKNOWN != 0,
        }),
        section::MODEL_WORD_LEVEL => Model::WordLevel(WordLevel { pieces, unknown }),
        other => return Err(bad("model", other)),
    };
    Ok((pieces, model))
}
