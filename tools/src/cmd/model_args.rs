//! What to take of a model directory: options that every command has that reads one to convert it.

use super::CommandError;
use crate::data::{Dataset, Source};
use crate::float_model::FloatModel;
use crate::import::{Options, PoolingChoice, read_model_with};
use crate::shrink::ShrinkError;
use crate::shrink::factorise::factorise;
use crate::shrink::vocabulary::{Characters, Pruned, keep_rows, prune};
use crate::text::section::{self, Coverage, Sections};
use crate::text::tokenizer;
use clap::Args;
use std::path::{Path, PathBuf};
use tailtune::image::InputKind;

/// The options.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What to take of a model directory")]
pub struct ModelArgs {
    /// How the rows of a BERT directory without a head become one feature, if not as it says itself
    #[arg(long, value_enum)]
    pooling: Option<PoolingChoice>,
    /// Tokens of the longest text, if fewer than the model's
    #[arg(long, value_name = "N")]
    seq_len: Option<u16>,
    /// Only the first N encoder blocks
    #[arg(long, value_name = "N")]
    layers: Option<u16>,
    /// Keep only the pieces that these texts use (a file of one text a line, or a .csv manifest), special
    /// tokens and single characters
    #[arg(long, value_name = "CORPUS")]
    prune_vocab: Option<PathBuf>,
    /// With --prune-vocab: of single characters keep only those of ASCII and of the texts
    #[arg(long, requires = "prune_vocab")]
    prune_characters: bool,
    /// Make the token table a product of two, of this rank
    #[arg(long, value_name = "RANK")]
    factorise_embedding: Option<u16>,
}

/// A model as the options leave it.
pub struct Taken {
    /// The model.
    pub model: FloatModel,
    /// Its pruned vocabulary, where that was asked for.
    pub pruned: Option<Pruned>,
}

impl Taken {
    /// Returns the sections of the tokenizers of the directory, or of the pruned one.
    pub fn sections(&self, dir: &Path, coverage: Coverage) -> Result<Sections, CommandError> {
        let mut sections = Sections::of_model(dir, &self.model.config, coverage)?;
        if let Some(pruned) = &self.pruned {
            let tokenizer =
                tokenizer::parse(&pruned.json).map_err(|e| format!("the pruned tokenizer: {e}"))?;
            let options = section::Options {
                coverage,
                ..section::Options::default()
            };
            sections.tokenizer = section::section(&tokenizer, options)?.bytes;
        }
        Ok(sections)
    }
}

impl ModelArgs {
    /// Reads a model directory.
    pub fn read(&self, dir: &Path) -> Result<Taken, CommandError> {
        let options = Options {
            pooling: self.pooling,
            seq_len: self.seq_len,
            layers: self.layers,
        };
        let mut model = read_model_with(dir, &options)?;
        let pruned = match &self.prune_vocab {
            Some(corpus) => Some(self.pruned(dir, corpus, &mut model)?),
            None => None,
        };
        if let Some(rank) = self.factorise_embedding {
            eprintln!("factorising the token table");
            let kept = factorise(&mut model, rank)?;
            eprintln!("rank {rank} keeps {:.1} % of its variance", 100.0 * kept);
        }
        Ok(Taken { model, pruned })
    }

    /// Refuses options that an image, which is made already, has no use for.
    pub fn none(&self) -> Result<(), CommandError> {
        let asked = self.pooling.is_some()
            || self.seq_len.is_some()
            || self.layers.is_some()
            || self.prune_vocab.is_some()
            || self.factorise_embedding.is_some();
        match asked {
            false => Ok(()),
            true => Err(super::wrong_call(
                "--pooling, --seq-len, --layers, --prune-vocab and --factorise-embedding go with a model directory",
            )),
        }
    }

    fn pruned(
        &self,
        dir: &Path,
        corpus: &Path,
        model: &mut FloatModel,
    ) -> Result<Pruned, CommandError> {
        if !matches!(model.config.input, InputKind::Tokens { .. }) {
            return Err(ShrinkError::NoTable("--prune-vocab").into());
        }
        let texts = texts(corpus)?;
        let path = dir.join("tokenizer.json");
        let json = std::fs::read_to_string(&path).map_err(|e| {
            format!(
                "{}: {e}; a vocabulary is pruned by its tokenizer",
                path.display()
            )
        })?;
        let characters = match self.prune_characters {
            true => Characters::OfTheCorpus,
            false => Characters::All,
        };
        let pruned = prune(&json, texts.iter().map(String::as_str), characters)?;
        keep_rows(model, &pruned.kept)?;
        eprintln!(
            "{} pieces kept: {} that {} uses, {} single characters beside them, and special ones",
            pruned.kept.len(),
            pruned.used,
            corpus.display(),
            pruned.characters
        );
        Ok(pruned)
    }
}

/// Returns the texts of a manifest, or the lines of a file.
fn texts(path: &Path) -> Result<Vec<String>, CommandError> {
    let mut texts = Vec::new();
    for sample in Dataset::open_texts(path)?.samples {
        if let Source::Text(a, b) = sample.source {
            texts.push(a);
            texts.extend(b);
        }
    }
    match texts.is_empty() {
        true => Err(ShrinkError::Empty(path.into()).into()),
        false => Ok(texts),
    }
}

/// Writes a pruned tokenizer beside the image that it belongs to; returns where.
pub fn write_tokenizer(pruned: &Pruned, image: &Path) -> Result<PathBuf, CommandError> {
    let path = image.with_extension("tokenizer.json");
    crate::export::write_whole(&path, pruned.json.as_bytes())?;
    // What was written is read once, as whoever uses the image will.
    tokenizer::read(&path)?;
    Ok(path)
}
