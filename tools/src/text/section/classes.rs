//! Which class a pre-tokenizer puts each character in: for those that look at single characters, found by
//! asking the `tokenizers` crate about every one.

use super::json::Json;
use crate::text::TextError;
use rayon::prelude::*;
use tailtune::text::split::{ALONE, OTHER, WHITESPACE, WORD};
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
};

/// Code points, and the class of each; surrogates have class [`WORD`].
pub const CODE_POINTS: usize = 0x11_0000;

/// How words are found.
#[derive(Debug)]
pub struct Split {
    /// Whether GPT-2's pattern finds them.
    pub gpt2: bool,
    /// Whether the model is one of bytes.
    pub byte_level: bool,
    /// Whether a space goes before a text.
    pub space_first: bool,
    /// The class of each code point; empty where all are [`WORD`].
    pub classes: Vec<u8>,
}

impl Split {
    /// Returns the class of a character.
    pub fn class(&self, c: char) -> u32 {
        self.classes.get(c as usize).map_or(WORD, |&k| k.into())
    }

    /// Returns how a pre-tokenizer splits.
    pub fn new(json: Json<'_>, pre: Option<&PreTokenizerWrapper>) -> Result<Self, TextError> {
        let none = Self {
            gpt2: false,
            byte_level: false,
            space_first: false,
            classes: Vec::new(),
        };
        let Some(pre) = pre else { return Ok(none) };
        if json.kind() == "ByteLevel" {
            let gpt2 = json.get("use_regex").is_true();
            return Ok(Self {
                gpt2,
                byte_level: true,
                space_first: json.get("add_prefix_space").is_true(),
                classes: if gpt2 { gpt2_classes() } else { Vec::new() },
            });
        }
        supported(json)?;
        Ok(Self {
            classes: ask(pre)?,
            ..none
        })
    }
}

/// Refuses what does not look at single characters.
fn supported(json: Json<'_>) -> Result<(), TextError> {
    let behavior = json.get("behavior").str().unwrap_or("");
    match json.kind() {
        "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit" | "CharDelimiterSplit" => Ok(()),
        "Punctuation" if matches!(behavior, "Isolated" | "Removed") => Ok(()),
        "Digits" if json.get("individual_digits").is_true() => Ok(()),
        "Split" if behavior == "Isolated" && !json.get("invert").is_true() => {
            match json.get("pattern").get("Regex").str() {
                Ok("." | "(?s)." | r"[\s\S]") => Ok(()),
                _ => json.get("pattern").unsupported(),
            }
        }
        "Sequence" => json.get("pretokenizers").array()?.try_for_each(supported),
        _ => json.unsupported(),
    }
}

/// Asks about every character: `acca` shows what becomes of c.
fn ask(pre: &PreTokenizerWrapper) -> Result<Vec<u8>, TextError> {
    const CHUNK: usize = 4096;
    let chunks = (0..CODE_POINTS).into_par_iter().step_by(CHUNK);
    let classes = chunks.map(|start| {
        let of = |c: usize| char::from_u32(c as u32).unwrap_or('a');
        let chars: Vec<char> = (start..start + CHUNK).map(of).collect();
        let text: String = chars.iter().flat_map(|&c| ['a', c, c, 'a']).collect();
        let fail = |e: tokenizers::Error| TextError::Tokenizer(e.to_string());
        let mut found: PreTokenizedString = text.as_str().into();
        pre.pre_tokenize(&mut found).map_err(fail)?;
        let splits = found.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let mut splits = splits.iter().map(|(_, at, _)| *at).peekable();
        let mut at = 0;
        let class = |c: char| {
            let (first, end) = (at + 1, at + 1 + 2 * c.len_utf8());
            at = end + 1;
            while splits.next_if(|split| split.1 <= first).is_some() {}
            match splits.peek() {
                Some(&(start, _)) if start < first => WORD as u8,
                Some(&(start, stop)) if start == first && stop == end => OTHER as u8,
                Some(&(start, _)) if start == first => ALONE as u8,
                _ => WHITESPACE as u8,
            }
        };
        Ok(chars.into_iter().map(class).collect::<Vec<u8>>())
    });
    let classes: Result<Vec<Vec<u8>>, TextError> = classes.collect();
    Ok(classes?.concat())
}

/// The classes of GPT-2's pattern, as the regex crate that `tokenizers` uses knows them.
fn gpt2_classes() -> Vec<u8> {
    const NUMBER: u8 = OTHER as u8;
    let mut classes = vec![NUMBER + 1; CODE_POINTS];
    let sets = [
        (r"\p{L}", WORD as u8),
        (r"\p{N}", NUMBER),
        (r"\s", WHITESPACE as u8),
    ];
    for (set, class) in sets {
        let hir = regex_syntax::parse(set).expect("the set is well formed");
        let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(set)) = hir.kind()
        else {
            unreachable!("the pattern is a class of characters");
        };
        for range in set.iter() {
            classes[range.start() as usize..=range.end() as usize].fill(class);
        }
    }
    classes
}
