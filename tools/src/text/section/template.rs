//! What goes around texts, where they are cut, and how they are filled up.

use super::json::Json;
use super::vocabulary::id_of;
use crate::text::TextError;
use tailtune::text::section::{SectionRecord, TemplateItem};
use zerocopy::little_endian::{U16, U32};

/// The templates of one text and of two; empty for the texts alone.
#[derive(Debug, Default)]
pub struct Templates(pub [Vec<TemplateItem>; 2]);

const fn item(kind: u8, segment: u8, id: u16) -> TemplateItem {
    TemplateItem {
        kind,
        segment,
        id: U16::new(id),
    }
}

impl Templates {
    /// Reads `post_processor`.
    pub fn read(json: Json<'_>) -> Result<Self, TextError> {
        let mark = |name| {
            let id = json.get(name).array()?.nth(1);
            id_of(id.map_or(Ok(0), |id| id.number())?)
        };
        Ok(Self(match json.kind() {
            "" | "ByteLevel" => Default::default(),
            "BertProcessing" => {
                let (cls, sep) = (mark("cls")?, mark("sep")?);
                let one = vec![item(0, 0, cls), item(1, 0, 0), item(0, 0, sep)];
                let second = [item(2, 1, 0), item(0, 1, sep)];
                [one.clone(), [one, second.to_vec()].concat()]
            }
            "RobertaProcessing" => {
                let (cls, sep) = (mark("cls")?, mark("sep")?);
                let one = vec![item(0, 0, cls), item(1, 0, 0), item(0, 0, sep)];
                let second = [item(0, 0, sep), item(2, 0, 0), item(0, 0, sep)];
                [one.clone(), [one, second.to_vec()].concat()]
            }
            "TemplateProcessing" => [items(json, "single")?, items(json, "pair")?],
            "Sequence" => {
                let mut read = Self::default();
                for part in json.get("processors").array()? {
                    let part = Self::read(part)?;
                    if part.0.iter().all(Vec::is_empty) {
                        continue;
                    }
                    if read.0.iter().any(|items| !items.is_empty()) {
                        return json.unsupported();
                    }
                    read = part;
                }
                return Ok(read);
            }
            _ => return json.unsupported(),
        }))
    }
}

fn items(json: Json<'_>, key: &str) -> Result<Vec<TemplateItem>, TextError> {
    let mut items = Vec::new();
    for piece in json.get(key).array()? {
        let sequence = piece.get("Sequence");
        if !sequence.is_null() {
            let kind = match sequence.get("id").str()? {
                "A" => 1,
                _ => 2,
            };
            items.push(item(kind, sequence.get("type_id").small()?, 0));
            continue;
        }
        let special = piece.get("SpecialToken");
        let segment = special.get("type_id").small()?;
        let token = json.get("special_tokens").get(special.get("id").str()?);
        for id in token.get("ids").array()? {
            items.push(item(0, segment, id_of(id.number()?)?));
        }
    }
    Ok(items)
}

/// Reads `truncation`.
pub fn truncation(json: Json<'_>, record: &mut SectionRecord) -> Result<(), TextError> {
    if json.is_null() {
        return Ok(());
    }
    let strategy = json.get("strategy");
    let side = json.get("direction");
    record.truncation = match strategy.str()? {
        "LongestFirst" => 0,
        "OnlyFirst" => 1,
        "OnlySecond" => 2,
        _ => return strategy.unsupported(),
    } + match side.str()? {
        "" | "Right" => 0,
        "Left" => 16,
        _ => return side.unsupported(),
    };
    record.max_length = U32::new(json.get("max_length").small()?);
    match record.max_length.get() {
        0 => json.get("max_length").unsupported(),
        _ => Ok(()),
    }
}

/// Reads `padding`; returns the token that pads.
pub fn padding(json: Json<'_>, record: &mut SectionRecord) -> Result<Option<u16>, TextError> {
    if json.is_null() {
        return Ok(None);
    }
    record.padding = match json.get("direction").str()? {
        "Left" => 2,
        _ => 1,
    };
    let strategy = json.get("strategy");
    if strategy.str().ok() != Some("BatchLongest") {
        record.pad_length = U32::new(strategy.get("Fixed").small()?);
    }
    record.pad_multiple = U16::new(json.get("pad_to_multiple_of").small()?);
    record.pad_segment = json.get("pad_type_id").small()?;
    Ok(Some(id_of(json.get("pad_id").number()?)?))
}
