//! Methods below the pooled feature: the last block by backpropagation.
//!
//! ```text
//! view       the block in real numbers: grids, norms, weights' scales
//! product    int8 weights times f32 vectors, and back
//! forward    a latent → the pooled feature, through every rounding of the integer runtime
//! cross      a decoder's cross-attention, frozen and passed through
//! backward   the gradient by the feature → gradients of every parameter
//! affine     norms' gains and biases, linear biases: flat parameters, and their merge into tensors
//! choose     which tensors a tail holds; packed: a channel's weights in them, changed
//! method     the methods' common half: head, epochs, batches, tails
//! norm_bias  trains `affine` only
//! lora       trains low-rank adapters of chosen projections, merged at the end
//! last       the whole block in RAM, and `affine`: what the two below share
//! in_place   trains int8 weights where they lie
//! master     trains an f32 copy of the weights, and requantizes
//! ```
//!
//! With h_t the int8 input of attention (t = 0 is the row that is pooled), heads of width e, x the residual
//! row:
//!
//! ```text
//! q = Wq·h_0 + bq                     r = Wkᵀ·q                        of each head's rows
//! a_t = softmax_t(r·h_t / √e)         m = Σ a_t·h_t
//! c = Wv·m + bv                       u = x + Wo·c + bo
//! pre-norm:   f = LN2(u),  w = u + W2·σ(W1·f + b1) + b2,  z = LN(w)
//! post-norm:  y = LN1(u),  w = y + W2·σ(W1·y + b1) + b2,  z = LN2(w)
//! ```
//!
//! Of a decoder, t runs up to the position at hand, h_0 is that position's row, cross-attention may lie between y
//! and f, and z is what the output projection reads.
//!
//! `r·h_t` is `q·(Wk·h_t)` without `Wk·h_t`, and `Wv·m` is `Σ a_t·(Wv·h_t)`: one row is pooled, so keys and
//! values of the others are never computed, and their biases cancel (keys) or sum to one (values). The
//! backward goes the same way: two passes over h, no T×d buffer.
//!
//! Straight-through (Bengio et al., arXiv 1308.3432): q, c, f, σ's input and output and z are rounded to and
//! clipped at the image's grids in the forward; the backward passes through roundings, and not through
//! clips. Keys and values, the scores and the int16 stream are not rounded here; the integer runtime's own
//! answer to a tuned tail differs from the forward of training by as much.

mod affine;
mod backward;
mod choose;
mod cross;
mod flat;
mod forward;
pub mod in_place;
pub(super) mod last;
pub mod lora;
pub mod master;
mod method;
pub mod norm_bias;
mod packed;
mod product;
mod view;

pub use affine::affine_len;
pub use choose::Projections;
pub use flat::FlatBuffers;
pub use forward::{Rounding, scratch_len};
pub use in_place::LastBlock;
pub use last::block_bytes;
pub use lora::{Lora, LoraOptions, MAX_RANK, MergeReport, lora_len};
pub use master::{LastBlockMaster, MasterBuffers, master_len};
pub(super) use method::Part;
pub use method::{BlockBuffers, BlockMethod, BlockOptions};
pub use norm_bias::NormBias;
pub use view::Projection;
