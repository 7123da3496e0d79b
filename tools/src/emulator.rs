//! The emulated board: builds its firmware, runs jobs on it, one emulator process each.
//!
//! A run gets the firmware, the image, the job and the file that is the board's flash, and nothing
//! else: starting it again with the same flash file is a reset.

mod results;

pub use results::{DecodeResult, InferResult, decode_results, infer_results, outcome};

use crate::board::Board;
use crate::qemu::Qemu;
use crate::toolchain::{Toolchain, ToolchainError};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tailtune::image::{InputKind, ModelConfig};
use tailtune::tune::Recipe;
use tailtune_app::job::{Job, Kind};

/// Why a job was not done on the emulated board.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The board is real.
    #[error("board {0} is not emulated here; boards whose name starts with qemu- are")]
    NotEmulated(String),
    /// The firmware's sources are not there.
    #[error("{}: the board's firmware is not there; run tailtune from a clone of its repository", .0.display())]
    NoSources(PathBuf),
    /// No way to build for the board.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The firmware does not build.
    #[error("the firmware of {board} does not build; the messages above say why")]
    Build {
        /// The board.
        board: String,
    },
    /// A program cannot be started.
    #[error("{program} cannot be started: {source}; `cargo demo` installs what is missing")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file of a run cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The firmware gave up.
    #[error("the firmware ended with {status}; its last lines:\n{console}")]
    Firmware {
        /// The emulator's exit status.
        status: String,
        /// What the firmware printed last.
        console: String,
    },
    /// The firmware did not end in time.
    #[error("the firmware did not end within {0:?}; its last lines:\n{1}")]
    TimedOut(Duration, String),
    /// The result is not what the job asks for.
    #[error("the firmware's result is malformed: {0}")]
    Result(String),
}

/// One labelled input of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSample {
    /// Its class.
    pub label: u16,
    /// int8 frames, or what [`Self::tokens`] makes.
    pub values: Vec<i8>,
}

impl JobSample {
    /// Returns an input of tokens as a board takes it, with room for the model's longest one.
    pub fn tokens(label: u16, ids: &[u32], segments: &[u8], config: &ModelConfig) -> Self {
        let room = config.max_input_len();
        let mut bytes = (ids.len() as u32).to_le_bytes().to_vec();
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        bytes.resize(4 + 4 * room, 0);
        if matches!(
            config.input,
            InputKind::Tokens {
                n_segments: 1..,
                ..
            }
        ) {
            bytes.extend(segments);
            bytes.resize(4 + 5 * room, 0);
        }
        Self {
            label,
            values: bytes.into_iter().map(|b| b as i8).collect(),
        }
    }
}

/// What a board is to do.
#[derive(Debug, Clone)]
pub struct JobRequest<'a> {
    /// Infer, adapt or evaluate.
    pub kind: Kind,
    /// Names of the classes that are added.
    pub added: &'a [String],
    /// What to learn from.
    pub train: &'a [JobSample],
    /// What to measure on.
    pub test: &'a [JobSample],
    /// How to tune.
    pub recipe: Recipe,
}

impl JobRequest<'_> {
    /// Returns the job's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let names = names(self.added);
        let first = self.train.first().or(self.test.first());
        let job = Job {
            kind: self.kind,
            train: self.train.len() as u32,
            test: self.test.len() as u32,
            sample_len: first.map_or(0, |s| s.values.len() as u32),
            names_len: names.len() as u32,
            recipe: self.recipe,
        };
        let mut bytes = job.emit().to_vec();
        bytes.extend(names);
        for sample in self.train.iter().chain(self.test) {
            bytes.extend(sample.label.to_le_bytes());
            bytes.extend(sample.values.iter().map(|&v| v as u8));
        }
        bytes
    }
}

/// Returns the names of added classes as a job carries them.
pub fn names(added: &[String]) -> Vec<u8> {
    let mut names = Vec::new();
    for name in added {
        names.push(name.len() as u8);
        names.extend_from_slice(name.as_bytes());
    }
    names
}

/// An emulated board with its firmware.
#[derive(Debug, Clone)]
pub struct Emulator {
    board: Board,
    firmware: PathBuf,
    compiler: String,
}

impl Emulator {
    /// Builds the board's firmware.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn build(board: &Board) -> Result<Self, EmulatorError> {
        if !board.is_emulated() {
            return Err(EmulatorError::NotEmulated(board.name.clone()));
        }
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let dir = root.join("boards").join(&board.name);
        if !dir.join("Cargo.toml").is_file() {
            return Err(EmulatorError::NoSources(dir));
        }
        let toolchain = Toolchain::find(&board.target)?;
        let mut command = toolchain.cargo(&dir);
        // Cargo takes its arguments' options after the subcommand as well as before it.
        command.args(["build", "--release"]);
        if !std::io::stderr().is_terminal() {
            command.arg("--quiet");
        }
        let start = |source| EmulatorError::Start {
            program: "cargo".into(),
            source,
        };
        if !command
            .stdout(Stdio::null())
            .status()
            .map_err(start)?
            .success()
        {
            return Err(EmulatorError::Build {
                board: board.name.clone(),
            });
        }
        let firmware = root
            .join("target/boards")
            .join(&board.target)
            .join("release")
            .join(&board.name);
        Ok(Self {
            board: board.clone(),
            firmware,
            compiler: toolchain.compiler()?,
        })
    }

    /// Returns what compiled it.
    pub fn compiler(&self) -> &str {
        &self.compiler
    }

    /// Returns the firmware's ELF file.
    pub fn firmware(&self) -> &Path {
        &self.firmware
    }

    /// Runs a job in a new emulator process; `dir` keeps the flash from one run to the next.
    /// `line` is called with every line that the firmware prints.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn run(
        &self,
        dir: &Path,
        image: &[u8],
        job: &[u8],
        line: &mut dyn FnMut(&str),
    ) -> Result<Vec<u8>, EmulatorError> {
        let io = |path: &Path, source| EmulatorError::Io {
            path: path.into(),
            source,
        };
        for (name, bytes) in [("model.bin", image), ("job.bin", job)] {
            let path = dir.join(name);
            std::fs::write(&path, bytes).map_err(|e| io(&path, e))?;
        }
        let result = dir.join("result.bin");
        match std::fs::remove_file(&result) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(&result, e)),
            _ => {}
        }
        // Instructions are counted for what reports them, and cost time.
        let icount = self.icount();
        let counted = Job::parse(job).is_some_and(|job| job.kind == Kind::Decode);
        let more: &[&str] = if counted { &["-icount", &icount] } else { &[] };
        self.execute(&self.firmware, dir, more, line)?;
        std::fs::read(&result).map_err(|e| io(&result, e))
    }

    /// The emulator's option that makes its timers count instructions.
    fn icount(&self) -> String {
        let shift = self.board.emulator.and_then(|e| e.icount_shift);
        format!("shift={},align=off,sleep=off", shift.unwrap_or(0))
    }

    /// Runs the board's bench on an image, counting instructions; returns its lines.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn bench(&self, dir: &Path, image: &[u8]) -> Result<Vec<String>, EmulatorError> {
        self.count("bench", dir, image)
    }

    /// As [`bench`](Self::bench), of one step of every way of tuning.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn bench_steps(&self, dir: &Path, image: &[u8]) -> Result<Vec<String>, EmulatorError> {
        self.count("steps", dir, image)
    }

    fn count(&self, program: &str, dir: &Path, image: &[u8]) -> Result<Vec<String>, EmulatorError> {
        let path = dir.join("model.bin");
        std::fs::write(&path, image).map_err(|source| EmulatorError::Io { path, source })?;
        self.lines(program, dir, &["-icount", &self.icount()])
    }

    /// Runs the kernels' differential test on the board; returns its lines.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn check(&self, dir: &Path) -> Result<Vec<String>, EmulatorError> {
        self.lines_on("check", dir, 0)
    }

    /// Runs the board's program that faults: 0 by an instruction that is none, 1 by a stack that is used up.
    ///
    /// # Errors
    /// [`EmulatorError::Firmware`] with what the fault handler said: a fault ends the emulator.
    pub fn fault(&self, dir: &Path, how: u8) -> Result<Vec<String>, EmulatorError> {
        self.lines_on("fault", dir, how)
    }

    /// Runs another program with this byte in place of a model.
    fn lines_on(&self, program: &str, dir: &Path, byte: u8) -> Result<Vec<String>, EmulatorError> {
        let path = dir.join("model.bin");
        std::fs::write(&path, [byte; 16]).map_err(|source| EmulatorError::Io { path, source })?;
        self.lines(program, dir, &[])
    }

    /// Runs one of the board's other programs; returns what it prints.
    fn lines(
        &self,
        program: &str,
        dir: &Path,
        more: &[&str],
    ) -> Result<Vec<String>, EmulatorError> {
        let firmware = self.program(program);
        let mut lines = Vec::new();
        self.execute(&firmware, dir, more, &mut |line| {
            lines.push(line.to_owned())
        })?;
        Ok(lines)
    }

    /// Returns the bytes of machine code in one of the board's other programs: its `.text`.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn text_bytes(&self, program: &str) -> Result<u64, EmulatorError> {
        use object::{Object, ObjectSection};
        let path = self.program(program);
        let bytes = std::fs::read(&path).map_err(|source| EmulatorError::Io {
            path: path.clone(),
            source,
        })?;
        let file = object::File::parse(&*bytes).ok();
        let text = file.and_then(|file| Some(file.section_by_name(".text")?.size()));
        text.ok_or_else(|| {
            let why = format!("{}: no ELF file with a .text", path.display());
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, why);
            EmulatorError::Io { path, source }
        })
    }

    /// Returns the ELF file of one of the board's other programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.firmware
            .with_file_name(format!("{}-{name}", self.board.name))
    }

    /// Starts an emulator on what lies in `dir`, and follows it to its end.
    fn execute(
        &self,
        firmware: &Path,
        dir: &Path,
        more: &[&str],
        line: &mut dyn FnMut(&str),
    ) -> Result<(), EmulatorError> {
        let firmware = std::fs::canonicalize(firmware).map_err(|source| EmulatorError::Io {
            path: firmware.into(),
            source,
        })?;
        let qemu = Qemu::of(&self.board.target);
        let mut command = Command::new(qemu.program());
        command
            .args(qemu.options())
            .current_dir(dir)
            .args(["-machine", &self.board.chip]);
        command.args(["-nographic", "-monitor", "none", "-serial", "none"]);
        command.args(["-semihosting-config", "enable=on,target=native"]);
        let loader = format!(
            "loader,file=model.bin,addr={:#x},force-raw=on",
            self.board.regions.model.address
        );
        command
            .args(["-device", &loader])
            .arg("-kernel")
            .arg(firmware);
        command
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let start = |source| EmulatorError::Start {
            program: qemu.program().into(),
            source,
        };
        let child = command.spawn().map_err(start)?;
        watch(child, qemu, line)
    }
}

/// Lines of the firmware that an error repeats.
const LAST_LINES: usize = 8;

/// Longest silence of a firmware: an inference of a large model takes seconds.
const SILENCE: Duration = Duration::from_secs(120);

/// Sends each line of a pipe until it ends.
fn follow(pipe: impl Read + Send + 'static, send: Sender<String>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    })
}

/// Follows the console until the emulator ends; ends it after a long silence.
fn watch(mut child: Child, qemu: Qemu, line: &mut dyn FnMut(&str)) -> Result<(), EmulatorError> {
    let (send, receive) = std::sync::mpsc::channel();
    // What the firmware prints comes out on one, what the emulator has to say on the other.
    let (console, complaints) = (child.stdout.take(), child.stderr.take());
    let readers = [
        console.map(|c| follow(c, send.clone())),
        complaints.map(|c| follow(c, send)),
    ];
    let mut last = VecDeque::new();
    let started = Instant::now();
    loop {
        match receive.recv_timeout(SILENCE) {
            Ok(text) => {
                line(&text);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(text);
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                let console = last.into_iter().collect::<Vec<_>>().join("\n");
                return Err(EmulatorError::TimedOut(started.elapsed(), console));
            }
        }
    }
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    let start = |source| EmulatorError::Start {
        program: qemu.program().into(),
        source,
    };
    let status = child.wait().map_err(start)?;
    if status.success() {
        return Ok(());
    }
    let console = last.into_iter().collect::<Vec<_>>().join("\n");
    Err(EmulatorError::Firmware {
        status: status.to_string(),
        console,
    })
}
