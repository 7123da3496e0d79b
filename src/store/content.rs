//! What the two slots hold, and which of them counts.

use super::StoreError;
use super::record::{RECORD_VERSION, Record, Tombstone};

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SlotContent<E> {
    /// A sound record, its payload checked.
    Record(Record),
    /// A sound header that says that every older record was forgotten.
    Tombstone(Tombstone),
    /// No header since the last erase.
    Blank,
    /// A torn or damaged record.
    Corrupted,
    /// A sound header of another format version.
    Version {
        /// Its number.
        found: u16,
        /// Its sequence number.
        sequence: u32,
    },
    /// The flash cannot read it.
    Unreadable(E),
}

impl<E> SlotContent<E> {
    pub(super) const fn sequence(&self) -> Option<u32> {
        match self {
            Self::Record(Record { sequence, .. })
            | Self::Tombstone(Tombstone { sequence, .. })
            | Self::Version { sequence, .. } => Some(*sequence),
            _ => None,
        }
    }

    /// How much it tells of what was saved. What is torn beside a tombstone is a reset or the first
    /// save after it.
    const fn rank(&self) -> u8 {
        match self {
            Self::Blank => 0,
            Self::Corrupted => 1,
            Self::Unreadable(_) => 2,
            Self::Tombstone(_) => 3,
            Self::Version { .. } => 4,
            Self::Record(_) => 5,
        }
    }

    /// How gladly a save replaces it where no slot counts: a damaged one first.
    const fn expendable(&self) -> u8 {
        match self {
            Self::Unreadable(_) => 3,
            Self::Corrupted => 2,
            Self::Blank => 1,
            Self::Version { .. } | Self::Tombstone(_) | Self::Record(_) => 0,
        }
    }

    pub(super) const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }
}

/// Takes what a newer tombstone has forgotten for the blank slot that it is to become.
pub(super) fn forget<E>(contents: [SlotContent<E>; 2]) -> [SlotContent<E>; 2] {
    let forgets = |by: &SlotContent<E>, of: &SlotContent<E>| match (by, of.sequence()) {
        (SlotContent::Tombstone(by), Some(of)) => Record::is_newer(by.sequence, of),
        _ => false,
    };
    let [a, b] = contents;
    if forgets(&a, &b) {
        [a, SlotContent::Blank]
    } else if forgets(&b, &a) {
        [SlotContent::Blank, b]
    } else {
        [a, b]
    }
}

/// Returns the newest sound record of a model, and its slot.
pub(super) fn newest<E>(
    contents: &[SlotContent<E>; 2],
    model_id: &[u8; 16],
) -> Option<(usize, Record)> {
    let mut best: Option<(usize, Record)> = None;
    for (slot, content) in contents.iter().enumerate() {
        if let SlotContent::Record(record) = content
            && record.model_id == *model_id
            && best.is_none_or(|(_, best)| Record::is_newer(record.sequence, best.sequence))
        {
            best = Some((slot, *record));
        }
    }
    best
}

/// Returns the error that tells most of why neither slot has a record of the model.
pub(super) fn why_none<E>(contents: [SlotContent<E>; 2]) -> StoreError<E> {
    let [a, b] = contents;
    let expected = RECORD_VERSION;
    match if b.rank() > a.rank() { b } else { a } {
        SlotContent::Record(record) => StoreError::WrongModel {
            found: record.model_id,
        },
        SlotContent::Version { found, .. } if found < expected => {
            StoreError::OlderFormat { found, expected }
        }
        SlotContent::Version { found, .. } => StoreError::NewerFormat { found, expected },
        SlotContent::Unreadable(error) => StoreError::Flash(error),
        SlotContent::Corrupted => StoreError::Corrupted,
        SlotContent::Blank | SlotContent::Tombstone(_) => StoreError::Empty,
    }
}

/// Returns the slot that a save may spoil: never the one that the model's tail is loaded from. With
/// no model, the one that a reset erases first: the older.
pub(super) fn slot_to_replace<E>(
    contents: &[SlotContent<E>; 2],
    model_id: Option<&[u8; 16]>,
) -> usize {
    if let Some((slot, _)) = model_id.and_then(|id| newest(contents, id)) {
        return 1 - slot;
    }
    let [a, b] = contents;
    let b_is_older = match (a.sequence(), b.sequence()) {
        (Some(a), Some(b)) => Record::is_newer(a, b),
        _ => b.expendable() > a.expendable(),
    };
    usize::from(b_is_older)
}
