//! The first bytes of an image: 96, and from minor 2 on 64 more.
//!
//! ```text
//! offset size field
//!  0     4    magic              "TTIM"
//!  4     2    format major       1; another major is refused
//!  6     2    format minor       2; a newer minor only adds what an older reader may ignore
//!  8     4    total length       bytes, the header counted
//! 12     4    CRC-32             ISO-HDLC, of all bytes of the image but these four
//! 16    16    model id           a hash of trunk, cut and labels (not of the file)
//! 32    32    model configuration (see `config`)
//! 64     4    directory offset   a multiple of 16
//! 68     4    tensor count
//! 72     4    labels offset
//! 76     4    labels length      bytes: for each class one length byte and that many of UTF-8
//! 80     4    provenance offset
//! 84     4    provenance length  bytes of UTF-8, `key=value` lines: tool, board, source
//! 88     4    front end offset   a multiple of 16; 0 where there is none (always 0 before minor 1)
//! 92     4    front end length   bytes (see `front_end`)
//!                                from minor 2 on, else all 0:
//! 96    32    decoder            (see `decoder`)
//! 128    4    tokenizer offset   a multiple of 16; 0 where there is none
//! 132    4    tokenizer length   bytes (see `text`)
//! 136    4    target offset      the tokenizer of a decoder's output, as the one before
//! 140    4    target length
//! 144   16    reserved           0
//! ```
//!
//! An image that needs none of the second part is written as minor 1, without it.

use super::config::ConfigRecord;
use super::decoder::DecoderRecord;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first four bytes of every image.
pub const MAGIC: [u8; 4] = *b"TTIM";
/// The format's major version, which a reader must know.
pub const FORMAT_MAJOR: u16 = 1;
/// The format's minor version.
pub const FORMAT_MINOR: u16 = 2;
/// Where the CRC stands: the four bytes that it does not cover.
pub const CRC_OFFSET: usize = 12;
/// Every tensor's offset is a multiple of this.
pub const TENSOR_ALIGNMENT: u32 = 16;

/// The header: see the [module](self) for its bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`FORMAT_MAJOR`].
    pub major: U16,
    /// [`FORMAT_MINOR`].
    pub minor: U16,
    /// Bytes of the whole image.
    pub total_len: U32,
    /// See [`checksum`].
    pub crc: U32,
    /// The model's identity.
    pub model_id: [u8; 16],
    /// The architecture.
    pub config: ConfigRecord,
    /// Where the tensor directory starts.
    pub directory_offset: U32,
    /// Entries of the tensor directory.
    pub tensor_count: U32,
    /// Where the labels start.
    pub labels_offset: U32,
    /// Bytes of labels.
    pub labels_len: U32,
    /// Where the provenance starts.
    pub provenance_offset: U32,
    /// Bytes of provenance.
    pub provenance_len: U32,
    /// Where the front end starts; 0 where there is none.
    pub front_end_offset: U32,
    /// Bytes of the front end.
    pub front_end_len: U32,
}

/// Bytes of the header's first part, which every image has.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The header's second part, from minor 2 on: see the [module](self) for its bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HeaderExtension {
    /// The decoder's architecture.
    pub decoder: DecoderRecord,
    /// Where the tokenizer of the input starts; 0 where there is none.
    pub tokenizer_offset: U32,
    /// Bytes of that tokenizer.
    pub tokenizer_len: U32,
    /// Where the tokenizer of a decoder's output starts; 0 where there is none.
    pub target_offset: U32,
    /// Bytes of that tokenizer.
    pub target_len: U32,
    /// Zero.
    pub reserved: [u8; 16],
}

/// The format's minor version that brought [`HeaderExtension`].
pub const EXTENSION_MINOR: u16 = 2;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Returns the CRC-32 of an image's bytes, the four at [`CRC_OFFSET`] left out.
pub fn checksum(image: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(image.get(..CRC_OFFSET).unwrap_or(image));
    digest.update(image.get(CRC_OFFSET + 4..).unwrap_or(&[]));
    digest.finalize()
}
