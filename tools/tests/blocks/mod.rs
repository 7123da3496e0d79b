//! Blocks of many shapes with random weights, latents for them, and the memory that methods work in: a
//! test's, so leaked.
#![allow(dead_code)]

use tailtune::image::{Activation, Image, InputKind, ModelConfig, NormOrder, Pooling, TensorKind};
use tailtune::model::latent::latent_bytes;
use tailtune::model::{Encoder, Features, Head, Input, arena_bytes};
use tailtune::tune::block::{BlockBuffers, BlockOptions, FlatBuffers, Rounding, scratch_len};
use tailtune::tune::{
    FromScratch, HeadBuffers, LinearHead, Math, Method, Schedule, Softmax, SoftmaxBuffers, Velocity,
};
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::int8::{Int8Input, Int8Model};
use tailtune_tools::synthetic::{self, Random};

pub const CLASSES: usize = 3;

pub fn config(
    shape: (u16, u16, u16, u16),
    post: bool,
    relu: bool,
    final_norm: bool,
) -> ModelConfig {
    let (seq_len, d_model, n_heads, d_ff) = shape;
    ModelConfig {
        n_layers: 2,
        d_model,
        n_heads,
        d_ff,
        seq_len,
        n_classes: 4,
        input: InputKind::Frames {
            n_frames: seq_len - 1,
            n_features: 6,
        },
        norm: if post {
            NormOrder::Post
        } else {
            NormOrder::Pre
        },
        activation: if relu {
            Activation::Relu
        } else {
            Activation::Gelu
        },
        pooling: Pooling::ClassToken,
        class_token: true,
        embed_norm: false,
        final_norm,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    }
}

/// Heads of odd width, odd widths, one token beside the class token.
pub fn configs() -> Vec<ModelConfig> {
    vec![
        config((7, 16, 2, 24), false, false, true),
        config((9, 12, 3, 17), true, false, false),
        config((6, 9, 3, 10), false, true, false),
        config((5, 8, 1, 16), true, true, false),
        config((2, 10, 2, 7), false, false, true),
    ]
}

pub fn model(config: &ModelConfig, seed: u64) -> Int8Model {
    let float = synthetic::model(config, seed);
    let quantized = synthetic::quantized(&float, 40, seed + 1).unwrap();
    Int8Model::new(quantized.writer.finish().unwrap()).unwrap()
}

/// Latents of random inputs, and what the integer runtime makes of those.
pub fn latents(int8: &Int8Model, n: usize, seed: u64) -> Vec<(Vec<i8>, Vec<i8>)> {
    let r = &mut Random::new(seed);
    let config = int8.config();
    let image = int8.image();
    let inputs: Vec<_> = (0..n)
        .map(|i| {
            let len = config.max_input_len()
                - if i % 3 == 2 {
                    (i / 3) % config.max_input_len()
                } else {
                    0
                };
            synthetic::input(&config, len, r)
        })
        .collect();
    let inputs = int8.prepare(&inputs).unwrap();
    let mut encoder = Encoder::new(&image, aligned(arena_bytes(&config))).unwrap();
    inputs
        .iter()
        .map(|input| {
            let Int8Input::Frames(frames) = input else {
                panic!()
            };
            let mut latent = vec![0; latent_bytes(&config)];
            encoder.latent(Input::Frames(frames), &mut latent).unwrap();
            let whole = encoder
                .forward(Input::Frames(frames))
                .unwrap()
                .values
                .to_vec();
            let of_latent = encoder.forward_latent(&latent).unwrap().values.to_vec();
            assert_eq!(whole, of_latent, "the runtime over a latent");
            (latent, whole)
        })
        .collect()
}

pub fn grid(image: &Image<'_>) -> (f32, i8) {
    let mut encoder = Encoder::new(image, aligned(arena_bytes(image.config()))).unwrap();
    let (_, n) = image.config().input.frames().unwrap();
    let mut latent = vec![0; latent_bytes(image.config())];
    let features = encoder
        .latent(Input::Frames(&vec![0; n]), &mut latent)
        .unwrap();
    (features.scale, features.zero_point)
}

/// All memory of a method, leaked: a test's.
pub fn leak<T: Clone>(value: T, len: usize) -> &'static mut [T] {
    vec![value; len].leak()
}

pub fn head(d: usize) -> Softmax<'static> {
    let origin: &'static FromScratch = Box::leak(Box::new(FromScratch { d_model: d }));
    let names = (0..CLASSES)
        .map(|_| tailtune::tune::ClassName::EMPTY)
        .collect::<Vec<_>>();
    let buffers = HeadBuffers {
        weights: leak(0.0, CLASSES * d),
        bias: leak(0.0, CLASSES),
        names: names.leak(),
    };
    let mut head = LinearHead::new(buffers, origin).unwrap();
    for name in ["a", "b", "c"] {
        head.add_class(name).unwrap();
    }
    let buffers = SoftmaxBuffers {
        features: leak(0.0, d),
        logits: leak(0.0, CLASSES),
        velocity: Some(Velocity {
            weights: leak(0.0, CLASSES * d),
            bias: leak(0.0, CLASSES),
        }),
        adam: None,
    };
    Softmax::new(head, buffers, Math::Exact).unwrap()
}

pub fn buffers(config: &ModelConfig, len: usize) -> BlockBuffers<'static> {
    BlockBuffers {
        scratch: leak(0.0, scratch_len(config)),
        parameters: FlatBuffers {
            values: leak(0.0, len),
            gradient: leak(0.0, len),
            first: leak(0.0, len),
            second: leak(0.0, len),
        },
    }
}

pub fn options(rounding: Rounding) -> BlockOptions {
    BlockOptions {
        rate: 1.0,
        rounding,
    }
}

pub fn leaked(int8: &Int8Model) -> Image<'static> {
    let bytes: &'static Int8Model = Box::leak(Box::new(int8.clone()));
    bytes.image()
}

/// The image's own head, of four classes.
pub fn image_head(image: &Image<'static>) -> Softmax<'static> {
    let origin: &'static Head<'static> = Box::leak(Box::new(Head::new(image).unwrap()));
    let (d, n) = (origin.n_features(), origin.n_classes());
    let buffers = HeadBuffers {
        weights: leak(0.0, n * d),
        bias: leak(0.0, n),
        names: &mut [],
    };
    let head = LinearHead::new(buffers, origin).unwrap();
    let buffers = SoftmaxBuffers {
        features: leak(0.0, d),
        logits: leak(0.0, n),
        velocity: Some(Velocity {
            weights: leak(0.0, n * d),
            bias: leak(0.0, n),
        }),
        adam: None,
    };
    Softmax::new(head, buffers, Math::Exact).unwrap()
}

pub fn aligned(len: usize) -> &'static mut [u8] {
    let bytes: &mut AlignedBytes = Box::leak(Box::new(AlignedBytes::new(&vec![0; len])));
    bytes
}

pub fn emit<M: Method>(method: &M) -> &'static [u8] {
    let out = aligned(method.tail_bytes());
    let len = method.emit_tail(out).unwrap();
    assert_eq!(len, out.len());
    out
}

/// The zero point of a projection's input.
pub fn zero_point(image: &Image<'_>, kind: TensorKind) -> i32 {
    use TensorKind::*;
    let post = image.config().norm == NormOrder::Post;
    let relu = image.config().activation == Activation::Relu;
    let input = match kind {
        Query | Key | Value if post => AttnInput,
        Query | Key | Value => Norm1,
        Out => Context,
        Ff1 if post => FfInput,
        Ff1 => Norm2,
        _ if relu => Ff1Epilogue,
        _ => ActivationTable,
    };
    image.tensor(input, 1).unwrap().zero_point()
}

/// A head that is not zero: a few steps on the features.
pub fn warm<M: Method>(
    method: &mut M,
    samples: &[(Vec<i8>, Vec<i8>)],
    (scale, zero_point): (f32, i8),
) {
    let schedule = Schedule {
        epochs: 1,
        learning_rate: 0.05,
        momentum: 0.0,
        ..Schedule::default()
    };
    method.begin_epoch(&schedule, 0).unwrap();
    for (i, (latent, _)) in samples.iter().enumerate() {
        let features = Features {
            values: latent,
            scale,
            zero_point,
        };
        method.step(&features, (i % CLASSES) as u16, 1.0).unwrap();
    }
    method.end_epoch().unwrap();
}

pub fn loss<M: Method>(method: &mut M, features: &Features<'_>, label: usize) -> f64 {
    let logits: Vec<f64> = method
        .logits(features)
        .unwrap()
        .iter()
        .map(|&l| l.into())
        .collect();
    let greatest = logits.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = logits.iter().map(|l| (l - greatest).exp()).sum();
    sum.ln() - (logits[label] - greatest)
}

/// A schedule under which gradients only gather.
pub fn gathering() -> Schedule {
    Schedule {
        batch: 1_000_000,
        epochs: 1,
        momentum: 0.0,
        ..Schedule::default()
    }
}

/// Finite differences of every `stride`-th parameter against the gradient.
pub fn check_gradient<M: Method>(
    method: &mut M,
    parameters: impl Fn(&mut M) -> (&mut [f32], &mut [f32]),
    features: &Features<'_>,
    label: usize,
    what: &str,
) {
    method.begin_epoch(&gathering(), 0).unwrap();
    method.step(features, label as u16, 1.0).unwrap();
    let gradient = parameters(method).1.to_vec();
    let greatest = gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
    assert!(greatest > 1e-4, "{what}: {greatest}");
    for (i, &g) in gradient.iter().enumerate() {
        const H: f32 = 4e-3;
        let old = parameters(method).0[i];
        parameters(method).0[i] = old + H;
        let above = loss(method, features, label);
        parameters(method).0[i] = old - H;
        let below = loss(method, features, label);
        parameters(method).0[i] = old;
        let middle = loss(method, features, label);
        // A kink of ReLU has a slope on either side.
        let h = f64::from(H);
        let slopes = [
            (above - below) / (2.0 * h),
            (above - middle) / h,
            (middle - below) / h,
        ];
        let fits = |slope: f64| {
            (slope - f64::from(g)).abs() < 0.01 * f64::from(greatest) + 0.02 * slope.abs()
        };
        assert!(
            slopes.into_iter().any(fits),
            "{what}, parameter {i} of {}: {g}, by differences {slopes:?}",
            gradient.len()
        );
    }
}
