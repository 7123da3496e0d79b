//! Rows of a row-major matrix.
//!
//! `chunks_exact` panics on a length of 0 and divides by it when zipped; whether the compiler sees that
//! neither can happen hangs on what it inlines. Here there is nothing to see.

/// Returns the whole rows of `matrix` `[n, columns]`; what is left over is in none. No columns, no rows.
#[inline]
pub(crate) fn rows<T>(matrix: &[T], columns: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = matrix;
    core::iter::from_fn(move || {
        let (row, after) = rest.split_at_checked(columns)?;
        rest = after;
        (!row.is_empty()).then_some(row)
    })
}

/// As [`rows`], and what is left over as a last, shorter one.
#[inline]
pub(crate) fn pieces<T>(matrix: &[T], columns: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = matrix;
    core::iter::from_fn(move || {
        let (piece, after) = rest.split_at_checked(columns).unwrap_or((rest, &[]));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// As [`rows`], to write to.
#[inline]
pub(crate) fn rows_mut<T>(matrix: &mut [T], columns: usize) -> impl Iterator<Item = &mut [T]> {
    let mut rest = matrix;
    core::iter::from_fn(move || {
        let (row, after) = core::mem::take(&mut rest).split_at_mut_checked(columns)?;
        rest = after;
        (!row.is_empty()).then_some(row)
    })
}

#[cfg(test)]
mod tests {
    use super::{pieces, rows, rows_mut};

    #[test]
    fn whole_rows_and_no_others() {
        let matrix = [1, 2, 3, 4, 5];
        assert!(rows(&matrix, 2).eq([[1, 2], [3, 4]]));
        assert!(rows(&matrix, 5).eq([[1, 2, 3, 4, 5]]));
        assert_eq!(rows(&matrix, 6).count(), 0);
        assert_eq!(rows(&matrix, 0).count(), 0);
        assert!(pieces(&matrix, 2).eq([&[1, 2][..], &[3, 4], &[5]]));
        assert!(pieces(&matrix, 6).eq([&matrix[..]]));
        assert_eq!(pieces(&matrix, 0).count(), 0);
        let mut matrix = matrix;
        for (i, row) in rows_mut(&mut matrix, 2).enumerate() {
            row.fill(i);
        }
        assert_eq!(matrix, [0, 0, 1, 1, 5]);
        assert_eq!(rows_mut(&mut matrix, 0).count(), 0);
    }
}
