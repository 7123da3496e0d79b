//! Multi-head attention of one block: keys and values first, then up to four queries at a time.

use super::plan::{ArenaPlan, Regions};
use super::view::{Attention, SubLayerInput};
use crate::kernels::{
    Context, HeadLayout, Panel, attend, attend_causal, layer_norm_i16, layer_norm_panel,
    linear_add_i16, linear_keys, linear_panel, linear_values, requantize_panel,
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
    part: &Attention<'_>,
    r: &mut Regions<'_>,
    d: usize,
    tokens: Range<usize>,
    layout: &HeadLayout,
) -> Option<()> {
    let span = tokens.start * d..tokens.end * d;
    let rows = sub_layer_input(&part.input, r.residual.get(span)?, d, r.rows);
    keys_values_at(part, &rows, tokens.start, layout, r.keys, r.values);
    Some(())
}

/// Writes the keys and values of the rows of a panel, tokens from `first` on, which is even.
pub(super) fn keys_values_at(
    part: &Attention<'_>,
    rows: &Panel<'_>,
    first: usize,
    layout: &HeadLayout,
    keys: &mut [i8],
    values: &mut [i8],
) {
    linear_keys(&part.key, rows, first, layout, keys);
    linear_values(&part.value, rows, first, layout, values);
}

/// As [`keys_values`], of int8 rows `[tokens, d]` that a sub-layer's input was kept as.
pub(super) fn keys_values_of(
    part: &Attention<'_>,
    r: &mut Regions<'_>,
    d: usize,
    first: usize,
    rows: &[i8],
    layout: &HeadLayout,
) {
    let mut panel = Panel::new(r.rows, rows.len() / d.max(1), d);
    panel.fill(rows);
    keys_values_at(part, &panel, first, layout, r.keys, r.values);
}

/// Adds the attention of some tokens over all `len` to their residual rows, and normalises them
/// where the block is post-norm. `kept` is the tokens' int8 input, where it was kept.
#[allow(clippy::too_many_arguments)]
pub(super) fn attention(
    part: &Attention<'_>,
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
        None => sub_layer_input(&part.input, residual, d, r.rows),
        Some(kept) => {
            let mut panel = Panel::new(r.rows, tokens.len(), d);
            panel.fill(kept);
            panel
        }
    };
    let (weights, queries) = r.scratch.split_at_mut_checked(plan.weights / 4)?;
    let mut queries = Panel::new(queries, tokens.len(), d);
    linear_panel(&part.query, None, &rows, &mut queries);
    let context = Context {
        keys: r.keys,
        values: r.values,
        layout: *layout,
        len,
        scale: part.scale,
    };
    attend_heads(&context, &mut queries, weights);
    add_contexts(part, &queries, residual);
    Some(())
}

/// Replaces up to four queries, a panel of `[n, d_model]`, by their contexts of all heads.
pub(super) fn attend_heads(context: &Context<'_>, queries: &mut Panel<'_>, weights: &mut [u32]) {
    for head in 0..queries.columns() / context.layout.head_dim() {
        attend(context, queries, head, weights);
    }
}

/// As [`attend_heads`], where no query sees a later token.
pub(super) fn attend_heads_causal(
    context: &Context<'_>,
    queries: &mut Panel<'_>,
    weights: &mut [u32],
) {
    for head in 0..queries.columns() / context.layout.head_dim() {
        attend_causal(context, queries, head, weights);
    }
}

/// Adds the output projection of contexts to their residual rows, and normalises them where the block is
/// post-norm.
pub(super) fn add_contexts(part: &Attention<'_>, contexts: &Panel<'_>, residual: &mut [i16]) {
    linear_add_i16(&part.out, contexts, residual);
    if let Some(norm) = &part.norm {
        layer_norm_i16(norm, residual);
    }
}
