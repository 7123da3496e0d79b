//! The position-wise feed-forward layer of one block.

use super::attention::sub_layer_input;
use super::plan::Regions;
use super::view::Block;
use crate::kernels::{Panel, layer_norm_i16, linear_add_i16, linear_panel};
use core::ops::Range;

/// Adds the feed-forward of some tokens to their residual rows, and normalises them where the
/// block is post-norm.
pub(super) fn feed_forward(
    block: &Block<'_>,
    r: &mut Regions<'_>,
    d: usize,
    tokens: Range<usize>,
) -> Option<()> {
    let span = tokens.start * d..tokens.end * d;
    let residual = r.residual.get_mut(span)?;
    let rows = sub_layer_input(&block.ff_input, residual, d, r.rows);
    let mut hidden = Panel::new(r.scratch, tokens.len(), block.ff1.epilogue.len());
    linear_panel(&block.ff1, block.table, &rows, &mut hidden);
    linear_add_i16(&block.ff2, &hidden, residual);
    if let Some(norm) = &block.norm2 {
        layer_norm_i16(norm, residual);
    }
    Some(())
}
