//! Writes an image in the form that a flashing tool takes, chosen by the file's extension, at the
//! address where its board keeps models. Files appear whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The extension names no known form.
    #[error("{}: unknown extension; use .bin (raw), .hex (Intel HEX), .uf2 or .elf", .0.display())]
    Extension(PathBuf),
    /// The operating system refused: disk full, no permission.
    #[error("{}: cannot write: {source}; nothing was changed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The image is larger than the board's model region.
    #[error("{}: the image has {found} bytes, the model region of board {board} holds {capacity}; take a smaller model or another board (`tailtune plan`)", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The board.
        board: String,
        /// Bytes of the image.
        found: usize,
        /// Bytes of the region.
        capacity: usize,
    },
    /// The image does not fit the form's addresses.
    #[error("{}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Where an image goes on a board.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The board's name.
    pub board: String,
    /// Where its model region starts.
    pub address: u32,
    /// Bytes of its model region.
    pub capacity: usize,
    /// Its UF2 family; without one, UF2 blocks name none.
    pub uf2_family: Option<u32>,
}

impl Placement {
    /// Checks that an image for this board can take the form of `path`, before any work.
    ///
    /// # Errors
    /// [`OutputError::Extension`].
    pub fn takes(&self, path: &Path) -> Result<(), OutputError> {
        match extension(path).as_deref() {
            Some("bin" | "hex" | "uf2" | "elf") => Ok(()),
            _ => Err(OutputError::Extension(path.into())),
        }
    }
}

fn extension(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?;
    Some(extension.to_ascii_lowercase())
}

/// Writes `image` to `path` in the form of its extension.
///
/// # Errors
/// [`OutputError`] names the file.
pub fn write_image(path: &Path, image: &[u8], place: &Placement) -> Result<(), OutputError> {
    let form = |reason: String| OutputError::Form {
        path: path.into(),
        reason,
    };
    if image.len() > place.capacity {
        return Err(OutputError::TooLarge {
            path: path.into(),
            board: place.board.clone(),
            found: image.len(),
            capacity: place.capacity,
        });
    }
    let end = u64::from(place.address) + image.len() as u64;
    if !place.address.is_multiple_of(16) || end > 1 << 32 {
        let reason = format!(
            "address {:#x} is no multiple of 16 or the image leaves 32 bits",
            place.address
        );
        return Err(form(reason));
    }
    let bytes = match extension(path).as_deref() {
        Some("bin") => image.to_vec(),
        Some("hex") => intel_hex(image, place.address).map_err(form)?.into_bytes(),
        Some("uf2") => uf2(image, place.address, place.uf2_family),
        Some("elf") => elf(image, place.address).map_err(form)?,
        _ => return Err(OutputError::Extension(path.into())),
    };
    write_whole(path, &bytes)
}

/// Writes a file that appears whole or not at all: a temporary file beside it, then a rename.
///
/// # Errors
/// [`OutputError::Io`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let io = |source| OutputError::Io {
        path: path.into(),
        source,
    };
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As a file made by any other program: the umask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(dir).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// Intel HEX with extended linear addresses, 16 bytes a record.
fn intel_hex(image: &[u8], address: u32) -> Result<String, String> {
    let mut records = Vec::new();
    let mut upper = None;
    for (i, chunk) in image.chunks(16).enumerate() {
        let at = u64::from(address) + 16 * i as u64;
        let at =
            u32::try_from(at).map_err(|_| "the image ends beyond 32-bit addresses".to_owned())?;
        if upper != Some(at >> 16) {
            upper = Some(at >> 16);
            records.push(ihex::Record::ExtendedLinearAddress((at >> 16) as u16));
        }
        records.push(ihex::Record::Data {
            offset: at as u16,
            value: chunk.to_vec(),
        });
    }
    records.push(ihex::Record::EndOfFile);
    ihex::create_object_file_representation(&records).map_err(|e| e.to_string())
}

/// UF2 (<https://github.com/microsoft/uf2>): blocks of 512 bytes with 256 bytes of data.
fn uf2(image: &[u8], address: u32, family: Option<u32>) -> Vec<u8> {
    const DATA: usize = 256;
    let count = image.len().div_ceil(DATA) as u32;
    let mut out = Vec::with_capacity(count as usize * 512);
    for (i, chunk) in image.chunks(DATA).enumerate() {
        let words = [
            0x0a32_4655,
            0x9e5d_5157,
            // Bit 13: a family id is present.
            u32::from(family.is_some()) << 13,
            address.wrapping_add((i * DATA) as u32),
            DATA as u32,
            i as u32,
            count,
            family.unwrap_or(0),
        ];
        let start = out.len();
        out.extend(words.iter().flat_map(|w: &u32| w.to_le_bytes()));
        out.extend_from_slice(chunk);
        out.resize(start + 32 + DATA, 0xff);
        out.resize(start + 508, 0);
        out.extend(0x0ab1_6f30u32.to_le_bytes());
    }
    out
}

/// An ELF file for ARM with one loadable segment and one section, `.model`.
fn elf(image: &[u8], address: u32) -> Result<Vec<u8>, String> {
    use object::elf;
    use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Writer};
    let mut out = Vec::new();
    let mut w = Writer::new(object::Endianness::Little, false, &mut out);
    w.reserve_file_header();
    w.reserve_program_headers(1);
    let offset = w.reserve(image.len(), 16) as u64;
    let name = w.add_section_name(b".model");
    w.reserve_null_section_index();
    w.reserve_section_index();
    w.reserve_shstrtab_section_index();
    w.reserve_shstrtab();
    w.reserve_section_headers();
    let header = FileHeader {
        os_abi: 0,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: elf::EM_ARM,
        e_entry: 0,
        e_flags: elf::EF_ARM_EABI_VER5,
    };
    w.write_file_header(&header).map_err(|e| e.to_string())?;
    let (address, size) = (u64::from(address), image.len() as u64);
    w.write_program_header(&ProgramHeader {
        p_type: elf::PT_LOAD,
        p_flags: elf::PF_R,
        p_offset: offset,
        p_vaddr: address,
        p_paddr: address,
        p_filesz: size,
        p_memsz: size,
        p_align: 4,
    });
    w.write_align(16);
    w.write(image);
    w.write_shstrtab();
    w.write_null_section_header();
    w.write_section_header(&SectionHeader {
        name: Some(name),
        sh_type: elf::SHT_PROGBITS,
        sh_flags: u64::from(elf::SHF_ALLOC),
        sh_addr: address,
        sh_offset: offset,
        sh_size: size,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 16,
        sh_entsize: 0,
    });
    w.write_shstrtab_section_header();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object, ObjectSection, ObjectSegment};

    const ADDRESS: u32 = 0x0003_fff0;

    fn image() -> Vec<u8> {
        (0..1000u32).map(|i| (i * 7) as u8).collect()
    }

    fn place(uf2_family: Option<u32>) -> Placement {
        Placement {
            board: "test".into(),
            address: ADDRESS,
            capacity: 1000,
            uf2_family,
        }
    }

    #[test]
    fn hex_holds_every_byte_at_its_address() {
        let text = intel_hex(&image(), ADDRESS).unwrap();
        let mut found = std::collections::BTreeMap::new();
        let mut upper = 0u32;
        for record in ihex::Reader::new(&text) {
            match record.unwrap() {
                ihex::Record::ExtendedLinearAddress(high) => upper = u32::from(high) << 16,
                ihex::Record::Data { offset, value } => {
                    for (i, b) in value.into_iter().enumerate() {
                        found.insert(upper + u32::from(offset) + i as u32, b);
                    }
                }
                _ => {}
            }
        }
        let want = image()
            .into_iter()
            .enumerate()
            .map(|(i, b)| (ADDRESS + i as u32, b));
        assert_eq!(found, want.collect());
    }

    #[test]
    fn uf2_blocks_follow_the_specification() {
        let out = uf2(&image(), ADDRESS, Some(0xe48b_ff56));
        assert_eq!(out.len(), 4 * 512);
        for (i, block) in out.chunks(512).enumerate() {
            let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
            assert_eq!(
                (word(0), word(4), word(508)),
                (0x0a32_4655, 0x9e5d_5157, 0x0ab1_6f30)
            );
            assert_eq!((word(12), word(16)), (ADDRESS + 256 * i as u32, 256));
            assert_eq!((word(20), word(24), word(28)), (i as u32, 4, 0xe48b_ff56));
        }
        assert_eq!(out[32..32 + 256], image()[..256]);
        let plain = uf2(&image(), ADDRESS, None);
        assert_eq!((&plain[8..12], &plain[28..32]), (&[0; 4][..], &[0; 4][..]));
    }

    #[test]
    fn elf_holds_the_image_at_its_address() {
        let out = elf(&image(), ADDRESS).unwrap();
        let file = object::File::parse(&*out).unwrap();
        let segment = file.segments().next().unwrap();
        assert_eq!(
            (segment.address(), segment.data().unwrap()),
            (ADDRESS.into(), &image()[..])
        );
        let section = file.section_by_name(".model").unwrap();
        assert_eq!(
            (section.address(), section.data().unwrap()),
            (ADDRESS.into(), &image()[..])
        );
    }

    #[test]
    fn refusals_name_the_file_and_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("model.xyz");
        assert!(
            write_image(&odd, &image(), &place(None))
                .unwrap_err()
                .to_string()
                .contains("model.xyz")
        );
        let nowhere = dir.path().join("no/such/folder/model.bin");
        assert!(matches!(
            write_image(&nowhere, &image(), &place(None)),
            Err(OutputError::Io { .. })
        ));
        let bin = dir.path().join("model.bin");
        let large = vec![0; 1001];
        assert!(matches!(
            write_image(&bin, &large, &place(None)),
            Err(OutputError::TooLarge { .. })
        ));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
