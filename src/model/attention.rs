//! Multi-head self-attention of one block, in two kinds of steps.

use super::plan::{ArenaPlan, Regions};
use super::view::{Block, SubLayerInput};
use crate::kernels::{
    Context, HeadLayout, Panel, attend, layer_norm_i16, layer_norm_panel, linear_add_i16,
    linear_keys, linear_panel, linear_values, requantize_panel,
};
use core::ops::Range;

/// Returns a sub-layer's int8 input, made in `words`.
pub(super) fn sub_layer_input<'w>(
    input: &SubLayerInput<'_>,
    residual: &[i16],
    d: usize,
    words: &'w mut [u32],
) -> Panel<'w> {
    let mut panel = Panel::new(words, residual.len() / d.max(1), d);
    match input {
        SubLayerInput::Requantize(requantize) => requantize_panel(requantize, residual, &mut panel),
        SubLayerInput::Norm(norm) => layer_norm_panel(norm, residual, &mut panel),
    }
    panel
}

/// Writes the keys and values of some of `len` tokens.
pub(super) fn keys_values(
    block: &Block<'_>,
    r: &mut Regions<'_>,
    d: usize,
    tokens: Range<usize>,
    layout: &HeadLayout,
) -> Option<()> {
    let span = tokens.start * d..tokens.end * d;
    let rows = sub_layer_input(&block.attn_input, r.residual.get(span)?, d, r.rows);
    linear_keys(&block.key, &rows, tokens.start, layout, r.keys);
    linear_values(&block.value, &rows, tokens.start, layout, r.values);
    Some(())
}

/// As [`keys_values`], of int8 rows `[tokens, d]` that a sub-layer's input was kept as.
pub(super) fn keys_values_of(
    block: &Block<'_>,
    r: &mut Regions<'_>,
    d: usize,
    first: usize,
    rows: &[i8],
    layout: &HeadLayout,
) {
    let mut panel = Panel::new(r.rows, rows.len() / d.max(1), d);
    panel.fill(rows);
    linear_keys(&block.key, &panel, first, layout, r.keys);
    linear_values(&block.value, &panel, first, layout, r.values);
}

/// Adds the attention of some tokens over all `len` to their residual rows, and normalises them
/// where the block is post-norm. `kept` is the tokens' int8 input, where it was kept.
#[allow(clippy::too_many_arguments)]
pub(super) fn attention(
    block: &Block<'_>,
    plan: &ArenaPlan,
    r: &mut Regions<'_>,
    d: usize,
    tokens: Range<usize>,
    layout: &HeadLayout,
    len: usize,
    kept: Option<&[i8]>,
) -> Option<()> {
    let span = tokens.start * d..tokens.end * d;
    let residual = r.residual.get_mut(span)?;
    let rows = match kept {
        None => sub_layer_input(&block.attn_input, residual, d, r.rows),
        Some(kept) => {
            let mut panel = Panel::new(r.rows, tokens.len(), d);
            panel.fill(kept);
            panel
        }
    };
    let (weights, queries) = r.scratch.split_at_mut_checked(plan.weights / 4)?;
    let mut queries = Panel::new(queries, tokens.len(), d);
    linear_panel(&block.query, None, &rows, &mut queries);
    let context = Context {
        keys: r.keys,
        values: r.values,
        layout: *layout,
        len,
        scale: block.attention,
    };
    for head in 0..d / layout.head_dim() {
        attend(&context, &mut queries, head, weights);
    }
    linear_add_i16(&block.out, &queries, residual);
    if let Some(norm) = &block.norm1 {
        layer_norm_i16(norm, residual);
    }
    Some(())
}
