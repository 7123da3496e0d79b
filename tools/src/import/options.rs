//! What to take of a model directory, beyond what it says itself.

use super::{Config, ImportError};
use crate::float_model::FloatModel;
use std::path::Path;
use tailtune::image::InputKind;

/// How the rows of a model without a head become one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PoolingChoice {
    /// The mean of all rows.
    Mean,
    /// The first row, that of `[CLS]`.
    Cls,
    /// The first row through the model's own pooler.
    Pooler,
}

impl PoolingChoice {
    /// Returns its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Pooler => "pooler",
        }
    }
}

/// What to take of a model directory; the default is all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// In the place of what the directory says; of BERT directories.
    pub pooling: Option<PoolingChoice>,
    /// Tokens of the longest sequence, at most the model's; of models of text.
    pub seq_len: Option<u16>,
    /// Encoder blocks, the first ones.
    pub layers: Option<u16>,
}

const SEQ_LEN: &str = "--seq-len";
const LAYERS: &str = "--layers";

impl Options {
    /// Returns how much is kept of what `key` counts: all, no more than `limit`, or what was `asked` for.
    pub(super) fn keep(
        &self,
        config: &Config,
        key: &str,
        asked: Option<u16>,
        limit: Option<u16>,
    ) -> Result<u16, ImportError> {
        let found = config.u16(key)?;
        let option = match key {
            "max_position_embeddings" => SEQ_LEN,
            _ => LAYERS,
        };
        match asked {
            Some(asked) => within(&config.path, option, asked, found),
            None => Ok(limit.map_or(found, |limit| limit.min(found))),
        }
    }

    /// Takes as much of a model that was read whole.
    pub(super) fn cut(
        &self,
        dir: &Path,
        config: &Config,
        mut model: FloatModel,
    ) -> Result<FloatModel, ImportError> {
        let meaningless = |option, meant| ImportError::Meaningless {
            path: dir.into(),
            option,
            meant,
        };
        if self.pooling.is_some() {
            return Err(meaningless(
                "--pooling",
                "directories of BERT and DistilBERT",
            ));
        }
        let c = &mut model.config;
        if let Some(asked) = self.layers {
            c.n_layers = within(&config.path, LAYERS, asked, c.n_layers)?;
            model.layers.truncate(asked.into());
        }
        if let Some(asked) = self.seq_len {
            if !matches!(c.input, InputKind::Tokens { .. }) {
                return Err(meaningless(SEQ_LEN, "models of text"));
            }
            c.seq_len = within(&config.path, SEQ_LEN, asked, c.seq_len)?;
            let columns = usize::from(c.d_model);
            model.positions.truncate(usize::from(asked) * columns);
        }
        Ok(model)
    }
}

fn within(path: &Path, option: &'static str, asked: u16, found: u16) -> Result<u16, ImportError> {
    match (1..=found).contains(&asked) {
        true => Ok(asked),
        false => Err(ImportError::TooMany {
            path: path.into(),
            option,
            asked,
            found,
        }),
    }
}
