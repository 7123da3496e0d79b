//! `tailtune boards new`: a board.toml from what probe-rs knows of a chip.

use super::super::{CommandError, wrong_call};
use clap::Args;
use std::path::PathBuf;

/// Make a board.toml from probe-rs's description of a chip
#[derive(Debug, Args)]
pub struct New {
    /// The board's name, and its folder's
    name: String,
    /// The chip, by its probe-rs name
    #[arg(long)]
    chip: String,
    /// Where the folder is made
    #[arg(long, default_value = "boards")]
    dir: PathBuf,
}

impl New {
    #[cfg(feature = "flash")]
    pub(super) fn run(self) -> Result<(), CommandError> {
        use super::super::terminal::print;
        let text = crate::flash::chip::board_toml(&self.name, &self.chip).map_err(wrong_call)?;
        let folder = self.dir.join(&self.name);
        let failed = |e| format!("{}: {e}", folder.display());
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        // Fails where there is one already: nothing is overwritten.
        std::fs::create_dir(&folder).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => wrong_call(format!(
                "{} exists already; take another name or --dir",
                folder.display()
            )),
            _ => failed(e).into(),
        })?;
        let path = folder.join("board.toml");
        std::fs::write(&path, &text).map_err(|e| format!("{}: {e}", path.display()))?;
        let open = text
            .lines()
            .filter(|line| line.ends_with("= \"todo\""))
            .count();
        let path = path.display();
        print(&format!(
            "{path}: {open} values are \"todo\"; once they are filled in, commands take it by --board {}",
            folder.display()
        ))
    }

    #[cfg(not(feature = "flash"))]
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Self { name, chip, dir } = self;
        let folder = dir.join(name);
        let without = super::super::on_probe::WITHOUT;
        Err(wrong_call(format!(
            "{}: what {chip} has is not known: {without}",
            folder.display()
        )))
    }
}
