//! Boards: `boards/NAME/board.toml`, one flat table of names and numbers a board, built in.

use serde::Deserialize;

/// Why a board is not known or not described soundly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// No board of this name.
    #[error("board {wanted:?} is not known; boards are: {known}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// A board.toml that does not read: a key is missing, unknown or of another type.
    #[error("boards/{board}/board.toml: {reason}")]
    Toml {
        /// The board.
        board: String,
        /// Which key, what was found, what is expected.
        reason: String,
    },
    /// A value that contradicts another.
    #[error("boards/{board}/board.toml: {key} = {found:#x}; {expected}")]
    Value {
        /// The board.
        board: String,
        /// The key.
        key: &'static str,
        /// What it holds.
        found: u32,
        /// What is allowed.
        expected: &'static str,
    },
}

/// One board. Sizes in bytes, addresses as the core sees them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The folder under `boards/`.
    pub name: String,
    /// The chip, by its probe-rs name (or QEMU's machine).
    pub chip: String,
    /// The core.
    pub core: String,
    /// The compiler's target triple.
    pub target: String,
    /// All flash.
    pub flash_bytes: u32,
    /// RAM for the firmware.
    pub ram_bytes: u32,
    /// Where code starts.
    pub code_address: u32,
    /// Room for code.
    pub code_bytes: u32,
    /// Where RAM starts.
    pub ram_address: u32,
    /// Where the model image starts.
    pub model_address: u32,
    /// Room for the model image.
    pub model_bytes: u32,
    /// Where the firmware looks for a job.
    pub job_address: u32,
    /// Room for a job; 0 where jobs come another way.
    pub job_bytes: u32,
    /// Where the tail slots start, from the start of the flash that holds them.
    pub slots_address: u32,
    /// Bytes of one of the two slots.
    pub slot_bytes: u32,
    /// Erase block.
    pub erase_bytes: u32,
    /// Smallest write.
    pub write_bytes: u32,
    /// The UF2 family, for boards with such a boot loader.
    pub uf2_family: Option<u32>,
    /// The core's clock, hertz, where it is known.
    pub clock_hz: Option<u32>,
    /// Of emulated boards: an instruction takes 2 to this power nanoseconds of the emulator's time.
    pub icount_shift: Option<u32>,
    /// Of emulated boards: the timer that counts instructions, a CMSDK timer or SysTick.
    pub counter_address: Option<u32>,
    /// So many of its ticks …
    pub counter_ticks: Option<u32>,
    /// … are so many instructions.
    pub counter_instructions: Option<u32>,
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../boards/", $name, "/board.toml")))),*]
    };
}

const BUILT_IN: &[(&str, &str)] = built_in![
    "nrf52840-dk",
    "qemu-microbit",
    "qemu-mps2-an385",
    "qemu-mps2-an385-v6m",
    "qemu-mps2-an386",
    "qemu-mps2-an505",
    "qemu-mps3-an547",
    "qemu-virt-rv32",
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
/// [`BoardError::Unknown`] lists the boards that are known.
pub fn find(name: &str) -> Result<Board, BoardError> {
    match BUILT_IN.iter().find(|(known, _)| *known == name) {
        Some((name, text)) => parse(name, text),
        None => {
            let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            Err(BoardError::Unknown {
                wanted: name.into(),
                known: known.join(", "),
            })
        }
    }
}

fn parse(name: &str, text: &str) -> Result<Board, BoardError> {
    let board: Board = toml::from_str(text).map_err(|e| BoardError::Toml {
        board: name.into(),
        reason: e.to_string(),
    })?;
    let bad = |key, found, expected| {
        Err(BoardError::Value {
            board: name.into(),
            key,
            found,
            expected,
        })
    };
    if board.name != name {
        let reason = format!("name is {:?}, its folder is {name:?}", board.name);
        return Err(BoardError::Toml {
            board: name.into(),
            reason,
        });
    }
    if board.erase_bytes == 0 || !board.erase_bytes.is_power_of_two() {
        return bad(
            "erase_bytes",
            board.erase_bytes,
            "a power of two is expected",
        );
    }
    if board.write_bytes == 0 || !board.erase_bytes.is_multiple_of(board.write_bytes) {
        return bad(
            "write_bytes",
            board.write_bytes,
            "a divisor of erase_bytes is expected",
        );
    }
    if board.slot_bytes == 0 || !board.slot_bytes.is_multiple_of(board.erase_bytes) {
        return bad(
            "slot_bytes",
            board.slot_bytes,
            "a multiple of erase_bytes is expected",
        );
    }
    if !board.model_address.is_multiple_of(16) {
        return bad(
            "model_address",
            board.model_address,
            "a multiple of 16 is expected",
        );
    }
    Ok(board)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_board_is_sound() {
        assert!(all().unwrap().len() >= 2);
    }

    #[test]
    fn refusals_name_the_key() {
        let name = "qemu-mps2-an386";
        let (_, good) = BUILT_IN.iter().find(|(known, _)| *known == name).unwrap();
        let message = |text: String| parse(name, &text).unwrap_err().to_string();
        assert!(
            message(good.replace("write_bytes = 4", "write_bytes = 3")).contains("write_bytes")
        );
        assert!(message(good.replace("ram_bytes", "ram_byte")).contains("ram_byte"));
        assert!(message(good.replace("= 0x40000\n", "= \"many\"\n")).contains("ram_bytes"));
        assert!(
            message(good.replace("slot_bytes = 0x8000", "slot_bytes = 0x8001"))
                .contains("slot_bytes")
        );
        let error = find("no-such-board").unwrap_err().to_string();
        assert!(error.contains("nrf52840-dk"), "{error}");
    }
}
