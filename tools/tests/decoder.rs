//! The integer decoder against itself: tokens one by one, in blocks and in parallel sequences give the same
//! bits; a beam finds what trying everything finds. There, weights are random integers: whether they mean
//! anything does not matter. And against the float model, quantized.

use std::ops::ControlFlow;
use tailtune::image::{
    Activation, DecoderConfig, Image, InputKind, Layout, ModelConfig, NO_LAYER, NormOrder, Pooling,
    QuantRule, TensorKind,
};
use tailtune::model::{
    Beam, BeamOptions, Decoded, Decoder, EncoderError, Input, InputError, decoder_arena_bytes,
};
use tailtune::quant::Scaling;
use tailtune_tools::image_writer::{AlignedBytes, ImageWriter, TensorData};
use tailtune_tools::int8::{Int8Model, Search};
use tailtune_tools::reference::{ModelInput, decode};
use tailtune_tools::synthetic::{self, Random};

fn config(heads: u16, d_model: u16, post: bool, relu: bool, encoder: bool) -> ModelConfig {
    let decoder = DecoderConfig {
        n_layers: 2,
        seq_len: 11,
        vocab_size: 7,
        start: 0,
        end: 6,
        tied: post,
        embed_norm: relu,
        final_norm: !post,
    };
    ModelConfig {
        n_layers: if encoder { 2 } else { 0 },
        d_model,
        n_heads: heads,
        d_ff: 13,
        seq_len: if encoder { 9 } else { 11 },
        n_classes: 0,
        input: InputKind::Tokens {
            vocab_size: if encoder { 12 } else { 7 },
            n_segments: 0,
        },
        class_token: false,
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
        pooling: Pooling::First,
        embed_norm: false,
        final_norm: encoder && !post,
        embedding_rank: 0,
        pooler: false,
        decoder: Some(decoder),
    }
}

fn configs() -> Vec<ModelConfig> {
    let mut all = Vec::new();
    for encoder in [true, false] {
        all.push(config(2, 16, false, false, encoder));
        all.push(config(3, 12, true, false, encoder));
        // Heads of odd width.
        all.push(config(3, 9, false, true, encoder));
        all.push(config(1, 8, true, true, encoder));
    }
    all
}

/// Returns an image of random integers in ranges that keep activations alive.
fn image(config: &ModelConfig, seed: u64) -> AlignedBytes {
    let mut r = Random::new(seed);
    let mut writer = ImageWriter::new(config, &[]);
    for spec in Layout::new(config).iter() {
        let n = (spec.rows * spec.cols) as usize;
        let mut i32s = |n: usize, low: i32, high: i32| -> Vec<i32> {
            (0..n)
                .map(|_| low + r.below((high - low) as u32) as i32)
                .collect()
        };
        let one = 1 << 30;
        let data = match (spec.kind.quant_rule(), spec.kind) {
            (QuantRule::Requantize, TensorKind::Softmax | TensorKind::CrossSoftmax) => {
                TensorData::new(&[one]).scaling(Scaling::new(0, 30 + 4).unwrap_or(SCALING))
            }
            (QuantRule::Requantize, kind) if spec.cols == 2 => {
                // Of a sum of products, some thousands, to int8; to the stream and logits, hundreds.
                let wide = matches!(
                    kind,
                    TensorKind::OutEpilogue
                        | TensorKind::Ff2Epilogue
                        | TensorKind::CrossOutEpilogue
                        | TensorKind::OutputEpilogue
                );
                // With ReLU, the zeros of the hidden layer weigh much here.
                let heavy =
                    kind == TensorKind::Ff2Epilogue && config.activation == Activation::Relu;
                let shift = if wide && !heavy { 35 } else { 38 };
                let zero = if kind == TensorKind::Ff1Epilogue {
                    -128
                } else {
                    0
                };
                let pairs = i32s(n, -900, 900).into_iter().enumerate();
                let pairs = pairs.map(|(i, x)| if i % 2 == 1 { one + 100_000 * x } else { x });
                TensorData::new(&pairs.collect::<Vec<i32>>())
                    .scaling(Scaling::new(0, shift).unwrap_or(SCALING))
                    .output(0.02, zero)
            }
            (QuantRule::Requantize, TensorKind::TokenScale | TensorKind::TargetScale) => {
                TensorData::new(&i32s(n, one / 2, one)).scaling(SCALING)
            }
            (QuantRule::Requantize, _) => {
                TensorData::new(&i32s(n, one / 2, one)).scaling(Scaling {
                    pre_shift: 0,
                    shift: 34,
                })
            }
            (QuantRule::Norm, _) => {
                use TensorKind::{CrossNorm, Norm1, Norm2};
                let narrow = matches!(spec.kind, Norm1 | Norm2 | CrossNorm);
                // To int8, tens; to the stream, hundreds.
                let wide = !narrow || config.norm == NormOrder::Post;
                let gain = if wide { 1 << 24 } else { 1 << 21 };
                let mut params = i32s(n, gain / 4, gain);
                for bias in params.iter_mut().skip(1).step_by(2) {
                    *bias = (*bias >> 10) - gain / 1500;
                }
                // The variance's epsilon: small.
                params[n - 2..].copy_from_slice(&[1, 0]);
                TensorData::new(&params).shift(6)
            }
            (QuantRule::Context, _) => TensorData::new(&[one]).shift(30),
            (QuantRule::Scale | QuantRule::None, kind) => match kind {
                TensorKind::Positions | TensorKind::TargetPositions => {
                    let values = i32s(n, -60, 60).into_iter().map(|x| x as i16);
                    TensorData::new(&values.collect::<Vec<i16>>())
                }
                _ => {
                    let values = i32s(n, -120, 120).into_iter().map(|x| x as i8);
                    TensorData::new(&values.collect::<Vec<i8>>())
                }
            },
        };
        let scale = if data.scale > 0.0 {
            data.scale.into()
        } else {
            0.02
        };
        let zero = data.zero_point.into();
        writer.put(spec.kind, spec.layer, data.output(scale, zero));
    }
    writer.finish().expect("the tensors are the layout's")
}

const SCALING: Scaling = Scaling {
    pre_shift: 8,
    shift: 38,
};

fn arena(config: &ModelConfig, lanes: usize) -> Vec<u64> {
    vec![0x5a5a_5a5a_5a5a_5a5a; decoder_arena_bytes(config, lanes).div_ceil(8)]
}

fn bytes(words: &mut [u64]) -> &mut [u8] {
    zerocopy::IntoBytes::as_mut_bytes(words)
}

fn encode(decoder: &mut Decoder<'_>, seed: u64) {
    if !decoder.image().config().has_encoder() {
        return;
    }
    let mut r = Random::new(seed);
    let ids: Vec<u32> = (0..4 + r.below(6)).map(|_| r.below(12)).collect();
    let segments = &[];
    decoder
        .encode(Input::Tokens {
            ids: &ids,
            segments,
        })
        .expect("ids of the vocabulary");
}

/// The logits after every token, fed one by one.
fn one_by_one(image: &Image<'_>, tokens: &[u32], seed: u64) -> Vec<Vec<i16>> {
    let mut words = arena(image.config(), 1);
    let mut decoder = Decoder::new(image, bytes(&mut words), 1).expect("an arena as planned");
    encode(&mut decoder, seed);
    let step = |&t: &u32| decoder.step(t).expect("a token of the vocabulary").to_vec();
    tokens.iter().map(step).collect()
}

#[test]
fn a_token_gives_the_same_bits_alone_after_a_prompt_and_in_a_block() {
    for (seed, config) in (1..).zip(configs()) {
        let bytes_of = image(&config, seed);
        let image = Image::parse(&bytes_of).expect("written by the writer");
        let mut r = Random::new(seed + 100);
        let tokens: Vec<u32> = (0..11).map(|_| r.below(7)).collect();
        let alone = one_by_one(&image, &tokens, seed);
        // Were the logits all alike, the test would see nothing.
        let distinct: std::collections::HashSet<_> = alone.iter().collect();
        assert!(distinct.len() > 8, "{}, {config:?}", distinct.len());
        // Every way of cutting the sequence in two, so that blocks begin at even and odd places.
        for cut in 0..tokens.len() {
            let mut words = arena(&config, 1);
            let mut decoder = Decoder::new(&image, bytes(&mut words), 1).expect("as planned");
            encode(&mut decoder, seed);
            let mut together = Vec::new();
            for part in [&tokens[..cut], &tokens[cut..]] {
                if !part.is_empty() {
                    decoder
                        .extend_with(part, |_, logits| together.push(logits.to_vec()))
                        .expect("room for all");
                }
            }
            assert_eq!(together, alone, "cut at {cut}, {config:?}");
        }
    }
}

#[test]
fn parallel_sequences_and_copies_of_them_are_as_alone() {
    for (seed, config) in (1..).zip(configs()) {
        let bytes_of = image(&config, seed);
        let image = Image::parse(&bytes_of).expect("written by the writer");
        let mut r = Random::new(seed + 7);
        const LANES: usize = 6;
        let mut sequences = vec![Vec::new(); LANES];
        let mut words = arena(&config, LANES);
        let mut decoder = Decoder::new(&image, bytes(&mut words), LANES).expect("as planned");
        encode(&mut decoder, seed);
        for len in 0..11 {
            if len == 5 {
                decoder.copy_lane(1, 4).expect("both are lanes");
                sequences[4] = sequences[1].clone();
            }
            let tokens: Vec<u32> = (0..LANES).map(|_| r.below(7)).collect();
            decoder.advance(&tokens).expect("room for all");
            for (lane, sequence) in sequences.iter_mut().enumerate() {
                sequence.push(tokens[lane]);
                let alone = one_by_one(&image, sequence, seed);
                assert_eq!(Some(decoder.logits(lane)), alone.last().map(Vec::as_slice));
            }
        }
    }
}

#[test]
fn a_beam_of_one_is_greedy_and_a_wide_one_finds_the_best_of_all() {
    let options = BeamOptions::default();
    let mut better = 0;
    for (seed, config) in (1..).zip(configs()) {
        let bytes_of = image(&config, seed);
        let image = Image::parse(&bytes_of).expect("written by the writer");
        let mut words = arena(&config, 1);
        let mut decoder = Decoder::new(&image, bytes(&mut words), 1).expect("as planned");
        encode(&mut decoder, seed);
        let mut greedy = [0; 4];
        let mut spoken = Vec::new();
        let ended = decoder.greedy(&mut greedy, |token| {
            spoken.push(token);
            ControlFlow::Continue(())
        });
        let greedy = greedy[..ended.expect("encoded").len()].to_vec();
        assert_eq!(spoken, greedy);

        // All sequences of up to three tokens, by their log-probability in f64.
        let scale = f64::from(decoder.logit_scale());
        let score = |tokens: &[u32]| {
            let mut fed = vec![0];
            fed.extend(tokens);
            let logits = one_by_one(&image, &fed, seed);
            let next = tokens.iter().copied().chain([6]);
            let terms = logits.iter().zip(next).map(|(logits, token)| {
                let real = |l: &i16| f64::from(*l) * scale;
                let sum: f64 = logits.iter().map(|l| real(l).exp()).sum();
                real(&logits[token as usize]) - sum.ln()
            });
            terms.sum::<f64>()
        };
        let mut all = vec![Vec::new()];
        let mut last: Vec<Vec<u32>> = all.clone();
        for _ in 0..3 {
            last = last
                .iter()
                .flat_map(|s| (0..6).map(move |t| [&s[..], &[t]].concat()))
                .collect();
            all.extend(last.iter().cloned());
        }
        let best = all
            .iter()
            .map(|s| score(s))
            .fold(f64::NEG_INFINITY, f64::max);

        // Wide enough to keep every sequence.
        let mut words = arena(&config, 216);
        let mut decoder = Decoder::new(&image, bytes(&mut words), 216).expect("as planned");
        encode(&mut decoder, seed);
        let mut beam = Beam::<216, 3>::new();
        let end = beam.search(&mut decoder, &options).expect("encoded");
        assert_eq!(
            end,
            Decoded::End {
                len: beam.best().len()
            }
        );
        assert!((f64::from(beam.score()) - best).abs() < 1e-4, "{config:?}");
        assert!((score(beam.best()) - best).abs() < 1e-4);
        better += usize::from(beam.best() != greedy);

        let mut words = arena(&config, 1);
        let mut decoder = Decoder::new(&image, bytes(&mut words), 1).expect("as planned");
        encode(&mut decoder, seed);
        let mut beam = Beam::<1, 4>::new();
        let end = beam.search(&mut decoder, &options).expect("encoded");
        if matches!(ended, Ok(Decoded::End { .. })) && beam.best().len() == greedy.len() {
            assert_eq!((beam.best(), end.len()), (greedy.as_slice(), greedy.len()));
        }
    }
    assert!(
        better > 0,
        "the wide beam never differed from greedy search"
    );
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let config = configs()[0];
    let bytes_of = image(&config, 1);
    let image = Image::parse(&bytes_of).expect("written by the writer");
    let needed = decoder_arena_bytes(&config, 2);
    let mut words = arena(&config, 2);
    let short = Decoder::new(&image, &mut bytes(&mut words)[..needed - 1], 2);
    let found = needed - 1;
    assert_eq!(
        short.err(),
        Some(EncoderError::ArenaTooSmall { needed, found })
    );
    assert!(Decoder::new(&image, &mut bytes(&mut words)[..needed], 2).is_ok());

    let mut words = arena(&config, 1);
    let mut decoder = Decoder::new(&image, bytes(&mut words), 1).expect("as planned");
    assert_eq!(decoder.step(0).err(), Some(InputError::NothingEncoded));
    encode(&mut decoder, 1);
    let unknown = InputError::Token {
        index: 1,
        found: 7,
        vocab_size: 7,
    };
    assert_eq!(decoder.extend(&[1, 7]).err(), Some(unknown));
    assert_eq!(decoder.tokens(), 0);
    let first = decoder.step(0).expect("room").to_vec();
    assert!(decoder.extend(&[1; 11]).is_err());
    assert!(decoder.extend(&[]).is_err());
    assert!(decoder.extend(&[1; 10]).is_ok());
    assert!(decoder.step(1).is_err());
    decoder.restart();
    assert_eq!(decoder.step(0), Ok(&first[..]));
    let one = InputError::Lane { found: 1, lanes: 1 };
    assert_eq!(decoder.copy_lane(0, 1).err(), Some(one));
    // An input that does not fit leaves nothing encoded.
    assert!(
        decoder
            .encode(Input::Tokens {
                ids: &[99],
                segments: &[]
            })
            .is_err()
    );
    assert_eq!(decoder.step(0).err(), Some(InputError::NothingEncoded));
}

#[test]
fn a_decoder_only_image_has_no_encoder_and_the_reverse() {
    let config = configs()[4];
    let bytes_of = image(&config, 1);
    let image = Image::parse(&bytes_of).expect("written by the writer");
    assert_eq!(image.config(), &config);
    let mut words = vec![0u64; 4096];
    let encoder = tailtune::model::Encoder::new(&image, bytes(&mut words));
    assert_eq!(encoder.err(), Some(EncoderError::NoEncoder));
    let mut decoder = Decoder::new(&image, bytes(&mut words), 1).expect("room");
    let input = Input::Tokens {
        ids: &[1],
        segments: &[],
    };
    assert_eq!(decoder.encode(input).err(), Some(InputError::Kind));
    assert!(decoder.step(1).is_ok());
}

/// The float model's configurations, with room for everything that calibration must see.
fn real_configs() -> Vec<ModelConfig> {
    configs()
        .into_iter()
        .map(|c| ModelConfig {
            d_model: 2 * c.d_model,
            d_ff: 40,
            ..c
        })
        .collect()
}

#[test]
fn the_int8_decoder_is_near_the_float_model_and_searches_as_it_steps() {
    for (seed, config) in (1..).zip(real_configs()) {
        let float = synthetic::model(&config, seed);
        let quantized = synthetic::quantized(&float, 40, seed).expect("calibrated");
        let model = Int8Model::new(quantized.writer.finish().expect("complete")).expect("parsed");
        assert_eq!(model.config(), config);
        let r = &mut Random::new(seed + 50);
        let (mut error, mut power) = (0.0, 0.0);
        let mut inputs = Vec::new();
        for _ in 0..12 {
            let input = synthetic::input(&config, 1 + r.below(9) as usize, r);
            let encoded = config.has_encoder().then_some(&input);
            let tokens = synthetic::output(&config.decoder.expect("a decoder"), r);
            let want = decode(&float, encoded.map(ModelInput::float), &tokens, &mut ()).logits;
            let got = model.teacher_forced(encoded, &tokens).expect("fits");
            let image = model.image();
            let scale = image
                .tensor(TensorKind::OutputEpilogue, NO_LAYER)
                .map_or(0.0, |t| t.scale());
            assert_eq!(got.concat().len(), want.len());
            for (got, want) in got.concat().into_iter().zip(want) {
                error += f64::from(f32::from(got) * scale - want).powi(2);
                power += f64::from(want).powi(2);
            }
            inputs.push(input);
        }
        let db = 10.0 * (power / error).log10();
        assert!(db > 20.0, "{db:.1} dB, {config:?}");
        if !config.has_encoder() {
            continue;
        }
        // What greedy search writes are the largest logits over what it wrote.
        let written = model
            .generate(&inputs, Search::Greedy, &|| ())
            .expect("fits");
        for (input, written) in inputs.iter().zip(written) {
            let tokens = [vec![0], written.clone()].concat();
            let tokens = &tokens[..tokens.len().min(11)];
            let logits = model.teacher_forced(Some(input), tokens).expect("fits");
            let best = logits
                .iter()
                .map(|row| tailtune::model::decoder::argmax(row));
            let best: Vec<u32> = best.collect();
            assert_eq!(best[..written.len()], written);
            assert!(written.len() >= 10 || best.last() == Some(&6));
        }
    }
}
