//! Fake quantization: the float forward on an image's grids.
//!
//! Weights are the image's own integers times their scales; activations are rounded and clipped,
//! where the runtime does so, to the scales and zero points that the quantizer chose. Sums, norms,
//! softmax and biases stay in f32. What is lost against float is lost to the grids; what int8
//! loses beyond it is lost to integer arithmetic.

use crate::float_model::{Embedding, FloatModel, Linear, Norm};
use crate::reference::{FloatInput, Output, Site, Transform, forward_through};
use std::collections::HashMap;
use tailtune::image::{Activation, Image, InputKind, NO_LAYER, NormOrder, Tensor, TensorKind};
use tailtune::kernels;

/// The values that a site may take: `(q − zero) · step` for `q` from `low` to `high`.
#[derive(Debug, Clone)]
struct Grid {
    /// Step and zero point: one pair for all columns, or one a column.
    columns: Vec<(f64, f64)>,
    low: f64,
    high: f64,
}

impl Grid {
    fn int8(tensor: &Tensor<'_>, factors: &[f64]) -> Self {
        let (scale, zero) = (f64::from(tensor.scale()), f64::from(tensor.zero_point()));
        Self {
            columns: factors.iter().map(|f| (scale * f, zero)).collect(),
            low: -128.0,
            high: 127.0,
        }
    }

    fn int16(scale: f32) -> Self {
        Self {
            columns: vec![(scale.into(), 0.0)],
            low: -32768.0,
            high: 32767.0,
        }
    }

    fn step(&self, column: usize) -> f64 {
        self.columns[column % self.columns.len()].0
    }

    fn round(&self, values: &mut [f32], cols: usize) {
        for row in values.chunks_mut(cols) {
            for (x, &(step, zero)) in row.iter_mut().zip(self.columns.iter().cycle()) {
                let q = ((f64::from(*x) / step).round() + zero).clamp(self.low, self.high);
                *x = ((q - zero) * step) as f32;
            }
        }
    }
}

/// A float model whose weights and activations lie on the grids of an image.
#[derive(Debug, Clone)]
pub struct FakeQuantized {
    model: FloatModel,
    grids: HashMap<Site, Grid>,
}

/// Why a model has no place on an image's grids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FakeError {
    /// The image was made from a model of another shape.
    #[error(
        "the image's architecture is not the model's: give the model that the image was made from"
    )]
    Architecture,
    /// The image lacks a tensor that its architecture has.
    #[error("the image has no {what} in block {layer}: convert the model again")]
    Missing {
        /// The tensor.
        what: &'static str,
        /// Its block.
        layer: u16,
    },
}

impl FakeQuantized {
    /// Puts `model` on the grids of `image`, which was made from it.
    ///
    /// # Errors
    /// [`FakeError`] where the two do not belong together.
    pub fn new(model: &FloatModel, image: &Image<'_>) -> Result<Self, FakeError> {
        if model.config != *image.config() {
            return Err(FakeError::Architecture);
        }
        let mut grids = Grids {
            image,
            sites: HashMap::new(),
        };
        let mut model = model.clone();
        grids.embedding(&mut model)?;
        for l in 0..model.layers.len() {
            grids.attention(&mut model, l)?;
            grids.feed_forward(&mut model, l)?;
        }
        grids.pooled_and_head(&mut model)?;
        let grids = grids.sites;
        Ok(Self { model, grids })
    }

    /// Runs the model on one input, rounding every site to its grid.
    pub fn forward(&self, input: FloatInput<'_>) -> Output {
        forward_through(&self.model, input, &mut Rounding(&self.grids))
    }
}

struct Rounding<'g>(&'g HashMap<Site, Grid>);

impl Transform for Rounding<'_> {
    fn apply(&mut self, site: Site, values: &mut [f32], cols: usize) {
        if let Some(grid) = self.0.get(&site) {
            grid.round(values, cols);
        }
    }
}

struct Grids<'i, 'a> {
    image: &'i Image<'a>,
    sites: HashMap<Site, Grid>,
}

impl<'a> Grids<'_, 'a> {
    fn tensor(&self, kind: TensorKind, layer: u16) -> Result<Tensor<'a>, FakeError> {
        let what = kind.name();
        let missing = FakeError::Missing { what, layer };
        self.image.tensor(kind, layer).ok_or(missing)
    }

    /// Notes the int16 grid of a site whose scale is `kind`'s; returns the scale.
    fn int16(&mut self, site: Site, kind: TensorKind, layer: u16) -> Result<f32, FakeError> {
        let scale = self.tensor(kind, layer)?.scale();
        self.sites.insert(site, Grid::int16(scale));
        Ok(scale)
    }

    /// Notes the int8 grid of a site that `kind` writes.
    fn int8(&mut self, site: Site, kind: TensorKind, layer: u16) -> Result<Grid, FakeError> {
        let grid = Grid::int8(&self.tensor(kind, layer)?, &[1.0]);
        self.sites.insert(site, grid.clone());
        Ok(grid)
    }

    /// Replaces weights by the image's, seen from an unsmoothed input on `input`'s grid: the
    /// epilogue's factor is input step · weight step / output step.
    fn weights(
        &self,
        linear: &mut Linear,
        (kind, epilogue): (TensorKind, TensorKind),
        layer: u16,
        input: &Grid,
    ) -> Result<(), FakeError> {
        let (weight, epilogue) = (self.tensor(kind, layer)?, self.tensor(epilogue, layer)?);
        let pairs = epilogue.data::<[i32; 2]>();
        let unit = unit(&epilogue) * f64::from(epilogue.scale());
        let k = linear.in_features;
        let rows = linear.weight.chunks_exact_mut(k.max(1));
        let int8 = kernels::Linear {
            weight: weight.data(),
            epilogue: pairs,
            in_features: k,
            scaling: epilogue.scaling(),
            zero_point: epilogue.zero_point(),
        };
        for (channel, (row, pair)) in rows.zip(pairs).enumerate() {
            for (column, w) in row.iter_mut().enumerate() {
                let step = f64::from(pair[1]) * unit / input.step(column);
                *w = (f64::from(int8.weight(channel, column)) * step) as f32;
            }
        }
        Ok(())
    }

    fn embedding(&mut self, model: &mut FloatModel) -> Result<(), FakeError> {
        use TensorKind::*;
        let sum = match &mut model.embedding {
            Embedding::Frames { projection } => {
                let columns = match model.config.input {
                    InputKind::Patches { .. } => {
                        vec![(1.0 / 255.0, -128.0); projection.in_features]
                    }
                    _ => {
                        let pairs = self.tensor(InputScale, NO_LAYER)?.data::<[f32; 2]>();
                        pairs.iter().map(|p| (p[0].into(), p[1].into())).collect()
                    }
                };
                let input = Grid {
                    columns,
                    low: -128.0,
                    high: 127.0,
                };
                let kinds = (FrameProjection, FrameEpilogue);
                self.weights(projection, kinds, NO_LAYER, &input)?;
                self.sites.insert(Site::Input, input);
                FrameEpilogue
            }
            Embedding::Tokens {
                table,
                projection,
                segments,
            } => {
                let sum = match projection {
                    Some(projection) => {
                        self.factorised(table, projection)?;
                        FrameEpilogue
                    }
                    None => {
                        self.token_table(table)?;
                        TokenScale
                    }
                };
                self.stored(segments, Segments, sum)?;
                sum
            }
        };
        if let Some(token) = &mut model.class_token {
            self.stored(token, ClassToken, sum)?;
        }
        self.stored(&mut model.positions, Positions, sum)?;
        self.int16(Site::EmbeddingSum, sum, NO_LAYER)?;
        if model.embed_norm.is_some() {
            self.int16(Site::Embedded, EmbedNorm, NO_LAYER)?;
        }
        Ok(())
    }

    fn token_table(&self, table: &mut [f32]) -> Result<(), FakeError> {
        let rows = self.tensor(TensorKind::TokenTable, NO_LAYER)?.data::<i8>();
        let scale = self.tensor(TensorKind::TokenScale, NO_LAYER)?;
        let mantissas = scale.data::<i32>();
        let unit = unit(&scale) * f64::from(scale.scale());
        let d = (rows.len() / mantissas.len().max(1)).max(1);
        for (i, (x, &q)) in table.iter_mut().zip(rows).enumerate() {
            *x = (f64::from(q) * f64::from(mantissas[i / d]) * unit) as f32;
        }
        Ok(())
    }

    /// The table becomes its integers, whose columns' scales are in the projection's weights.
    fn factorised(&self, table: &mut [f32], projection: &mut Linear) -> Result<(), FakeError> {
        let values = self.tensor(TensorKind::TokenTable, NO_LAYER)?.data::<i8>();
        for (x, &q) in table.iter_mut().zip(values) {
            *x = q.into();
        }
        let integers = Grid {
            columns: vec![(1.0, 0.0)],
            low: -128.0,
            high: 127.0,
        };
        let kinds = (TensorKind::FrameProjection, TensorKind::FrameEpilogue);
        self.weights(projection, kinds, NO_LAYER, &integers)
    }

    /// Replaces values by the image's int16 ones, whose scale is that of `scale`.
    fn stored(
        &self,
        values: &mut [f32],
        kind: TensorKind,
        scale: TensorKind,
    ) -> Result<(), FakeError> {
        if values.is_empty() {
            return Ok(());
        }
        let scale = self.tensor(scale, NO_LAYER)?.scale();
        let quantized = self.tensor(kind, NO_LAYER)?.data::<i16>();
        for (x, &q) in values.iter_mut().zip(quantized) {
            *x = f32::from(q) * scale;
        }
        Ok(())
    }

    fn attention(&mut self, model: &mut FloatModel, l: usize) -> Result<(), FakeError> {
        use TensorKind::*;
        let (at, order) = (l as u16, model.config.norm);
        let layer = &mut model.layers[l];
        let stream = self.int16(Site::AttnResidual(l), OutEpilogue, at)?;
        let kinds = (AttnInput, Norm1);
        let input = self.sub_layer_input(order, kinds, at, stream, &layer.norm1)?;
        self.weights(&mut layer.q, (Query, QueryEpilogue), at, &input)?;
        self.weights(&mut layer.k, (Key, KeyEpilogue), at, &input)?;
        self.weights(&mut layer.v, (Value, ValueEpilogue), at, &input)?;
        self.sites.insert(Site::AttnInput(l), input);
        self.int8(Site::Query(l), QueryEpilogue, at)?;
        self.int8(Site::Key(l), KeyEpilogue, at)?;
        self.int8(Site::Value(l), ValueEpilogue, at)?;
        let context = self.int8(Site::Context(l), Context, at)?;
        self.weights(&mut layer.o, (Out, OutEpilogue), at, &context)?;
        if order == NormOrder::Post {
            self.int16(Site::AttnOut(l), Norm1, at)?;
        }
        Ok(())
    }

    fn feed_forward(&mut self, model: &mut FloatModel, l: usize) -> Result<(), FakeError> {
        use TensorKind::*;
        let (at, order) = (l as u16, model.config.norm);
        let layer = &mut model.layers[l];
        let stream = self.int16(Site::FfResidual(l), Ff2Epilogue, at)?;
        let kinds = (FfInput, Norm2);
        let input = self.sub_layer_input(order, kinds, at, stream, &layer.norm2)?;
        self.weights(&mut layer.ff1, (Ff1, Ff1Epilogue), at, &input)?;
        self.sites.insert(Site::FfInput(l), input);
        let hidden = if model.config.activation == Activation::Relu {
            Ff1Epilogue
        } else {
            self.int8(Site::FfPre(l), Ff1Epilogue, at)?;
            ActivationTable
        };
        let hidden = self.int8(Site::FfHidden(l), hidden, at)?;
        self.weights(&mut layer.ff2, (Ff2, Ff2Epilogue), at, &hidden)?;
        if order == NormOrder::Post {
            self.int16(Site::BlockOut(l), Norm2, at)?;
        }
        Ok(())
    }

    /// Returns the grid of a sub-layer's int8 input, each column's step times its smoothing factor.
    fn sub_layer_input(
        &self,
        order: NormOrder,
        (requantize, norm_kind): (TensorKind, TensorKind),
        layer: u16,
        stream: f32,
        norm: &Norm,
    ) -> Result<Grid, FakeError> {
        if order == NormOrder::Pre {
            let tensor = self.tensor(norm_kind, layer)?;
            return Ok(Grid::int8(&tensor, &factors_of_norm(&tensor, norm)));
        }
        let tensor = self.tensor(requantize, layer)?;
        let whole = f64::from(stream) / f64::from(tensor.scale()) / unit(&tensor);
        let mantissas = tensor.data::<i32>().iter();
        let factors: Vec<f64> = mantissas.map(|&m| whole / f64::from(m.max(1))).collect();
        Ok(Grid::int8(&tensor, &factors))
    }

    fn pooled_and_head(&mut self, model: &mut FloatModel) -> Result<(), FakeError> {
        use TensorKind::*;
        let pooled = self.int8(Site::Pooled, Pooled, NO_LAYER)?;
        let feature = match &mut model.pooler {
            Some(pooler) => {
                let kinds = (Pooler, PoolerEpilogue);
                self.weights(&mut pooler.linear, kinds, NO_LAYER, &pooled)?;
                self.int8(Site::PoolerPre, PoolerEpilogue, NO_LAYER)?;
                self.int8(Site::Feature, PoolerTable, NO_LAYER)?
            }
            None => pooled,
        };
        if model.config.n_classes > 0 {
            let kinds = (Head, HeadEpilogue);
            self.weights(&mut model.head, kinds, NO_LAYER, &feature)?;
            self.int16(Site::Logits, HeadEpilogue, NO_LAYER)?;
        }
        Ok(())
    }
}

/// The factor that a mantissa of one stands for.
fn unit(tensor: &Tensor<'_>) -> f64 {
    let scaling = tensor.scaling();
    libm::exp2(f64::from(scaling.pre_shift) - f64::from(scaling.shift))
}

/// Returns the smoothing factors by which a pre-norm's gains and biases were divided: read from
/// the larger of the two, 1 where both are nothing.
fn factors_of_norm(tensor: &Tensor<'_>, norm: &Norm) -> Vec<f64> {
    let (scale, zero) = (f64::from(tensor.scale()), f64::from(tensor.zero_point()));
    let shift = f64::from(tensor.entry().shift);
    let (unit, half) = (libm::exp2(shift), libm::exp2(shift - 1.0));
    let columns = norm
        .gain
        .iter()
        .zip(&norm.bias)
        .zip(tensor.data::<[i32; 2]>());
    let factor = |((&gain, &bias), pair): ((&f32, &f32), &[i32; 2])| {
        let stored_gain = f64::from(pair[0]) / 1024.0 / unit;
        let stored_bias = (f64::from(pair[1]) - half) / unit - zero;
        let (real, stored) = if pair[0].abs() >= 64 {
            (gain, stored_gain)
        } else {
            (bias, stored_bias)
        };
        let factor = f64::from(real) / scale / stored;
        // The quantizer's factors lie between 1/64 and 64.
        if factor.is_finite() && factor > 0.0 {
            factor.clamp(1.0 / 64.0, 64.0)
        } else {
            1.0
        }
    };
    columns.map(factor).collect()
}
