//! What a file holds: pieces at addresses. The form is told by the content, so a firmware's ELF needs no
//! extension.

use object::elf::{FileHeader32, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use std::path::Path;
use tailtune::image::MAGIC;

/// Bytes for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where they go.
    pub address: u32,
    /// What goes there.
    pub bytes: Vec<u8>,
    /// The section, or what else it is called.
    pub name: String,
}

impl Piece {
    /// Returns its addresses.
    pub fn range(&self) -> std::ops::Range<u32> {
        self.address..self.address.saturating_add(self.bytes.len() as u32)
    }
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct Contents {
    /// In order of addresses, none overlapping.
    pub pieces: Vec<Piece>,
    /// Whether the addresses are the file's own; a raw file starts at 0.
    pub placed: bool,
    /// An ELF's bytes, for what it says of its core.
    pub elf: Option<Vec<u8>>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    /// It is damaged.
    #[error("not a readable {form} file: {reason}; make it again")]
    Form {
        /// What it looks like.
        form: &'static str,
        /// Why not.
        reason: String,
    },
    /// Two pieces overlap.
    #[error("{name} at {address:#x} overlaps what lies before it: make the file again")]
    Overlap {
        /// The second of them.
        name: String,
        /// Where it starts.
        address: u32,
    },
    /// There is nothing in it.
    #[error(
        "it holds no bytes for a flash: give an image of `tailtune convert` or a firmware's ELF"
    )]
    Empty,
}

impl Contents {
    /// Reads a file: ELF, Intel HEX, UF2, or anything else as raw bytes.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::parse(std::fs::read(path)?)
    }

    /// Reads bytes as [`read`](Self::read) does.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, FileError> {
        let mut elf = None;
        let placed = !bytes.starts_with(&MAGIC);
        let (pieces, placed) = if bytes.starts_with(b"\x7fELF") {
            let pieces = elf_pieces(&bytes)?;
            elf = Some(bytes);
            (pieces, true)
        } else if placed && bytes.starts_with(b":") {
            (named(crate::image_file::hex(&bytes), "data")?, true)
        } else if placed && bytes.starts_with(&0x0a32_4655_u32.to_le_bytes()) {
            (named(crate::image_file::uf2(&bytes), "data")?, true)
        } else {
            let name = "the whole file".to_owned();
            let address = 0;
            let piece = Piece {
                address,
                bytes,
                name,
            };
            (vec![piece], false)
        };
        let pieces = joined(pieces)?;
        if pieces.is_empty() {
            return Err(FileError::Empty);
        }
        Ok(Self {
            pieces,
            placed,
            elf,
        })
    }
}

type Raw = Result<crate::image_file::Pieces, crate::image_file::ImageFileError>;

fn named(pieces: Raw, name: &str) -> Result<Vec<Piece>, FileError> {
    let form = "HEX or UF2";
    let pieces = pieces.map_err(|e| FileError::Form {
        form,
        reason: e.to_string(),
    })?;
    let piece = |(address, bytes): (u64, Vec<u8>)| {
        let name = name.to_owned();
        match u32::try_from(address) {
            Ok(address) => Ok(Piece {
                address,
                bytes,
                name,
            }),
            Err(_) => Err(FileError::Form {
                form,
                reason: format!("the address {address:#x} has more than 32 bits"),
            }),
        }
    };
    pieces.into_iter().map(piece).collect()
}

/// Sorts pieces and joins those that touch and have one name.
fn joined(mut pieces: Vec<Piece>) -> Result<Vec<Piece>, FileError> {
    pieces.retain(|piece| !piece.bytes.is_empty());
    pieces.sort_by_key(|piece| piece.address);
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        let (name, address) = (piece.name.clone(), piece.address);
        if u64::from(address) + piece.bytes.len() as u64 > 1 << 32 {
            let reason = format!("{name} at {address:#x} ends beyond 32 bits");
            let form = "flashable";
            return Err(FileError::Form { form, reason });
        }
        match all.last_mut() {
            Some(last) if last.range().end > address => {
                return Err(FileError::Overlap { name, address });
            }
            Some(last) if last.range().end == address && last.name == name => {
                last.bytes.extend(piece.bytes);
            }
            _ => all.push(piece),
        }
    }
    Ok(all)
}

/// The loadable segments at their load addresses, each named by its first section.
fn elf_pieces(bytes: &[u8]) -> Result<Vec<Piece>, FileError> {
    let form = "32-bit ELF";
    let bad = |e: object::Error| FileError::Form {
        form,
        reason: e.to_string(),
    };
    let header = FileHeader32::<object::Endianness>::parse(bytes).map_err(bad)?;
    let endian = header.endian().map_err(bad)?;
    let sections = header.sections(endian, bytes).map_err(bad)?;
    let mut pieces = Vec::new();
    for segment in header.program_headers(endian, bytes).map_err(bad)? {
        if segment.p_type(endian) != PT_LOAD || segment.p_filesz(endian) == 0 {
            continue;
        }
        let data = segment.data(endian, bytes).map_err(|()| FileError::Form {
            form,
            reason: "a segment lies outside the file".into(),
        })?;
        let at = segment.p_offset(endian);
        let within = at..at.saturating_add(segment.p_filesz(endian));
        let mut inside = sections.iter().filter(|s| {
            s.sh_size(endian) > 0
                && s.file_range(endian).is_some()
                && within.contains(&s.sh_offset(endian))
        });
        let name = inside.next().and_then(|s| {
            let name = sections.section_name(endian, s).ok()?;
            Some(String::from_utf8_lossy(name).into_owned())
        });
        pieces.push(Piece {
            address: segment.p_paddr(endian),
            bytes: data.to_vec(),
            name: name.unwrap_or_else(|| "segment".into()),
        });
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Placement, write_image};

    #[test]
    fn every_form_that_convert_writes_is_told_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let mut image: Vec<u8> = (0..3000u32).map(|i| (i * 31) as u8).collect();
        image[..4].copy_from_slice(&MAGIC);
        let place = Placement {
            board: "test".into(),
            address: 0x0003_0000,
            capacity: 100_000,
            uf2_family: None,
        };
        for extension in ["bin", "hex", "uf2", "elf"] {
            let path = dir.path().join("model").with_extension(extension);
            write_image(&path, &image, &place).unwrap();
            let read = Contents::parse(std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(read.placed, extension != "bin");
            let [piece] = &read.pieces[..] else {
                panic!("{extension}: {:?}", read.pieces);
            };
            let at = if read.placed { 0x0003_0000 } else { 0 };
            assert_eq!(piece.address, at, "{extension}");
            assert_eq!(piece.bytes[..3000], image, "{extension}");
        }
    }

    #[test]
    fn damaged_files_are_named() {
        let said = |bytes: &[u8]| Contents::parse(bytes.to_vec()).unwrap_err().to_string();
        assert!(said(b":00nonsense").contains("HEX"));
        assert!(said(b"\x7fELF junk").contains("ELF"));
        assert!(said(b"").contains("no bytes"));
        let hex = ":0400000001020304F2\n:0400020001020304F0\n:00000001FF\n";
        assert!(said(hex.as_bytes()).contains("overlaps"));
    }
}
