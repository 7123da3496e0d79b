//! tokenizer.json → the section of an image that the device reads (see [`tailtune::text::section`]).
//!
//! ```text
//! json        values with their names, for what is not supported
//! vocabulary  pieces, merges
//! classes     pre-tokenizers
//! normalizer  normalisers
//! template    post-processors, truncation, padding
//! ```

mod classes;
mod json;
mod normalizer;
mod template;
mod vocabulary;

use super::TextError;
use classes::Split;
use json::Json;
use normalizer::{Alphabet, Known, Tables, pages, ranges};
use std::collections::HashSet;
use std::path::Path;
use tailtune::image::{InputKind, ModelConfig};
use tailtune::text::added::{LEFT_STRIP, RIGHT_STRIP, SPECIAL};
use tailtune::text::normalize::KEEP;
use tailtune::text::pieces::NO_ID;
use tailtune::text::section::*;
use template::Templates;
use tokenizers::Tokenizer;
use vocabulary::{MergeTables, Vocabulary, byte_tokens, id_of};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Which characters the tables know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Coverage {
    /// Those of the scripts that the vocabulary uses, by pages of 256 code points.
    #[default]
    Vocabulary,
    /// All of Unicode.
    Full,
}

/// How a section is written.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which characters the tables know.
    pub coverage: Coverage,
    /// The pieces of a block: two to this power.
    pub block_shift: u8,
    /// Whether pieces are found by their ids at once: for a tokenizer of what a decoder writes. Without the
    /// table, which has two bytes an id, they are searched.
    pub inverse: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            coverage: Coverage::default(),
            block_shift: 4,
            inverse: false,
        }
    }
}

/// A section, and what its parts take.
#[derive(Debug, Clone)]
pub struct Section {
    /// The section.
    pub bytes: Vec<u8>,
    /// The bytes of its parts.
    pub sizes: Vec<(&'static str, usize)>,
}

impl Section {
    fn add<T: IntoBytes + Immutable>(&mut self, part: &'static str, elements: &[T]) {
        let bytes = elements.as_bytes();
        self.bytes.extend_from_slice(bytes);
        match self.sizes.iter_mut().find(|(name, _)| *name == part) {
            Some((_, n)) => *n += bytes.len(),
            None => self.sizes.push((part, bytes.len())),
        }
    }
}

/// The sections of a model directory; empty where it has no such file.
#[derive(Debug, Clone, Default)]
pub struct Sections {
    /// Of tokenizer.json: what the model reads.
    pub tokenizer: Vec<u8>,
    /// Of target_tokenizer.json: what its decoder writes.
    pub target: Vec<u8>,
}

impl Sections {
    /// Converts the tokenizers of a model that reads tokens; of others there are none.
    ///
    /// # Errors
    /// [`TextError`]: a file cannot be read, or holds what a device cannot do.
    pub fn of_model(
        dir: &Path,
        config: &ModelConfig,
        coverage: Coverage,
    ) -> Result<Self, TextError> {
        if !matches!(config.input, InputKind::Tokens { .. }) {
            return Ok(Self::default());
        }
        let of = |name: &str, inverse: bool| {
            let path = dir.join(name);
            if !path.is_file() {
                return Ok::<_, TextError>(Vec::new());
            }
            let options = Options {
                coverage,
                inverse,
                ..Options::default()
            };
            let named = |e: TextError| match e {
                TextError::Unsupported(what) => {
                    let hint = "change the file, or leave it out with --no-tokenizer";
                    TextError::Unsupported(format!("{what} ({}): {hint}", path.display()))
                }
                other => other,
            };
            Ok(section(&super::tokenizer::read(&path)?, options)
                .map_err(named)?
                .bytes)
        };
        Ok(Self {
            tokenizer: of("tokenizer.json", false)?,
            target: of("target_tokenizer.json", true)?,
        })
    }
}

/// Reads a tokenizer.json.
///
/// # Errors
/// [`TextError::Tokenizer`] names the file.
pub fn read(path: &Path) -> Result<Tokenizer, TextError> {
    Tokenizer::from_file(path).map_err(|e| TextError::Tokenizer(format!("{}: {e}", path.display())))
}

/// Converts a tokenizer.
///
/// # Errors
/// [`TextError::Unsupported`] names the part of the tokenizer that a device cannot do.
pub fn section(tokenizer: &Tokenizer, options: Options) -> Result<Section, TextError> {
    let fail = |e: &dyn std::fmt::Display| TextError::Tokenizer(e.to_string());
    let text = tokenizer.to_string(false).map_err(|e| fail(&e))?;
    let value = serde_json::from_str(&text).map_err(|e| fail(&e))?;
    let json = Json::new(&value, "tokenizer");
    let model = json.get("model");
    let pre_tokenizer = json.get("pre_tokenizer");
    let split = Split::new(pre_tokenizer, tokenizer.get_pre_tokenizer())?;

    let mut record = SectionRecord::new_zeroed();
    record.version = VERSION;
    record.block_shift = options.block_shift;
    record.splitter = split.gpt2.into();
    read_model(model, &split, &mut record)?;
    let vocabulary = Vocabulary::read(model.get("vocab"), split.byte_level)?;
    read_decoder(json.get("decoder"), &split, &mut record)?;
    let added = added(json, split.byte_level, &mut record)?;
    roles(json, tokenizer, &mut record)?;
    template::truncation(json.get("truncation"), &mut record)?;
    if let Some(pad) = template::padding(json.get("padding"), &mut record)? {
        record.roles[0] = U16::new(pad);
    }
    let templates = Templates::read(json.get("post_processor"))?;
    let prefix = model.get("continuing_subword_prefix");
    let merges = match record.model {
        MODEL_BPE => MergeTables::read(model.get("merges"), &vocabulary, prefix.str()?)?,
        _ => MergeTables::default(),
    };
    let (tables, classes) = characters(json, tokenizer, &vocabulary, &split, options, &record)?;
    record.flags |= merges.flag;
    record.flags |= if options.inverse { FLAG_INVERSE } else { 0 };
    record.flags |= if split.space_first {
        FLAG_SPACE_FIRST
    } else {
        0
    };
    let all = tokenizer.get_vocab(true);
    let largest = all.values().max().copied().unwrap_or(0);
    record.vocab_size = U32::new(u32::from(id_of(largest.into())?) + 1);
    write(
        record,
        &vocabulary,
        &merges,
        &templates,
        &tables,
        &classes,
        &added,
    )
}

/// Reads what is the model's own.
fn read_model(model: Json<'_>, split: &Split, record: &mut SectionRecord) -> Result<(), TextError> {
    record.model = match model.kind() {
        "WordPiece" => MODEL_WORD_PIECE,
        "BPE" => MODEL_BPE,
        "WordLevel" => MODEL_WORD_LEVEL,
        _ => return model.unsupported(),
    };
    for key in ["byte_fallback", "ignore_merges"] {
        if model.get(key).is_true() {
            return model.get(key).unsupported();
        }
    }
    let dropout = model.get("dropout");
    if !dropout.is_null() {
        return dropout.unsupported();
    }
    if split.byte_level {
        if record.model != MODEL_BPE {
            let said = format!("pre_tokenizer ByteLevel with {}", model.kind());
            return Err(TextError::Unsupported(said));
        }
        record.flags |= FLAG_BYTES;
    }
    if model.get("fuse_unk").is_true() {
        record.flags |= FLAG_FUSE_UNKNOWN;
    }
    let affixes = [
        (
            "continuing_subword_prefix",
            &mut record.prefix,
            &mut record.prefix_len,
        ),
        (
            "end_of_word_suffix",
            &mut record.suffix,
            &mut record.suffix_len,
        ),
    ];
    for (key, bytes, len) in affixes {
        let affix = model.get(key);
        let text = affix.str()?;
        let Some(room) = bytes.get_mut(..text.len()) else {
            return affix.unsupported();
        };
        if !text.is_empty() && split.byte_level {
            return affix.unsupported();
        }
        room.copy_from_slice(text.as_bytes());
        *len = text.len() as u8;
    }
    let most = model.get("max_input_chars_per_word");
    record.max_word_chars = U16::new(most.small::<u16>()?.max(1));
    match record.max_word_chars.get() {
        n if n > MAX_WORD_CHARS => most.unsupported(),
        _ => Ok(()),
    }
}

fn read_decoder(
    json: Json<'_>,
    split: &Split,
    record: &mut SectionRecord,
) -> Result<(), TextError> {
    record.decoder = match json.kind() {
        "ByteLevel" if split.byte_level => DECODE_JOINED,
        _ if split.byte_level => return json.unsupported(),
        "" => DECODE_SPACED,
        "Fuse" => DECODE_JOINED,
        "WordPiece" => {
            let (prefix, ours) = (json.get("prefix"), record.prefix);
            if Some(prefix.str()?.as_bytes()) != ours.get(..record.prefix_len.into()) {
                return prefix.unsupported();
            }
            if json.get("cleanup").is_true() {
                record.flags |= FLAG_CLEAN_UP;
            }
            DECODE_WORD_PIECE
        }
        "BPEDecoder" => {
            let (suffix, ours) = (json.get("suffix"), record.suffix);
            if Some(suffix.str()?.as_bytes()) != ours.get(..record.suffix_len.into()) {
                return suffix.unsupported();
            }
            DECODE_SUFFIX
        }
        _ => return json.unsupported(),
    };
    Ok(())
}

/// Returns the records of added tokens.
fn added(
    json: Json<'_>,
    byte_level: bool,
    record: &mut SectionRecord,
) -> Result<Vec<u8>, TextError> {
    let mut bytes = Vec::new();
    let mut n = 0u8;
    let normalized = |token: &Json<'_>| token.get("normalized").is_true();
    let tokens: Vec<_> = json.get("added_tokens").array()?.collect();
    let in_normalized = tokens.iter().filter(|token| normalized(token)).count();
    for token in &tokens {
        let content = token.get("content").str()?;
        let named = |why: &str| TextError::Unsupported(format!("added token {content:?}: {why}"));
        if token.get("single_word").is_true() {
            return Err(named("single_word"));
        }
        // The crate looks for these after the others, in what it has normalised.
        if normalized(token) && (!json.get("normalizer").is_null() || in_normalized < tokens.len())
        {
            return Err(named("found in normalized text"));
        }
        if byte_level && !content.is_ascii() {
            return Err(named("not ASCII, in a byte-level vocabulary"));
        }
        let len = u8::try_from(content.len()).map_err(|_| named("longer than 255 bytes"))?;
        n = n
            .checked_add(1)
            .ok_or_else(|| named("more than 255 of them"))?;
        let flag = |key, flag| if token.get(key).is_true() { flag } else { 0 };
        let added = AddedRecord {
            id: U16::new(id_of(token.get("id").number()?)?),
            flags: flag("lstrip", LEFT_STRIP)
                | flag("rstrip", RIGHT_STRIP)
                | flag("special", SPECIAL),
            len,
        };
        bytes.extend_from_slice(added.as_bytes());
        bytes.extend_from_slice(content.as_bytes());
    }
    record.n_added = n;
    Ok(bytes)
}

/// The names that special tokens have, by role.
const ROLES: [&[&str]; 7] = [
    &["[PAD]", "<pad>", "<PAD>", "<|pad|>"],
    &["[UNK]", "<unk>", "<UNK>"],
    &["[CLS]", "<cls>", "<s>"],
    &["[SEP]", "<sep>", "</s>"],
    &["[MASK]", "<mask>"],
    &[
        "[BOS]",
        "<bos>",
        "<s>",
        "<start>",
        "[START]",
        "<sos>",
        "<|startoftext|>",
    ],
    &["[EOS]", "<eos>", "</s>", "<end>", "[END]", "<|endoftext|>"],
];

fn roles(
    json: Json<'_>,
    tokenizer: &Tokenizer,
    record: &mut SectionRecord,
) -> Result<(), TextError> {
    for (role, names) in record.roles.iter_mut().zip(ROLES) {
        let id = names.iter().find_map(|name| tokenizer.token_to_id(name));
        *role = U16::new(id.map_or(Ok(NO_ID), |id| id_of(id.into()))?);
    }
    let unknown = json.get("model").get("unk_token");
    let id = match unknown.str()? {
        // Without one, unknown characters of BPE are left out: no name must make one.
        "" => NO_ID,
        name => tokenizer
            .token_to_id(name)
            .map_or(Ok(NO_ID), |id| id_of(id.into()))?,
    };
    record.roles[1] = U16::new(id);
    Ok(())
}

/// Returns the tables of the normaliser and of the classes.
fn characters(
    json: Json<'_>,
    tokenizer: &Tokenizer,
    vocabulary: &Vocabulary,
    split: &Split,
    options: Options,
    record: &SectionRecord,
) -> Result<(Tables, Vec<u32>), TextError> {
    let known = Known::new(json.get("normalizer"), tokenizer.get_normalizer())?;
    let pieces = vocabulary
        .pieces
        .keys()
        .filter_map(|p| std::str::from_utf8(p).ok());
    let chars: HashSet<char> = pieces.flat_map(str::chars).collect();
    let pages = (options.coverage == Coverage::Vocabulary).then(|| pages(&chars, &known));
    let here = |c: u32| pages.as_ref().is_none_or(|pages| pages.contains(&(c >> 8)));
    let classes = split.classes.iter().enumerate();
    let classes = classes.map(|(c, &class)| (c as u32, u32::from(class)));
    let classes = ranges(classes.filter(|&(c, class)| class != KEEP && here(c)));
    let alphabet = Alphabet {
        chars,
        unknown_words: record.model != MODEL_BPE,
    };
    Ok((known.tables(pages.as_ref(), &alphabet, split), classes))
}

/// Puts the section together, and proves that a device takes it.
fn write(
    mut record: SectionRecord,
    vocabulary: &Vocabulary,
    merges: &MergeTables,
    templates: &Templates,
    tables: &Tables,
    classes: &[u32],
    added: &[u8],
) -> Result<Section, TextError> {
    let coded = vocabulary.front_coded(record.block_shift);
    let strings: String = tables.listed.values().map(String::as_str).collect();
    let count = |n: usize, what: &str| {
        let n = u16::try_from(n).map(U16::new);
        n.map_err(|_| TextError::Unsupported(format!("{what} in more than 65,535 entries")))
    };
    record.n_deltas = count(tables.deltas.len(), "normalizer")?;
    record.n_rules = count(tables.rules.len(), "normalizer")?;
    record.n_classes = count(classes.len(), "pre_tokenizer")?;
    record.n_marks = count(tables.marks.len(), "normalizer")?;
    record.n_singles = count(tables.singles.len(), "normalizer")?;
    record.n_listed = count(tables.listed.len(), "normalizer")?;
    record.strings_len = count(strings.len(), "normalizer")?;
    record.n_pieces = U32::new(coded.ids.len() as u32);
    record.n_merges = U32::new(merges.columns[0].len() as u32);
    record.pieces_len = U32::new(coded.bytes.len() as u32);
    for (n, items) in record.n_template.iter_mut().zip(&templates.0) {
        let len = u8::try_from(items.len());
        *n = len.map_err(|_| TextError::Unsupported("post_processor of 256 items".into()))?;
    }
    let mut section = Section {
        bytes: Vec::new(),
        sizes: Vec::new(),
    };
    section.add("record", &[record]);
    section.add("normalization", &tables.deltas);
    section.add("normalization", &tables.rules);
    section.add("classes", classes);
    section.add("normalization", &tables.marks);
    let (keys, values): (Vec<u16>, Vec<u16>) = tables.singles.iter().unzip();
    section.add("normalization", &keys);
    section.add("normalization", &values);
    let keys: Vec<u32> = tables.listed.keys().copied().collect();
    section.add("normalization", &keys);
    let ends = tables.listed.values().scan(0, |end, s| {
        *end += s.len() as u16;
        Some(*end)
    });
    section.add("normalization", &ends.collect::<Vec<u16>>());
    section.add("normalization", strings.as_bytes());
    for items in &templates.0 {
        section.add("record", items);
    }
    section.add("pieces", &coded.blocks);
    section.add("ids", &coded.ids);
    if record.flags & FLAG_INVERSE != 0 {
        let mut inverse = vec![NO_ID; record.vocab_size.get() as usize];
        for (place, &id) in coded.ids.iter().enumerate() {
            inverse[usize::from(id)] = place as u16;
        }
        section.add("ids", &inverse);
    }
    if record.flags & FLAG_BYTES != 0 {
        section.add("merges", &byte_tokens(vocabulary));
    }
    for column in &merges.columns {
        section.add("merges", column);
    }
    section.add("pieces", &coded.bytes);
    section.add("record", added);
    match tailtune::text::Tokenizer::parse(&section.bytes) {
        Ok(_) => Ok(section),
        Err(e) => Err(TextError::Tokenizer(format!(
            "a device would refuse it: {e}"
        ))),
    }
}
