//! Panels: up to four rows of int8, as the loops read them.
//!
//! A panel of `K` columns holds, for each pair of columns, four words, one a row: the even column's
//! int16 below, the odd one's above. So a kernel with two multiply-accumulates an instruction loads
//! both operands of both; what writes a panel widens once for all the channels that read it. What lies beside
//! a last odd column is never read. [`pairs`](super::pairs) puts the two into one word in another way.

use super::isa;
use core::iter::repeat;

/// Rows of a panel.
pub const ROWS: usize = 4;

/// Up to [`ROWS`] rows of int8 in words that somebody lends.
#[derive(Debug)]
pub struct Panel<'a> {
    words: &'a mut [u32],
    columns: usize,
    rows: usize,
}

impl<'a> Panel<'a> {
    /// Returns the words that a panel of `columns` needs.
    pub const fn words(columns: usize) -> usize {
        ROWS * columns.div_ceil(2)
    }

    /// Returns a panel of what lies in `words`; fewer columns where they are too few, at most [`ROWS`]
    /// rows.
    pub fn new(words: &'a mut [u32], rows: usize, columns: usize) -> Self {
        let columns = columns.min(words.len() / ROWS * 2);
        let len = Self::words(columns);
        Self {
            words: words.get_mut(..len).unwrap_or_default(),
            columns,
            rows: rows.min(ROWS),
        }
    }

    /// Returns the number of columns.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the number of rows that mean something.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the words of columns `first` to `first + columns`, `first` even.
    pub(super) fn part(&self, first: usize, columns: usize) -> &[u32] {
        let (start, len) = (first / 2 * ROWS, Self::words(columns));
        self.words.get(start..start + len).unwrap_or(&[])
    }

    /// As [`Self::part`], to be written.
    #[cfg(tailtune_kernels = "armv7em")]
    pub(super) fn part_mut(&mut self, first: usize, columns: usize) -> &mut [u32] {
        let (start, len) = (first / 2 * ROWS, Self::words(columns));
        self.words.get_mut(start..start + len).unwrap_or_default()
    }

    /// Returns an element; 0 where there is none.
    #[inline(always)]
    pub fn get(&self, row: usize, column: usize) -> i8 {
        let word = self.words.get(column / 2 * ROWS + row).copied();
        let [even, odd] = isa::halves(word.filter(|_| row < ROWS).unwrap_or(0));
        (if column & 1 == 0 { even } else { odd }) as i8
    }

    /// Replaces an element, if there is one.
    #[inline(always)]
    pub fn set(&mut self, row: usize, column: usize, value: i8) {
        if row >= ROWS || column >= self.columns {
            return;
        }
        if let Some(word) = self.words.get_mut(column / 2 * ROWS + row) {
            let [even, odd] = isa::halves(*word).map(|x| x as i8);
            *word = isa::word(if column & 1 == 0 {
                [value, odd]
            } else {
                [even, value]
            });
        }
    }

    /// Replaces the rows by int8 `[rows, columns]`, row-major.
    pub fn fill(&mut self, rows: &[i8]) {
        let columns = self.columns;
        for (row, values) in crate::rows::rows(rows, columns).take(self.rows).enumerate() {
            #[cfg(tailtune_kernels = "armv7em")]
            if super::armv7em::widen(values, row, self.words) {
                continue;
            }
            self.fill_row(row, values.iter().copied());
        }
    }

    /// Replaces one row; what `values` lacks becomes 0.
    #[inline(always)]
    pub fn fill_row(&mut self, row: usize, values: impl Iterator<Item = i8>) {
        let mut values = values.take(self.columns).chain(repeat(0));
        for word in self.words.iter_mut().skip(row.min(ROWS - 1)).step_by(ROWS) {
            let mut next = || values.next().unwrap_or(0);
            *word = isa::word([next(), next()]);
        }
    }
}
