//! The bytes of a flash replay: units, their marks, and the records in them.
//!
//! A unit is what is erased at once: one erase block, or as many as one record needs. It starts with
//! a mark, written when its erase is over. Without one nothing in it counts:
//!
//! ```text
//! offset  bytes
//!      0      4  "TTL" and the format version, 1
//!      4      4  tag: the caller's, for the model and the cut
//!      8      4  sequence number: one more than the unit before, modulo 2^32
//!     12      4  width: int8 values of a sample
//!     16      4  CRC-32 (ISO-HDLC) of bytes 0..16
//! ```
//!
//! Records follow, of one size, in the order in which they came: head, values, seal. Mark and each of
//! the three are padded with 0xff to whole words of the flash.
//!
//! ```text
//! offset  bytes
//!      0      1  0
//!      1      1  format version, 1
//!      2      2  label
//!      4      4  tag
//!      8      4  sequence number: the unit's times records in a unit, plus the place in it
//!     12      4  samples of this class that had been offered, this one included
//!     16      4  scale, f32
//!     20      1  zero point, int8
//!     21      3  0
//!     24  width  values
//!    end      4  seal: CRC-32 of head and values
//! ```
//!
//! Little endian. The head goes first, so that a record that was begun never reads as blank (its
//! first byte has no bit that stays erased) and none of its words is written again after a reset,
//! whatever the values are. The seal goes last: until it is there, there is no record.

use super::io::CHUNK;
use crate::model::Features;
use core::num::NonZero;
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const VERSION: u8 = 1;
const MAGIC: [u8; 4] = [b'T', b'T', b'L', VERSION];
/// The widest sample that has a place.
const MAX_WIDTH: usize = 1 << 24;

static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

fn checksum(parts: [&[u8]; 2]) -> u32 {
    let mut sum = CRC.digest();
    parts.iter().for_each(|part| sum.update(part));
    sum.finalize()
}

/// Returns whether bytes are as an erase leaves them.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0xff)
}

/// What a unit starts with.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Mark {
    magic: [u8; 4],
    pub tag: [u8; 4],
    sequence: U32,
    width: U32,
    crc: U32,
}

impl Mark {
    pub(super) const BYTES: usize = size_of::<Self>();

    pub(super) fn new(tag: [u8; 4], sequence: u32, width: u32) -> Self {
        let mut mark = Self {
            magic: MAGIC,
            tag,
            sequence: sequence.into(),
            width: width.into(),
            crc: 0.into(),
        };
        mark.crc = mark.computed_crc().into();
        mark
    }

    fn computed_crc(&self) -> u32 {
        let covered = self.as_bytes().get(..16);
        checksum([covered.unwrap_or_default(), &[]])
    }

    /// Reads a mark; `None` for torn, blank or foreign bytes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mark = Self::read_from_bytes(bytes).ok()?;
        (mark.magic == MAGIC && mark.crc.get() == mark.computed_crc()).then_some(mark)
    }

    pub(super) const fn sequence(&self) -> u32 {
        self.sequence.get()
    }

    /// Returns whether the records after it belong to this tag and have this width.
    pub(super) fn suits(&self, tag: [u8; 4], width: u32) -> bool {
        (self.tag, self.width.get()) == (tag, width)
    }

    /// Returns whether its unit was begun after another one's, across the wrap at 2^32.
    pub(super) const fn is_newer(&self, than: &Self) -> bool {
        (self.sequence().wrapping_sub(than.sequence()) as i32) > 0
    }
}

/// What a record starts with.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Head {
    begun: u8,
    version: u8,
    label: U16,
    tag: [u8; 4],
    sequence: U32,
    seen: U32,
    scale: F32,
    pub zero_point: i8,
    reserved: [u8; 3],
}

impl Head {
    pub(super) const BYTES: usize = size_of::<Self>();

    pub(super) fn new(
        features: &Features<'_>,
        label: u16,
        tag: [u8; 4],
        sequence: u32,
        seen: u32,
    ) -> Self {
        Self {
            begun: 0,
            version: VERSION,
            label: label.into(),
            tag,
            sequence: sequence.into(),
            seen: seen.into(),
            scale: features.scale.into(),
            zero_point: features.zero_point,
            reserved: [0; 3],
        }
    }

    /// Reads a head; `None` if it cannot be one of this tag. Only the seal says that it is.
    pub(super) fn parse(bytes: &[u8], tag: [u8; 4]) -> Option<Self> {
        let head = Self::read_from_bytes(bytes).ok()?;
        let scale = head.scale();
        let sound = head.begun == 0 && head.version == VERSION && head.tag == tag;
        (sound && scale.is_finite() && scale > 0.0).then_some(head)
    }

    pub(super) const fn label(&self) -> u16 {
        self.label.get()
    }

    pub(super) const fn sequence(&self) -> u32 {
        self.sequence.get()
    }

    pub(super) const fn seen(&self) -> u32 {
        self.seen.get()
    }

    pub(super) const fn scale(&self) -> f32 {
        self.scale.get()
    }

    /// Returns the seal's bytes.
    pub(super) fn seal(&self, values: &[i8]) -> [u8; SEAL_BYTES] {
        checksum([self.as_bytes(), values.as_bytes()]).to_le_bytes()
    }
}

pub(super) const SEAL_BYTES: usize = 4;

const _: () = assert!(Mark::BYTES == 20 && Head::BYTES == 24);

/// Where in a region things lie; bytes, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    /// Values of a sample.
    pub width: u32,
    mark: u32,
    head: u32,
    seal: u32,
    /// A record, padding and all.
    pub record: u32,
    /// A unit.
    pub unit: u32,
    /// Records of a unit.
    pub slots: NonZero<u32>,
    /// Units of the region; fewer than two are no ring.
    pub units: u32,
}

impl Grid {
    /// Divides `region` bytes of a flash whose words have `word` bytes. `None` if the width or a
    /// unit is beyond every region.
    pub(super) const fn new(word: usize, erase: usize, region: u32, width: usize) -> Option<Self> {
        if word == 0 || word > 256 || width > MAX_WIDTH || erase > (u32::MAX / 2) as usize {
            return None;
        }
        let erase = erase as u32;
        let mark = Mark::BYTES.next_multiple_of(word) as u32;
        let head = Head::BYTES.next_multiple_of(word) as u32;
        let seal = SEAL_BYTES.next_multiple_of(word) as u32;
        let record = head + width.next_multiple_of(word) as u32 + seal;
        // The sums stay below 2^32: widths are bounded by 2^24, words by 2^8, blocks by 2^31.
        let Some(blocks) = (mark + record + erase - 1).checked_div(erase) else {
            return None;
        };
        let unit = blocks * erase;
        let fit = if blocks == 1 {
            (erase - mark) / record
        } else {
            1
        };
        Some(Self {
            width: width as u32,
            mark,
            head,
            seal: record - seal,
            record,
            unit,
            slots: match NonZero::new(fit) {
                Some(slots) => slots,
                None => NonZero::<u32>::MIN,
            },
            units: match region.checked_div(unit) {
                Some(units) => units,
                None => 0,
            },
        })
    }

    /// Returns the grid of the smallest ring that holds so many samples at any time: one unit is erased while
    /// the others are kept.
    pub(super) const fn holding(
        word: usize,
        erase: usize,
        width: usize,
        samples: u32,
    ) -> Option<Self> {
        if word == 0 || !erase.is_multiple_of(word) || !CHUNK.is_multiple_of(word) || width == 0 {
            return None;
        }
        let Some(grid) = Self::new(word, erase, 0, width) else {
            return None;
        };
        let units = samples.div_ceil(grid.slots.get()).saturating_add(1);
        let units = if units < 2 { 2 } else { units };
        match units.checked_mul(grid.unit) {
            Some(region) => Self::new(word, erase, region, width),
            None => None,
        }
    }

    /// Returns the bytes of the region.
    pub(super) const fn region(&self) -> usize {
        self.units as usize * self.unit as usize
    }

    /// Returns how many records the region holds.
    pub(super) const fn capacity(&self) -> usize {
        self.units as usize * self.slots.get() as usize
    }

    /// Returns where a record's head, values and seal start.
    pub(super) fn record(&self, index: u32) -> [u32; 3] {
        let (unit, slot) = (index / self.slots, index % self.slots);
        let at = unit * self.unit + self.mark + slot * self.record;
        [at, at + self.head, at + self.seal]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEATURES: Features<'_> = Features {
        values: &[1, -2, 3],
        scale: 0.5,
        zero_point: -4,
    };

    #[test]
    fn bytes_are_as_documented() {
        let mark = Mark::new(*b"kwt1", 0x0403_0201, 64);
        assert_eq!(&mark.as_bytes()[..12], b"TTL\x01kwt1\x01\x02\x03\x04");
        assert_eq!(&mark.as_bytes()[12..16], [64, 0, 0, 0]);
        let head = Head::new(&FEATURES, 0x0a09, *b"kwt1", 5, 6);
        assert_eq!(&head.as_bytes()[..12], b"\0\x01\x09\x0akwt1\x05\0\0\0");
        assert_eq!(
            &head.as_bytes()[12..],
            [6, 0, 0, 0, 0, 0, 0, 0x3f, 0xfc, 0, 0, 0]
        );
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend([1, 0xfe, 3]);
        let crc = CRC.checksum(&bytes).to_le_bytes();
        assert_eq!(head.seal(FEATURES.values), crc);
    }

    #[test]
    fn damaged_marks_are_seen() {
        let mark = Mark::new(*b"kwt1", 7, 64);
        assert!(Mark::parse(mark.as_bytes()).unwrap().suits(*b"kwt1", 64));
        for bit in 0..Mark::BYTES * 8 {
            let mut bytes = mark.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Mark::parse(&bytes).is_none(), "{bit}");
        }
        let new = |sequence| Mark::new([0; 4], sequence, 1);
        assert!(new(0).is_newer(&new(u32::MAX)) && !new(u32::MAX).is_newer(&new(0)));
    }

    /// Records lie one after another, in whole words, and none crosses a block unless it must.
    #[test]
    fn grids_have_no_overlap() {
        for (word, erase) in [(1, 128), (4, 4096), (8, 2048), (16, 8192), (256, 4096)] {
            for width in [1, 8, 64, 500, 4096, 6500] {
                let grid = Grid::new(word, erase, 1 << 20, width).unwrap();
                let mut end = 0;
                for index in 0..grid.capacity() as u32 {
                    let [head, values, seal] = grid.record(index);
                    assert!(head >= end && head.is_multiple_of(word as u32));
                    assert!(values >= head + 24 && seal >= values + width as u32);
                    end = seal + 4;
                    let (first, last) = (head / erase as u32, (end - 1) / erase as u32);
                    assert!(first == last || grid.unit > erase as u32);
                    assert_eq!(head / grid.unit, (end - 1) / grid.unit);
                }
                assert!(end <= 1 << 20);
            }
        }
        assert!(Grid::new(4, 0, 1, 1).is_none());
        assert!(Grid::new(4, 4096, 1, MAX_WIDTH + 1).is_none());
        let largest = Grid::new(256, (u32::MAX / 2) as usize, u32::MAX, MAX_WIDTH).unwrap();
        assert_eq!(largest.units, 2);
    }
}
