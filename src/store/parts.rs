//! A payload whose parts lie apart in RAM, as the one row of bytes that flash gets.

use super::CHUNK;
use super::record::Checksum;

/// The parts, in order. One part needs no slice of slices, so it has a place of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'s> {
    first: &'s [u8],
    rest: &'s [&'s [u8]],
}

impl<'s> Parts<'s> {
    pub const fn one(first: &'s [u8]) -> Self {
        Self { first, rest: &[] }
    }

    pub const fn many(rest: &'s [&'s [u8]]) -> Self {
        Self { first: &[], rest }
    }

    fn iter(&self) -> impl Iterator<Item = &'s [u8]> {
        core::iter::once(self.first).chain(self.rest.iter().copied())
    }

    /// Bytes of all parts; `usize::MAX` where they are more than can be counted.
    pub fn len(&self) -> usize {
        self.iter()
            .fold(0, |len: usize, part| len.saturating_add(part.len()))
    }

    pub fn checksum(&self) -> u32 {
        let mut sum = Checksum::new();
        self.iter().for_each(|part| sum.update(part));
        sum.finish()
    }

    /// Returns the bytes of the chunk that starts at a byte of the whole, across parts.
    pub fn chunk(&self, at: usize) -> impl Iterator<Item = u8> {
        let (mut skipped, mut left) = (at, CHUNK);
        let windows = self.iter().map(move |part| {
            let skip = skipped.min(part.len());
            skipped -= skip;
            let part = part.get(skip..).unwrap_or(&[]);
            let part = part.get(..left).unwrap_or(part);
            left -= part.len();
            part
        });
        windows.flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::checksum;
    use std::vec::Vec;

    #[test]
    fn chunks_run_across_parts() {
        let bytes: Vec<u8> = (0..700u32).map(|i| (i * 7 + (i >> 8)) as u8).collect();
        for cuts in [[0, 0, 0], [1, 255, 256], [100, 100, 700], [257, 511, 699]] {
            let [a, b, c] = cuts;
            let apart = [&bytes[..a], &bytes[a..b], &bytes[b..c], &bytes[c..]];
            for parts in [Parts::many(&apart), Parts::one(&bytes)] {
                assert_eq!(parts.len(), 700);
                assert_eq!(parts.checksum(), checksum(&bytes));
                for at in [0, 1, 255, 256, 512, 699, 700, 701] {
                    let end = (at + CHUNK).min(700);
                    let want = bytes.get(at..end).unwrap_or(&[]);
                    assert!(parts.chunk(at).eq(want.iter().copied()), "{cuts:?} {at}");
                }
            }
        }
        assert_eq!(Parts::many(&[]).len(), 0);
    }
}
