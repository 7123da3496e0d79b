//! A decoder in integers: embedding, blocks, output projection.

use super::embedding::{put_i16, put_table};
use super::linear::{Output, quantize_linear, quantize_norm};
use super::{Context, QuantizeError, block, final_norm, last_row, stream};
use crate::float_model::{FloatDecoder, Linear};
use crate::reference::Site;
use tailtune::image::{NO_LAYER, TensorKind};

/// Quantizes a decoder; its encoder, if any, is done.
pub(crate) fn quantize(c: &mut Context<'_>, decoder: &FloatDecoder) -> Result<(), QuantizeError> {
    let scales = stream::of_decoder(c, decoder.layers.len(), decoder.final_norm.is_some())?;
    embedding(c, decoder, scales.embedded)?;
    let memory = match c.model.config.has_encoder() {
        true => Some(c.seen(Site::Memory)?.all.choose(false, &|x| x)),
        false => None,
    };
    let first = c.model.layers.len();
    for ((index, layer), scales) in (first..).zip(&decoder.layers).zip(&scales.blocks) {
        block::quantize_decoder(c, index, layer, memory.as_ref(), scales)?;
    }
    final_norm(
        c,
        decoder.final_norm.as_ref(),
        &scales,
        TensorKind::DecoderNorm,
    )?;
    output(c, decoder, scales.last)
}

fn embedding(
    c: &mut Context<'_>,
    decoder: &FloatDecoder,
    embedded: f64,
) -> Result<(), QuantizeError> {
    use TensorKind::{TargetNorm, TargetPositions, TargetScale, TargetTable};
    // With a LayerNorm after the embedding, the sum before it has a scale of its own.
    let sum = match &decoder.embed_norm {
        Some(_) => c.residual_scale(&[Site::TargetSum])?,
        None => embedded,
    };
    put_table(c, &decoder.tokens, sum, TargetTable, TargetScale)?;
    put_i16(c, TargetPositions, &decoder.positions, sum);
    if let Some(norm) = &decoder.embed_norm {
        let data =
            quantize_norm(norm, sum, embedded, None, 0).ok_or(QuantizeError::FixedPoint {
                what: TargetNorm.name(),
                layer: NO_LAYER,
            })?;
        c.writer.put(TargetNorm, NO_LAYER, data);
    }
    Ok(())
}

/// Of tied weights the table is written already, on the very grid that this chooses.
fn output(c: &mut Context<'_>, decoder: &FloatDecoder, last: f64) -> Result<(), QuantizeError> {
    use TensorKind::{OutputEpilogue, OutputInput, OutputProjection};
    let input = c.choose(
        Site::OutputInput,
        NO_LAYER,
        OutputInput.name(),
        false,
        &|x| x,
    )?;
    last_row(c, &input, last, OutputInput)?;
    let output = Output {
        scale: c.residual_scale(&[Site::OutputLogits])?,
        zero_point: 0,
    };
    let linear = Linear {
        out_features: decoder.output_bias.len(),
        in_features: c.model.config.d_model.into(),
        weight: decoder.output_weight().to_vec(),
        bias: decoder.output_bias.clone(),
    };
    let (weight, epilogue) =
        quantize_linear(&linear, None, &input, &output).ok_or(QuantizeError::FixedPoint {
            what: OutputProjection.name(),
            layer: NO_LAYER,
        })?;
    if decoder.output.is_some() {
        c.writer.put(OutputProjection, NO_LAYER, weight);
    }
    c.writer.put(OutputEpilogue, NO_LAYER, epilogue);
    Ok(())
}
