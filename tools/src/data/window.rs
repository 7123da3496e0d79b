//! A window of a sensor as a CSV file: one line a time step, one column an axis, with or without a
//! header line.

use super::DataError;
use std::path::Path;

/// Returns the numbers, `[n_frames, n_features]`.
pub(super) fn read(path: &Path) -> Result<Vec<f32>, DataError> {
    let bad = |line: usize, reason: String| DataError::Manifest {
        path: path.into(),
        line: line as u64,
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let mut values = Vec::new();
    let mut columns = None;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let row: Result<Vec<f32>, String> = line.split([',', ';', '\t']).map(number_of).collect();
        let row = match row {
            Ok(row) => row,
            // The first line may name the axes.
            Err(_) if values.is_empty() && number == 1 => continue,
            Err(field) => return Err(bad(number, format!("{field:?} is not a number"))),
        };
        let expected = *columns.get_or_insert(row.len());
        if row.len() != expected {
            let found = row.len();
            return Err(bad(
                number,
                format!("{found} columns, expected {expected} as above"),
            ));
        }
        values.extend(row);
    }
    if values.is_empty() {
        return Err(bad(1, "no numbers; expected one line a time step".into()));
    }
    Ok(values)
}

fn number_of(field: &str) -> Result<f32, String> {
    field.trim().parse().map_err(|_| field.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<f32>, String> {
        let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn windows_are_lines_of_numbers() {
        assert_eq!(parsed("x,y\n1,2\n3,-4.5\n"), Ok(vec![1.0, 2.0, 3.0, -4.5]));
        assert_eq!(parsed("1;2\n\n3;4"), Ok(vec![1.0, 2.0, 3.0, 4.0]));
        assert!(
            parsed("1,2\n3\n")
                .unwrap_err()
                .contains("line 2: 1 columns, expected 2")
        );
        assert!(
            parsed("1,2\n3,up\n")
                .unwrap_err()
                .contains("\"up\" is not a number")
        );
        assert!(parsed("x,y\n").unwrap_err().contains("no numbers"));
    }
}
