//! Reads and writes of a flash replay, a chunk at a time.

use super::ReplayError;
use super::flash::FlashReplay;
use super::record::{Head, Mark, SEAL_BYTES, is_blank};
use embedded_storage::nor_flash::NorFlash;

/// Bytes that are read or written at a time; the largest word that a flash may have.
pub(super) const CHUNK: usize = 256;

/// A buffer that any flash driver takes.
#[repr(align(16))]
struct Chunk([u8; CHUNK]);

impl<F: NorFlash> FlashReplay<'_, F> {
    /// Returns a unit's mark, if it has one.
    pub(super) fn mark(&mut self, unit: u32) -> Result<Option<Mark>, F::Error> {
        let mut chunk = Chunk([0; CHUNK]);
        let bytes = self.read(self.unit_start(unit), Mark::BYTES, &mut chunk)?;
        Ok(Mark::parse(bytes))
    }

    /// Returns whether nothing was written to a slot since the erase.
    pub(super) fn is_blank(&mut self, index: u32) -> bool {
        let [at, ..] = self.grid.record(index);
        let mut chunk = Chunk([0; CHUNK]);
        (0..self.grid.record).step_by(CHUNK).all(|done| {
            let count = CHUNK.min((self.grid.record - done) as usize);
            let bytes = self.read(self.start + at + done, count, &mut chunk);
            bytes.is_ok_and(is_blank)
        })
    }

    /// Reads a record: its values go to the buffer. `None` if it is torn, worn or foreign.
    pub(super) fn record(&mut self, index: u32) -> Option<Head> {
        let [at, values, seal] = self.grid.record(index).map(|at| self.start + at);
        let mut chunk = Chunk([0; CHUNK]);
        let head = self.read(at, Head::BYTES, &mut chunk).ok()?;
        let head = Head::parse(head, self.tag)?;
        for done in (0..self.grid.width).step_by(CHUNK) {
            let count = CHUNK.min((self.grid.width - done) as usize);
            let bytes = self.read(values + done, count, &mut chunk).ok()?;
            let to = self.buffers.values.get_mut(done as usize..)?;
            for (to, from) in to.iter_mut().zip(bytes) {
                *to = from.cast_signed();
            }
        }
        let found = self.read(seal, SEAL_BYTES, &mut chunk).ok()?;
        (found == head.seal(self.buffers.values)).then_some(head)
    }

    /// Reads bytes to the chunk, in whole words; once more if flash refuses.
    fn read<'c>(
        &mut self,
        offset: u32,
        len: usize,
        chunk: &'c mut Chunk,
    ) -> Result<&'c [u8], F::Error> {
        let padded = len.next_multiple_of(Self::WORD);
        let words = chunk.0.get_mut(..padded).unwrap_or_default();
        if self.flash.read(offset, words).is_err() {
            self.flash.read(offset, words)?;
        }
        Ok(words.get(..len).unwrap_or(&[]))
    }

    /// Writes up to a chunk, padded to whole words.
    pub(super) fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ReplayError<F::Error>> {
        let mut chunk = Chunk([0xff; CHUNK]);
        for (to, from) in chunk.0.iter_mut().zip(bytes) {
            *to = *from;
        }
        let padded = bytes.len().next_multiple_of(F::WRITE_SIZE);
        let words = chunk.0.get(..padded).unwrap_or(&[]);
        let written = self.flash.write(offset, words);
        written.map_err(ReplayError::Flash)
    }
}
