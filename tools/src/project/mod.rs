//! A firmware project of the user's own: what `tailtune new` writes.
//!
//! ```text
//! sources    the files it is made of: the boards' own, and boards/project
//! manifest   Cargo.toml and .cargo/config.toml, from the board's
//! constants  src/model.rs: sizes, labels and addresses of the model, the samples
//! ```

mod constants;
mod manifest;
mod sources;

pub use manifest::Tailtune;

use crate::board::{Board, tail_room};
use crate::emulator::JobSample;
use crate::int8::Int8Model;
use constants::Ram;
use sources::Source;
use std::path::{Path, PathBuf};
use tailtune::image::ModelConfig;
use tailtune::tune::TuneError;

/// Why no project is written. Nothing was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// There is something already.
    #[error("{}: there is something already; name a folder that does not exist or is empty", .0.display())]
    Exists(PathBuf),
    /// The folder's name is no name of a package.
    #[error("{}: {found:?} is no name of a package: letters, digits, - and _ are, after a letter; name the folder so", path.display())]
    Name {
        /// The folder.
        path: PathBuf,
        /// Its name.
        found: String,
    },
    /// No board with this chip has a HAL here.
    #[error(
        "board {board}: nothing here starts its {chip}; boards whose chip a project is written for: {known}"
    )]
    NoSource {
        /// The board.
        board: String,
        /// Its chip.
        chip: String,
        /// Boards that would do.
        known: String,
    },
    /// The image reads tokens, or has no head.
    #[error(
        "{0}: a project's firmware feeds frames to a head; take an image of `tailtune convert` with labels and frames or patches"
    )]
    Image(&'static str),
    /// Memory does not suffice.
    #[error(
        "board {board}: the model's memory takes {needed} bytes of RAM, the stack {stack}; {name} has {found}: fewer --shots, or a smaller model (`tailtune plan`)"
    )]
    Ram {
        /// The board.
        board: String,
        /// What the model takes.
        needed: usize,
        /// What the stack takes.
        stack: u32,
        /// Which RAM.
        name: String,
        /// What there is.
        found: u32,
    },
    /// A tail does not fit a slot.
    #[error(
        "board {board}: a tail takes {needed} bytes, a slot of its regions.tails holds {found}: fewer new classes"
    )]
    Tail {
        /// The board.
        board: String,
        /// Bytes of the tail.
        needed: usize,
        /// Bytes that a slot holds.
        found: usize,
    },
    /// The model cannot be tuned so.
    #[error("the model cannot be tuned: {0}")]
    Tune(#[from] TuneError),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What the firmware learns from.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Classes that the image does not know.
    pub added: Vec<String>,
    /// int8 frames, by class: the image's own, then the added ones.
    pub samples: Vec<JobSample>,
    /// Where they come from, in words.
    pub origin: String,
}

impl Samples {
    /// Returns one sample for a model: the zero of every value's range, of a new class.
    pub fn placeholder(config: &ModelConfig) -> Self {
        let (n, features) = config.input.frames().unwrap_or((0, 0));
        Self {
            added: vec!["mine".into()],
            samples: vec![JobSample {
                label: config.n_classes,
                values: vec![0; n * features],
            }],
            origin: "a placeholder, all zero, of the new class `mine`".into(),
        }
    }
}

/// A project, ready to be written.
#[derive(Debug, Clone)]
pub struct Project {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// The board whose HAL it uses, where that is another one.
    pub hal_of: Option<&'static str>,
    /// Bytes of RAM that the model's memory takes.
    pub ram_bytes: usize,
}

impl Project {
    /// Makes the project that is called as the folder `path`.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub fn new(
        path: &Path,
        board: &Board,
        model: &Int8Model,
        samples: &Samples,
        tailtune: &Tailtune,
    ) -> Result<Self, ProjectError> {
        let name = package_name(path)?;
        let source = source_of(board)?;
        let ram = ram_of(board, model, samples)?;
        let (script_name, script) = tailtune_board::script(board);
        let args = tailtune_board::link_args(board);
        let args: Vec<String> = args.iter().map(|arg| format!("{arg:?}")).collect();
        let build = sources::BUILD
            .replace("SCRIPT", script_name)
            .replace("LINK_ARGS", &args.join(", "));
        let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        let mut add = |name: &str, bytes: &[u8]| files.push((name.into(), bytes.to_vec()));
        let manifest = manifest::cargo_toml(&name, source, tailtune);
        let constants = constants::model_rs(board, model, samples, &ram);
        add("Cargo.toml", manifest.as_bytes());
        add("Cargo.lock", source.lock.as_bytes());
        add(
            ".cargo/config.toml",
            manifest::config(source, board).as_bytes(),
        );
        add(".gitignore", b"/target\n/flash.bin\n");
        add("build.rs", build.as_bytes());
        add(script_name, script.as_bytes());
        add("model.bin", model.bytes());
        add("src/main.rs", main_rs(board, source).as_bytes());
        add("src/model.rs", constants.as_bytes());
        for (name, text) in sources::SHARED.iter().chain(source.files) {
            add(name, formatted(board, name, text).as_bytes());
        }
        for (i, sample) in samples.samples.iter().enumerate() {
            let bytes: Vec<u8> = sample.values.iter().map(|&v| v as u8).collect();
            add(&format!("samples/{i}.bin"), &bytes);
        }
        add(
            "README.md",
            readme(&name, board, model, samples, &ram).as_bytes(),
        );
        Ok(Self {
            files,
            hal_of: (source.board != board.name).then_some(source.board),
            ram_bytes: ram.bytes(),
        })
    }

    /// Writes it into a folder that does not exist or is empty.
    ///
    /// # Errors
    /// [`ProjectError::Exists`] or [`ProjectError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), ProjectError> {
        let io = |path: &Path, source| ProjectError::Io {
            path: path.into(),
            source,
        };
        let first = std::fs::read_dir(path).map(|mut entries| entries.next());
        match first {
            Ok(None) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) if e.kind() != std::io::ErrorKind::NotADirectory => return Err(io(path, e)),
            _ => return Err(ProjectError::Exists(path.into())),
        }
        for (name, bytes) in &self.files {
            let file = path.join(name);
            let dir = file.parent().unwrap_or(path);
            std::fs::create_dir_all(dir).map_err(|e| io(dir, e))?;
            std::fs::write(&file, bytes).map_err(|e| io(&file, e))?;
        }
        Ok(())
    }
}

/// Returns the shape of a model's input.
fn shape(config: &ModelConfig) -> String {
    let (n, features) = config.input.frames().unwrap_or((0, 0));
    format!("{n} × {features}")
}

/// Returns a file's text. On silicon defmt prints a failure: `Debug` of all errors takes 30 KiB more, which the
/// smaller boards do not have.
fn formatted(board: &Board, name: &str, text: &str) -> String {
    match name == "src/failure.rs" && !board.is_emulated() {
        true => text.replace("#[derive(Debug)]", "#[derive(defmt::Format)]"),
        false => text.into(),
    }
}

fn package_name(path: &Path) -> Result<String, ProjectError> {
    let name = path.file_name().map(|name| name.to_string_lossy());
    let name = name.unwrap_or_default();
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(sound) {
        return Ok(name.into());
    }
    Err(ProjectError::Name {
        path: path.into(),
        found: name.into(),
    })
}

fn source_of(board: &Board) -> Result<&'static Source, ProjectError> {
    Source::of(board).ok_or_else(|| {
        let known: Vec<&str> = sources::SOURCES.iter().map(|s| s.board).collect();
        ProjectError::NoSource {
            board: board.name.clone(),
            chip: board.chip.clone(),
            known: known.join(", "),
        }
    })
}

/// Returns the memory of a model, which a board has.
fn ram_of(board: &Board, model: &Int8Model, samples: &Samples) -> Result<Ram, ProjectError> {
    let config = model.config();
    if config.input.frames().is_none() {
        return Err(ProjectError::Image("the image reads tokens"));
    }
    if config.n_classes == 0 {
        return Err(ProjectError::Image("the image has no head"));
    }
    let ram = Ram::new(model, samples)?;
    let (needed, stack) = (ram.bytes(), board.stack_bytes);
    if let Some(first) = board.ram.first()
        && needed + stack as usize > first.bytes as usize
    {
        return Err(ProjectError::Ram {
            board: board.name.clone(),
            needed,
            stack,
            name: first.name.clone(),
            found: first.bytes,
        });
    }
    let found = tail_room(board);
    if ram.tail > found {
        return Err(ProjectError::Tail {
            board: board.name.clone(),
            needed: ram.tail,
            found,
        });
    }
    Ok(ram)
}

/// Returns src/main.rs: the entry of the board's HAL, and the modules of its own.
fn main_rs(board: &Board, source: &Source) -> String {
    if board.is_emulated() {
        return sources::EMULATED.into();
    }
    let entry = match board.target.starts_with("riscv") {
        true => "use esp_hal::main as entry;",
        false => "use cortex_m_rt::entry;",
    };
    let own: String = source.modules().map(|m| format!("mod {m};\n")).collect();
    let modules = match own.as_str() < "mod model;" {
        true => sources::MAIN.replace("#[rustfmt::skip]\n", &format!("{own}#[rustfmt::skip]\n")),
        false => sources::MAIN.replace("mod model;\n", &format!("mod model;\n{own}")),
    };
    let without = modules.replace("use cortex_m_rt::entry;\n", "");
    // In the order that rustfmt keeps.
    let at = match board.target.starts_with("riscv") {
        true => "use firmware::",
        false => "use defmt::",
    };
    without.replacen(at, &format!("{entry}\n{at}"), 1)
}

fn readme(name: &str, board: &Board, model: &Int8Model, samples: &Samples, ram: &Ram) -> String {
    let emulated = board.is_emulated();
    let run = match emulated {
        true => "cargo run --release".to_owned(),
        false => format!(
            "tailtune flash model.bin --board {}   # the model, once\ncargo run --release   # the firmware, by probe-rs",
            board.name
        ),
    };
    let guard = match board.boot.as_ref().map(|boot| boot.kind) {
        Some(tailtune_board::BootKind::EspIdf) => "is watched for by the HAL",
        _ => "leaves RAM and faults",
    };
    let image = model.image();
    let mut named = image.provenance().lines();
    let named = named.find_map(|line| line.strip_prefix("source="));
    let fields = [
        ("MEMORY_BYTES", ram.bytes().to_string()),
        ("STACK_BYTES", board.stack_bytes.to_string()),
        ("STACK_GUARD", guard.into()),
        (
            "LEARN_AGAIN",
            match emulated {
                true => "Without `flash.bin` it learns again.".into(),
                false => "The button, held at reset, makes it learn again.".into(),
            },
        ),
        ("NAME", name.into()),
        ("BOARD", board.name.clone()),
        ("MCU", board.mcu.clone()),
        ("CORE", board.core.clone()),
        ("IMAGE", named.unwrap_or("a model").into()),
        (
            "FRONT",
            match emulated {
                true => "the console, `flash.bin` for the flash".into(),
                false => "LED, button, flash (`src/hal.rs`), defmt".into(),
            },
        ),
        ("SCRIPT", tailtune_board::script(board).0.into()),
        ("RUN", run),
        ("AFTER", if emulated { "ends" } else { "resets" }.into()),
        ("SAMPLES", samples.origin.clone()),
        ("FRAMES", shape(&model.config())),
    ];
    let mut text = sources::README.to_owned();
    for (field, value) in fields {
        text = text.replace(&format!("{{{field}}}"), &value);
    }
    text
}
