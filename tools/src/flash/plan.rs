//! A file against a board: what is erased and what is written, or why not. No device is needed.

use super::file::{Contents, FileError, Piece};
use super::firmware;
use crate::board::{Board, Region};
use crate::image_writer::AlignedBytes;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tailtune::image::{Image, ImageError, MAGIC};

/// Why a file does not go onto a board. Nothing was asked of a device yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The board is emulated.
    #[error(
        "board {0} is emulated: there is no chip to flash; run it with `tailtune demo --board {0}` or QEMU, or name a real board (`tailtune boards`)"
    )]
    Emulated(String),
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// It begins as an image and is none.
    #[error("{}: {source}; make the image again with `tailtune convert --board {board}`", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The board.
        board: String,
        /// Why.
        source: ImageError,
    },
    /// Bytes of no known kind and without addresses.
    #[error("{}: neither an image (its first bytes are no \"TTIM\") nor a file with addresses; give a firmware as ELF or Intel HEX", .0.display())]
    Unknown(PathBuf),
    /// The image was made for another board.
    #[error("{}: the image was made for {found}, not for board {board}; make it with `tailtune convert --board {board}`", path.display())]
    OtherBoard {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: String,
        /// The board.
        board: String,
    },
    /// The image is larger than its region.
    #[error("{}: the image has {found} bytes, regions.model of board {board} holds {capacity}; take a smaller model or another board (`tailtune plan`)", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The board.
        board: String,
        /// Bytes of the image.
        found: usize,
        /// Bytes of the region.
        capacity: u32,
    },
    /// The firmware is of another core, or linked for another board.
    #[error("{}: the firmware has {found}, board {board} needs {expected}; build it in boards/{board}", path.display())]
    OtherCore {
        /// The file.
        path: PathBuf,
        /// The board.
        board: String,
        /// What the file says.
        found: String,
        /// What the board has.
        expected: String,
    },
    /// Part of the firmware lies where no firmware may.
    #[error("{}: {part} lies in {region}; a firmware of board {board} may touch {allowed} only: correct its memory.x", path.display())]
    Outside {
        /// The file.
        path: PathBuf,
        /// The board.
        board: String,
        /// Which part, and its addresses.
        part: String,
        /// Where it lies.
        region: String,
        /// Where it may.
        allowed: String,
    },
    /// A probe does not reach the flash.
    #[error(
        "regions.{region} of board {board} lies in the flash {flash:?}, which is not mapped: no probe writes it; let the firmware do it"
    )]
    NotMapped {
        /// The board.
        board: String,
        /// The region.
        region: &'static str,
        /// Its flash.
        flash: String,
    },
    /// A chip erase that should keep the tails.
    #[error(
        "--chip-erase takes the adapted tails with it: fetch them with `tailtune tail read` first, then add --erase-tails"
    )]
    ChipEraseKeepsNothing,
}

/// One piece and the sectors that go for it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The region it lies in.
    pub region: &'static str,
    /// What is written.
    pub piece: Piece,
    /// What is erased before.
    pub sectors: Vec<Range<u32>>,
}

/// What is done to a device.
#[derive(Debug, Clone)]
pub struct Plan {
    /// "image" or "firmware".
    pub content: &'static str,
    /// Of an image: its model.
    pub model_id: Option<[u8; 16]>,
    /// What is written, by address.
    pub planned: Vec<Planned>,
    /// Whether both slots are reset before.
    pub erase_tails: bool,
    /// Whether the whole chip is erased before.
    pub chip_erase: bool,
}

/// What else is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Forget the tails.
    pub erase_tails: bool,
    /// Erase everything first.
    pub chip_erase: bool,
}

impl Plan {
    /// Plans a file for a board.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(path: &Path, board: &Board, asked: Asked) -> Result<Self, PlanError> {
        real(board)?;
        if asked.chip_erase && !asked.erase_tails {
            return Err(PlanError::ChipEraseKeepsNothing);
        }
        let contents = Contents::read(path).map_err(|source| PlanError::File {
            path: path.into(),
            source,
        })?;
        let first = contents.pieces.first();
        let is_image = first.is_some_and(|piece| piece.bytes.starts_with(&MAGIC));
        let (model_id, planned) = if is_image {
            let (id, planned) = image(path, &contents, board)?;
            (Some(id), vec![planned])
        } else {
            (None, code(path, &contents, board)?)
        };
        if asked.erase_tails {
            for (region, slot) in ["tails[0]", "tails[1]"].iter().zip(&board.regions.tails) {
                mapped(board, region, slot)?;
            }
        }
        Ok(Self {
            content: if is_image { "image" } else { "firmware" },
            model_id,
            planned,
            erase_tails: asked.erase_tails,
            chip_erase: asked.chip_erase,
        })
    }

    /// Returns what is written.
    pub fn pieces(&self) -> Vec<Piece> {
        self.planned.iter().map(|p| p.piece.clone()).collect()
    }

    /// Returns the sectors that are erased, in order, each once.
    pub fn sectors(&self) -> Vec<Range<u32>> {
        let mut all: Vec<Range<u32>> = Vec::new();
        for sector in self.planned.iter().flat_map(|p| &p.sectors) {
            if !all.contains(sector) {
                all.push(sector.clone());
            }
        }
        all
    }

    /// Returns how many bytes are written.
    pub fn bytes(&self) -> usize {
        self.planned.iter().map(|p| p.piece.bytes.len()).sum()
    }
}

/// Returns the bytes of the image in a file, which was made for a board and fits it, be it emulated.
///
/// # Errors
/// [`PlanError`].
pub fn image_bytes(path: &Path, board: &Board) -> Result<Vec<u8>, PlanError> {
    let contents = Contents::read(path).map_err(|source| PlanError::File {
        path: path.into(),
        source,
    })?;
    Ok(image(path, &contents, board)?.1.piece.bytes)
}

/// Refuses an emulated board.
///
/// # Errors
/// [`PlanError::Emulated`].
pub fn real(board: &Board) -> Result<(), PlanError> {
    if board.is_emulated() {
        return Err(PlanError::Emulated(board.name.clone()));
    }
    Ok(())
}

/// Refuses a region that a probe cannot write.
///
/// # Errors
/// [`PlanError::NotMapped`].
pub fn mapped(board: &Board, name: &'static str, region: &Region) -> Result<(), PlanError> {
    match board.flash_of(region) {
        Some(flash) if !board.is_mapped(flash) => Err(PlanError::NotMapped {
            board: board.name.clone(),
            region: name,
            flash: flash.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Returns the sectors of a region that a range touches.
pub fn sectors_of(board: &Board, region: &Region, range: &Range<u32>) -> Vec<Range<u32>> {
    let Some(flash) = board.flash_of(region) else {
        return Vec::new();
    };
    let touched = |block: &Range<u32>| block.start < range.end && range.start < block.end;
    flash.blocks().filter(touched).collect()
}

fn image(
    path: &Path,
    contents: &Contents,
    board: &Board,
) -> Result<([u8; 16], Planned), PlanError> {
    let region = &board.regions.model;
    mapped(board, "model", region)?;
    let other = |found: String| PlanError::OtherBoard {
        path: path.into(),
        found,
        board: board.name.clone(),
    };
    // Parts behind a gap are no part of an image: what is there is too short, and says so.
    let bytes = contents.pieces.first().map_or(&[][..], |p| &p.bytes);
    let aligned = AlignedBytes::new(bytes);
    let image = Image::parse(&aligned).map_err(|source| PlanError::Image {
        path: path.into(),
        board: board.name.clone(),
        source,
    })?;
    let lines = image.provenance().lines();
    let made_for = lines
        .filter_map(|line| line.strip_prefix("board="))
        .next_back();
    if let Some(found) = made_for.filter(|found| *found != board.name) {
        return Err(other(format!("board {found}")));
    }
    let found = image.bytes().len();
    if found > region.bytes as usize {
        return Err(PlanError::TooLarge {
            path: path.into(),
            board: board.name.clone(),
            found,
            capacity: region.bytes,
        });
    }
    if let Some(piece) = contents.pieces.first()
        && contents.placed
        && piece.address != region.address
    {
        return Err(other(format!(
            "the address {:#x}, where regions.model is at {:#x}",
            piece.address, region.address
        )));
    }
    let piece = Piece {
        address: region.address,
        bytes: image.bytes().to_vec(),
        name: "image".into(),
    };
    let planned = Planned {
        region: "model",
        sectors: sectors_of(board, region, &piece.range()),
        piece,
    };
    Ok((image.model_id().0, planned))
}

fn code(path: &Path, contents: &Contents, board: &Board) -> Result<Vec<Planned>, PlanError> {
    if !contents.placed {
        return Err(PlanError::Unknown(path.into()));
    }
    let mut allowed = vec![("code", &board.regions.code)];
    allowed.extend(board.regions.vectors.as_ref().map(|r| ("vectors", r)));
    for (name, region) in &allowed {
        mapped(board, name, region)?;
    }
    let mut planned = Vec::new();
    for piece in &contents.pieces {
        let range = piece.range();
        let within = allowed.iter().find(|(_, region)| {
            let whole = region.range();
            whole.start <= range.start && range.end <= whole.end
        });
        let Some((name, region)) = within else {
            return Err(outside(path, piece, board, &allowed));
        };
        planned.push(Planned {
            region: name,
            sectors: sectors_of(board, region, &range),
            piece: piece.clone(),
        });
    }
    if let Some((found, expected)) = firmware::mismatch(contents, board) {
        return Err(PlanError::OtherCore {
            path: path.into(),
            board: board.name.clone(),
            found,
            expected,
        });
    }
    Ok(planned)
}

fn outside(path: &Path, piece: &Piece, board: &Board, allowed: &[(&str, &Region)]) -> PlanError {
    let range = piece.range();
    let mapped_at = |region: &Region| board.flash_of(region) == board.flash.first();
    let mut regions = board.regions.named().into_iter();
    let touched = regions.find(|(name, region)| {
        let at = region.range();
        let permitted = allowed.iter().any(|(a, _)| a == name);
        !permitted && mapped_at(region) && at.start < range.end && range.start < at.end
    });
    let touched = touched.map(|(name, at)| {
        format!(
            "regions.{name} ({:#x}..{:#x})",
            at.range().start,
            at.range().end
        )
    });
    let allowed: Vec<String> = allowed
        .iter()
        .map(|(name, r)| {
            format!(
                "regions.{name} ({:#x}..{:#x})",
                r.range().start,
                r.range().end
            )
        })
        .collect();
    let end = u64::from(piece.address) + piece.bytes.len() as u64;
    PlanError::Outside {
        path: path.into(),
        board: board.name.clone(),
        part: format!("{} at {:#x}..{end:#x}", piece.name, piece.address),
        region: touched.unwrap_or_else(|| "no region of its flash".into()),
        allowed: allowed.join(" and "),
    }
}
