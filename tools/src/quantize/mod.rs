//! Post-training quantization: a float model and what it did on real data become an image.
//!
//! ```text
//! calibrate   ranges of every site, on real inputs
//! range       int8 ranges: min-max, percentile or least squares, by measured error
//! smooth      per-channel factors between a LayerNorm and the linear layers that read it
//! linear      weights per output channel, biases with the input's zero point folded in
//! block       one block of an encoder or a decoder
//! stream      the int16 scales of the residual stream
//! decoder     a decoder's embedding and output projection
//! fake        the float forward on an image's grids
//! dequantize  the float block that an image's integers stand for
//! fixed       real factors → mantissas and shifts
//! ```
//!
//! Scheme (Jacob et al., arXiv 1712.05877; smoothing: Xiao et al., arXiv 2211.10438): weights
//! symmetric int8 per output channel; linear inputs int8 per tensor with a zero point; queries,
//! keys, values and contexts symmetric; the residual stream int16.

mod block;
pub mod calibrate;
mod decoder;
pub mod dequantize;
mod embedding;
pub mod fake;
pub mod fixed;
mod linear;
pub mod range;
mod smooth;
mod stream;

use crate::float_model::{ActivationFn, FloatModel, Norm, Pooler};
use crate::image_writer::{ImageWriter, TensorData};
use crate::reference::Site;
use calibrate::{Calibration, SiteStatistics};
use linear::{Output, quantize_linear};
use range::{Quantization, RangeMethod};
use stream::Stream;
use tailtune::image::{NO_LAYER, TensorKind};

/// Why a model could not be quantized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// Calibration ran on no input, or the model never computed this site.
    #[error("calibration saw nothing of {0:?}: give it at least one clip")]
    NotSeen(Site),
    /// A range is not finite: the model overflows on the calibration data.
    #[error(
        "{0:?} is not finite on the calibration data: check the weights and the input features"
    )]
    NotFinite(Site),
    /// A factor does not fit the fixed-point format.
    #[error(
        "{what} of block {layer}: its scale factor cannot be expressed in fixed point; the layer's weights or activations span too wide a range for int8"
    )]
    FixedPoint {
        /// The operator.
        what: &'static str,
        /// Its block.
        layer: u16,
    },
}

/// How one tensor was quantized.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SiteReport {
    /// Block, none for tensors of no block.
    pub layer: Option<u16>,
    /// What it is.
    pub name: String,
    /// Least value seen.
    pub min: f32,
    /// Greatest value seen.
    pub max: f32,
    /// Real value of one int8 step.
    pub scale: f64,
    /// How the range was chosen.
    pub method: String,
    /// Share of values that are clipped.
    pub clipped: f64,
}

/// Everything that quantizing a model needs.
pub(crate) struct Context<'m> {
    pub model: &'m FloatModel,
    pub calibration: &'m Calibration,
    pub writer: ImageWriter,
    pub report: Vec<SiteReport>,
}

/// How far above the calibrated range the int16 residual stream reaches: int16 has bits to spare.
const RESIDUAL_HEADROOM: f64 = 2.0;

impl Context<'_> {
    pub fn seen(&self, site: Site) -> Result<&SiteStatistics, QuantizeError> {
        let seen = self
            .calibration
            .get(site)
            .ok_or(QuantizeError::NotSeen(site))?;
        if !(seen.all.min.is_finite() && seen.all.max.is_finite()) {
            return Err(QuantizeError::NotFinite(site));
        }
        Ok(seen)
    }

    /// Returns the int16 scale that holds these sites.
    pub fn residual_scale(&self, sites: &[Site]) -> Result<f64, QuantizeError> {
        let mut max = 1e-6f64;
        for &site in sites {
            max = max.max(self.seen(site)?.all.abs_max().into());
        }
        Ok(max * RESIDUAL_HEADROOM / 32767.0)
    }

    /// Chooses a site's int8 range and notes it in the report.
    pub fn choose(
        &mut self,
        site: Site,
        layer: u16,
        name: &str,
        symmetric: bool,
        through: &dyn Fn(f32) -> f32,
    ) -> Result<Quantization, QuantizeError> {
        let seen = &self.seen(site)?.all;
        let q = seen.choose(symmetric, through);
        let report = SiteReport {
            layer: (layer != NO_LAYER).then_some(layer),
            name: name.to_owned(),
            min: seen.min,
            max: seen.max,
            scale: q.scale,
            method: q.method.to_string(),
            clipped: seen.clipped(&q),
        };
        self.report.push(report);
        Ok(q)
    }
}

/// A quantized model, ready to be written.
#[derive(Debug)]
pub struct Quantized {
    /// The image, to which provenance may be added.
    pub writer: ImageWriter,
    /// How each int8 tensor was quantized.
    pub report: Vec<SiteReport>,
}

/// Quantizes `model` by what `calibration` saw of it.
///
/// # Errors
/// [`QuantizeError`] names the site or the operator.
pub fn quantize(model: &FloatModel, calibration: &Calibration) -> Result<Quantized, QuantizeError> {
    let writer = ImageWriter::new(&model.config, &model.labels);
    let mut context = Context {
        model,
        calibration,
        writer,
        report: Vec::new(),
    };
    if model.config.has_encoder() {
        let scales = stream::of_encoder(&context)?;
        embedding::quantize(&mut context, scales.embedded)?;
        for (index, layer) in model.layers.iter().enumerate() {
            block::quantize(&mut context, index, layer, &scales.blocks[index])?;
        }
        pool_and_head(&mut context, &scales)?;
    }
    if let Some(decoder) = &model.decoder {
        decoder::quantize(&mut context, decoder)?;
    }
    Ok(Quantized {
        writer: context.writer,
        report: context.report,
    })
}

/// Quantizes the pooler, which reads int8 of `pooled`; returns the quantization of what it gives.
fn pooler(
    c: &mut Context<'_>,
    pooler: &Pooler,
    pooled: &Quantization,
) -> Result<Quantization, QuantizeError> {
    let activation = pooler.activation;
    let through = move |x| activation.apply(x);
    let mut pre = c.choose(
        Site::PoolerPre,
        NO_LAYER,
        "pooler.activation",
        false,
        &through,
    )?;
    let mut feature = c.choose(Site::Feature, NO_LAYER, "pooler", false, &|x| x)?;
    if activation == ActivationFn::Relu {
        // What is below zero need not be told apart: the saturation at −128 clamps it.
        feature.zero_point = -128;
        pre = feature;
    }
    let (weight, epilogue) = quantize_linear(&pooler.linear, None, pooled, &(&pre).into()).ok_or(
        QuantizeError::FixedPoint {
            what: "pooler",
            layer: NO_LAYER,
        },
    )?;
    c.writer.put(TensorKind::Pooler, NO_LAYER, weight);
    c.writer.put(TensorKind::PoolerEpilogue, NO_LAYER, epilogue);
    let table = activation_table(activation, &pre, &feature);
    c.writer.put(TensorKind::PoolerTable, NO_LAYER, table);
    Ok(feature)
}

/// Returns the table of an activation from int8 `pre` to int8 `out`.
fn activation_table(
    activation: ActivationFn,
    pre: &Quantization,
    out: &Quantization,
) -> TensorData {
    let value = |q| out.quantize(activation.apply(pre.dequantize(q))) as i8;
    let table: Vec<i8> = (-128..=127).map(value).collect();
    TensorData::new(&table).output(out.scale, out.zero_point)
}

fn pool_and_head(c: &mut Context<'_>, scales: &Stream) -> Result<(), QuantizeError> {
    let model = c.model;
    final_norm(c, model.final_norm.as_ref(), scales, TensorKind::FinalNorm)?;
    // A decoder reads every row by the factors by which a head reads the pooled one.
    let site = match &model.decoder {
        Some(_) => Site::Memory,
        None => Site::Pooled,
    };
    let pooled = c.choose(site, NO_LAYER, "pooled", false, &|x| x)?;
    last_row(c, &pooled, scales.last, TensorKind::Pooled)?;
    let feature = match &model.pooler {
        Some(layer) => pooler(c, layer, &pooled)?,
        None => pooled,
    };
    if model.config.n_classes > 0 {
        let logits = c.residual_scale(&[Site::Logits])?;
        let output = Output {
            scale: logits,
            zero_point: 0,
        };
        let (weight, epilogue) = quantize_linear(&model.head, None, &feature, &output).ok_or(
            QuantizeError::FixedPoint {
                what: "head",
                layer: NO_LAYER,
            },
        )?;
        c.writer.put(TensorKind::Head, NO_LAYER, weight);
        c.writer.put(TensorKind::HeadEpilogue, NO_LAYER, epilogue);
    }
    Ok(())
}

/// Writes the norm after the last block, if there is one.
fn final_norm(
    c: &mut Context<'_>,
    norm: Option<&Norm>,
    scales: &Stream,
    kind: TensorKind,
) -> Result<(), QuantizeError> {
    let Some(norm) = norm else {
        return Ok(());
    };
    let stream = scales.blocks.last().map_or(scales.last, |b| b.out);
    let data = linear::quantize_norm(norm, stream, scales.last, None, 0);
    let data = data.ok_or(QuantizeError::FixedPoint {
        what: kind.name(),
        layer: NO_LAYER,
    })?;
    c.writer.put(kind, NO_LAYER, data);
    Ok(())
}

/// Writes the requantize of the last int16 row, of scale `stream`.
fn last_row(
    c: &mut Context<'_>,
    q: &Quantization,
    stream: f64,
    kind: TensorKind,
) -> Result<(), QuantizeError> {
    let factors = vec![stream / q.scale; c.model.config.d_model.into()];
    let (mantissas, scaling) =
        fixed::mantissas(&factors, 32768.0).ok_or(QuantizeError::FixedPoint {
            what: kind.name(),
            layer: NO_LAYER,
        })?;
    let data = TensorData::new(&mantissas)
        .scaling(scaling)
        .output(q.scale, q.zero_point);
    c.writer.put(kind, NO_LAYER, data);
    Ok(())
}

/// Quantizes a head of its own, `[classes][d_model]` and `[classes]`, that reads int8 features of this step and
/// zero point. No logit can leave int16. None where a factor does not fit.
pub(crate) fn head(
    weights: &[f32],
    biases: &[f32],
    scale: f64,
    zero_point: i32,
) -> Option<(TensorData, TensorData)> {
    let out_features = biases.len();
    let in_features = weights.len().checked_div(out_features)?;
    let (low, high) = (
        f64::from(-128 - zero_point) * scale,
        f64::from(127 - zero_point) * scale,
    );
    let mut bound = 1e-6f64;
    for (row, &bias) in weights.chunks_exact(in_features.max(1)).zip(biases) {
        let sum = |of: fn(f64, f64) -> f64| -> f64 {
            let terms = row
                .iter()
                .map(|&w| of(f64::from(w) * low, f64::from(w) * high));
            terms.sum::<f64>() + f64::from(bias)
        };
        bound = bound.max(sum(f64::max).abs()).max(sum(f64::min).abs());
    }
    let head = crate::float_model::Linear {
        out_features,
        in_features,
        weight: weights.to_vec(),
        bias: biases.to_vec(),
    };
    let input = Quantization {
        scale,
        zero_point,
        method: RangeMethod::MinMax,
    };
    let output = Output {
        scale: bound / 32767.0,
        zero_point: 0,
    };
    quantize_linear(&head, None, &input, &output)
}

/// Returns the quantization of a range that is not searched.
pub(crate) fn min_max(low: f32, high: f32) -> Quantization {
    Quantization::new(low, high, false, RangeMethod::MinMax)
}
