//! Where the models and recordings lie that the project ships.

/// The default model: a keyword encoder made for transfer; its card is the README.md beside it.
pub const KEYWORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/keywords");

/// Its smaller sibling, for parts with 16 KB of RAM.
pub const KEYWORDS_MICRO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/keywords-micro");

/// Recordings of the ten words that the models know: what an image is calibrated on.
pub const KNOWN_WORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/clips/known");

/// Recordings of ten words that the models have never heard, by two speakers, five takes each.
pub const NEW_WORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/clips/new");
