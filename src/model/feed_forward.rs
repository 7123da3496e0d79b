//! The position-wise feed-forward layer of one block.

use super::attention::sub_layer_input;
use super::view::FeedForward;
use crate::kernels::{Panel, layer_norm_i16, linear_add_i16, linear_panel};

/// Adds the feed-forward of some residual rows `[n, d]` to them, and normalises them where the block is
/// post-norm. `words` has room for a panel of `d`, `scratch` for one of the hidden layer.
pub(super) fn feed_forward(
    part: &FeedForward<'_>,
    residual: &mut [i16],
    d: usize,
    words: &mut [u32],
    scratch: &mut [u32],
) {
    let rows = sub_layer_input(&part.input, residual, d, words);
    let mut hidden = Panel::new(scratch, rows.rows(), part.ff1.epilogue.len());
    linear_panel(&part.ff1, part.table, &rows, &mut hidden);
    linear_add_i16(&part.ff2, &hidden, residual);
    if let Some(norm) = &part.norm {
        layer_norm_i16(norm, residual);
    }
}
