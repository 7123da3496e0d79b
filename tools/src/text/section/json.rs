//! A value of a tokenizer.json with the path to it, so that what is not supported can be named.

use crate::text::TextError;
use serde_json::Value;

/// A value and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a> {
    value: &'a Value,
    name: &'a str,
}

impl<'a> Json<'a> {
    /// Names a value.
    pub const fn new(value: &'a Value, name: &'a str) -> Self {
        Self { value, name }
    }

    /// Returns a member; null where it is missing.
    pub fn get(&self, key: &'a str) -> Self {
        Self {
            value: self.value.get(key).unwrap_or(&Value::Null),
            name: key,
        }
    }

    /// Returns whether nothing is there.
    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// Returns the member `type`.
    pub fn kind(&self) -> &'a str {
        self.value.get("type").and_then(Value::as_str).unwrap_or("")
    }

    /// Says that this value is not supported.
    pub fn unsupported<T>(&self) -> Result<T, TextError> {
        let said = match self.kind() {
            "" => self.value.to_string(),
            kind => kind.to_owned(),
        };
        let short: String = said.chars().take(80).collect();
        Err(TextError::Unsupported(format!("{} {short}", self.name)))
    }

    fn found<T>(&self, value: Option<T>) -> Result<T, TextError> {
        value.map_or_else(|| self.unsupported(), Ok)
    }

    /// Returns a text; an empty one where nothing is there.
    pub fn str(&self) -> Result<&'a str, TextError> {
        match self.is_null() {
            true => Ok(""),
            false => self.found(self.value.as_str()),
        }
    }

    /// Returns whether this is true; missing is not.
    pub fn is_true(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }

    /// Returns a whole number; 0 where nothing is there.
    pub fn number(&self) -> Result<u64, TextError> {
        match self.is_null() {
            true => Ok(0),
            false => self.found(self.value.as_u64()),
        }
    }

    /// Returns a whole number that fits the section's field.
    pub fn small<T: TryFrom<u64>>(&self) -> Result<T, TextError> {
        let number = self.number()?;
        self.found(T::try_from(number).ok())
    }

    /// Returns the elements of an array.
    pub fn array(&self) -> Result<impl Iterator<Item = Self> + use<'a>, TextError> {
        let (items, name) = (self.found(self.value.as_array())?, self.name);
        Ok(items.iter().map(move |value| Self { value, name }))
    }

    /// Returns the members of an object.
    pub fn object(&self) -> Result<impl Iterator<Item = (&'a str, Self)> + use<'a>, TextError> {
        let items = self.found(self.value.as_object())?;
        let item = |(name, value): (&'a String, &'a Value)| {
            let name = name.as_str();
            (name, Self { value, name })
        };
        Ok(items.iter().map(item))
    }
}
