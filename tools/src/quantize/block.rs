//! One encoder block in integers.

use super::linear::{Output, quantize_linear, quantize_norm};
use super::smooth::{self, Smoothed};
use super::{
    Context, QuantizeError, ResidualScales, SiteReport, activation_table, fixed,
    range::Quantization,
};
use crate::float_model::{Layer, Linear, Norm};
use crate::image_writer::TensorData;
use crate::reference::Site;
use tailtune::image::{Activation, NormOrder, TensorKind};

/// Quantizes block `index`.
pub(crate) fn quantize(
    c: &mut Context<'_>,
    index: usize,
    layer: &Layer,
    scales: &ResidualScales,
) -> Result<(), QuantizeError> {
    attention(c, index, layer, scales)?;
    feed_forward(c, index, layer, scales)
}

fn attention(
    c: &mut Context<'_>,
    index: usize,
    layer: &Layer,
    scales: &ResidualScales,
) -> Result<(), QuantizeError> {
    use TensorKind::*;
    let at = index as u16;
    let stream = scales.attention[index];
    let readers = [&layer.q, &layer.k, &layer.v];
    let input = sub_layer_input(c, Site::AttnInput(index), at, "attention.input", &readers)?;
    norm_or_requantize(c, at, &input, stream, &layer.norm1, AttnInput, Norm1)?;

    let query = c.choose(Site::Query(index), at, "attention.query", true, &|x| x)?;
    let key = c.choose(Site::Key(index), at, "attention.key", true, &|x| x)?;
    let value = c.choose(Site::Value(index), at, "attention.value", true, &|x| x)?;
    put_linear(
        c,
        at,
        &layer.q,
        &input,
        &(&query).into(),
        Query,
        QueryEpilogue,
    )?;
    put_linear(c, at, &layer.k, &input, &(&key).into(), Key, KeyEpilogue)?;
    put_linear(
        c,
        at,
        &layer.v,
        &input,
        &(&value).into(),
        Value,
        ValueEpilogue,
    )?;

    let head_dim = c.model.config.head_dim() as f64;
    let exponent =
        query.scale * key.scale / libm::sqrt(head_dim) * std::f64::consts::LOG2_E * 256.0;
    let difference = 2.0 * head_dim * 128.0 * 128.0;
    let (mantissa, scaling) =
        fixed::mantissas(&[exponent], difference).ok_or(QuantizeError::FixedPoint {
            what: "attention.softmax",
            layer: at,
        })?;
    c.writer.put(
        Softmax,
        at,
        TensorData::new(&mantissa).scaling(scaling).output(1.0, 0),
    );

    let context = c.choose(Site::Context(index), at, "attention.context", true, &|x| x)?;
    let (mantissa, shift) =
        context_factor(value.scale / context.scale).ok_or(QuantizeError::FixedPoint {
            what: "attention.context",
            layer: at,
        })?;
    c.writer.put(
        TensorKind::Context,
        at,
        TensorData::new(&[mantissa])
            .shift(shift)
            .output(context.scale, 0),
    );
    let output = Output {
        scale: stream,
        zero_point: 0,
    };
    let plain = Smoothed {
        input: context,
        factors: None,
        alpha: None,
        clipped: 0.0,
    };
    put_linear(c, at, &layer.o, &plain, &output, Out, OutEpilogue)?;
    if c.model.config.norm == NormOrder::Post {
        put_norm(
            c,
            at,
            &layer.norm1,
            stream,
            scales.feed_forward[index],
            Norm1,
        )?;
    }
    Ok(())
}

fn feed_forward(
    c: &mut Context<'_>,
    index: usize,
    layer: &Layer,
    scales: &ResidualScales,
) -> Result<(), QuantizeError> {
    use TensorKind::*;
    let at = index as u16;
    let stream = scales.feed_forward[index];
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
        put_ff2(c, at, index, layer, hidden, scales)?;
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
        put_ff2(c, at, index, layer, hidden, scales)?;
    }
    Ok(())
}

fn put_ff2(
    c: &mut Context<'_>,
    at: u16,
    index: usize,
    layer: &Layer,
    hidden: Quantization,
    scales: &ResidualScales,
) -> Result<(), QuantizeError> {
    let stream = scales.feed_forward[index];
    let output = Output {
        scale: stream,
        zero_point: 0,
    };
    let hidden = Smoothed {
        input: hidden,
        factors: None,
        alpha: None,
        clipped: 0.0,
    };
    put_linear(
        c,
        at,
        &layer.ff2,
        &hidden,
        &output,
        TensorKind::Ff2,
        TensorKind::Ff2Epilogue,
    )?;
    if c.model.config.norm == NormOrder::Post {
        let next = scales
            .attention
            .get(index + 1)
            .copied()
            .unwrap_or(scales.last);
        put_norm(c, at, &layer.norm2, stream, next, TensorKind::Norm2)?;
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
