//! What a board's firmware takes of its flash and RAM, from its ELF.

use object::Endianness;
use object::elf::{FileHeader32, PT_LOAD, SHF_ALLOC};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use std::path::Path;
use tailtune_tools::board::Board;

/// Bytes that a firmware takes, and those there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// What is written to flash.
    pub flash: u64,
    /// The code's regions.
    pub flash_room: u64,
    /// Statics and the room for the stack.
    pub ram: u64,
    /// All RAM of the chip.
    pub ram_room: u64,
}

/// Measures the firmware in `path`.
pub fn measure(board: &Board, path: &Path) -> Result<Size, String> {
    let read = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| read(&error))?;
    let (flash, statics) = taken(&bytes, board).map_err(|error| read(&error))?;
    let regions = &board.regions;
    let vectors = regions.vectors.as_ref().map_or(0, |r| r.bytes);
    Ok(Size {
        flash,
        flash_room: u64::from(regions.code.bytes) + u64::from(vectors),
        ram: statics + u64::from(board.stack_bytes),
        ram_room: board.ram_bytes().into(),
    })
}

/// What a HAL calls the room that it gives the stack.
const STACK: &[u8] = b".stack";

/// Bytes of segments that come from the file, and of sections in RAM but the stack's.
fn taken(bytes: &[u8], board: &Board) -> object::Result<(u64, u64)> {
    let header = FileHeader32::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?.iter();
    let loaded = segments.filter(|s| s.p_type(endian) == PT_LOAD);
    let flash = loaded.map(|s| u64::from(s.p_filesz(endian))).sum();
    let in_ram = |address: u32| {
        let mut rams = board.ram.iter();
        rams.any(|ram| address >= ram.address && address - ram.address < ram.bytes)
    };
    let sections = header.sections(endian, bytes)?;
    let statics = sections
        .iter()
        .filter(|s| s.sh_flags(endian) & SHF_ALLOC != 0 && in_ram(s.sh_addr(endian)))
        .filter(|s| sections.section_name(endian, s) != Ok(STACK))
        .map(|s| u64::from(s.sh_size(endian)))
        .sum();
    Ok((flash, statics))
}
