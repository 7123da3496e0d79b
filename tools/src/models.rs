//! Where the models and recordings lie that the project ships.

use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};

/// The default model: a keyword encoder made for transfer; its card is the README.md beside it.
pub const KEYWORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/keywords");

/// Its smaller sibling, for parts with 16 KB of RAM.
pub const KEYWORDS_MICRO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/keywords-micro");

/// Recordings of the ten words that the models know: what an image is calibrated on.
pub const KNOWN_WORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/clips/known");

/// Recordings of ten words that the models have never heard, by two speakers, five takes each.
pub const NEW_WORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/clips/new");

/// KWT-1, which is not shipped: its architecture, and the bytes of the image that `convert` makes of it.
pub const KWT1: (ModelConfig, usize) = (
    ModelConfig {
        n_layers: 12,
        d_model: 64,
        n_heads: 1,
        d_ff: 256,
        seq_len: 99,
        n_classes: 12,
        input: InputKind::Frames {
            n_frames: 98,
            n_features: 40,
        },
        class_token: true,
        norm: NormOrder::Post,
        activation: Activation::Gelu,
        pooling: Pooling::ClassToken,
        embed_norm: false,
        final_norm: false,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    },
    709_648,
);
