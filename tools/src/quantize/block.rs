//! One block of an encoder or a decoder in integers.

use super::linear::{Output, quantize_linear, quantize_norm};
use super::smooth::{self, Smoothed};
use super::stream::BlockScales;
use super::{Context, QuantizeError, SiteReport, activation_table, fixed, range::Quantization};
use crate::float_model::{CrossAttention, DecoderLayer, Layer, Linear, Norm};
use crate::image_writer::TensorData;
use crate::reference::Site;
use tailtune::image::{
    Activation, AttentionKinds, CROSS_ATTENTION, NormOrder, SELF_ATTENTION, TensorKind,
};

/// Quantizes block `index`: self-attention and feed-forward.
pub(crate) fn quantize(
    c: &mut Context<'_>,
    index: usize,
    layer: &Layer,
    scales: &BlockScales,
) -> Result<(), QuantizeError> {
    self_attention(c, index, layer, scales.attention, scales.feed_forward)?;
    feed_forward(c, index, layer, scales)
}

/// Quantizes block `index` of a decoder; `memory` is what cross-attention's keys and values are made of.
pub(crate) fn quantize_decoder(
    c: &mut Context<'_>,
    index: usize,
    layer: &DecoderLayer,
    memory: Option<&Quantization>,
    scales: &BlockScales,
) -> Result<(), QuantizeError> {
    self_attention(c, index, &layer.block, scales.attention, scales.cross)?;
    if let (Some(cross), Some(memory)) = (&layer.cross, memory) {
        cross_attention(c, index, cross, memory, scales)?;
    }
    feed_forward(c, index, &layer.block, scales)
}

/// One attention sub-layer: its layers, where its values were seen, and which tensors they become.
struct Part<'l> {
    layers: [&'l Linear; 4],
    norm: &'l Norm,
    /// Input, queries, keys, values, context.
    sites: [Site; 5],
    kinds: AttentionKinds,
    /// Scales of the stream that it adds to, and of the one after its post-norm.
    stream: f64,
    next: f64,
}

fn self_attention(
    c: &mut Context<'_>,
    l: usize,
    layer: &Layer,
    stream: f64,
    next: f64,
) -> Result<(), QuantizeError> {
    let part = Part {
        layers: [&layer.q, &layer.k, &layer.v, &layer.o],
        norm: &layer.norm1,
        sites: [
            Site::AttnInput(l),
            Site::Query(l),
            Site::Key(l),
            Site::Value(l),
            Site::Context(l),
        ],
        kinds: SELF_ATTENTION,
        stream,
        next,
    };
    attention(c, l as u16, &part, None)
}

fn cross_attention(
    c: &mut Context<'_>,
    l: usize,
    layer: &CrossAttention,
    memory: &Quantization,
    scales: &BlockScales,
) -> Result<(), QuantizeError> {
    let part = Part {
        layers: [&layer.q, &layer.k, &layer.v, &layer.o],
        norm: &layer.norm,
        sites: [
            Site::CrossInput(l),
            Site::CrossQuery(l),
            Site::CrossKey(l),
            Site::CrossValue(l),
            Site::CrossContext(l),
        ],
        kinds: CROSS_ATTENTION,
        stream: scales.cross,
        next: scales.feed_forward,
    };
    attention(c, l as u16, &part, Some(memory))
}

/// Quantizes an attention sub-layer; keys and values are made of `memory` where there is one, else of what
/// the queries are made of.
fn attention(
    c: &mut Context<'_>,
    at: u16,
    part: &Part<'_>,
    memory: Option<&Quantization>,
) -> Result<(), QuantizeError> {
    let [q, k, v, o] = part.layers;
    let [at_input, at_query, at_key, at_value, at_context] = part.sites;
    let [
        input_kind,
        norm_kind,
        q_kind,
        q_end,
        k_kind,
        k_end,
        v_kind,
        v_end,
        o_kind,
        o_end,
        softmax_kind,
        context_kind,
    ] = part.kinds;
    let fixed_point = |kind: TensorKind| QuantizeError::FixedPoint {
        what: kind.name(),
        layer: at,
    };
    let readers: &[&Linear] = if memory.is_some() { &[q] } else { &[q, k, v] };
    let input = sub_layer_input(c, at_input, at, input_kind.name(), readers)?;
    norm_or_requantize(c, at, &input, part.stream, part.norm, input_kind, norm_kind)?;

    let query = c.choose(at_query, at, q_kind.name(), true, &|x| x)?;
    let key = c.choose(at_key, at, k_kind.name(), true, &|x| x)?;
    let value = c.choose(at_value, at, v_kind.name(), true, &|x| x)?;
    let memory = memory.map(|&memory| plain(memory));
    let source = memory.as_ref().unwrap_or(&input);
    put_linear(c, at, q, &input, &(&query).into(), q_kind, q_end)?;
    put_linear(c, at, k, source, &(&key).into(), k_kind, k_end)?;
    put_linear(c, at, v, source, &(&value).into(), v_kind, v_end)?;

    let head_dim = c.model.config.head_dim() as f64;
    let exponent =
        query.scale * key.scale / libm::sqrt(head_dim) * std::f64::consts::LOG2_E * 256.0;
    let difference = 2.0 * head_dim * 128.0 * 128.0;
    let (mantissa, scaling) =
        fixed::mantissas(&[exponent], difference).ok_or(fixed_point(softmax_kind))?;
    let data = TensorData::new(&mantissa).scaling(scaling).output(1.0, 0);
    c.writer.put(softmax_kind, at, data);

    let context = c.choose(at_context, at, context_kind.name(), true, &|x| x)?;
    let (mantissa, shift) =
        context_factor(value.scale / context.scale).ok_or(fixed_point(context_kind))?;
    let data = TensorData::new(&[mantissa]);
    let data = data.shift(shift).output(context.scale, 0);
    c.writer.put(context_kind, at, data);
    let output = Output {
        scale: part.stream,
        zero_point: 0,
    };
    put_linear(c, at, o, &plain(context), &output, o_kind, o_end)?;
    if c.model.config.norm == NormOrder::Post {
        put_norm(c, at, part.norm, part.stream, part.next, norm_kind)?;
    }
    Ok(())
}

/// An input that is not smoothed.
fn plain(input: Quantization) -> Smoothed {
    Smoothed {
        input,
        factors: None,
        alpha: None,
        clipped: 0.0,
    }
}

fn feed_forward(
    c: &mut Context<'_>,
    index: usize,
    layer: &Layer,
    scales: &BlockScales,
) -> Result<(), QuantizeError> {
    use TensorKind::*;
    let at = index as u16;
    let stream = scales.feed_forward;
    let input = sub_layer_input(
        c,
        Site::FfInput(index),
        at,
        "feed_forward.input",
        &[&layer.ff1],
    )?;
    norm_or_requantize(c, at, &input, stream, &layer.norm2, FfInput, Norm2)?;

    let hidden = c.choose(
        Site::FfHidden(index),
        at,
        "feed_forward.hidden",
        false,
        &|x| x,
    )?;
    if c.model.config.activation == Activation::Relu {
        // The saturation at −128 is the clamp: zero must stand there.
        let hidden = Quantization {
            zero_point: -128,
            ..hidden
        };
        put_linear(
            c,
            at,
            &layer.ff1,
            &input,
            &(&hidden).into(),
            Ff1,
            Ff1Epilogue,
        )?;
        put_ff2(c, at, layer, hidden, scales)?;
    } else {
        let activation = c.model.activation;
        let through = move |x| activation.apply(x);
        let pre = c.choose(
            Site::FfPre(index),
            at,
            "feed_forward.activation",
            false,
            &through,
        )?;
        put_linear(c, at, &layer.ff1, &input, &(&pre).into(), Ff1, Ff1Epilogue)?;
        let table = activation_table(activation, &pre, &hidden);
        c.writer.put(ActivationTable, at, table);
        put_ff2(c, at, layer, hidden, scales)?;
    }
    Ok(())
}

fn put_ff2(
    c: &mut Context<'_>,
    at: u16,
    layer: &Layer,
    hidden: Quantization,
    scales: &BlockScales,
) -> Result<(), QuantizeError> {
    let stream = scales.feed_forward;
    let output = Output {
        scale: stream,
        zero_point: 0,
    };
    put_linear(
        c,
        at,
        &layer.ff2,
        &plain(hidden),
        &output,
        TensorKind::Ff2,
        TensorKind::Ff2Epilogue,
    )?;
    if c.model.config.norm == NormOrder::Post {
        put_norm(c, at, &layer.norm2, stream, scales.out, TensorKind::Norm2)?;
    }
    Ok(())
}

/// Chooses the quantization and the smoothing of a sub-layer's input.
fn sub_layer_input(
    c: &mut Context<'_>,
    site: Site,
    layer: u16,
    name: &str,
    readers: &[&Linear],
) -> Result<Smoothed, QuantizeError> {
    let seen = c.seen(site)?;
    let smoothed = smooth::choose(seen, readers);
    let smoothing = smoothed.alpha.map_or("none".to_owned(), |a| format!("{a}"));
    let report = SiteReport {
        layer: Some(layer),
        name: name.to_owned(),
        min: seen.all.min,
        max: seen.all.max,
        scale: smoothed.input.scale,
        method: format!("{}, smoothing {smoothing}", smoothed.input.method),
        clipped: smoothed.clipped,
    };
    c.report.push(report);
    Ok(smoothed)
}

/// Writes what makes a sub-layer's int8 input: a requantize after the LayerNorm before it
/// (post-norm), or its own LayerNorm (pre-norm).
fn norm_or_requantize(
    c: &mut Context<'_>,
    layer: u16,
    input: &Smoothed,
    stream: f64,
    norm: &Norm,
    requantize: TensorKind,
    norm_kind: TensorKind,
) -> Result<(), QuantizeError> {
    let q = &input.input;
    if c.model.config.norm == NormOrder::Pre {
        let data = quantize_norm(
            norm,
            stream,
            q.scale,
            input.factors.as_deref(),
            q.zero_point,
        )
        .ok_or(QuantizeError::FixedPoint {
            what: norm_kind.name(),
            layer,
        })?;
        c.writer.put(norm_kind, layer, data);
        return Ok(());
    }
    let d = usize::from(c.model.config.d_model);
    let factor = |i: usize| stream / q.scale / input.factors.as_ref().map_or(1.0, |f| f[i]);
    let factors: Vec<f64> = (0..d).map(factor).collect();
    let (mantissas, scaling) =
        fixed::mantissas(&factors, 32768.0).ok_or(QuantizeError::FixedPoint {
            what: requantize.name(),
            layer,
        })?;
    let data = TensorData::new(&mantissas)
        .scaling(scaling)
        .output(q.scale, q.zero_point);
    c.writer.put(requantize, layer, data);
    Ok(())
}

fn put_linear(
    c: &mut Context<'_>,
    layer: u16,
    linear: &Linear,
    input: &Smoothed,
    output: &Output,
    weight_kind: TensorKind,
    epilogue_kind: TensorKind,
) -> Result<(), QuantizeError> {
    let (weight, epilogue) =
        quantize_linear(linear, input.factors.as_deref(), &input.input, output).ok_or(
            QuantizeError::FixedPoint {
                what: weight_kind.name(),
                layer,
            },
        )?;
    c.writer.put(weight_kind, layer, weight);
    c.writer.put(epilogue_kind, layer, epilogue);
    Ok(())
}

fn put_norm(
    c: &mut Context<'_>,
    layer: u16,
    norm: &Norm,
    input: f64,
    output: f64,
    kind: TensorKind,
) -> Result<(), QuantizeError> {
    let data = quantize_norm(norm, input, output, None, 0).ok_or(QuantizeError::FixedPoint {
        what: kind.name(),
        layer,
    })?;
    c.writer.put(kind, layer, data);
    Ok(())
}

/// Returns mantissa and shift of the context's factor: shift 19..=38, so that dividing by the
/// softmax's sum afterwards stays in range.
fn context_factor(factor: f64) -> Option<(i32, u8)> {
    if !(factor.is_finite() && factor > 0.0) {
        return None;
    }
    let (_, exponent) = libm::frexp(factor);
    let shift = 31 - exponent;
    if !(19..=38).contains(&shift) {
        return None;
    }
    let mantissa = (factor * libm::exp2(f64::from(shift)))
        .round()
        .min(2_147_483_647.0);
    Some((mantissa as i32, shift as u8))
}
