//! The encoder's forward on the autodiff framework: the same formulas as
//! [`tailtune_tools::reference`], to which a test holds it.

mod decoder;

pub use decoder::Target;

use crate::params::Params;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use std::collections::HashMap;
use tailtune::image::{ModelConfig, NormOrder, Pooling};
use tailtune_tools::float_model::ActivationFn;
use tailtune_tools::import::names;

/// A batch of inputs, padded to equal length.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// What is read.
    pub values: Values,
    /// `[batch]` lengths before padding, counted without the class token; empty where all are full.
    pub lengths: Vec<usize>,
}

/// The two kinds of inputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// `[batch, len, n_features]`.
    Frames(Vec<f32>),
    /// `[batch, len]` ids and, where the model has segments, segment ids.
    Tokens {
        /// Token ids.
        ids: Vec<i32>,
        /// Segment ids, or empty.
        segments: Vec<i32>,
    },
}

impl Input {
    /// Returns full frames.
    pub fn frames(frames: Vec<f32>) -> Self {
        Self {
            values: Values::Frames(frames),
            lengths: Vec::new(),
        }
    }
}

/// Which places of the forward are rounded to int8 grids, and the adapters beside the weights.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options {
    /// Fake quantization of weights and linear inputs, straight-through (Jacob et al.,
    /// arXiv 1712.05877, §3).
    pub fake_quantize: bool,
    /// Scale of the low-rank adapters, alpha / rank; 0 where there are none.
    pub lora_scale: f32,
}

/// Parameters as tensors of the framework, and the forward over them.
pub struct Graph<'a> {
    config: &'a ModelConfig,
    activation: ActivationFn,
    eps: f64,
    options: Options,
    device: Device,
    tensors: HashMap<&'a str, (Tensor<1>, &'a [usize])>,
    pooler: Option<ActivationFn>,
}

/// What a forward gives.
pub struct Output {
    /// The last block's residual stream, normalised where the model has a final norm:
    /// `[batch, seq_len, d_model]`.
    pub hidden: Tensor<3>,
    /// `[batch, d_model]`.
    pub pooled: Tensor<2>,
}

impl<'a> Graph<'a> {
    /// Makes tensors of `params`; those that move are tracked for gradients.
    pub fn new(
        config: &'a ModelConfig,
        activation: ActivationFn,
        eps: f32,
        params: &'a Params,
        options: Options,
    ) -> Self {
        let device = Device::flex().autodiff();
        let tensors = params.iter().map(|p| {
            let data = TensorData::new(p.tensor.values.clone(), [p.tensor.values.len()]);
            let tensor = Tensor::<1>::from_data(data, &device);
            let tensor = if p.moves {
                tensor.require_grad()
            } else {
                tensor
            };
            (p.tensor.name.as_str(), (tensor, p.tensor.shape.as_slice()))
        });
        Self {
            config,
            activation,
            eps: eps.into(),
            options,
            tensors: tensors.collect(),
            device,
            pooler: None,
        }
    }

    /// Adds the activation of a pooler, whose parameters are [`names::POOLER`]'s.
    pub fn with_pooler(self, pooler: Option<ActivationFn>) -> Self {
        Self { pooler, ..self }
    }

    /// Returns the device that the tensors live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns whether there is a parameter of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns a parameter as a vector.
    ///
    /// # Panics
    /// Where there is none: the parameters come from the same configuration.
    pub fn vector(&self, name: &str) -> Tensor<1> {
        let found = self.tensors.get(name);
        found
            .unwrap_or_else(|| panic!("no parameter {name}"))
            .0
            .clone()
    }

    /// Returns a parameter as a matrix of its shape.
    pub fn matrix(&self, name: &str) -> Tensor<2> {
        let shape = self.tensors[name].1;
        self.vector(name).reshape([shape[0], shape[1]])
    }

    /// Runs the encoder on `batch` inputs.
    pub fn forward(&self, input: &Input, batch: usize) -> Output {
        let mut x = self.embed(input, batch);
        let mask = self.mask(input, batch, x.dims()[1]);
        let hidden = mask.as_ref().map(hidden_keys);
        for layer in 0..self.config.n_layers.into() {
            x = self.block(layer, x, hidden.as_ref());
        }
        if self.config.final_norm {
            x = self.norm(names::FINAL_NORM, x);
        }
        let mut pooled = self.pool(x.clone(), input, mask);
        if let Some(pooler) = self.pooler {
            pooled = activated(
                pooler,
                self.linear_2d(names::POOLER, self.quantized(pooled)),
            );
        }
        Output { hidden: x, pooled }
    }

    fn pool(&self, x: Tensor<3>, input: &Input, mask: Option<Tensor<2>>) -> Tensor<2> {
        let [batch, len, d] = x.dims();
        match (self.config.pooling, mask) {
            (Pooling::ClassToken | Pooling::First, _) => {
                x.slice([0..batch, 0..1, 0..d]).reshape([batch, d])
            }
            (Pooling::Mean, None) => x.mean_dim(1).reshape([batch, d]),
            (Pooling::Mean, Some(mask)) => {
                let token = usize::from(self.config.class_token);
                let share = input.lengths.iter().map(|&n| 1.0 / (n + token) as f32);
                let share = TensorData::new(share.collect(), [batch, 1]);
                let share = Tensor::<2>::from_data(share, &self.device);
                let kept = x * mask.reshape([batch, len, 1]);
                kept.sum_dim(1).reshape([batch, d]) * share
            }
        }
    }

    /// Returns 1 for what is there and 0 for padding, `[batch, len]`; none where nothing is padded.
    fn mask(&self, input: &Input, batch: usize, len: usize) -> Option<Tensor<2>> {
        if input.lengths.is_empty() {
            return None;
        }
        let token = usize::from(self.config.class_token);
        let row = |n: &usize| {
            (0..len)
                .map(|i| f32::from(u8::from(i < n + token)))
                .collect()
        };
        let rows: Vec<Vec<f32>> = input.lengths.iter().map(row).collect();
        let data = TensorData::new(rows.concat(), [batch, len]);
        Some(Tensor::from_data(data, &self.device))
    }

    /// Returns the logits `[batch, n_classes]` of a head.
    pub fn head(&self, name: &str, features: Tensor<2>) -> Tensor<2> {
        self.linear_2d(name, features)
    }

    fn embed(&self, input: &Input, batch: usize) -> Tensor<3> {
        let d = usize::from(self.config.d_model);
        let mut x = match &input.values {
            Values::Frames(values) => {
                let n = self.config.input.frames().map_or(1, |(_, n)| n);
                let rows = values.len() / n;
                let data = TensorData::new(values.clone(), [rows, n]);
                let frames = Tensor::<2>::from_data(data, &self.device);
                let x = self.linear_2d(names::PROJECTION, frames);
                x.reshape([batch, rows / batch, d])
            }
            Values::Tokens { ids, segments } => {
                let mut x = self.rows(names::TOKENS, ids, batch);
                if self.config.embedding_rank > 0 {
                    let [batch, len, rank] = x.dims();
                    let rows = x.reshape([batch * len, rank]);
                    x = self
                        .linear_2d(names::PROJECTION, rows)
                        .reshape([batch, len, d]);
                }
                match segments.is_empty() {
                    true => x,
                    false => x + self.rows(names::SEGMENTS, segments, batch),
                }
            }
        };
        if self.config.class_token {
            let token = self.vector(names::CLASS_TOKEN);
            let token = token.reshape([1, 1, d]).expand([batch, 1, d]);
            x = Tensor::cat(vec![token, x], 1);
        }
        let len = x.dims()[1];
        let positions = self.matrix(names::POSITIONS).slice([0..len, 0..d]);
        x = x + positions.reshape([1, len, d]);
        match self.config.embed_norm {
            true => self.norm(names::EMBED_NORM, x),
            false => x,
        }
    }

    fn rows(&self, table: &str, ids: &[i32], batch: usize) -> Tensor<3> {
        let data = TensorData::new(ids.to_vec(), [batch, ids.len() / batch]);
        let ids = Tensor::<2, Int>::from_data(data, &self.device);
        burn::tensor::module::embedding(self.matrix(table), ids)
    }

    fn block(&self, layer: usize, x: Tensor<3>, hidden: Option<&Tensor<4>>) -> Tensor<3> {
        let name = |part: &str| names::layer(layer, part);
        let x = self.sub_layer(&name("norm1"), x, |x| {
            self.attention(&name("attention"), x.clone(), x, hidden)
        });
        self.sub_layer(&name("norm2"), x, |x| self.feed_forward(name, x))
    }

    /// A residual connection around `f`, with its norm before or after.
    fn sub_layer(&self, norm: &str, x: Tensor<3>, f: impl Fn(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        match self.config.norm {
            NormOrder::Pre => x.clone() + f(self.norm(norm, x)),
            NormOrder::Post => self.norm(norm, x.clone() + f(x)),
        }
    }

    /// Attention of `x` `[batch, len, d]` to `memory` `[batch, n, d]`; `hidden` is added to the scores.
    fn attention(
        &self,
        name: &str,
        x: Tensor<3>,
        memory: Tensor<3>,
        hidden: Option<&Tensor<4>>,
    ) -> Tensor<3> {
        let [batch, len, d] = x.dims();
        let heads = usize::from(self.config.n_heads);
        let flat = |x: Tensor<3>| {
            let [batch, len, d] = x.dims();
            self.quantized(x.reshape([batch * len, d]))
        };
        let (x, memory) = (flat(x), flat(memory));
        let project = |part: &str, x: &Tensor<2>| {
            let y = self.linear_2d(&format!("{name}.{part}"), x.clone());
            let rows = y.dims()[0] / batch;
            self.quantized(y)
                .reshape([batch, rows, heads, d / heads])
                .swap_dims(1, 2)
        };
        let (q, k, v) = (
            project("q", &x),
            project("k", &memory),
            project("v", &memory),
        );
        let scale = 1.0 / ((d / heads) as f64).sqrt();
        let mut scores = q.mul_scalar(scale).matmul(k.transpose());
        if let Some(hidden) = hidden {
            scores = scores + hidden.clone();
        }
        let context = activation::softmax(scores, 3).matmul(v);
        let context = context.swap_dims(1, 2).reshape([batch * len, d]);
        let out = self.linear_2d(&format!("{name}.o"), self.quantized(context));
        out.reshape([batch, len, d])
    }

    fn feed_forward(&self, name: impl Fn(&str) -> String, x: Tensor<3>) -> Tensor<3> {
        let [batch, len, d] = x.dims();
        let input = self.quantized(x.reshape([batch * len, d]));
        let hidden = self.linear_2d(&name("ff1"), input);
        let hidden = activated(self.activation, hidden);
        let out = self.linear_2d(&name("ff2"), self.quantized(hidden));
        out.reshape([batch, len, d])
    }

    /// `x · Wᵀ + b`, with the low-rank adapter `x · Aᵀ · Bᵀ · scale` where there is one (Hu et al.,
    /// arXiv 2106.09685).
    fn linear_2d(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        let weight = self.quantized_rows(self.matrix(&names::weight(name)));
        let bias = self.vector(&names::bias(name)).unsqueeze::<2>();
        let y = x.clone().matmul(weight.transpose()) + bias;
        let (a, b) = (format!("{name}.lora_a"), format!("{name}.lora_b"));
        if !self.has(&a) {
            return y;
        }
        let low = x.matmul(self.matrix(&a).transpose());
        y + low
            .matmul(self.matrix(&b).transpose())
            .mul_scalar(self.options.lora_scale)
    }

    /// LayerNorm, from primitives whose gradients are the framework's own.
    pub fn norm<const D: usize>(&self, name: &str, x: Tensor<D>) -> Tensor<D> {
        let mean = x.clone().mean_dim(D - 1);
        let centred = x - mean;
        let variance = centred.clone().square().mean_dim(D - 1);
        let z = centred / variance.add_scalar(self.eps).sqrt();
        let gain = self.vector(&names::weight(name)).unsqueeze::<D>();
        z * gain + self.vector(&names::bias(name)).unsqueeze::<D>()
    }

    /// Rounds activations to 256 levels between their extremes; the gradient passes straight
    /// through.
    fn quantized(&self, x: Tensor<2>) -> Tensor<2> {
        if !self.options.fake_quantize {
            return x;
        }
        let plain = x.clone().detach();
        let low = plain.clone().min().clamp_max(0.0);
        let high = plain.clone().max().clamp_min(0.0);
        let scale = ((high - low.clone()) / 255.0)
            .clamp_min(1e-9)
            .unsqueeze::<2>();
        let low = low.unsqueeze::<2>();
        let rounded = ((plain.clone() - low.clone()) / scale.clone()).round() * scale + low;
        x + (rounded - plain)
    }

    /// Rounds each row of a weight matrix to 255 symmetric levels, straight-through.
    fn quantized_rows(&self, weight: Tensor<2>) -> Tensor<2> {
        if !self.options.fake_quantize {
            return weight;
        }
        let plain = weight.clone().detach();
        let scale = (plain.clone().abs().max_dim(1) / 127.0).clamp_min(1e-9);
        let rounded = (plain.clone() / scale.clone()).round() * scale;
        weight + (rounded - plain)
    }

    /// Returns each tracked parameter's gradient, in the order of `params`; none where the loss
    /// does not depend on it.
    pub fn gradients(&self, loss: &Tensor<1>, params: &Params) -> Vec<Option<Vec<f32>>> {
        let gradients = loss.backward();
        let one = |name: &str| {
            let grad = self.tensors.get(name)?.0.grad(&gradients)?;
            Some(values(grad))
        };
        params
            .iter()
            .map(|p| if p.moves { one(&p.tensor.name) } else { None })
            .collect()
    }
}

/// Returns what hides padding from attention's scores, `[batch, 1, 1, len]`, of a mask `[batch, len]` of
/// ones and zeros.
fn hidden_keys(mask: &Tensor<2>) -> Tensor<4> {
    let [batch, len] = mask.dims();
    let hidden = mask.clone().sub_scalar(1.0).mul_scalar(1e9);
    hidden.reshape([batch, 1, 1, len])
}

/// Returns a tensor's elements, row-major.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    data.try_to_vec::<f32>().unwrap_or_default()
}

fn activated(function: ActivationFn, x: Tensor<2>) -> Tensor<2> {
    match function {
        ActivationFn::Relu => activation::relu(x),
        ActivationFn::GeluErf => activation::gelu(x),
        ActivationFn::GeluTanh => activation::gelu_approximate(x),
        ActivationFn::Tanh => activation::tanh(x),
    }
}
