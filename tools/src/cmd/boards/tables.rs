//! The README's two tables: what the boards are, and which of the shipped models fits which.

use super::super::CommandError;
use super::super::plan::fitting;
use super::{flash, mhz};
use crate::board::{Board, Status};
use crate::float_model::FloatModel;
use crate::import::read_model;
use crate::int8::Int8Model;
use crate::models;
use crate::text::section::{Coverage, Sections};
use std::path::Path;
use tailtune::image::ModelConfig;

/// A header and its rows.
pub struct Table(pub Vec<String>, pub Vec<Vec<String>>);

impl Table {
    /// Returns it as Markdown without padding.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let mut lines = vec![line(&self.0), "|-".repeat(self.0.len()) + "|"];
        lines.extend(self.1.iter().map(|row| line(row)));
        lines.join("\n")
    }
}

/// Returns what the boards are.
pub fn boards(boards: &[Board]) -> Table {
    let header = [
        "board",
        "MCU",
        "core",
        "clock",
        "flash",
        "RAM",
        "worst erase stall",
        "checked",
    ];
    let row = |b: &Board| {
        let stall = b.flash.iter().map(|f| f.erase_stall_ms).max();
        vec![
            b.name.clone(),
            b.mcu.clone(),
            b.core.clone(),
            mhz(b.clock_hz),
            flash(b),
            super::super::terminal::kib(b.ram_bytes() as usize),
            match b.is_emulated() {
                true => "none".into(),
                false => format!("{} ms", stall.unwrap_or(0)),
            },
            checked(b).into(),
        ]
    };
    let header = header.map(str::to_owned).to_vec();
    Table(header, boards.iter().map(row).collect())
}

/// Returns how the project's own checks treat a board.
fn checked(board: &Board) -> &'static str {
    match (board.is_emulated(), board.status) {
        (true, _) => "runs in QEMU",
        (_, Status::EmulatedChip) => "flashed and run as an emulated chip; not on silicon",
        (_, Status::Built) => "built; not on silicon",
        (_, Status::Unchecked) => "no",
    }
}

/// A model whose fit is looked at.
enum Model {
    /// With the sections of its tokenizers.
    Shipped(Box<FloatModel>, Sections),
    /// An architecture, and the bytes of its image.
    Known(ModelConfig, usize),
}

/// Returns which models fit which board: the shipped ones as `convert` would write them, KWT-1 by its known
/// sizes, and an image.
///
/// # Errors
/// A model that cannot be read.
pub fn models(boards: &[Board], image: Option<&Path>) -> Result<Table, CommandError> {
    let mut columns: Vec<(String, Model)> = Vec::new();
    for dir in [models::KEYWORDS, models::KEYWORDS_MICRO] {
        let path = Path::new(dir);
        // A command that was installed may have outlived its checkout.
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let model = read_model(path)?;
            let sections = Sections::of_model(path, &model.config, Coverage::default())?;
            let model = Model::Shipped(Box::new(model), sections);
            columns.push((name.into_owned(), model));
        }
    }
    let (config, bytes) = models::KWT1;
    columns.push(("KWT-1".into(), Model::Known(config, bytes)));
    if let Some(path) = image {
        let found = Int8Model::read(path)?;
        let model = Model::Known(found.config(), found.bytes().len());
        columns.push((path.display().to_string(), model));
    }
    let mut header = vec!["board".to_owned()];
    header.extend(columns.iter().map(|(name, _)| name.clone()));
    let mut rows = Vec::new();
    for board in boards {
        let mut row = vec![board.name.clone()];
        for (_, model) in &columns {
            row.push(match model {
                Model::Shipped(model, sections) => fitting::of_model(model, sections, board)?,
                Model::Known(config, bytes) => fitting::of_image(config, *bytes, board),
            });
        }
        rows.push(row);
    }
    Ok(Table(header, rows))
}
