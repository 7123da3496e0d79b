//! The steps themselves.

use crate::boards::{self, Board};
use crate::children::{cargo, run, run_lines};
use crate::firmware_size::measure;
use crate::report::Outcome;
use crate::sources;
use crate::test_output::TestOutput;
use std::path::{Path, PathBuf};
use tailtune_tools::board;
use tailtune_tools::qemu::Qemu;
use tailtune_tools::setup::{BuildTool, Mode, Need, setup};
use tailtune_tools::toolchain::Toolchain;

/// The steps, in order. Cheap ones come first; the firmware is built before the tests that run it.
pub const NAMES: &[&str] = &[
    "setup",
    "fmt",
    "sources",
    "clippy",
    "docs",
    "host tests",
    "trainer",
    "emulated chips",
    "oldest Rust",
    "firmware",
    "tests on the emulated board",
    "bench",
];

/// The trainer's package.
const TRAINER: &str = "tools/train";

/// The emulated chips' package.
const CHIPS: &str = "tools/vboard";

/// What the steps work on and hand to each other.
pub struct Context {
    root: PathBuf,
    boards: Vec<Board>,
    mode: Mode,
    /// Whether every board is built.
    all: bool,
    /// How many tests the host step left ignored; none when it has not run.
    ignored: Option<u64>,
}

impl Context {
    /// Steps over the workspace in `root` with these boards.
    pub fn new(root: PathBuf, boards: Vec<Board>, mode: Mode, all: bool) -> Context {
        Context {
            root,
            boards,
            mode,
            all,
            ignored: None,
        }
    }

    /// Runs one step of [`NAMES`].
    pub fn run(&mut self, name: &str) -> Outcome {
        match name {
            "host tests" => self.host_tests(),
            "tests on the emulated board" => self.emulated_tests(),
            "trainer" => self.apart(TRAINER),
            "emulated chips" => self.apart(CHIPS),
            "setup" => Outcome::from_result(self.setup()),
            "fmt" => Outcome::from_result(self.fmt()),
            "sources" => Outcome::from_result(
                sources::check(&self.root).map(|files| format!("{files} files")),
            ),
            "clippy" => Outcome::from_result(self.clippy()),
            "docs" => Outcome::from_result(self.docs()),
            "oldest Rust" => Outcome::from_result(self.oldest_rust()),
            "firmware" => Outcome::from_result(self.firmware()),
            "bench" => Outcome::from_result(self.bench()),
            unknown => Outcome::from_result(Err(format!("no step is called {unknown:?}"))),
        }
    }

    fn setup(&self) -> Result<String, String> {
        let mut needs = Need::demo();
        needs.extend(BuildTool::ALL.map(Need::Tool));
        for board in self.built() {
            let mut board_needs = vec![Need::target(&board.target)];
            if board.is_emulated() {
                board_needs.push(Need::Emulator(Qemu::of(&board.target)));
            }
            for need in board_needs {
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
        }
        setup(&needs, self.mode).map_err(|error| error.to_string())?;
        Ok(String::new())
    }

    fn fmt(&self) -> Result<String, String> {
        let check = |dir: &Path| {
            let mut command = cargo(dir);
            command.args(["fmt", "--all", "--check"]);
            run(command)
        };
        check(&self.root)?;
        self.boards.iter().try_for_each(|board| check(&board.dir))?;
        check(&self.root.join("tests/fuzz"))?;
        check(&self.root.join("tests/peers/embedded-nn"))?;
        check(&self.root.join(TRAINER))?;
        check(&self.root.join(CHIPS))?;
        Ok(String::new())
    }

    fn clippy(&self) -> Result<String, String> {
        let lint = |args: &[&str]| {
            let mut command = cargo(&self.root);
            command
                .arg("clippy")
                .args(args)
                .args(["--", "-D", "warnings"]);
            run(command)
        };
        lint(&["--workspace", "--all-targets"])?;
        // The host has no logger to link against: only checked, never linked.
        lint(&["-p", "tailtune", "--features", "defmt,text"])?;
        Ok(String::new())
    }

    fn docs(&self) -> Result<String, String> {
        let mut command = cargo(&self.root);
        command
            .args(["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings");
        run(command)?;
        Ok(String::new())
    }

    fn host_tests(&mut self) -> Outcome {
        let (mut outcome, output) = self.test(&[]);
        self.ignored = Some(output.counts.ignored);
        if !output.without_reason.is_empty() {
            outcome.failure.get_or_insert(format!(
                "ignored without saying what they need (`#[ignore = \"needs …\"]`): {}",
                output.without_reason.join(", ")
            ));
        }
        outcome
    }

    fn emulated_tests(&mut self) -> Outcome {
        let (mut outcome, output) = self.test(&["--", "--ignored"]);
        let ran = output.counts.passed + output.counts.failed;
        if let Some(ignored) = self.ignored
            && (ran != ignored || output.counts.ignored != 0)
        {
            outcome.failure.get_or_insert(format!(
                "{ran} ignored tests ran, expected all {ignored} that the host tests left out"
            ));
        }
        outcome
    }

    /// Lints, documents and tests a package that is a workspace of its own, in the profile in which it
    /// is used.
    fn apart(&self, package: &str) -> Outcome {
        let dir = self.root.join(package);
        let lint = |args: &[&str]| {
            let mut command = cargo(&dir);
            command.args(args).env("RUSTDOCFLAGS", "-D warnings");
            run(command)
        };
        let mut clippy = vec!["clippy", "--release", "--all-targets"];
        clippy.extend(["--", "-D", "warnings"]);
        let checked = lint(&clippy).and_then(|()| lint(&["doc", "--release", "--no-deps"]));
        if let Err(error) = checked {
            return Outcome::from_result(Err(error));
        }
        let mut command = cargo(&dir);
        command.args(["test", "--release", "--no-fail-fast"]);
        self.tested(command).0
    }

    /// `cargo test` over the workspace. Both test steps use one profile, so nothing is built twice.
    fn test(&self, args: &[&str]) -> (Outcome, TestOutput) {
        let mut command = cargo(&self.root);
        command
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(args)
            // Built by the step of the emulated chips; only ignored tests ask for it.
            .env(
                "VBOARD",
                self.root.join(CHIPS).join("target/release/vboard"),
            );
        self.tested(command)
    }

    /// Runs tests and counts them.
    fn tested(&self, command: std::process::Command) -> (Outcome, TestOutput) {
        let mut output = TestOutput::default();
        let result = run_lines(command, |line| {
            output.line(line);
            Some(line.to_owned())
        });
        let counts = output.counts;
        let failure = match result {
            Ok(true) => None,
            Ok(false) => Some(format!("{} tests failed, see above", counts.failed)),
            Err(error) => Some(error),
        };
        let outcome = Outcome {
            failure,
            note: format!("{} passed, {} failed", counts.passed, counts.failed),
            tests: counts,
        };
        (outcome, output)
    }

    /// Checks the root crate with the oldest Rust that it promises, where rustup has that.
    fn oldest_rust(&self) -> Result<String, String> {
        let manifest = std::fs::read_to_string(self.root.join("Cargo.toml"))
            .map_err(|error| format!("Cargo.toml: {error}"))?;
        let version = manifest
            .lines()
            .find_map(|line| line.strip_prefix("rust-version = "))
            .map(|value| value.trim().trim_matches('"'))
            .ok_or("Cargo.toml: no rust-version; expected the oldest Rust that works")?;
        if !has_toolchain(version) {
            return Ok(format!("skipped, rustup has no toolchain {version}"));
        }
        let mut command = std::process::Command::new("rustup");
        command
            .current_dir(&self.root)
            .args(["run", version, "cargo", "check", "-p", "tailtune"])
            .args(["--target-dir", "target/oldest"]);
        run(command)?;
        Ok(format!("Rust {version}"))
    }

    /// The boards whose firmware is built.
    fn built(&self) -> Vec<&Board> {
        match self.all {
            true => self.boards.iter().collect(),
            false => boards::always(&self.boards),
        }
    }

    /// Builds the boards, and lints them where the toolchain can.
    fn firmware(&self) -> Result<String, String> {
        let boards = self.built();
        let mut linted = 0;
        for board in &boards {
            let toolchain = Toolchain::find(&board.target).map_err(|error| error.to_string())?;
            println!("{}: {}", board.name, toolchain.describe());
            self.build(board, &toolchain)?;
            if toolchain.is_installed() {
                let mut command = toolchain.cargo(&board.dir);
                command.args(["clippy", "--release", "--", "-D", "warnings"]);
                run(command)?;
                linted += 1;
            }
        }
        println!("{}", self.sizes(&boards)?);
        let (all, boards) = (self.boards.len(), boards.len());
        let mut note = format!("{boards} of {all} boards");
        if boards < all {
            note += " (--all builds every one)";
        }
        if linted < boards {
            note += &format!(", {linted} linted (clippy needs the target installed)");
        }
        Ok(note)
    }

    /// Returns a table of what each firmware takes.
    fn sizes(&self, boards: &[&Board]) -> Result<String, String> {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(comfy_table::presets::ASCII_MARKDOWN)
            .set_header([
                "board",
                "flash",
                "of the code region",
                "RAM, stack included",
                "of",
            ]);
        for board in boards {
            let known = board::find(&board.name).map_err(|error| error.to_string())?;
            let release = self.root.join("target/boards").join(&board.target);
            let firmware = release.join("release").join(&board.name);
            // A board without a main of its own only runs tests.
            if !firmware.is_file() {
                continue;
            }
            let size = measure(&known, &firmware)?;
            let bytes = [size.flash, size.flash_room, size.ram, size.ram_room];
            let kib = bytes.map(|bytes| format!("{:.1} KiB", bytes as f64 / 1024.0));
            table.add_row([std::slice::from_ref(&board.name), &kib[..]].concat());
        }
        Ok(table.to_string())
    }

    /// Compares the instructions that the emulated boards execute with the baseline.
    fn bench(&self) -> Result<String, String> {
        let mut command = cargo(&self.root);
        command.args(["run", "--quiet", "--bin", "tailtune", "--"]);
        command.args(["bench", "--check"]);
        let mut note = None;
        let success = run_lines(command, |line| {
            if let Some(found) = line.strip_prefix("baseline: ") {
                note = Some(found.to_owned());
            }
            Some(line.to_owned())
        })?;
        match (success, note) {
            (true, Some(note)) => Ok(note),
            _ => Err("the bench does not agree with its baseline, see above".to_owned()),
        }
    }

    /// Builds a board as everybody does, and counts the warnings in our own code: denying them by
    /// a flag would build everything once more.
    fn build(&self, board: &Board, toolchain: &Toolchain) -> Result<(), String> {
        let mut command = toolchain.cargo(&board.dir);
        command.args(["build", "--release", "--message-format=json"]);
        let mut warnings = 0;
        let success = run_lines(command, |line| {
            let message = Message::read(line)?;
            warnings += u32::from(message.is_warning && message.source.starts_with(&self.root));
            Some(message.rendered)
        })?;
        match (success, warnings) {
            (false, _) => Err(format!("{} does not build, see above", board.name)),
            (true, 0) => Ok(()),
            (true, _) => Err(format!(
                "{} builds with {warnings} warnings, expected none",
                board.name
            )),
        }
    }
}

fn has_toolchain(version: &str) -> bool {
    std::process::Command::new("rustup")
        .args(["run", version, "cargo", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A diagnostic in cargo's JSON output.
struct Message {
    rendered: String,
    is_warning: bool,
    source: PathBuf,
}

impl Message {
    /// None when the line is another kind of message.
    fn read(line: &str) -> Option<Message> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        if value.get("reason")? != "compiler-message" {
            return None;
        }
        let message = value.get("message")?;
        Some(Message {
            rendered: message.get("rendered")?.as_str()?.trim_end().to_owned(),
            is_warning: message.get("level")? == "warning",
            source: value.get("target")?.get("src_path")?.as_str()?.into(),
        })
    }
}
