//! A record: the header that makes a slot's bytes a tail of a model.
//!
//! Little endian, at the start of a slot. The payload follows at [`payload_offset`], both padded
//! with 0xff to whole words of the flash:
//!
//! ```text
//! offset  bytes
//!      0      4  magic, "TTRC"
//!      4      2  format version, 1
//!      6      2  kind: 0 a tail, 1 a tombstone, which says that all was forgotten
//!      8      4  sequence number: one more than the record it replaces, modulo 2^32
//!     12      4  payload length, bytes; a tombstone's is 0
//!     16     16  model id; a tombstone's is 0
//!     32      4  erase cycles of this slot, this record's own counted
//!     36      4  erase cycles of the other slot, as known then
//!     40      4  payload CRC-32 (ISO-HDLC)
//!     44      4  header CRC-32 (ISO-HDLC) of bytes 0..44
//! ```
//!
//! These 48 bytes keep their meaning in every version, so that an older or a newer record is told
//! from a damaged one.

use super::CHUNK;
use core::ops::Range;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first four bytes of a record.
pub const MAGIC: [u8; 4] = *b"TTRC";
/// The format version that is written.
pub const RECORD_VERSION: u16 = 1;
/// The kind of a header with a tail behind it.
const KIND_TAIL: u16 = 0;
/// The kind of a tombstone.
const KIND_TOMBSTONE: u16 = 1;
/// Bytes of a header before padding.
pub const HEADER_BYTES: usize = size_of::<Header>();
/// What the header CRC covers.
const COVERED: Range<usize> = 0..44;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// A running CRC-32.
pub(super) struct Checksum(crc::Digest<'static, u32>);

impl Checksum {
    pub(super) fn new() -> Self {
        static TABLE: crc::Crc<u32> = CRC;
        Self(TABLE.digest())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// Returns the CRC-32 of bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = Checksum::new();
    sum.update(bytes);
    sum.finish()
}

/// What a record's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record {
    /// Which of two records is newer: see [`Record::is_newer`].
    pub sequence: u32,
    /// Bytes of payload.
    pub len: u32,
    /// The model that the payload belongs to.
    pub model_id: [u8; 16],
    /// Erase cycles of the slot.
    pub erases: u32,
    /// Erase cycles of the other slot, as known when this was written.
    pub other_erases: u32,
    /// CRC-32 of the payload.
    pub payload_crc: u32,
}

/// What a tombstone's header says: every record that is older was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tombstone {
    /// What is older: see [`Record::is_newer`].
    pub sequence: u32,
    /// Erase cycles of the slot.
    pub erases: u32,
    /// Erase cycles of the other slot, the one that forgot it counted.
    pub other_erases: u32,
}

/// Why bytes are not a record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HeaderError {
    /// Nothing was written here since the erase.
    Blank,
    /// Torn, worn or foreign bytes.
    Corrupted,
    /// A sound header with no tail behind it.
    Tombstone(Tombstone),
    /// A sound header of another format version.
    Version {
        /// Its number.
        found: u16,
        /// Its sequence number.
        sequence: u32,
    },
}

/// The header's bytes: see the [module](self).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U16,
    kind: U16,
    sequence: U32,
    len: U32,
    model_id: [u8; 16],
    erases: U32,
    other_erases: U32,
    payload_crc: U32,
    header_crc: U32,
}

const _: () = assert!(HEADER_BYTES == 48);

impl Header {
    fn new(kind: u16, record: &Record) -> Self {
        let mut header = Self {
            magic: MAGIC,
            version: RECORD_VERSION.into(),
            kind: kind.into(),
            sequence: record.sequence.into(),
            len: record.len.into(),
            model_id: record.model_id,
            erases: record.erases.into(),
            other_erases: record.other_erases.into(),
            payload_crc: record.payload_crc.into(),
            header_crc: 0.into(),
        };
        header.header_crc = header.computed_crc().into();
        header
    }

    fn computed_crc(&self) -> u32 {
        checksum(self.as_bytes().get(COVERED).unwrap_or(&[]))
    }
}

impl Record {
    /// Reads a header.
    ///
    /// # Errors
    /// See [`HeaderError`]; other bytes than a header's 48 are corrupted.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Ok(header) = Header::read_from_bytes(bytes) else {
            return Err(HeaderError::Corrupted);
        };
        if bytes.iter().all(|&b| b == 0xff) {
            return Err(HeaderError::Blank);
        }
        if header.magic != MAGIC || header.header_crc.get() != header.computed_crc() {
            return Err(HeaderError::Corrupted);
        }
        let sequence = header.sequence.get();
        if header.version.get() != RECORD_VERSION {
            return Err(HeaderError::Version {
                found: header.version.get(),
                sequence,
            });
        }
        let record = Self {
            sequence,
            len: header.len.get(),
            model_id: header.model_id,
            erases: header.erases.get(),
            other_erases: header.other_erases.get(),
            payload_crc: header.payload_crc.get(),
        };
        match header.kind.get() {
            KIND_TAIL => Ok(record),
            KIND_TOMBSTONE => Err(HeaderError::Tombstone(Tombstone {
                sequence,
                erases: record.erases,
                other_erases: record.other_erases,
            })),
            _ => Err(HeaderError::Corrupted),
        }
    }

    /// Returns the header's bytes.
    pub fn emit(&self) -> [u8; HEADER_BYTES] {
        zerocopy::transmute!(Header::new(KIND_TAIL, self))
    }

    /// Returns whether a sequence number is newer than another, across the wrap at 2^32.
    pub const fn is_newer(sequence: u32, than: u32) -> bool {
        (sequence.wrapping_sub(than) as i32) > 0
    }
}

impl Tombstone {
    /// Returns the header's bytes.
    pub fn emit(&self) -> [u8; HEADER_BYTES] {
        let nothing = Record {
            sequence: self.sequence,
            len: 0,
            model_id: [0; 16],
            erases: self.erases,
            other_erases: self.other_erases,
            payload_crc: checksum(&[]),
        };
        zerocopy::transmute!(Header::new(KIND_TOMBSTONE, &nothing))
    }
}

/// What [`payload_offset`] is a multiple of, so that tensors aligned to 16 within a payload are
/// aligned in flash, where slots start at erase blocks of at least 16 bytes.
pub const PAYLOAD_ALIGN: usize = 16;

/// Returns where the payload starts in a slot of a flash whose words have `word` bytes.
pub const fn payload_offset(word: usize) -> usize {
    HEADER_BYTES.next_multiple_of(word)
}

/// Returns the most bytes of a payload that a slot of so many bytes holds, in a flash whose words have `word`
/// bytes; 0 of a slot that holds none.
pub const fn slot_capacity(slot: usize, word: usize) -> usize {
    if word == 0 {
        return 0;
    }
    slot.saturating_sub(payload_offset(word))
}

// The words that a store takes are those that divide a chunk.
const _: () = {
    let mut word = 1;
    while word <= CHUNK {
        assert!(!CHUNK.is_multiple_of(word) || payload_offset(word).is_multiple_of(PAYLOAD_ALIGN));
        word += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record {
        sequence: 0x0403_0201,
        len: 5,
        model_id: *b"0123456789abcdef",
        erases: 7,
        other_erases: 6,
        payload_crc: 0xcbf4_3926,
    };

    #[test]
    fn bytes_are_as_documented() {
        let bytes = RECORD.emit();
        assert_eq!(&bytes[..16], b"TTRC\x01\0\0\0\x01\x02\x03\x04\x05\0\0\0");
        assert_eq!(&bytes[16..32], b"0123456789abcdef");
        assert_eq!(&bytes[32..44], b"\x07\0\0\0\x06\0\0\0\x26\x39\xf4\xcb");
        assert_eq!(bytes[44..], checksum(&bytes[..44]).to_le_bytes());
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(Record::parse(&bytes), Ok(RECORD));
    }

    #[test]
    fn a_tombstone_is_no_tail() {
        let tombstone = Tombstone {
            sequence: 9,
            erases: 3,
            other_erases: 4,
        };
        let mut bytes = tombstone.emit();
        let want = HeaderError::Tombstone(tombstone);
        assert_eq!(Record::parse(&bytes), Err(want));
        // Nor is a kind that nobody writes.
        bytes[6] = 2;
        let crc = checksum(&bytes[..44]).to_le_bytes();
        bytes[44..].copy_from_slice(&crc);
        assert_eq!(Record::parse(&bytes), Err(HeaderError::Corrupted));
    }

    #[test]
    fn damage_is_seen() {
        let good = RECORD.emit();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::parse(&bytes), Err(HeaderError::Corrupted), "{bit}");
        }
        for len in 0..HEADER_BYTES {
            assert_eq!(Record::parse(&good[..len]), Err(HeaderError::Corrupted));
        }
        assert_eq!(Record::parse(&[0xff; 48]), Err(HeaderError::Blank));
        assert_eq!(Record::parse(&[0; 48]), Err(HeaderError::Corrupted));
    }

    #[test]
    fn other_versions_are_told_apart() {
        let mut bytes = RECORD.emit();
        bytes[4] = 2;
        assert_eq!(Record::parse(&bytes), Err(HeaderError::Corrupted));
        let crc = checksum(&bytes[..44]).to_le_bytes();
        bytes[44..].copy_from_slice(&crc);
        let (found, sequence) = (2, RECORD.sequence);
        let want = HeaderError::Version { found, sequence };
        assert_eq!(Record::parse(&bytes), Err(want));
    }

    #[test]
    fn newer_across_the_wrap() {
        assert!(Record::is_newer(1, 0) && !Record::is_newer(0, 1));
        assert!(Record::is_newer(0, u32::MAX) && !Record::is_newer(u32::MAX, 0));
        assert!(!Record::is_newer(5, 5));
    }
}
