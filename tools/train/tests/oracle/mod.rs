//! The last block of an image on the autodiff framework: from the image's tensors, dequantized, by the formulas
//! of a Transformer as they stand in textbooks, keys and values of every row among them.
//!
//! On the image's grids, places that the integer runtime rounds are rounded here too: values are those of the
//! grid, and the gradient is 1 where the grid did not clip and 0 where it did (straight-through).

use burn::tensor::{Device, Gradients, Tensor, TensorData, activation};
use std::collections::BTreeMap;
use tailtune::image::{Activation, Image, ModelConfig, NO_LAYER, NormOrder, TensorKind};
use tailtune::model::latent::{Latent, input_grid};
use tailtune_train::graph::values;

use TensorKind as K;

/// Name, weights, epilogue.
pub const PROJECTIONS: [(&str, TensorKind, TensorKind); 6] = [
    ("query", K::Query, K::QueryEpilogue),
    ("key", K::Key, K::KeyEpilogue),
    ("value", K::Value, K::ValueEpilogue),
    ("out", K::Out, K::OutEpilogue),
    ("ff1", K::Ff1, K::Ff1Epilogue),
    ("ff2", K::Ff2, K::Ff2Epilogue),
];

/// Parameters by name.
pub type Named = BTreeMap<String, Vec<f32>>;

/// An int8 grid.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    scale: f32,
    zero: f32,
}

impl Grid {
    fn of(image: &Image<'_>, kind: TensorKind, layer: u16) -> Self {
        let tensor = image.tensor(kind, layer).unwrap();
        Self {
            scale: tensor.scale(),
            zero: tensor.zero_point() as f32,
        }
    }
}

/// A norm's numbers: gains, biases, epsilon.
struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

fn pairs(bytes: &[u8]) -> Vec<[i32; 2]> {
    let (chunks, _) = bytes.as_chunks::<8>();
    let one =
        |&[a, b, c, d, e, f, g, h]: &[u8; 8]| [[a, b, c, d], [e, f, g, h]].map(i32::from_le_bytes);
    chunks.iter().map(one).collect()
}

impl Norm {
    fn of(image: &Image<'_>, kind: TensorKind, layer: u16, stream: f32) -> Self {
        let tensor = image.tensor(kind, layer).unwrap();
        let mut all = pairs(tensor.bytes());
        let [low, high] = all.pop().unwrap();
        let epsilon = (u64::from(high as u32) << 32 | u64::from(low as u32)) as f64;
        let unit = f64::from(stream) / all.len() as f64;
        let one = f64::from(1u32 << tensor.entry().shift);
        let (scale, zero) = (f64::from(tensor.scale()), f64::from(tensor.zero_point()));
        let gain = |p: &[i32; 2]| (f64::from(p[0]) / (1024.0 * one) * scale) as f32;
        let bias = |p: &[i32; 2]| (((f64::from(p[1]) - one / 2.0) / one - zero) * scale) as f32;
        Self {
            gain: all.iter().map(gain).collect(),
            bias: all.iter().map(bias).collect(),
            epsilon: (epsilon * unit * unit) as f32,
        }
    }
}

/// A linear layer: weights `[out, in]`, biases, and the scale of each channel's int8 weights.
pub struct Linear {
    rows: usize,
    columns: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    pub scales: Vec<f32>,
}

impl Linear {
    fn of(image: &Image<'_>, (weight, epilogue): (TensorKind, TensorKind), input: Grid) -> Self {
        let layer = image.config().n_layers - 1;
        let packed = image.tensor(weight, layer).unwrap();
        let entry = image.tensor(epilogue, layer).unwrap();
        let channels = pairs(entry.bytes());
        let (rows, columns) = (channels.len(), packed.bytes().len() / channels.len());
        let shifts = i32::from(entry.entry().pre_shift) - i32::from(entry.entry().shift);
        let factor = f64::from(entry.scale()) / f64::from(input.scale) * 2f64.powi(shifts);
        let mut linear = Self {
            rows,
            columns,
            weight: Vec::new(),
            bias: Vec::new(),
            scales: Vec::new(),
        };
        for (channel, [bias, mantissa]) in channels.into_iter().enumerate() {
            let scale = f64::from(mantissa) * factor;
            let place = |k: usize| match channel | 1 {
                odd if odd < rows => (channel & !1) * columns + 2 * k + (channel & 1),
                _ => channel * columns + k,
            };
            let own: Vec<f64> = (0..columns)
                .map(|k| f64::from(packed.bytes()[place(k)].cast_signed()))
                .collect();
            // The input's zero point is folded into the bias.
            let sum: f64 = own.iter().sum();
            let bias = (f64::from(bias) + f64::from(input.zero) * sum) * f64::from(input.scale);
            linear.bias.push((bias * scale) as f32);
            linear.scales.push(scale as f32);
            linear.weight.extend(own.iter().map(|w| (w * scale) as f32));
        }
        linear
    }
}

/// The last block, as the image has it.
pub struct Block {
    config: ModelConfig,
    input: Grid,
    stream: f32,
    query: Grid,
    context: Grid,
    ff_input: Grid,
    /// Post-norm: what each column of the feed-forward's input is multiplied by.
    ff_columns: Option<Vec<f32>>,
    pre: Grid,
    hidden: Grid,
    table: Option<Vec<i8>>,
    pooled: Grid,
    norms: Vec<Norm>,
    pub linears: Vec<Linear>,
}

impl Block {
    pub fn new(image: &Image<'_>) -> Self {
        let config = *image.config();
        let layer = config.n_layers - 1;
        let post = config.norm == NormOrder::Post;
        let grid = |kind| Grid::of(image, kind, layer);
        let (scale, zero) = input_grid(image).unwrap();
        let input = Grid {
            scale,
            zero: zero.into(),
        };
        let ff_input = grid(if post { K::FfInput } else { K::Norm2 });
        let pre = grid(K::Ff1Epilogue);
        let gelu = config.activation == Activation::Gelu;
        let hidden = if gelu { grid(K::ActivationTable) } else { pre };
        let context = grid(K::Context);
        let inputs = [input, input, input, context, ff_input, hidden];
        let linears = PROJECTIONS.iter().zip(inputs);
        let linears = linears.map(|(&(_, w, e), input)| Linear::of(image, (w, e), input));
        let (first, second) = (grid(K::OutEpilogue).scale, grid(K::Ff2Epilogue).scale);
        let mut norms = vec![
            Norm::of(image, K::Norm1, layer, first),
            Norm::of(image, K::Norm2, layer, second),
        ];
        if config.final_norm {
            norms.push(Norm::of(image, K::FinalNorm, NO_LAYER, second));
        }
        let ff_columns = post.then(|| {
            let tensor = image.tensor(K::FfInput, layer).unwrap();
            let shifts = i32::from(tensor.entry().pre_shift) - i32::from(tensor.entry().shift);
            let factor = 2f64.powi(shifts) * f64::from(tensor.scale()) / f64::from(second);
            let (mantissas, _) = tensor.bytes().as_chunks::<4>();
            let one = |m: &[u8; 4]| (f64::from(i32::from_le_bytes(*m)) * factor) as f32;
            mantissas.iter().map(one).collect()
        });
        let table = gelu.then(|| {
            let tensor = image.tensor(K::ActivationTable, layer).unwrap();
            tensor.bytes().iter().map(|b| b.cast_signed()).collect()
        });
        Self {
            input,
            stream: first,
            query: grid(K::QueryEpilogue),
            context,
            ff_input,
            ff_columns,
            pre,
            hidden,
            table,
            pooled: Grid::of(image, K::Pooled, NO_LAYER),
            norms,
            linears: linears.collect(),
            config,
        }
    }

    /// Returns the parameters of `norm-bias` that change nothing, and the weights.
    pub fn parameters(&self) -> Named {
        let d = usize::from(self.config.d_model);
        let mut all = Named::new();
        for i in 0..self.norms.len() {
            all.insert(format!("norm{i}.gain"), vec![1.0; d]);
            all.insert(format!("norm{i}.bias"), vec![0.0; d]);
        }
        for (linear, (name, ..)) in self.linears.iter().zip(PROJECTIONS) {
            all.insert(format!("{name}.weight"), linear.weight.clone());
            all.insert(format!("{name}.bias"), vec![0.0; linear.rows]);
        }
        all
    }

    /// Returns a projection's `[out, in]`.
    pub fn shape(&self, projection: usize) -> (usize, usize) {
        let linear = &self.linears[projection];
        (linear.rows, linear.columns)
    }
}

/// What a forward and a backward gave.
pub struct Outcome {
    pub loss: f32,
    pub gradients: Named,
    /// How near to a tie the nearest of all numbers that were rounded was, in units.
    pub tie: f32,
}

/// A forward under way.
pub struct Graph<'b> {
    block: &'b Block,
    on_grids: bool,
    /// Of adapters: alpha by rank.
    factor: f32,
    device: Device,
    leaves: BTreeMap<&'b str, Tensor<1>>,
    tie: f32,
}

impl<'b> Graph<'b> {
    pub fn new(block: &'b Block, parameters: &'b Named, on_grids: bool, factor: f32) -> Self {
        let device = Device::flex().autodiff();
        let leaf = |(name, values): (&'b String, &Vec<f32>)| {
            let data = TensorData::new(values.clone(), [values.len()]);
            let tensor = Tensor::<1>::from_data(data, &device).require_grad();
            (name.as_str(), tensor)
        };
        Self {
            leaves: parameters.iter().map(leaf).collect(),
            block,
            on_grids,
            factor,
            device,
            tie: 0.5,
        }
    }

    fn constant<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn leaf(&self, name: &str) -> Tensor<1> {
        self.leaves[name].clone()
    }

    /// Rounds to a grid, straight-through; `clips` says whether nothing passes at its ends.
    fn rounded(&mut self, x: Tensor<2>, grid: Grid) -> Tensor<2> {
        if !self.on_grids {
            return x;
        }
        let shape = x.dims();
        let plain = values(x.clone().detach());
        let (mut reals, mut passes) = (Vec::new(), Vec::new());
        for x in plain {
            let units = x / grid.scale + grid.zero;
            let off = (units - units.floor() - 0.5).abs();
            if (-129.0..128.0).contains(&units) {
                self.tie = self.tie.min(off);
            }
            let units = libm::rintf(units).clamp(-128.0, 127.0);
            reals.push((units - grid.zero) * grid.scale);
            passes.push(f32::from(u8::from((-127.0..=126.0).contains(&units))));
        }
        let reals = self.constant(reals, shape);
        let through = x * self.constant(passes, shape);
        through.clone() + (reals - through.detach())
    }

    /// `x · (W + factor·B·A)ᵀ + b` of the image, and the bias that is trained.
    fn linear(&self, projection: usize, x: Tensor<2>) -> Tensor<2> {
        let (linear, name) = (&self.block.linears[projection], PROJECTIONS[projection].0);
        let (rows, columns) = (linear.rows, linear.columns);
        let mut weight = self
            .leaf(&format!("{name}.weight"))
            .reshape([rows, columns]);
        if let Some(a) = self.leaves.get(format!("{name}.lora_a").as_str()) {
            let rank = a.dims()[0] / columns;
            let b = self.leaf(&format!("{name}.lora_b")).reshape([rows, rank]);
            weight = weight + b.matmul(a.clone().reshape([rank, columns])) * self.factor;
        }
        let bias = self.constant(linear.bias.clone(), [1, rows]);
        let own = self.leaf(&format!("{name}.bias")).reshape([1, rows]);
        x.matmul(weight.transpose()) + bias + own
    }

    fn scale_shift(&self, norm: usize, x: Tensor<2>) -> Tensor<2> {
        let gain = self.leaf(&format!("norm{norm}.gain")).unsqueeze::<2>();
        x * gain + self.leaf(&format!("norm{norm}.bias")).unsqueeze::<2>()
    }

    fn norm(&self, index: usize, x: Tensor<2>) -> Tensor<2> {
        let norm = &self.block.norms[index];
        let d = norm.gain.len();
        let centred = x.clone() - x.mean_dim(1);
        let variance = centred.clone().square().mean_dim(1);
        let z = centred / (variance + norm.epsilon).sqrt();
        let image = z * self.constant(norm.gain.clone(), [1, d]);
        self.scale_shift(index, image + self.constant(norm.bias.clone(), [1, d]))
    }

    /// The context of the row that is pooled, `[1, d]`.
    fn attend(&mut self, x: Tensor<2>) -> Tensor<2> {
        let ([len, d], block) = (x.dims(), self.block);
        let heads = usize::from(block.config.n_heads);
        let e = d / heads;
        let query = self.linear(0, x.clone().slice([0..1, 0..d]));
        let query = self.rounded(query, block.query);
        let (key, value) = (self.linear(1, x.clone()), self.linear(2, x));
        let context = (0..heads).map(|head| {
            let own = head * e..(head + 1) * e;
            let of = |x: &Tensor<2>, rows| x.clone().slice([0..rows, own.clone()]);
            let scores = of(&query, 1).matmul(of(&key, len).transpose());
            let scores = scores / libm::sqrtf(e as f32);
            activation::softmax(scores, 1).matmul(of(&value, len))
        });
        let context = Tensor::cat(context.collect(), 1);
        self.rounded(context, block.context)
    }

    fn feed_forward(&mut self, x: Tensor<2>) -> Tensor<2> {
        let block = self.block;
        let pre = self.linear(4, x);
        let pre = self.rounded(pre, block.pre);
        let hidden = match &block.table {
            None => activation::relu(pre),
            Some(table) => {
                let smooth = activation::gelu(pre.clone());
                if self.on_grids {
                    let looked_up = values(pre.detach()).into_iter().map(|x| {
                        let units = libm::rintf(x / block.pre.scale + block.pre.zero);
                        let entry = table[(units as i32 + 128) as usize];
                        (f32::from(entry) - block.hidden.zero) * block.hidden.scale
                    });
                    let looked_up = self.constant(looked_up.collect(), smooth.dims());
                    smooth.clone() + (looked_up - smooth.detach())
                } else {
                    smooth
                }
            }
        };
        self.linear(5, hidden)
    }

    /// The pooled feature of a latent, `[1, d]`.
    fn feature(&mut self, latent: &[i8]) -> Tensor<2> {
        let block = self.block;
        let d = usize::from(block.config.d_model);
        let latent = Latent::parse(latent, d).unwrap();
        let real = |&h: &i8| (f32::from(h) - block.input.zero) * block.input.scale;
        let rows = latent.rows().iter().take(latent.len() * d);
        let h = self.constant(rows.map(real).collect(), [latent.len(), d]);
        let residual = latent.residual().map(|x| f32::from(x) * block.stream);
        let residual = self.constant(residual.collect(), [1, d]);
        let post = block.config.norm == NormOrder::Post;
        // Before attention of a pre-norm block, latents lie behind the image's own norm.
        let x = if post { h } else { self.scale_shift(0, h) };
        let context = self.attend(x);
        let u = residual + self.linear(3, context);
        let (stream, input) = if post {
            let y = self.norm(0, u);
            let columns = block.ff_columns.clone().unwrap();
            (y.clone(), y * self.constant(columns, [1, d]))
        } else {
            (u.clone(), self.norm(1, u))
        };
        let input = self.rounded(input, block.ff_input);
        let w = stream + self.feed_forward(input);
        let z = match (post, block.norms.len()) {
            (true, _) => self.norm(1, w),
            (false, 3) => self.norm(2, w),
            _ => w,
        };
        self.rounded(z, block.pooled)
    }

    /// Cross-entropy of a head of weights `head.weight` and biases `head.bias` over the block.
    pub fn run(mut self, latent: &[i8], label: usize) -> Outcome {
        let feature = self.feature(latent);
        let loss = self.cross_entropy(feature, label);
        let gradients = loss.backward();
        Outcome {
            loss: values(loss)[0],
            gradients: self.gradients(&gradients),
            tie: self.tie,
        }
    }

    fn cross_entropy(&self, feature: Tensor<2>, label: usize) -> Tensor<1> {
        let [_, d] = feature.dims();
        let bias = self.leaf("head.bias");
        let n = bias.dims()[0];
        let weight = self.leaf("head.weight").reshape([n, d]);
        let logits = feature.matmul(weight.transpose()) + bias.unsqueeze::<2>();
        let log = activation::log_softmax(logits, 1);
        -log.slice([0..1, label..label + 1]).reshape([1])
    }

    fn gradients(&self, gradients: &Gradients) -> Named {
        let one = |(name, leaf): (&&str, &Tensor<1>)| {
            let gradient = leaf.grad(gradients).map(values);
            let gradient = gradient.unwrap_or_else(|| panic!("{name} has no gradient"));
            ((*name).to_owned(), gradient)
        };
        self.leaves.iter().map(one).collect()
    }
}
