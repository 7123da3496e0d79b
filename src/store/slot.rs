//! A slot's bytes: the only reads, writes and erases of the flash, a chunk or a block each.

use super::parts::Parts;
use super::record::{Checksum, HEADER_BYTES, HeaderError, payload_offset};
use super::{CHUNK, Record, SlotContent, Store, StoreError};
use embedded_storage::nor_flash::NorFlash;

/// A buffer that any flash driver takes.
#[repr(align(16))]
pub(super) struct Chunk(pub [u8; CHUNK]);

impl<F: NorFlash> Store<F> {
    /// Returns the flash offset of a slot's first byte.
    pub(super) fn start(&self, slot: usize) -> u32 {
        self.slots.get(slot).map_or(0, |slot| slot.start)
    }

    /// Returns the bytes of a slot.
    pub(super) fn len(&self, slot: usize) -> u32 {
        self.slots.get(slot).map_or(0, |slot| slot.end - slot.start)
    }

    /// Returns the flash offset of a slot's payload.
    pub(super) fn payload_start(&self, slot: usize) -> u32 {
        self.start(slot) + payload_offset(Self::WORD) as u32
    }

    /// Reads `len` bytes at an offset of flash into the chunk; what is read beyond them, up to a
    /// whole word, is of no meaning.
    pub(super) fn read(
        &mut self,
        offset: u32,
        len: usize,
        chunk: &mut Chunk,
    ) -> Result<(), F::Error> {
        let padded = len.next_multiple_of(Self::WORD);
        let bytes = chunk.0.get_mut(..padded).unwrap_or_default();
        self.flash.read(offset, bytes)
    }

    /// Hands a payload out in chunks and returns its CRC.
    pub(super) fn read_payload(
        &mut self,
        slot: usize,
        len: u32,
        mut each: impl FnMut(usize, &[u8]),
    ) -> Result<u32, F::Error> {
        let start = self.payload_start(slot);
        let mut chunk = Chunk([0; CHUNK]);
        let mut sum = Checksum::new();
        for at in (0..len).step_by(CHUNK) {
            let count = CHUNK.min((len - at) as usize);
            self.read(start + at, count, &mut chunk)?;
            let bytes = chunk.0.get(..count).unwrap_or(&[]);
            sum.update(bytes);
            each(at as usize, bytes);
        }
        Ok(sum.finish())
    }

    pub(super) fn header(&mut self, slot: usize) -> Result<Result<Record, HeaderError>, F::Error> {
        let mut chunk = Chunk([0; CHUNK]);
        self.read(self.start(slot), HEADER_BYTES, &mut chunk)?;
        let header = chunk.0.get(..HEADER_BYTES).unwrap_or(&[]);
        Ok(Record::parse(header))
    }

    pub(super) fn content(&mut self, slot: usize) -> SlotContent<F::Error> {
        let record = match self.header(slot) {
            Ok(Ok(record)) => record,
            Ok(Err(HeaderError::Blank)) => return SlotContent::Blank,
            Ok(Err(HeaderError::Corrupted)) => return SlotContent::Corrupted,
            Ok(Err(HeaderError::Tombstone(tombstone))) => {
                return SlotContent::Tombstone(tombstone);
            }
            Ok(Err(HeaderError::Version { found, sequence })) => {
                return SlotContent::Version { found, sequence };
            }
            Err(error) => return SlotContent::Unreadable(error),
        };
        if record.len as usize > self.capacity() {
            return SlotContent::Corrupted;
        }
        match self.read_payload(slot, record.len, |_, _| {}) {
            Ok(crc) if crc == record.payload_crc => SlotContent::Record(record),
            Ok(_) => SlotContent::Corrupted,
            Err(error) => SlotContent::Unreadable(error),
        }
    }

    /// Erases the block at an offset from a slot's start and returns where the next one begins.
    pub(super) fn erase_block(
        &mut self,
        slot: usize,
        at: u32,
    ) -> Result<u32, StoreError<F::Error>> {
        let block = F::ERASE_SIZE as u32;
        let from = self.start(slot) + at;
        let erased = self.flash.erase(from, from + block);
        erased.map_err(StoreError::Flash)?;
        Ok(at + block)
    }

    /// Writes the chunk of `parts` that begins at byte `at`, padded to whole words, and returns its
    /// bytes without the padding.
    pub(super) fn write(
        &mut self,
        offset: u32,
        parts: Parts<'_>,
        at: usize,
    ) -> Result<usize, StoreError<F::Error>> {
        let mut chunk = Chunk([0xff; CHUNK]);
        let mut len = 0_usize;
        for (to, from) in chunk.0.iter_mut().zip(parts.chunk(at)) {
            *to = from;
            len += 1;
        }
        let padded = len.next_multiple_of(F::WRITE_SIZE);
        let words = chunk.0.get(..padded).unwrap_or(&[]);
        self.flash.write(offset, words).map_err(StoreError::Flash)?;
        Ok(len)
    }

    /// Reads back what [`write`](Self::write) wrote, and returns its bytes.
    pub(super) fn check(
        &mut self,
        slot: usize,
        offset: u32,
        parts: Parts<'_>,
        at: usize,
    ) -> Result<usize, StoreError<F::Error>> {
        let mut chunk = Chunk([0; CHUNK]);
        let len = parts.chunk(at).count();
        let read = self.read(offset, len, &mut chunk);
        read.map_err(StoreError::Flash)?;
        if chunk.0.iter().zip(parts.chunk(at)).all(|(a, b)| *a == b) {
            return Ok(len);
        }
        Err(StoreError::Worn { slot, offset })
    }

    /// Writes and reads back the header that makes a slot count.
    pub(super) fn write_header(
        &mut self,
        slot: usize,
        header: &[u8; HEADER_BYTES],
    ) -> Result<(), StoreError<F::Error>> {
        let (start, header) = (self.start(slot), Parts::one(header));
        self.write(start, header, 0)?;
        self.check(slot, start, header, 0)?;
        Ok(())
    }
}
