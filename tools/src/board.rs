//! Boards: `boards/NAME/board.toml`, built in.

pub use tailtune_board::{Board, BoardError, Flash, Ram, Region, Status};

use std::path::{Path, PathBuf};
use tailtune::store::slot_capacity;

/// Why no board is known by a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No board of this name.
    #[error("board {wanted:?} is not known; boards are: {known}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// Its board.toml cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its board.toml is not sound.
    #[error(transparent)]
    Board(#[from] BoardError),
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../boards/", $name, "/board.toml")))),*]
    };
}

const BUILT_IN: &[(&str, &str)] = built_in![
    "esp32c3",
    "microbit-v1",
    "nrf52840-dk",
    "qemu-microbit",
    "qemu-mps2-an385",
    "qemu-mps2-an385-v6m",
    "qemu-mps2-an386",
    "qemu-mps2-an505",
    "qemu-mps3-an547",
    "qemu-virt-rv32",
    "rpi-pico",
    "rpi-pico2",
    "stm32f411-nucleo",
    "stm32h743-nucleo",
];

/// Returns every known board.
///
/// # Errors
/// [`BoardError`] for a board.toml that is not sound.
pub fn all() -> Result<Vec<Board>, BoardError> {
    BUILT_IN
        .iter()
        .map(|(name, text)| parse(&format!("boards/{name}/board.toml"), name, text))
        .collect()
}

/// Returns whether a board of this name is built in.
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(known, _)| *known == name)
}

/// Returns the board of this name: one that is built in, or that of `boards/NAME/board.toml` in the current
/// folder; or the board of a folder or a board.toml, where `name` is a path.
///
/// # Errors
/// [`FindError::Unknown`] lists the boards that are known.
pub fn find(name: &str) -> Result<Board, FindError> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok(parse(&format!("boards/{name}/board.toml"), name, text)?);
    }
    match own_file(name) {
        Some(path) => read(&path),
        None => {
            let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            Err(FindError::Unknown {
                wanted: name.into(),
                known: known.join(", "),
            })
        }
    }
}

/// Returns the board.toml of a board that is not built in.
fn own_file(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let in_boards = Path::new("boards").join(name).join("board.toml");
    let tried = match name.contains(['/', '\\', '.']) {
        true => [path.to_owned(), path.join("board.toml")],
        false => [in_boards.clone(), in_boards],
    };
    tried.into_iter().find(|path| path.is_file())
}

fn read(path: &Path) -> Result<Board, FindError> {
    let text = std::fs::read_to_string(path).map_err(|source| FindError::Read {
        path: path.into(),
        source,
    })?;
    let folder = path.parent().and_then(Path::file_name);
    let folder = folder.map(|name| name.to_string_lossy().into_owned());
    let place = path.display().to_string();
    match folder {
        Some(name) => Ok(parse(&place, &name, &text)?),
        None => Ok(Board::parse(&place, &text)?),
    }
}

fn parse(place: &str, name: &str, text: &str) -> Result<Board, BoardError> {
    let board = Board::parse(place, text)?;
    if board.name != name {
        let reason = format!("name = {:?}, its folder is {name:?}", board.name);
        let place = place.to_owned();
        return Err(BoardError::Toml { place, reason });
    }
    Ok(board)
}

/// Returns the bytes that a tail may have on a board.
pub fn tail_room(board: &Board) -> usize {
    let [tails, _] = &board.regions.tails;
    let word = board.flash_of(tails).map_or(1, |flash| flash.write_bytes);
    slot_capacity(board.slot_bytes() as usize, word as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_board_is_sound() {
        assert_eq!(all().unwrap().len(), BUILT_IN.len());
    }

    #[test]
    fn an_unknown_board_is_answered_with_those_that_are_known() {
        let error = find("no-such-board").unwrap_err().to_string();
        assert!(error.contains("nrf52840-dk"), "{error}");
    }
}
