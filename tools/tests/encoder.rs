//! The whole int8 encoder against the float forward of the same weights, over architectures; the
//! arena to the byte; steps against the whole.

use tailtune::image::{Activation, Image, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::model::{
    Encoder, EncoderError, Features, Head, Input, InputError, arena_bytes, quantize_frames,
};
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::reference::ModelInput;
use tailtune_tools::reference::forward;
use tailtune_tools::synthetic::{self, Random};

const BASE: ModelConfig = ModelConfig {
    n_layers: 2,
    d_model: 24,
    n_heads: 3,
    d_ff: 40,
    seq_len: 11,
    n_classes: 5,
    input: InputKind::Frames {
        n_frames: 10,
        n_features: 7,
    },
    class_token: true,
    norm: NormOrder::Post,
    activation: Activation::Gelu,
    pooling: Pooling::ClassToken,
    embed_norm: false,
    final_norm: false,
    embedding_rank: 0,
    pooler: false,
    decoder: None,
};

const PATCHES: InputKind = InputKind::Patches {
    height: 6,
    width: 9,
    channels: 3,
    patch: 3,
};

/// Architectures that between them take every path; sizes that are no multiple of four included.
fn configs() -> Vec<ModelConfig> {
    let tokens = |n_segments| InputKind::Tokens {
        vocab_size: 50,
        n_segments,
    };
    let bert = ModelConfig {
        input: tokens(2),
        class_token: false,
        pooling: Pooling::First,
        embed_norm: true,
        ..BASE
    };
    vec![
        BASE,
        ModelConfig {
            norm: NormOrder::Pre,
            final_norm: true,
            ..BASE
        },
        ModelConfig {
            activation: Activation::Relu,
            n_heads: 1,
            ..BASE
        },
        ModelConfig {
            d_model: 15,
            d_ff: 13,
            n_heads: 5,
            pooling: Pooling::Mean,
            ..BASE
        },
        bert,
        ModelConfig {
            input: tokens(0),
            pooling: Pooling::Mean,
            n_layers: 1,
            ..bert
        },
        ModelConfig {
            norm: NormOrder::Pre,
            final_norm: true,
            activation: Activation::Relu,
            pooling: Pooling::Mean,
            n_heads: 2,
            d_model: 26,
            ..bert
        },
        ModelConfig {
            seq_len: 1,
            class_token: false,
            pooling: Pooling::First,
            input: InputKind::Frames {
                n_frames: 1,
                n_features: 3,
            },
            ..BASE
        },
        ModelConfig {
            n_classes: 0,
            ..BASE
        },
        ModelConfig {
            pooler: true,
            ..bert
        },
        ModelConfig {
            pooler: true,
            d_model: 15,
            d_ff: 13,
            n_heads: 5,
            pooling: Pooling::Mean,
            embedding_rank: 7,
            ..bert
        },
        ModelConfig {
            embedding_rank: 24,
            input: tokens(0),
            embed_norm: false,
            ..bert
        },
        ModelConfig {
            seq_len: 7,
            input: PATCHES,
            ..BASE
        },
    ]
}

fn image(
    config: &ModelConfig,
    seed: u64,
) -> (tailtune_tools::float_model::FloatModel, AlignedBytes) {
    let model = synthetic::model(config, seed);
    let quantized = synthetic::quantized(&model, 200, seed + 1).expect("random models quantize");
    let bytes = quantized
        .writer
        .finish()
        .expect("a quantized model makes an image");
    (model, bytes)
}

struct Owned {
    frames: Vec<i8>,
    input: ModelInput,
}

impl Owned {
    fn new(image: &Image<'_>, input: ModelInput) -> Self {
        let mut frames = Vec::new();
        if let ModelInput::Frames(x) = &input {
            frames.resize(x.len(), 0);
            quantize_frames(image, x, &mut frames).expect("finite frames");
        }
        Self { frames, input }
    }

    fn get(&self) -> Input<'_> {
        match &self.input {
            ModelInput::Frames(_) => Input::Frames(&self.frames),
            ModelInput::Tokens(ids, segments) => Input::Tokens { ids, segments },
        }
    }
}

fn real(features: &Features<'_>) -> Vec<f32> {
    let value = |&v: &i8| (f32::from(v) - f32::from(features.zero_point)) * features.scale;
    features.values.iter().map(value).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum() };
    dot(a, b) / libm::sqrt(dot(a, a) * dot(b, b)).max(1e-12)
}

/// Aligned memory for an arena, `N` bytes of it handed out.
fn arena(words: &mut [u64], bytes: usize) -> &mut [u8] {
    use zerocopy::IntoBytes;
    &mut words.as_mut_bytes()[..bytes]
}

#[test]
fn int8_follows_the_float_forward() {
    for (i, config) in configs().into_iter().enumerate() {
        let (model, bytes) = image(&config, i as u64);
        let image = Image::parse(&bytes).expect("our own image parses");
        let mut words = vec![0u64; arena_bytes(&config).div_ceil(8)];
        let mut encoder = Encoder::new(&image, arena(&mut words, arena_bytes(&config))).unwrap();
        let r = &mut Random::new(100 + i as u64);
        // Full length and shorter ones: what is missing takes part in nothing.
        for round in 0..12 {
            let max = config.max_input_len();
            let len = if round % 3 == 0 {
                max
            } else {
                1 + r.below(max as u32) as usize
            };
            let owned = Owned::new(&image, synthetic::input(&config, len, r));
            let want = forward(&model, owned.input.float(), &mut ());
            let features = encoder.forward(owned.get()).unwrap();
            let similarity = cosine(&real(&features), &want.pooled);
            assert!(
                similarity > 0.99,
                "config {i}, length {len}: cosine {similarity}"
            );
            if let Ok(head) = Head::new(&image) {
                let mut logits = vec![0i16; head.n_classes()];
                head.logits(&features, &mut logits);
                let logits: Vec<f32> = logits
                    .iter()
                    .map(|&l| f32::from(l) * head.logit_scale())
                    .collect();
                let range = want.logits.iter().fold(0f32, |m, x| m.max(x.abs()));
                for (class, (found, want)) in logits.iter().zip(&want.logits).enumerate() {
                    assert!(
                        (found - want).abs() < 0.15 * range + 0.1,
                        "config {i} class {class}: {found} {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_dequantized_head_gives_the_logits() {
    let (_, bytes) = image(&BASE, 7);
    let image = Image::parse(&bytes).unwrap();
    let head = Head::new(&image).unwrap();
    let mut words = vec![0u64; arena_bytes(&BASE).div_ceil(8)];
    let mut encoder = Encoder::new(&image, arena(&mut words, arena_bytes(&BASE))).unwrap();
    let owned = Owned::new(&image, synthetic::input(&BASE, 10, &mut Random::new(3)));
    let features = encoder.forward(owned.get()).unwrap();
    let mut logits = vec![0i16; 5];
    head.logits(&features, &mut logits);
    for (class, &logit) in logits.iter().enumerate() {
        let dot: f32 = real(&features)
            .iter()
            .enumerate()
            .map(|(k, x)| x * head.weight(class, k))
            .sum();
        let want = dot + head.bias(class);
        // Half a step of the logit and f32 rounding.
        assert!(
            (f32::from(logit) * head.logit_scale() - want).abs()
                <= 0.51 * head.logit_scale() + 1e-4
        );
    }
}

#[test]
fn steps_and_whole_give_the_same_bits() {
    for (i, config) in configs().into_iter().enumerate() {
        let (_, bytes) = image(&config, i as u64);
        let image = Image::parse(&bytes).unwrap();
        let mut words = vec![0u64; arena_bytes(&config).div_ceil(8)];
        let mut encoder = Encoder::new(&image, arena(&mut words, arena_bytes(&config))).unwrap();
        let r = &mut Random::new(i as u64);
        for len in [config.max_input_len(), 1] {
            let owned = Owned::new(&image, synthetic::input(&config, len, r));
            let whole = encoder.forward(owned.get()).unwrap().values.to_vec();
            let mut run = encoder.begin(owned.get()).unwrap();
            let (mut steps, announced) = (1, run.steps_left());
            while run.step() {
                assert_eq!(run.steps_left(), announced - steps);
                steps += 1;
            }
            assert_eq!(steps, announced, "config {i}");
            assert_eq!(run.steps_left(), 0);
            assert_eq!(run.finish().values, whole);
        }
    }
}

#[test]
fn the_arena_is_exact() {
    for (i, config) in configs().into_iter().enumerate() {
        let (_, bytes) = image(&config, i as u64);
        let image = Image::parse(&bytes).unwrap();
        let needed = arena_bytes(&config);
        // One byte less is refused.
        let mut words = vec![0xa5a5_a5a5_a5a5_a5a5u64; needed.div_ceil(8) + 2];
        let refused = Encoder::new(&image, arena(&mut words, needed - 1)).unwrap_err();
        assert_eq!(
            refused,
            EncoderError::ArenaTooSmall {
                needed,
                found: needed - 1
            }
        );
        // Not one byte more is touched, and what lies in the arena before does not matter.
        let owned = Owned::new(
            &image,
            synthetic::input(&config, config.max_input_len(), &mut Random::new(5)),
        );
        let run = |words: &mut [u64], bytes: usize| {
            let mut encoder = Encoder::new(&image, arena(words, bytes)).unwrap();
            encoder.forward(owned.get()).unwrap().values.to_vec()
        };
        let exact = run(&mut words, needed);
        let all = arena(&mut words, needed.div_ceil(8) * 8 + 16);
        assert!(
            all[needed..].iter().all(|&b| b == 0xa5),
            "config {i}: bytes beyond the arena changed"
        );
        let mut more = vec![0u64; needed.div_ceil(8) + 100];
        assert_eq!(run(&mut more, needed + 100), exact);
    }
}

#[test]
fn a_misaligned_arena_is_refused() {
    let (_, bytes) = image(&BASE, 1);
    let image = Image::parse(&bytes).unwrap();
    let mut words = vec![0u64; arena_bytes(&BASE).div_ceil(8) + 1];
    let arena = &mut arena(&mut words, arena_bytes(&BASE) + 8)[2..];
    assert_eq!(
        Encoder::new(&image, arena).unwrap_err(),
        EncoderError::ArenaMisaligned
    );
}

#[test]
fn bad_inputs_are_refused_and_the_encoder_goes_on() {
    let bert = configs()[4];
    let (_, bytes) = image(&bert, 1);
    let image = Image::parse(&bytes).unwrap();
    let mut words = vec![0u64; arena_bytes(&bert).div_ceil(8)];
    let mut encoder = Encoder::new(&image, arena(&mut words, arena_bytes(&bert))).unwrap();
    let (ids, segments) = ([1u32, 2, 3], [0u8, 0, 1]);
    let good = encoder
        .forward(Input::Tokens {
            ids: &ids,
            segments: &segments,
        })
        .unwrap()
        .values
        .to_vec();
    let mut refuse = |ids: &[u32], segments: &[u8]| {
        encoder
            .forward(Input::Tokens { ids, segments })
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(
        refuse(&[1, 50, 3], &segments),
        InputError::Token {
            index: 1,
            found: 50,
            vocab_size: 50
        }
    );
    assert_eq!(
        refuse(&ids, &[0, 0, 2]),
        InputError::Segment {
            index: 2,
            n_segments: 2
        }
    );
    assert_eq!(
        refuse(&ids, &[0, 0]),
        InputError::Segment {
            index: 2,
            n_segments: 2
        }
    );
    assert!(matches!(
        refuse(&[], &[]),
        InputError::Length { found: 0, .. }
    ));
    assert!(matches!(
        refuse(&[0; 12], &[0; 12]),
        InputError::Length {
            found: 12,
            max: 11,
            ..
        }
    ));
    assert_eq!(
        encoder
            .forward(Input::Frames(&[0; 7]))
            .map(|_| ())
            .unwrap_err(),
        InputError::Kind
    );
    let again = encoder
        .forward(Input::Tokens {
            ids: &ids,
            segments: &segments,
        })
        .unwrap();
    assert_eq!(again.values, good);

    let (_, bytes) = crate::image(&BASE, 1);
    let image = Image::parse(&bytes).unwrap();
    let mut out = [0i8; 14];
    let mut frames = [1.0f32; 14];
    frames[9] = f32::NAN;
    assert_eq!(
        quantize_frames(&image, &frames, &mut out),
        Err(InputError::NotFinite { index: 9 })
    );
    assert!(matches!(
        quantize_frames(&image, &frames[..13], &mut out[..13]),
        Err(InputError::Length { .. })
    ));
}

/// A whole image is its patches, cut in the order that the format states.
#[test]
fn an_image_is_its_patches() {
    let config = ModelConfig {
        seq_len: 7,
        input: PATCHES,
        ..BASE
    };
    let (_, bytes) = image(&config, 21);
    let image = Image::parse(&bytes).unwrap();
    let mut arena = vec![0u64; arena_bytes(&config).div_ceil(8)];
    let arena = &mut zerocopy::IntoBytes::as_mut_bytes(&mut arena[..])[..arena_bytes(&config)];
    let mut encoder = Encoder::new(&image, arena).unwrap();
    let r = &mut Random::new(4);
    let picture: Vec<u8> = (0..6 * 9 * 3).map(|_| r.bits() as u8).collect();
    let mut patches = Vec::new();
    for (row, column) in [(0, 0), (0, 3), (0, 6), (3, 0), (3, 3), (3, 6)] {
        for y in row..row + 3 {
            let line = &picture[(y * 9 + column) * 3..][..9];
            patches.extend(line.iter().map(|&b| (i16::from(b) - 128) as i8));
        }
    }
    let whole = encoder
        .forward(Input::Patches(&picture))
        .unwrap()
        .values
        .to_vec();
    let cut = encoder
        .forward(Input::Frames(&patches))
        .unwrap()
        .values
        .to_vec();
    assert_eq!(whole, cut);
    let refused = encoder.forward(Input::Patches(&picture[1..])).err();
    assert!(matches!(
        refused,
        Some(InputError::Length {
            found: 161,
            max: 162,
            ..
        })
    ));
}
