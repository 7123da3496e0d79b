//! The int8 encoder and decoder: an image and an arena become a function from inputs to features.
//!
//! ```text
//! plan            bytes of arena that a configuration needs, to the byte
//! view            one block's tensors, typed
//! embedding       frames or tokens → residual stream, int16 [tokens, d_model]
//! attention       keys and values of all tokens, then one block of queries at a time
//! feed_forward    one block of tokens at a time
//! encoder         the order of the steps: `forward` runs them all, `begin` one at a time
//! latent          the last block's input, kept; and the block over it
//! decoder         masked and cross-attention, one token at a time; greedy and beam search
//! head            pooled feature (or a decoder's row) → int16 logits, as the image ships it
//! ```
//!
//! Nothing allocates. After [`Encoder::new`] has succeeded, a forward can only fail for its input
//! ([`InputError`]); it never lacks room.

mod attention;
pub mod decoder;
mod embedding;
mod encoder;
mod error;
mod features;
mod feed_forward;
mod head;
pub mod latent;
mod plan;
pub(crate) mod view;

pub use decoder::{
    Beam, BeamOptions, Decoded, Decoder, DecoderPlan, Encoding, OutputHead, decoder_arena_bytes,
    tuned_decoder_arena_bytes,
};
pub use embedding::{Input, quantize_frames};
pub use encoder::{Encoder, Forward};
pub use error::{EncoderError, InputError};
pub use features::Features;
pub use head::{Cut, Head};
pub use plan::{Arena, ArenaPlan, TOKEN_BLOCK, arena_bytes, weight_bytes_read};
