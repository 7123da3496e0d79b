//! What is wrong with a board.toml.

/// Why a board.toml is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// It does not read: a key is missing, unknown or of another type.
    #[error("{place}: {reason}")]
    Toml {
        /// The file.
        place: String,
        /// Which key, what was found, what is expected.
        reason: String,
    },
    /// A value that nobody has filled in yet.
    #[error("{place}: {key} is still \"todo\": fill it in from the chip's data sheet")]
    Todo {
        /// The file.
        place: String,
        /// The key.
        key: String,
    },
    /// A value that contradicts another.
    #[error("{place}: {key} = {found}; {expected}")]
    Value {
        /// The file.
        place: String,
        /// The key.
        key: String,
        /// What it holds.
        found: String,
        /// What is allowed.
        expected: String,
    },
}

impl BoardError {
    pub(crate) fn toml(place: &str, error: &toml::de::Error) -> Self {
        Self::Toml {
            place: place.into(),
            reason: error.to_string().trim_end().into(),
        }
    }
}

/// Returns an error that names the first value that is `"todo"`.
pub(crate) fn no_todo(place: &str, text: &str) -> Result<(), BoardError> {
    let table: toml::Table = toml::from_str(text).map_err(|e| BoardError::toml(place, &e))?;
    match todo(&toml::Value::Table(table), String::new()) {
        Some(key) => Err(BoardError::Todo {
            place: place.into(),
            key,
        }),
        None => Ok(()),
    }
}

fn todo(value: &toml::Value, key: String) -> Option<String> {
    match value {
        toml::Value::String(text) => (text == "todo").then_some(key),
        toml::Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(i, value)| todo(value, format!("{key}[{i}]"))),
        toml::Value::Table(table) => table.iter().find_map(|(name, value)| {
            let dot = if key.is_empty() { "" } else { "." };
            todo(value, format!("{key}{dot}{name}"))
        }),
        _ => None,
    }
}
