//! `tailtune new`: a firmware project of the user's own.

use super::on_board::Material;
use super::source::{self, Silence};
use super::terminal::print;
use super::{CommandError, wrong_call};
use crate::board::{self, Board};
use crate::data::Dataset;
use crate::flash::plan::image_bytes;
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use crate::project::{Project, ProjectError, Samples, Tailtune};
use clap::Args;
use std::path::{Path, PathBuf};

/// Write a firmware project that runs an image on a board and learns there
#[derive(Debug, Args)]
pub struct New {
    /// The project's folder, which must not exist or be empty
    path: PathBuf,
    /// The board (see `tailtune boards`; or a board.toml of your own, with a chip that a known board has)
    #[arg(long, value_parser = board::find)]
    board: Board,
    /// The image, made by `tailtune convert --board` for this board
    #[arg(long)]
    image: PathBuf,
    /// Recordings that the firmware holds and learns from; without it, one input of zeros
    #[arg(long, value_name = "DATA")]
    samples: Option<PathBuf>,
    /// Recordings of each class
    #[arg(long, value_name = "N", default_value_t = 1, requires = "samples")]
    shots: usize,
    /// Where the project takes the crate tailtune from: a checkout's folder, a git URL or a version; without it,
    /// the checkout that this command was built from, or, where that is gone, its version
    #[arg(long, value_name = "PATH|URL|VERSION")]
    tailtune: Option<String>,
}

impl New {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let tailtune = tailtune(self.tailtune.as_deref())?;
        let bytes = image_bytes(&self.image, &self.board)?;
        let model = Int8Model::new(AlignedBytes::new(&bytes))?;
        let samples = match &self.samples {
            Some(path) => samples(&model, path, self.shots)?,
            None => Samples::placeholder(&model.config()),
        };
        let project = Project::new(&self.path, &self.board, &model, &samples, &tailtune);
        let project = project.map_err(refused)?;
        project.write(&self.path).map_err(refused)?;
        if let Some(other) = project.hal_of {
            let (name, chip) = (&self.board.name, &self.board.chip);
            eprintln!(
                "src/hal.rs is that of {other}, which has a {chip} too: correct clocks and pins for {name}"
            );
        }
        let path = self.path.display();
        print(&format!(
            "{path}: firmware for {}, {} bytes of RAM for the model; `cargo build --release` there builds it, its \
             README.md says how to go on",
            self.board.name, project.ram_bytes
        ))
    }
}

/// A call that no data could make right, and what is not so.
fn refused(error: ProjectError) -> CommandError {
    match error {
        ProjectError::Exists(_) | ProjectError::Name { .. } => wrong_call(error),
        error => error.into(),
    }
}

/// Quantizes so many recordings of each class.
fn samples(model: &Int8Model, path: &Path, shots: usize) -> Result<Samples, CommandError> {
    let data: Dataset = source::open(path, None, Silence::Clips)?;
    let data = data.subset(&data.pick_shots(shots, 1)?);
    let none = data.subset(&[]);
    let material = Material::new(model, None, &data, &none)?;
    Ok(Samples {
        origin: format!("{} recordings of {}", material.train.len(), path.display()),
        added: material.added,
        samples: material.train,
    })
}

/// Returns where the crate comes from.
fn tailtune(asked: Option<&str>) -> Result<Tailtune, CommandError> {
    let checkout = |path: &Path| -> Option<Tailtune> {
        let manifest = std::fs::read_to_string(path.join("Cargo.toml")).ok()?;
        let table: toml::Table = manifest.parse().ok()?;
        let name = table.get("package")?.get("name")?.as_str()?;
        let path = path.canonicalize().ok()?.to_str()?.to_owned();
        (name == "tailtune").then_some(Tailtune::Path(path))
    };
    let Some(asked) = asked else {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let version = Tailtune::Version(env!("CARGO_PKG_VERSION").into());
        return Ok(checkout(&built_from).unwrap_or(version));
    };
    if asked.contains("://") || asked.starts_with("git@") {
        return Ok(Tailtune::Git(asked.into()));
    }
    if let Some(found) = checkout(Path::new(asked)) {
        return Ok(found);
    }
    let number = |c: char| c.is_ascii_digit();
    if asked.starts_with(number) && !asked.contains('/') {
        return Ok(Tailtune::Version(asked.into()));
    }
    Err(wrong_call(format!(
        "--tailtune {asked}: no folder with the crate tailtune's Cargo.toml, no git URL and no version"
    )))
}
