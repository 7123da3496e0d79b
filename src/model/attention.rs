//! Multi-head self-attention of one block, in two kinds of steps.

use super::plan::{ArenaPlan, Regions, attention_scratch};
use super::view::{Block, SubLayerInput};
use crate::kernels::{
    Context, HeadLayout, attend, layer_norm_i8, layer_norm_i16, linear_add_i16, linear_i8,
    linear_keys, linear_values, requantize_rows,
};
use core::ops::Range;

/// Writes a sub-layer's int8 input.
pub(super) fn sub_layer_input(input: &SubLayerInput<'_>, residual: &[i16], rows: &mut [i8]) {
    match *input {
        SubLayerInput::Requantize {
            mantissas,
            scaling,
            zero_point,
        } => {
            requantize_rows(residual, mantissas, scaling, zero_point, rows);
        }
        SubLayerInput::Norm(ref norm) => layer_norm_i8(norm, residual, rows),
    }
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
    let rows = r.rows.get_mut(..span.len())?;
    sub_layer_input(&block.attn_input, r.residual.get(span)?, rows);
    let (panel, first) = (&mut *r.scratch, tokens.start);
    linear_keys(&block.key, panel, rows, first, layout, r.keys);
    linear_values(&block.value, panel, rows, first, layout, r.values);
    Some(())
}

/// Adds the attention of some tokens over all `len` to their residual rows, and normalises them
/// where the block is post-norm.
pub(super) fn attention(
    block: &Block<'_>,
    plan: &ArenaPlan,
    r: &mut Regions<'_>,
    d: usize,
    tokens: Range<usize>,
    layout: &HeadLayout,
    len: usize,
) -> Option<()> {
    let span = tokens.start * d..tokens.end * d;
    let residual = r.residual.get_mut(span.clone())?;
    let rows = r.rows.get_mut(..span.len())?;
    sub_layer_input(&block.attn_input, residual, rows);
    let (weights, queries, panel) = attention_scratch(plan, r.scratch)?;
    let queries = queries.get_mut(..span.len())?;
    linear_i8(&block.query, panel, rows, queries);
    let context = Context {
        keys: r.keys,
        values: r.values,
        layout: *layout,
        len,
        scale: block.attention,
    };
    for head in 0..d / layout.head_dim {
        attend(&context, queries, d, head, weights, panel);
    }
    linear_add_i16(&block.out, panel, queries, residual);
    if let Some(norm) = &block.norm1 {
        layer_norm_i16(norm, residual);
    }
    Some(())
}
