//! `tailtune tokenize`: what a device makes of texts, beside what the `tokenizers` crate does.

use super::terminal::{print, print_json};
use super::{CommandError, wrong_call};
use crate::int8::Int8Model;
use crate::text::section::{Coverage, Options, read, section};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tailtune::text::Tokenizer;

/// Print the token ids of texts as the device finds them
#[derive(Debug, Args)]
pub struct Tokenize {
    /// An image, or a tokenizer.json: then also what the `tokenizers` crate makes of the texts
    tokenizer: PathBuf,
    /// The texts
    #[arg(required = true)]
    texts: Vec<String>,
    /// The second text of each
    #[arg(long, value_name = "TEXT")]
    pair: Option<String>,
    /// Use the tokenizer of the decoder's output, of an image that has one
    #[arg(long)]
    target: bool,
    /// Which characters the tables know, of a tokenizer.json
    #[arg(long, default_value = "vocabulary")]
    unicode: Coverage,
    /// Print one JSON object: section_bytes, parts (null of an image), texts[] with text, ids, segments,
    /// pieces, decoded, and same (whether the crate's ids are; null of an image)
    #[arg(long)]
    json: bool,
}

/// The most tokens of a text.
const MAX_TOKENS: usize = 4096;

/// What became of a text.
struct Found {
    ids: Vec<u32>,
    segments: Vec<u8>,
    pieces: Vec<String>,
    decoded: String,
}

impl Tokenize {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let is_json = self.tokenizer.extension().is_some_and(|e| e == "json");
        let (host, bytes, sizes) = if is_json {
            let host = read(&self.tokenizer)?;
            let options = Options {
                coverage: self.unicode,
                ..Options::default()
            };
            let made = section(&host, options)?;
            (Some(host), made.bytes, Some(made.sizes))
        } else {
            let model = Int8Model::read(&self.tokenizer)?;
            let image = model.image();
            let bytes = match self.target {
                true => image.target_tokenizer(),
                false => image.tokenizer(),
            };
            if bytes.is_empty() {
                return Err(wrong_call("the image holds no such tokenizer"));
            }
            (None, bytes.to_vec(), None)
        };
        let device = Tokenizer::parse(&bytes)?;
        let mut said = Vec::new();
        for text in &self.texts {
            let found = self.device(&device, text)?;
            let same = match &host {
                Some(host) => Some(self.crate_ids(host, text)? == found.ids),
                None => None,
            };
            if self.json {
                said.push(json!({
                    "text": text, "ids": found.ids, "segments": found.segments,
                    "pieces": found.pieces, "decoded": found.decoded, "same": same,
                }));
            } else {
                self.as_text(text, &found, same)?;
            }
        }
        if self.json {
            let parts = sizes.as_ref().map(|sizes| {
                let part = |&(part, bytes): &(&str, usize)| json!({ "part": part, "bytes": bytes });
                sizes.iter().map(part).collect::<Vec<_>>()
            });
            return print_json(
                &json!({ "section_bytes": bytes.len(), "parts": parts, "texts": said }),
            );
        }
        let parts: Vec<String> = sizes
            .iter()
            .flatten()
            .map(|(n, b)| format!("{n} {b}"))
            .collect();
        print(&format!(
            "section: {} bytes {}",
            bytes.len(),
            parts.join(", ")
        ))
    }

    fn device(&self, device: &Tokenizer<'_>, text: &str) -> Result<Found, CommandError> {
        let mut work = vec![0; device.workspace_len().max(2 * MAX_TOKENS)];
        let (mut ids, mut segments) = (vec![0; MAX_TOKENS], vec![0; MAX_TOKENS]);
        let texts = (text, self.pair.as_deref());
        let found = device.encode(texts, true, &mut work, &mut ids, &mut segments)?;
        ids.truncate(found.padded);
        segments.truncate(found.padded);
        let piece = |&id: &u32| {
            let piece = device.piece(id).map(|p| p.as_bytes().to_vec());
            String::from_utf8_lossy(&piece.unwrap_or_default()).into_owned()
        };
        let mut decoded = Vec::new();
        device.decode(&ids, true, |part| decoded.extend_from_slice(part));
        Ok(Found {
            pieces: ids.iter().map(piece).collect(),
            decoded: String::from_utf8_lossy(&decoded).into_owned(),
            ids,
            segments,
        })
    }

    fn crate_ids(
        &self,
        host: &tokenizers::Tokenizer,
        text: &str,
    ) -> Result<Vec<u32>, CommandError> {
        let encoding = match &self.pair {
            Some(pair) => host.encode_fast((text, pair.as_str()), true)?,
            None => host.encode_fast(text, true)?,
        };
        Ok(encoding.get_ids().to_vec())
    }

    fn as_text(&self, text: &str, found: &Found, same: Option<bool>) -> Result<(), CommandError> {
        print(&format!("{text:?}"))?;
        print(&format!("  ids     {:?}", found.ids))?;
        print(&format!("  pieces  {:?}", found.pieces))?;
        if self.pair.is_some() {
            print(&format!("  segments {:?}", found.segments))?;
        }
        print(&format!("  text    {:?}", found.decoded))?;
        match same {
            Some(true) => print("  the crate's ids are the same"),
            Some(false) => print("  THE CRATE'S IDS DIFFER"),
            None => Ok(()),
        }
    }
}
