//! The embedding in integers: frames or tokens, class token, positions.

use super::linear::{Output, quantize_linear, quantize_norm, row_scale};
use super::range::{Quantization, RangeMethod};
use super::{Context, QuantizeError, SiteReport, fixed};
use crate::float_model::{Embedding, Linear};
use crate::image_writer::TensorData;
use crate::reference::Site;
use tailtune::image::{InputKind, NO_LAYER, TensorKind};

/// Quantizes the embedding into a residual stream of scale `embedded`.
pub(crate) fn quantize(c: &mut Context<'_>, embedded: f64) -> Result<(), QuantizeError> {
    let model = c.model;
    // With a LayerNorm after the embedding, the sum before it has a scale of its own.
    let sum = match &model.embed_norm {
        Some(_) => c.residual_scale(&[Site::EmbeddingSum])?,
        None => embedded,
    };
    match &model.embedding {
        Embedding::Frames { projection } => frames(c, projection, sum)?,
        Embedding::Tokens {
            table,
            projection,
            segments,
        } => {
            match projection {
                Some(projection) => factorised(c, table, projection, sum)?,
                None => {
                    let (table_kind, scale_kind) = (TensorKind::TokenTable, TensorKind::TokenScale);
                    put_table(c, table, sum, table_kind, scale_kind)?;
                }
            }
            if !segments.is_empty() {
                put_i16(c, TensorKind::Segments, segments, sum);
            }
        }
    }
    if let Some(class_token) = &model.class_token {
        put_i16(c, TensorKind::ClassToken, class_token, sum);
    }
    put_i16(c, TensorKind::Positions, &model.positions, sum);
    if let Some(norm) = &model.embed_norm {
        let data =
            quantize_norm(norm, sum, embedded, None, 0).ok_or(QuantizeError::FixedPoint {
                what: "embed_norm",
                layer: NO_LAYER,
            })?;
        c.writer.put(TensorKind::EmbedNorm, NO_LAYER, data);
    }
    Ok(())
}

/// Writes int16 rows of the stream's scale.
pub(super) fn put_i16(c: &mut Context<'_>, kind: TensorKind, values: &[f32], scale: f64) {
    let q = values
        .iter()
        .map(|&x| (f64::from(x) / scale).round().clamp(-32768.0, 32767.0) as i16);
    let q: Vec<i16> = q.collect();
    c.writer.put(kind, NO_LAYER, TensorData::new(&q));
}

/// A byte of an image is an int8 value already: it stands for byte / 255.
const BYTE: Quantization = Quantization {
    scale: 1.0 / 255.0,
    zero_point: -128,
    method: RangeMethod::MinMax,
};

/// Chooses each feature's scale by what was seen of it.
fn columns(c: &mut Context<'_>) -> Result<Vec<Quantization>, QuantizeError> {
    let seen = c.seen(Site::Input)?;
    let mut columns = Vec::new();
    let mut report = Vec::new();
    for (i, &(min, max)) in seen.columns.iter().enumerate() {
        let q = Quantization::new(min, max, false, RangeMethod::MinMax);
        report.push(SiteReport {
            layer: None,
            name: format!("input feature {i}"),
            min,
            max,
            scale: q.scale,
            method: q.method.to_string(),
            clipped: 0.0,
        });
        columns.push(q);
    }
    c.report.extend(report);
    let pairs: Vec<[f32; 2]> = columns
        .iter()
        .map(|q| [q.scale as f32, q.zero_point as f32])
        .collect();
    c.writer
        .put(TensorKind::InputScale, NO_LAYER, TensorData::new(&pairs));
    Ok(columns)
}

/// Each input feature has a scale and a zero point; the scale goes into the projection's weights,
/// the zero point into its bias.
fn frames(c: &mut Context<'_>, projection: &Linear, sum: f64) -> Result<(), QuantizeError> {
    let columns = match c.model.config.input {
        InputKind::Patches { .. } => vec![BYTE; projection.in_features],
        _ => columns(c)?,
    };

    // x = (q − z)·s a column: with x' = q + 128 … the columns' zero points differ, so they are
    // folded into the bias here, and the layer is quantized as one whose input has scale 1, zero 0.
    let scales: Vec<f64> = columns.iter().map(|q| q.scale).collect();
    let mut shifted = projection.clone();
    let rows = shifted.weight.chunks_exact(projection.in_features);
    for (row, bias) in rows.zip(&mut shifted.bias) {
        // The weights as the device has them, so that the zero points cancel exactly.
        let scaled: Vec<f64> = row
            .iter()
            .zip(&scales)
            .map(|(&w, s)| f64::from(w) * s)
            .collect();
        let unit = row_scale(&scaled);
        let folded = scaled
            .iter()
            .zip(&columns)
            .map(|(w, q)| (w / unit).round().clamp(-127.0, 127.0) * unit * f64::from(q.zero_point));
        *bias = (f64::from(*bias) - folded.sum::<f64>()) as f32;
    }
    put_projection(c, &shifted, &scales, sum)
}

/// Writes the projection to the stream of an int8 input whose columns have these scales, and whose zeros are
/// zero.
fn put_projection(
    c: &mut Context<'_>,
    projection: &Linear,
    scales: &[f64],
    sum: f64,
) -> Result<(), QuantizeError> {
    let unit = Quantization {
        scale: 1.0,
        zero_point: 0,
        method: RangeMethod::MinMax,
    };
    let output = Output {
        scale: sum,
        zero_point: 0,
    };
    let (weight, epilogue) = quantize_linear(projection, Some(scales), &unit, &output).ok_or(
        QuantizeError::FixedPoint {
            what: "frame_projection",
            layer: NO_LAYER,
        },
    )?;
    c.writer.put(TensorKind::FrameProjection, NO_LAYER, weight);
    c.writer.put(TensorKind::FrameEpilogue, NO_LAYER, epilogue);
    Ok(())
}

/// A factorised table: each of its columns has a scale, which goes into the projection's weights.
fn factorised(
    c: &mut Context<'_>,
    table: &[f32],
    projection: &Linear,
    sum: f64,
) -> Result<(), QuantizeError> {
    let rank = projection.in_features;
    let mut scales = vec![1e-9f64; rank];
    for row in table.chunks_exact(rank) {
        for (scale, &x) in scales.iter_mut().zip(row) {
            *scale = scale.max(f64::from(x).abs() / 127.0);
        }
    }
    let values = table.iter().zip(scales.iter().cycle());
    let values: Vec<i8> = values
        .map(|(&x, scale)| (f64::from(x) / scale).round() as i8)
        .collect();
    c.writer
        .put(TensorKind::TokenTable, NO_LAYER, TensorData::new(&values));
    put_projection(c, projection, &scales, sum)
}

/// Writes a table of tokens into a stream of scale `sum`; each row has its own scale, that of a linear
/// layer's channel.
pub(super) fn put_table(
    c: &mut Context<'_>,
    table: &[f32],
    sum: f64,
    table_kind: TensorKind,
    scale_kind: TensorKind,
) -> Result<(), QuantizeError> {
    let d = usize::from(c.model.config.d_model);
    let (mut values, mut factors) = (Vec::with_capacity(table.len()), Vec::new());
    for row in table.chunks_exact(d) {
        let row: Vec<f64> = row.iter().map(|&x| x.into()).collect();
        let scale = row_scale(&row);
        values.extend(
            row.iter()
                .map(|x| (x / scale).round().clamp(-127.0, 127.0) as i8),
        );
        factors.push(scale / sum);
    }
    let (mantissas, scaling) =
        fixed::mantissas(&factors, 128.0).ok_or(QuantizeError::FixedPoint {
            what: table_kind.name(),
            layer: NO_LAYER,
        })?;
    c.writer.put(table_kind, NO_LAYER, TensorData::new(&values));
    let data = TensorData::new(&mantissas).scaling(scaling).output(sum, 0);
    c.writer.put(scale_kind, NO_LAYER, data);
    Ok(())
}
