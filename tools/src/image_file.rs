//! Reads an image back from any form that [`output`](crate::output) writes.

use crate::image_writer::AlignedBytes;
use object::{Object, ObjectSegment};
use std::path::Path;

/// Why a file does not hold one contiguous image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFileError {
    /// The operating system refused.
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    /// The file is damaged or of another kind.
    #[error("not a readable {form} file: {reason}")]
    Form {
        /// What its extension says.
        form: &'static str,
        /// Why not.
        reason: String,
    },
    /// Its pieces leave a gap or overlap.
    #[error("its data is not one piece: {expected:#x} was expected to follow, {found:#x} does")]
    NotContiguous {
        /// The next address.
        expected: u64,
        /// The one found.
        found: u64,
    },
}

/// Returns the bytes of `path`: raw, or out of Intel HEX, UF2 or ELF by its extension.
///
/// # Errors
/// [`ImageFileError`].
pub fn read(path: &Path) -> Result<AlignedBytes, ImageFileError> {
    let bytes = std::fs::read(path)?;
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_ascii_lowercase);
    let pieces = match extension.as_deref() {
        Some("hex") => hex(&bytes)?,
        Some("uf2") => uf2(&bytes)?,
        Some("elf") => elf(&bytes)?,
        _ => vec![(0, bytes)],
    };
    join(pieces)
}

pub(crate) type Pieces = Vec<(u64, Vec<u8>)>;

fn join(mut pieces: Pieces) -> Result<AlignedBytes, ImageFileError> {
    pieces.sort_by_key(|(address, _)| *address);
    let mut all = Vec::new();
    let start = pieces.first().map_or(0, |(address, _)| *address);
    for (found, piece) in pieces {
        let expected = start + all.len() as u64;
        if found != expected {
            return Err(ImageFileError::NotContiguous { expected, found });
        }
        all.extend(piece);
    }
    Ok(AlignedBytes::new(&all))
}

pub(crate) fn hex(bytes: &[u8]) -> Result<Pieces, ImageFileError> {
    let bad = |reason: String| ImageFileError::Form {
        form: "Intel HEX",
        reason,
    };
    let text = std::str::from_utf8(bytes).map_err(|e| bad(e.to_string()))?;
    let (mut pieces, mut upper) = (Vec::new(), 0);
    for record in ihex::Reader::new(text) {
        match record.map_err(|e| bad(e.to_string()))? {
            ihex::Record::ExtendedLinearAddress(high) => upper = u64::from(high) << 16,
            ihex::Record::ExtendedSegmentAddress(segment) => upper = u64::from(segment) << 4,
            ihex::Record::Data { offset, value } => pieces.push((upper + u64::from(offset), value)),
            _ => {}
        }
    }
    Ok(pieces)
}

pub(crate) fn uf2(bytes: &[u8]) -> Result<Pieces, ImageFileError> {
    let bad = |reason: &str| ImageFileError::Form {
        form: "UF2",
        reason: reason.into(),
    };
    if !bytes.len().is_multiple_of(512) {
        return Err(bad("its length is no multiple of 512"));
    }
    let block = |block: &[u8]| {
        let word = |at: usize| {
            let bytes = block.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        if (word(0), word(4), word(508)) != (0x0a32_4655, 0x9e5d_5157, 0x0ab1_6f30) {
            return Err(bad("a block's magic numbers are wrong"));
        }
        let data = block
            .get(32..32 + word(16) as usize)
            .filter(|d| d.len() <= 476);
        Ok((
            word(12).into(),
            data.ok_or_else(|| bad("a block is too long"))?.to_vec(),
        ))
    };
    bytes.chunks_exact(512).map(block).collect()
}

fn elf(bytes: &[u8]) -> Result<Pieces, ImageFileError> {
    let bad = |e: object::Error| ImageFileError::Form {
        form: "ELF",
        reason: e.to_string(),
    };
    let file = object::File::parse(bytes).map_err(bad)?;
    let piece = |s: object::Segment<'_, '_>| Ok((s.address(), s.data().map_err(bad)?.to_vec()));
    file.segments().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Placement, write_image};

    #[test]
    fn every_form_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let image: Vec<u8> = (0..70_000u32).map(|i| (i * 31) as u8).collect();
        let place = Placement {
            board: "test".into(),
            address: 0x0003_0000,
            capacity: 100_000,
            uf2_family: Some(1),
        };
        for extension in ["bin", "hex", "uf2", "elf"] {
            let path = dir.path().join("model").with_extension(extension);
            write_image(&path, &image, &place).unwrap();
            let found = read(&path).unwrap();
            assert_eq!(found[..image.len()], image, "{extension}");
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("a.hex", &b":00nonsense"[..]),
            ("a.uf2", &[1; 512]),
            ("a.elf", b"\x7fELF"),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert!(
                matches!(read(&path), Err(ImageFileError::Form { .. })),
                "{name}"
            );
        }
        let gap = vec![(0, vec![1, 2]), (3, vec![4])];
        assert!(matches!(
            join(gap),
            Err(ImageFileError::NotContiguous {
                expected: 2,
                found: 3
            })
        ));
    }
}
