//! A tail as bytes that leave the device, and come back: for collecting a fleet's tails.
//!
//! An export is the [record](super::record) as it lies in flash, its header and then its payload
//! with nothing between them and nothing behind:
//!
//! ```text
//! offset  bytes
//!      0     48  the record's header: magic, version, model id, length, CRC-32 of both
//!     48    len  payload
//! ```
//!
//! So it has no format of its own: it says which save it is and how worn the slots are, and it is
//! older or newer than a firmware just as a record is.

use super::record::{HEADER_BYTES, HeaderError, MAGIC, RECORD_VERSION, checksum};
use super::slot::Chunk;
use super::{CHUNK, Record, Save, Saved, Store, StoreError};
use core::fmt;
use embedded_storage::nor_flash::NorFlash;

/// Why bytes are not an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ExportError {
    /// They do not begin as one, or hold no tail.
    NotAnExport,
    /// An export of another format version.
    Version {
        /// Its number.
        found: u16,
        /// The version that is read here.
        expected: u16,
    },
    /// They are fewer or more than the header says.
    Length {
        /// Bytes of the export, or of a header where that is not whole.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
    /// The header or the payload is damaged.
    Checksum,
}

/// An export that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported<'a> {
    /// Its header: model id, sequence number, wear.
    pub record: Record,
    /// The tail.
    pub payload: &'a [u8],
}

/// Reads an export, in place: on a host, or before an [import](Store::import).
///
/// # Errors
/// See [`ExportError`].
pub fn parse(bytes: &[u8]) -> Result<Exported<'_>, ExportError> {
    let found = bytes.len();
    if !bytes.starts_with(&MAGIC) {
        return Err(ExportError::NotAnExport);
    }
    let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
        let needed = HEADER_BYTES;
        return Err(ExportError::Length { needed, found });
    };
    let record = Record::parse(header).map_err(|error| match error {
        HeaderError::Blank | HeaderError::Tombstone(_) => ExportError::NotAnExport,
        HeaderError::Corrupted => ExportError::Checksum,
        HeaderError::Version { found, .. } => ExportError::Version {
            found,
            expected: RECORD_VERSION,
        },
    })?;
    let needed = HEADER_BYTES.saturating_add(record.len as usize);
    if found != needed {
        return Err(ExportError::Length { needed, found });
    }
    if checksum(payload) != record.payload_crc {
        return Err(ExportError::Checksum);
    }
    Ok(Exported { record, payload })
}

/// An export under way: [`read`](Self::read) it into a buffer of any size until it gives 0.
#[derive(Debug)]
pub struct Export<'s, F: NorFlash> {
    store: &'s mut Store<F>,
    slot: usize,
    record: Record,
    at: usize,
}

impl<F: NorFlash> Store<F> {
    /// Starts an export of the newest sound record of a model. It is read chunk by chunk, so neither
    /// it nor the tail needs a buffer of its size.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn export(&mut self, model_id: &[u8; 16]) -> Result<Export<'_, F>, StoreError<F::Error>> {
        let (slot, record) = self.newest(model_id)?;
        Ok(Export {
            store: self,
            slot,
            record,
            at: 0,
        })
    }

    /// Checks an export and saves its tail as any other: it gets a sequence number of this store.
    ///
    /// # Errors
    /// As [`begin_import`](Self::begin_import) and [`save`](Self::save); the record before is still
    /// there and still counts.
    pub fn import(
        &mut self,
        model_id: &[u8; 16],
        export: &[u8],
    ) -> Result<Saved, StoreError<F::Error>> {
        self.begin_import(model_id, export)?.finish()
    }

    /// Checks an export and starts the save of its tail. Writes nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Export`], [`StoreError::WrongModel`] where it is not a tail of `model_id`, and
    /// as [`begin_save`](Self::begin_save).
    pub fn begin_import<'s>(
        &'s mut self,
        model_id: &[u8; 16],
        export: &'s [u8],
    ) -> Result<Save<'s, F>, StoreError<F::Error>> {
        let Exported { record, payload } = parse(export).map_err(StoreError::Export)?;
        if record.model_id != *model_id {
            let found = record.model_id;
            return Err(StoreError::WrongModel { found });
        }
        self.begin_save(model_id, payload)
    }
}

impl<F: NorFlash> Export<'_, F> {
    /// Returns how many bytes the export has in all.
    pub const fn total(&self) -> usize {
        HEADER_BYTES + self.record.len as usize
    }

    /// Copies the next bytes to a buffer and returns how many: as many as it holds, fewer at the end,
    /// 0 behind it.
    ///
    /// # Errors
    /// [`StoreError::Flash`]: start another export. Flash that reads otherwise than before is not
    /// seen here but by who [parses](parse) the bytes.
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, StoreError<F::Error>> {
        let mut done = 0;
        while self.at < self.total()
            && let Some(rest) = to.get_mut(done..).filter(|rest| !rest.is_empty())
        {
            done += self.some(rest).map_err(StoreError::Flash)?;
        }
        Ok(done)
    }

    /// Copies bytes, one at least, of the header or of one chunk of the payload.
    fn some(&mut self, to: &mut [u8]) -> Result<usize, F::Error> {
        let header = self.record.emit();
        let mut chunk = Chunk([0; CHUNK]);
        let from = if self.at < HEADER_BYTES {
            header.get(self.at..)
        } else {
            // Reads start at chunks, which are whole words.
            let at = self.at - HEADER_BYTES;
            let skip = at % CHUNK;
            let left = self.record.len as usize - at;
            let end = (skip + left.min(to.len())).min(CHUNK);
            let offset = self.store.payload_start(self.slot) + (at - skip) as u32;
            self.store.read(offset, end, &mut chunk)?;
            chunk.0.get(skip..end)
        };
        let mut count = 0;
        for (to, from) in to.iter_mut().zip(from.unwrap_or(&[])) {
            *to = *from;
            count += 1;
        }
        self.at += count;
        Ok(count)
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnExport => write!(f, "no export of a tail"),
            Self::Version { found, expected } => {
                write!(f, "an export of format {found}, {expected} is read here")
            }
            Self::Length { needed, found } => {
                write!(f, "the export has {needed} bytes, {found} were given")
            }
            Self::Checksum => write!(f, "the export is damaged"),
        }
    }
}

impl core::error::Error for ExportError {}
