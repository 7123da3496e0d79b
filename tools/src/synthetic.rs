//! Small random models and inputs, deterministic by seed: for tests, benchmarks and fuzz seeds that
//! need a model of some shape and no pretrained one.

use crate::float_model::{
    ActivationFn, CrossAttention, DecoderLayer, Embedding, FloatDecoder, FloatModel, Layer, Linear,
    Norm, Pooler,
};
use crate::quantize::{QuantizeError, Quantized, calibrate::Calibration, quantize};
use crate::reference::{ModelInput, decode, forward};
use tailtune::image::{Activation, DecoderConfig, InputKind, ModelConfig};

/// A small deterministic generator (xorshift64*, Vigna 2016): not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// Returns a number below `n`.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(n)) >> 32) as u32
    }

    /// Brings `n` items, drawn evenly and in a random order, to the front (Fisher and Yates, as far as it is
    /// needed).
    ///
    /// # Panics
    /// If there are fewer.
    pub fn draw<T>(&mut self, items: &mut [T], n: usize) {
        for i in 0..n {
            let other = i + self.below((items.len() - i) as u32) as usize;
            items.swap(i, other);
        }
    }

    /// Returns a number from −1 to 1.
    pub fn unit(&mut self) -> f32 {
        self.bits() as f32 / 2_147_483_648.0 - 1.0
    }

    /// Returns an approximately normal number: the sum of twelve uniform ones.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() / 2.0
    }

    fn vec(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.normal() * scale).collect()
    }

    fn linear(&mut self, out_features: usize, in_features: usize) -> Linear {
        let scale = 1.0 / libm::sqrtf(in_features as f32);
        let weight = self.vec(out_features * in_features, scale);
        Linear {
            out_features,
            in_features,
            weight,
            bias: self.vec(out_features, 0.1),
        }
    }

    fn layer(&mut self, d: usize, d_ff: usize) -> Layer {
        Layer {
            q: self.linear(d, d),
            k: self.linear(d, d),
            v: self.linear(d, d),
            o: self.linear(d, d),
            norm1: self.norm(d),
            ff1: self.linear(d_ff, d),
            ff2: self.linear(d, d_ff),
            norm2: self.norm(d),
        }
    }

    fn cross(&mut self, d: usize) -> CrossAttention {
        CrossAttention {
            q: self.linear(d, d),
            k: self.linear(d, d),
            v: self.linear(d, d),
            o: self.linear(d, d),
            norm: self.norm(d),
        }
    }

    fn norm(&mut self, d: usize) -> Norm {
        let gain = self.vec(d, 0.2).iter().map(|g| 1.0 + g).collect();
        Norm {
            gain,
            bias: self.vec(d, 0.1),
            eps: 1e-6,
        }
    }
}

/// Returns a random model of this architecture.
pub fn model(config: &ModelConfig, seed: u64) -> FloatModel {
    let r = &mut Random::new(seed);
    let (d, d_ff) = (usize::from(config.d_model), usize::from(config.d_ff));
    let classes = usize::from(config.n_classes);
    let embedding = match config.input {
        InputKind::Patches { .. } => {
            let n_features = config.input.frames().map_or(0, |(_, n)| n);
            let projection = r.linear(d, n_features);
            Embedding::Frames { projection }
        }
        InputKind::Frames { n_features, .. } => {
            let mut projection = r.linear(d, n_features.into());
            // Large columns have small weights, as in a trained model: see `input`.
            for (i, w) in projection.weight.iter_mut().enumerate() {
                *w /= column_size(i % usize::from(n_features));
            }
            Embedding::Frames { projection }
        }
        InputKind::Tokens { .. } if !config.has_encoder() => Embedding::none(),
        InputKind::Tokens {
            vocab_size,
            n_segments,
        } => Embedding::Tokens {
            table: match usize::from(config.embedding_rank) {
                0 => r.vec(vocab_size as usize * d, 0.5),
                rank => r.vec(vocab_size as usize * rank, 0.5),
            },
            projection: match usize::from(config.embedding_rank) {
                0 => None,
                rank => Some(r.linear(d, rank)),
            },
            segments: r.vec(usize::from(n_segments) * d, 0.2),
        },
    };
    FloatModel {
        name: "synthetic".into(),
        front_end: None,
        config: *config,
        activation: match config.activation {
            Activation::Gelu => ActivationFn::GeluErf,
            Activation::Relu => ActivationFn::Relu,
        },
        labels: (0..classes).map(|i| format!("class {i}")).collect(),
        embedding,
        class_token: config.class_token.then(|| r.vec(d, 0.5)),
        positions: match config.has_encoder() {
            true => r.vec(usize::from(config.seq_len) * d, 0.3),
            false => Vec::new(),
        },
        embed_norm: config.embed_norm.then(|| r.norm(d)),
        layers: (0..config.n_layers).map(|_| r.layer(d, d_ff)).collect(),
        final_norm: config.final_norm.then(|| r.norm(d)),
        pooler: config.pooler.then(|| Pooler {
            linear: r.linear(d, d),
            activation: ActivationFn::Tanh,
        }),
        head: r.linear(classes, d),
        decoder: config.decoder.map(|c| decoder(config, &c, r)),
    }
}

fn decoder(config: &ModelConfig, c: &DecoderConfig, r: &mut Random) -> FloatDecoder {
    let (d, d_ff) = (usize::from(config.d_model), usize::from(config.d_ff));
    let vocab = c.vocab_size as usize;
    let layer = |r: &mut Random| DecoderLayer {
        block: r.layer(d, d_ff),
        cross: config.has_encoder().then(|| r.cross(d)),
    };
    FloatDecoder {
        tokens: r.vec(vocab * d, 0.5),
        positions: r.vec(usize::from(c.seq_len) * d, 0.3),
        embed_norm: c.embed_norm.then(|| r.norm(d)),
        layers: (0..c.n_layers).map(|_| layer(r)).collect(),
        final_norm: c.final_norm.then(|| r.norm(d)),
        output: (!c.tied).then(|| r.vec(vocab * d, 0.3)),
        output_bias: r.vec(vocab, 0.1),
    }
}

/// Columns of very different size, as MFCCs have them.
fn column_size(column: usize) -> f32 {
    1.0 + 3.0 * column as f32
}

/// Returns a random input of `len` tokens or frames.
pub fn input(config: &ModelConfig, len: usize, r: &mut Random) -> ModelInput {
    match config.input {
        InputKind::Patches { .. } => {
            let n = config.input.frames().map_or(0, |(_, n)| n);
            let byte = |r: &mut Random| r.below(256) as f32 / 255.0;
            ModelInput::Frames((0..len * n).map(|_| byte(r)).collect())
        }
        InputKind::Frames { n_features, .. } => {
            let n = usize::from(n_features);
            let value = |i: usize, r: &mut Random| r.normal() * column_size(i % n);
            ModelInput::Frames((0..len * n).map(|i| value(i, r)).collect())
        }
        InputKind::Tokens {
            vocab_size,
            n_segments,
        } => {
            let ids = (0..len).map(|_| r.below(vocab_size)).collect();
            let segment = |i: usize| (i * usize::from(n_segments) / len) as u8;
            let segments = if n_segments > 0 {
                (0..len).map(segment).collect()
            } else {
                Vec::new()
            };
            ModelInput::Tokens(ids, segments)
        }
    }
}

/// Returns the start token and random ones after it, as many as a decoder takes.
pub fn output(c: &DecoderConfig, r: &mut Random) -> Vec<u32> {
    let rest = (1..c.seq_len).map(|_| r.below(c.vocab_size));
    let rest: Vec<u32> = rest.collect();
    [vec![c.start], rest].concat()
}

/// Quantizes `model` by what it does on `n` random inputs.
///
/// # Errors
/// As [`quantize`].
pub fn quantized(model: &FloatModel, n: usize, seed: u64) -> Result<Quantized, QuantizeError> {
    let r = &mut Random::new(seed);
    let mut calibration = Calibration::default();
    // Lengths of every size: short sequences average less, so their contexts range wider.
    let max = model.config.max_input_len() as u32;
    for _ in 0..n {
        let len = 1 + r.below(max) as usize;
        let input = input(&model.config, len, r);
        match &model.config.decoder {
            None => {
                forward(model, input.float(), &mut calibration);
            }
            Some(c) => {
                let encoded = model.config.has_encoder().then(|| input.float());
                decode(model, encoded, &output(c, r), &mut calibration);
            }
        }
    }
    quantize(model, &calibration)
}
