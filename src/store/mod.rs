//! The store: adapted tails in NOR flash, through resets and power cuts.
//!
//! ```text
//! record   the header that makes a slot's bytes a record, byte by byte
//! layout   whether a flash can hold two slots
//! slot     a slot's bytes: chunks read, written and read back, blocks erased
//! content  what the two slots hold, and which of them counts
//! parts    a payload whose parts lie apart in RAM
//! save     one save in bounded steps: erase, payload, check, header
//! reset    all tails forgotten, in bounded steps too
//! wear     erase counts, and the slot that is written next
//! boot     which tail counts: the newest, or the one before a torn save
//! export   a tail as bytes that leave the device and come back
//! ```
//!
//! Two slots; the newest sound record of the running model counts. A save erases the *other* slot,
//! writes the payload, reads it back, and writes the header last. Until the header's last word is
//! there, the slot is no record and the old one counts; from then on the new one does. So a power
//! cut at any moment, half-erased blocks and torn words included, leaves the old tail or the new
//! one, and [`Store::boot`] says which. Every word is written at most once between two erases. A
//! [factory reset](Store::factory_reset) is as safe: after a cut the tail that counted is there, or
//! none.
//!
//! A slot that cannot be read (ECC flash faults on torn words) counts as damaged as long as the
//! other one can. A save replaces a damaged slot before any other that does not count, so there is
//! never more than one of them; where neither can be read, nothing is erased.
//!
//! Contract: no allocation, no panic, whatever the flash holds or answers. Stack: one chunk of
//! [`CHUNK`] bytes, through which every read and write goes, aligned to 16. Wear: each save erases
//! the blocks of one slot that it needs; the slots take turns, and [`Store::wear`] counts. Payloads
//! start at a multiple of [`PAYLOAD_ALIGN`](record::PAYLOAD_ALIGN) bytes.

mod boot;
mod content;
mod error;
pub mod export;
mod layout;
mod parts;
pub mod record;
mod reset;
mod save;
mod slot;
mod wear;

pub use boot::Recovery;
pub use content::SlotContent;
pub use error::{LayoutError, StoreError};
pub use export::{Export, ExportError};
pub use record::{Record, Tombstone};
pub use reset::Reset;
pub use save::Save;

use content::{forget, newest, why_none};
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use layout::{check_slot, check_words};
pub use record::slot_capacity;

/// Bytes that are read or written at a time; the largest word that a flash may have.
pub const CHUNK: usize = 256;

/// A record that was found, loaded or saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Saved {
    /// The slot that holds it, 0 or 1.
    pub slot: usize,
    /// Where in flash its payload starts: for reading in place where flash is mapped.
    pub offset: u32,
    /// Bytes of payload.
    pub len: usize,
    /// Its sequence number: how many saves came before, modulo 2^32.
    pub sequence: u32,
    /// How often its slot has been erased: see [`Store::wear`].
    pub erases: u32,
}

/// Two slots in a flash.
///
/// # Examples
/// ```
/// use tailtune::store::{Recovery, Store, StoreError};
/// # use embedded_storage::nor_flash::*;
/// # struct Ram(Vec<u8>);
/// # impl ErrorType for Ram { type Error = NorFlashErrorKind; }
/// # impl ReadNorFlash for Ram {
/// #     const READ_SIZE: usize = 1;
/// #     fn read(&mut self, at: u32, to: &mut [u8]) -> Result<(), NorFlashErrorKind> {
/// #         to.copy_from_slice(&self.0[at as usize..][..to.len()]); Ok(())
/// #     }
/// #     fn capacity(&self) -> usize { self.0.len() }
/// # }
/// # impl NorFlash for Ram {
/// #     const WRITE_SIZE: usize = 4;
/// #     const ERASE_SIZE: usize = 4096;
/// #     fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
/// #         self.0[from as usize..to as usize].fill(0xff); Ok(())
/// #     }
/// #     fn write(&mut self, at: u32, from: &[u8]) -> Result<(), NorFlashErrorKind> {
/// #         self.0[at as usize..][..from.len()].copy_from_slice(from); Ok(())
/// #     }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let flash = Ram(vec![0xff; 8192]);
/// let model_id = [7; 16];
/// let mut store = Store::new(flash, 0..8192)?;
/// store.save(&model_id, b"the first tail")?;
/// store.save(&model_id, b"a better one")?;
///
/// let mut buffer = [0; 64];
/// let saved = store.load(&model_id, &mut buffer)?;
/// assert_eq!(&buffer[..saved.len], b"a better one");
///
/// // After a reset: which of the two it is.
/// assert_eq!(store.boot(&model_id)?, (saved, Recovery::Newest));
///
/// // To a host, which checks it, through a buffer of any size.
/// let (mut sent, mut export) = (Vec::new(), store.export(&model_id)?);
/// while let count @ 1.. = export.read(&mut buffer)? {
///     sent.extend_from_slice(&buffer[..count]);
/// }
/// assert_eq!(tailtune::store::export::parse(&sent)?.payload, b"a better one");
///
/// store.factory_reset()?;
/// assert_eq!(store.load(&model_id, &mut buffer), Err(StoreError::Empty));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Store<F> {
    flash: F,
    slots: [Range<u32>; 2],
}

impl<F: NorFlash> Store<F> {
    /// What reads and writes are multiples of.
    const WORD: usize = if F::READ_SIZE > F::WRITE_SIZE {
        F::READ_SIZE
    } else {
        F::WRITE_SIZE
    };

    /// Returns a store over a region of flash, offsets in bytes from the flash's start: the first
    /// half of its erase blocks is one slot, the second half the other. Reads nothing.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn new(flash: F, region: Range<u32>) -> Result<Self, LayoutError> {
        check_words::<F>(Self::WORD)?;
        let Range { start, end } = region;
        let found = end.saturating_sub(start) as usize;
        let blocks = found.checked_div(F::ERASE_SIZE).unwrap_or_default();
        let slot = (blocks / 2 * F::ERASE_SIZE) as u32;
        if slot == 0 && start < end {
            return Err(LayoutError::TooSmall {
                needed: F::ERASE_SIZE.saturating_mul(2),
                found,
            });
        }
        check_slot::<F>(&flash, &region, Self::WORD)?;
        // Both sums stay within the region.
        let middle = start.wrapping_add(slot);
        let slots = [start..middle, middle..middle.wrapping_add(slot)];
        Self::with_slots(flash, slots)
    }

    /// Returns a store over two slots that lie apart.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn with_slots(flash: F, slots: [Range<u32>; 2]) -> Result<Self, LayoutError> {
        check_words::<F>(Self::WORD)?;
        let [a, b] = &slots;
        check_slot::<F>(&flash, a, Self::WORD)?;
        check_slot::<F>(&flash, b, Self::WORD)?;
        if a.start < b.end && b.start < a.end {
            return Err(LayoutError::Overlap);
        }
        Ok(Self { flash, slots })
    }

    /// Returns how many bytes of payload fit.
    pub fn capacity(&self) -> usize {
        let len = self.slots.iter().map(|slot| slot.end - slot.start).min();
        slot_capacity(len.unwrap_or_default() as usize, Self::WORD)
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Returns the flash.
    pub const fn flash(&self) -> &F {
        &self.flash
    }

    /// Returns what both slots hold, payloads checked. A record that is older than a tombstone beside
    /// it counts no more: see [`locate`](Self::locate) and [`boot`](Self::boot) for what does.
    pub fn inspect(&mut self) -> [SlotContent<F::Error>; 2] {
        [0, 1].map(|slot| self.content(slot))
    }

    /// Returns what of both slots counts. Where a read fails both are read again: a torn slot stays
    /// unreadable beside one that is read, a flash that fails shows itself at both.
    fn contents(&mut self) -> [SlotContent<F::Error>; 2] {
        let contents = self.inspect();
        if !contents.iter().any(SlotContent::is_unreadable) {
            return forget(contents);
        }
        forget(self.inspect())
    }

    /// As [`contents`](Self::contents), for what erases a slot.
    ///
    /// # Errors
    /// [`StoreError::Flash`] where neither slot can be read.
    fn replaceable(&mut self) -> Result<[SlotContent<F::Error>; 2], StoreError<F::Error>> {
        let contents = self.contents();
        if contents.iter().all(SlotContent::is_unreadable) {
            return Err(why_none(contents));
        }
        Ok(contents)
    }

    /// Finds the newest sound record of a model, without copying it: what firmware that can map its
    /// flash reads in place.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn locate(&mut self, model_id: &[u8; 16]) -> Result<Saved, StoreError<F::Error>> {
        let (slot, record) = self.newest(model_id)?;
        Ok(self.saved(slot, &record))
    }

    fn newest(&mut self, model_id: &[u8; 16]) -> Result<(usize, Record), StoreError<F::Error>> {
        let contents = self.contents();
        newest(&contents, model_id).ok_or_else(|| why_none(contents))
    }

    /// Copies the newest sound record of a model to a buffer.
    ///
    /// # Errors
    /// [`StoreError::Empty`], [`Corrupted`](StoreError::Corrupted),
    /// [`WrongModel`](StoreError::WrongModel) and the format errors where there is none;
    /// [`StoreError::BufferTooSmall`]; [`StoreError::Flash`] where the flash cannot be read and the
    /// other slot has no record either.
    pub fn load(
        &mut self,
        model_id: &[u8; 16],
        buffer: &mut [u8],
    ) -> Result<Saved, StoreError<F::Error>> {
        let mut contents = self.contents();
        // A second round only where flash reads differently the second time.
        while let Some((slot, record)) = newest(&contents, model_id) {
            let saved = self.saved(slot, &record);
            let found = buffer.len();
            let to = buffer.get_mut(..saved.len);
            let to = to.ok_or(StoreError::BufferTooSmall {
                needed: saved.len,
                found,
            })?;
            let crc = self.read_payload(slot, record.len, |at, bytes| {
                let to = to.get_mut(at..).unwrap_or_default();
                for (to, from) in to.iter_mut().zip(bytes) {
                    *to = *from;
                }
            });
            let again = match crc {
                Ok(crc) if crc == record.payload_crc => return Ok(saved),
                Ok(_) => SlotContent::Corrupted,
                Err(error) => SlotContent::Unreadable(error),
            };
            if let Some(content) = contents.get_mut(slot) {
                *content = again;
            }
        }
        Err(why_none(contents))
    }

    fn saved(&self, slot: usize, record: &Record) -> Saved {
        Saved {
            slot,
            offset: self.payload_start(slot),
            len: record.len as usize,
            sequence: record.sequence,
            erases: record.erases,
        }
    }
}
