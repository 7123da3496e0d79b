//! The board crates: packages under `boards/` that are workspaces of their own.

use std::path::{Path, PathBuf};
use tailtune_tools::board::{self, Status};

/// A board crate.
pub struct Board {
    /// Its directory.
    pub dir: PathBuf,
    /// The directory's name.
    pub name: String,
    /// The target in its `.cargo/config.toml`.
    pub target: String,
}

impl Board {
    /// Returns whether it runs in QEMU.
    pub fn is_emulated(&self) -> bool {
        self.name.starts_with("qemu-")
    }

    fn is_flashed(&self) -> bool {
        let known = board::find(&self.name);
        known.is_ok_and(|board| board.status == Status::EmulatedChip)
    }
}

/// Returns those that are always built: the emulated ones, which run tests, the flashed ones, and the
/// first of every target that then has none.
pub fn always(boards: &[Board]) -> Vec<&Board> {
    let runs = |board: &Board| board.is_emulated() || board.is_flashed();
    let mut chosen: Vec<&Board> = boards.iter().filter(|board| runs(board)).collect();
    for board in boards {
        if !chosen.iter().any(|other| other.target == board.target) {
            chosen.push(board);
        }
    }
    chosen
}

/// Every package in `boards/*/` with its own `[workspace]`, in order of name.
pub fn find(root: &Path) -> Result<Vec<Board>, String> {
    let dir = root.join("boards");
    let entries = std::fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut boards = Vec::new();
    for entry in entries.flatten() {
        let dir = entry.path();
        let Ok(manifest) = std::fs::read_to_string(dir.join("Cargo.toml")) else {
            continue;
        };
        if !manifest.lines().any(|line| line.trim() == "[workspace]") {
            continue;
        }
        let config = dir.join(".cargo/config.toml");
        let text = std::fs::read_to_string(&config)
            .map_err(|error| format!("{}: {error}; a board crate needs it", config.display()))?;
        let target = build_target(&text).ok_or_else(|| {
            format!(
                "{}: no `target = \"…\"` in [build]; expected the board's target triple",
                config.display()
            )
        })?;
        boards.push(Board {
            name: entry.file_name().to_string_lossy().into_owned(),
            target: target.to_owned(),
            dir,
        });
    }
    boards.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(boards)
}

/// `build.target` of a cargo configuration.
fn build_target(config: &str) -> Option<&str> {
    let mut section = "";
    config.lines().map(str::trim).find_map(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let (key, value) = line.split_once('=')?;
        let value = value.split('#').next()?.trim();
        (section == "[build]" && key.trim() == "target")
            .then(|| value.strip_prefix('"')?.strip_suffix('"'))?
    })
}

#[cfg(test)]
mod tests {
    use super::{Board, always, build_target};

    #[test]
    fn flashed_and_emulated_boards_are_always_built_and_one_of_any_other_target() {
        let board = |name: &str, target: &str| Board {
            dir: name.into(),
            name: name.into(),
            target: target.into(),
        };
        let boards = [
            board("a", "m4"),
            board("b", "riscv"),
            board("c", "riscv"),
            board("microbit-v1", "m0"),
            board("qemu-m4", "m4"),
        ];
        let chosen = always(&boards);
        let names: Vec<&str> = chosen.iter().map(|board| board.name.as_str()).collect();
        assert_eq!(names, ["microbit-v1", "qemu-m4", "b"]);
    }

    #[test]
    fn the_target_is_that_of_the_build_section() {
        let config = "[unstable]\ntarget = \"no\"\n\n[build]\ntarget-dir = \"x\"\n\
                      target = \"thumbv6m-none-eabi\" # M0\n[target.x]\ntarget = \"no\"\n";
        assert_eq!(build_target(config), Some("thumbv6m-none-eabi"));
        assert_eq!(build_target("[build]\ntarget-dir = \"x\"\n"), None);
        assert_eq!(build_target("target = \"x\"\n"), None);
        assert_eq!(build_target(""), None);
    }
}
