//! Boards: `boards/NAME/board.toml`, built in.

pub use tailtune_board::{Board, BoardError, Flash, Ram, Region};

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
        .map(|(name, text)| parse(name, text))
        .collect()
}

/// Returns the board of this name.
///
/// # Errors
/// [`FindError::Unknown`] lists the boards that are known.
pub fn find(name: &str) -> Result<Board, FindError> {
    match BUILT_IN.iter().find(|(known, _)| *known == name) {
        Some((name, text)) => Ok(parse(name, text)?),
        None => {
            let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            Err(FindError::Unknown {
                wanted: name.into(),
                known: known.join(", "),
            })
        }
    }
}

fn parse(name: &str, text: &str) -> Result<Board, BoardError> {
    let place = format!("boards/{name}/board.toml");
    let board = Board::parse(&place, text)?;
    if board.name != name {
        let reason = format!("name = {:?}, its folder is {name:?}", board.name);
        return Err(BoardError::Toml { place, reason });
    }
    Ok(board)
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
