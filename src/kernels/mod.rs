//! Integer operators: what the model is computed with.
//!
//! Every function here is total: shapes that do not fit are cut to what does, arithmetic wraps,
//! narrowing saturates, nothing panics or allocates. [`Image::parse`](crate::image::Image::parse)
//! is what makes shapes fit. The portable code in this folder defines the bits; a kernel for an
//! instruction set must give the same.
//!
//! Data types: activations int8 `[rows, cols]` row-major with one scale and zero point, the
//! residual stream int16, accumulators i32 (wrapping), see [`quant`](crate::quant).

#[cfg(tailtune_mve)]
#[macro_use]
mod mve;
#[cfg(tailtune_kernels = "armv7em")]
mod armv7em;
mod attention;
mod layer_norm;
mod linear;
#[cfg(any(tailtune_pairs, test))]
mod pairs;
mod panel;
mod portable;
mod requantize;
mod rsqrt;
mod softmax;
#[cfg(any(tailtune_kernels = "armv6m", tailtune_kernels = "armv7m"))]
mod thumb;

#[cfg(tailtune_kernels = "armv7em")]
use armv7em as isa;
#[cfg(tailtune_kernels = "rv32im")]
use pairs as isa;
#[cfg(not(any(tailtune_kernels = "armv7em", tailtune_pairs)))]
use portable as isa;
#[cfg(any(tailtune_kernels = "armv6m", tailtune_kernels = "armv7m"))]
use thumb as isa;

pub use attention::{
    AttentionScale, Context, HeadLayout, attend, attend_causal, linear_keys, linear_values,
};
pub use layer_norm::{Norm, layer_norm_i16, layer_norm_panel};
pub use linear::{
    Linear, channel_place, linear_add_i16, linear_i8, linear_i16, linear_panel, linear_row_i16,
};
pub use panel::{Panel, ROWS};
pub use requantize::{Requantize, mean_rows, requantize_panel, requantize_row};
pub use rsqrt::inverse_sqrt;
pub use softmax::{ONE, exponentials};
