//! A property of code points as a sorted table: each entry is where a range starts and its value, and a
//! range ends where the next one starts.

use super::TextError;
use zerocopy::little_endian::U32;

/// The bits of an entry that hold the code point; the upper 11 hold the value.
const BITS: u32 = 21;
const MASK: u32 = (1 << BITS) - 1;

/// A table in place. Code points before the first entry have value 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranges<'a>(&'a [U32]);

impl<'a> Ranges<'a> {
    /// Checks that the ranges ascend.
    pub(super) fn parse(entries: &'a [U32], field: &'static str) -> Result<Self, TextError> {
        let starts = |e: &U32| e.get() & MASK;
        match entries.is_sorted_by(|a, b| starts(a) < starts(b)) {
            true => Ok(Self(entries)),
            false => Err(TextError::Section {
                field,
                found: entries.len() as u32,
            }),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns where the range of `c` starts, and its value.
    pub(super) fn get(&self, c: char) -> (u32, u32) {
        let after = self.0.partition_point(|e| e.get() & MASK <= c as u32);
        let entry = after.checked_sub(1).and_then(|i| self.0.get(i));
        entry.map_or((0, 0), |e| (e.get() & MASK, e.get() >> BITS))
    }

    /// Returns the value of `c`.
    pub(super) fn value(&self, c: char) -> u32 {
        self.get(c).1
    }
}

/// Packs an entry.
pub const fn range_entry(start: u32, value: u32) -> u32 {
    start & MASK | value << BITS
}
