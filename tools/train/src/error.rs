//! Why training could not start or go on.

use std::path::{Path, PathBuf};
use tailtune_tools::data::DataError;
use tailtune_tools::export::ExportError;
use tailtune_tools::import::ImportError;

/// Why training could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The configuration cannot be used.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would do.
        reason: String,
    },
    /// A checkpoint cannot be used.
    #[error("{}: {reason}; delete it to start again", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// There is data, but not what this task needs.
    #[error("{0}")]
    Unfit(String),
    /// The front end is one that the device has no room for.
    #[error(transparent)]
    FrontEnd(#[from] tailtune_tools::audio::TableError),
    /// A model directory cannot be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A file cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text or its tokenizer cannot be used.
    #[error(transparent)]
    Text(#[from] tailtune_tools::text::TextError),
    /// The loss is no longer a number.
    #[error(
        "the loss is {loss} at step {step}: training diverged; lower learning_rate or raise warmup_steps (the last checkpoint is kept)"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f32,
    },
    /// The training curve cannot be drawn.
    #[error("{}: the training curve cannot be drawn: {reason}", path.display())]
    Plot {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl TrainError {
    /// Returns an error about a checkpoint.
    pub fn checkpoint(path: &Path, reason: &dyn std::fmt::Display) -> Self {
        Self::Checkpoint {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
