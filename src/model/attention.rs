//! Multi-head self-attention of one block, in two kinds of steps.

use super::plan::{ArenaPlan, Regions, attention_scratch};
use super::view::{Block, SubLayerInput};
use crate::kernels::{
    attend, layer_norm_i8, layer_norm_i16, linear_add_i16, linear_i8, requantize_rows,
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

/// Writes the keys and values of some tokens.
pub(super) fn keys_values(
    block: &Block<'_>,
    r: &mut Regions<'_>,
    d: usize,
    tokens: Range<usize>,
) -> Option<()> {
    let span = tokens.start * d..tokens.end * d;
    let rows = r.rows.get_mut(..span.len())?;
    sub_layer_input(&block.attn_input, r.residual.get(span.clone())?, rows);
    linear_i8(&block.key, r.panel, rows, r.keys.get_mut(span.clone())?);
    linear_i8(&block.value, r.panel, rows, r.values.get_mut(span)?);
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
    len: usize,
) -> Option<()> {
    let span = tokens.start * d..tokens.end * d;
    let residual = r.residual.get_mut(span.clone())?;
    let rows = r.rows.get_mut(..span.len())?;
    sub_layer_input(&block.attn_input, residual, rows);
    let (weights, sums, queries) = attention_scratch(plan, r.scratch)?;
    let (weights, queries) = (weights.get_mut(..len)?, queries.get_mut(..span.len())?);
    linear_i8(&block.query, r.panel, rows, queries);
    let (keys, values) = (r.keys.get(..len * d)?, r.values.get(..len * d)?);
    let head_dim = sums.len().max(1);
    for query in queries.chunks_exact_mut(d) {
        for (head, query) in query.chunks_exact_mut(head_dim).enumerate() {
            attend(
                query,
                keys,
                values,
                d,
                head * head_dim,
                &block.attention,
                weights,
                sums,
            );
        }
    }
    linear_add_i16(&block.out, r.panel, queries, residual);
    if let Some(norm) = &block.norm1 {
        layer_norm_i16(norm, residual);
    }
    Some(())
}
