//! Whether a flash and two ranges of it can be a store.

use super::record::payload_offset;
use super::{CHUNK, LayoutError};
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

/// Checks that reads, writes, erases and the chunk are multiples of the flash's words.
pub(super) const fn check_words<F: NorFlash>(word: usize) -> Result<(), LayoutError> {
    let (read, write, erase) = (F::READ_SIZE, F::WRITE_SIZE, F::ERASE_SIZE);
    if read == 0
        || write == 0
        || erase == 0
        || !word.is_multiple_of(read)
        || !word.is_multiple_of(write)
        || !erase.is_multiple_of(word)
        || !CHUNK.is_multiple_of(word)
    {
        return Err(LayoutError::WordSize { read, write, erase });
    }
    Ok(())
}

/// Checks a slot against the flash.
pub(super) fn check_slot<F: NorFlash>(
    flash: &F,
    slot: &Range<u32>,
    word: usize,
) -> Result<(), LayoutError> {
    let erase = F::ERASE_SIZE;
    let Range { start, end } = *slot;
    let aligned = |offset: u32| (offset as usize).is_multiple_of(erase);
    if start > end || !aligned(start) || !aligned(end) {
        return Err(LayoutError::Misaligned { start, end, erase });
    }
    if end as usize > flash.capacity() {
        let capacity = flash.capacity();
        return Err(LayoutError::OutOfRange { end, capacity });
    }
    let (needed, found) = (payload_offset(word) + word, (end - start) as usize);
    if found < needed {
        return Err(LayoutError::TooSmall { needed, found });
    }
    Ok(())
}
