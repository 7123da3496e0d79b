//! The position-wise feed-forward layer of one block.

use super::attention::sub_layer_input;
use super::plan::{ArenaPlan, Regions, rows_scratch};
use super::view::Block;
use crate::kernels::{layer_norm_i16, linear_add_i16, linear_i8, linear_table_i8};
use core::ops::Range;

/// Adds the feed-forward of some tokens to their residual rows, and normalises them where the
/// block is post-norm.
pub(super) fn feed_forward(
    block: &Block<'_>,
    plan: &ArenaPlan,
    r: &mut Regions<'_>,
    d: usize,
    tokens: Range<usize>,
) -> Option<()> {
    let span = tokens.start * d..tokens.end * d;
    let residual = r.residual.get_mut(span.clone())?;
    let rows = r.rows.get_mut(..span.len())?;
    sub_layer_input(&block.ff_input, residual, rows);
    let (hidden, panel) = rows_scratch(r.scratch, plan.hidden)?;
    let hidden = hidden.get_mut(..tokens.len() * block.ff1.epilogue.len())?;
    match block.table {
        Some(table) => linear_table_i8(&block.ff1, table, panel, rows, hidden),
        None => linear_i8(&block.ff1, panel, rows, hidden),
    }
    linear_add_i16(&block.ff2, panel, hidden, residual);
    if let Some(norm) = &block.norm2 {
        layer_norm_i16(norm, residual);
    }
    Some(())
}
