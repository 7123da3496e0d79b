//! Tail tuning of decoders by teacher forcing: rows and latents, gradients, what is learned, what is kept, and
//! what is refused.

mod blocks;

use blocks::{aligned, buffers, check_gradient, emit, head, leak, leaked, options, warm};
use tailtune::image::{
    Activation, DecoderConfig, Image, InputKind, Layout, ModelConfig, NO_LAYER, NormOrder, Pooling,
    TensorKind,
};
use tailtune::model::decoder::{SequenceLatent, decoder_latent_bytes};
use tailtune::model::latent::input_grid;
use tailtune::model::{
    Decoder, EncoderError, Features, Head, Input, OutputHead, decoder_arena_bytes,
    tuned_decoder_arena_bytes,
};
use tailtune::tune::block::{LoraOptions, Projections, Rounding, affine_len, lora_len};
use tailtune::tune::{
    AnyMethod, ClassName, Fit, FromScratch, HeadBuffers, LinearHead, Lora, Math, Method, MethodId,
    NormBias, Place, Positions, Recipe, Replay, Softmax, SoftmaxBuffers, Start, Tail, TailOutput,
    TuneError, TuneSetup, Tuner, Workspace,
};
use tailtune_tools::adapt::sequences::{
    AddedToken, SequencePair, adapt_sequences, errors, forced, learn,
};
use tailtune_tools::adapt::tuning::Plan;
use tailtune_tools::int8::{Int8Model, Search};
use tailtune_tools::reference::ModelInput;
use tailtune_tools::synthetic::{self, Random};

const VOCAB: u32 = 9;

fn config(heads: u16, d_model: u16, post: bool, relu: bool, encoder: bool) -> ModelConfig {
    let decoder = DecoderConfig {
        n_layers: 2,
        seq_len: 7,
        vocab_size: VOCAB,
        start: 0,
        end: 8,
        tied: relu,
        embed_norm: false,
        // Post-norm with one more norm behind it, too.
        final_norm: !post || relu,
    };
    ModelConfig {
        n_layers: if encoder { 1 } else { 0 },
        d_model,
        n_heads: heads,
        d_ff: d_model + 5,
        seq_len: if encoder { 9 } else { 7 },
        n_classes: 0,
        input: InputKind::Tokens {
            vocab_size: if encoder { 12 } else { VOCAB },
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

fn model(config: &ModelConfig, seed: u64) -> Int8Model {
    let float = synthetic::model(config, seed);
    let quantized = synthetic::quantized(&float, 40, seed + 1).unwrap();
    Int8Model::new(quantized.writer.finish().unwrap()).unwrap()
}

fn decoder<'a>(image: &Image<'a>, r: &mut Random) -> Decoder<'a> {
    let arena = aligned(decoder_arena_bytes(image.config(), 1));
    let mut decoder = Decoder::new(image, arena, 1).unwrap();
    encode(&mut decoder, r);
    decoder
}

fn encode(decoder: &mut Decoder<'_>, r: &mut Random) {
    if decoder.image().config().has_encoder() {
        let ids: Vec<u32> = (0..3 + r.below(6)).map(|_| r.below(12)).collect();
        let segments = &[];
        decoder
            .encode(Input::Tokens {
                ids: &ids,
                segments,
            })
            .unwrap();
    }
}

fn tokens(r: &mut Random) -> (Vec<u32>, Vec<u16>) {
    let fed: Vec<u32> = [0]
        .into_iter()
        .chain((0..5).map(|_| r.below(VOCAB)))
        .collect();
    let mut labels: Vec<u16> = fed[1..].iter().map(|&t| t as u16).collect();
    labels.push(8);
    (fed, labels)
}

/// The output projection's own head.
fn output_head(image: &Image<'static>) -> Softmax<'static> {
    let origin: &'static Head<'static> = Box::leak(Box::new(Head::output(image).unwrap()));
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
        velocity: None,
        adam: None,
    };
    Softmax::new(head, buffers, Math::Exact).unwrap()
}

#[test]
fn rows_are_what_the_output_projection_reads_and_a_tail_stands_in_for_it() {
    for (seed, config) in (1..).zip(configs()) {
        let int8 = model(&config, seed);
        let image = leaked(&int8);
        let r = &mut Random::new(seed);
        let (fed, _) = tokens(r);
        let mut plain = decoder(&image, &mut Random::new(seed));
        let mut want = Vec::new();
        plain
            .extend_with(&fed, |_, logits| want.push(logits.to_vec()))
            .unwrap();
        plain.restart();
        let head = Head::output(&image).unwrap();
        let mut places = Vec::new();
        plain
            .extend_rows(&fed, |index, row| {
                let mut logits = vec![0; VOCAB as usize];
                head.logits(row, &mut logits);
                assert_eq!(logits, want[index], "{config:?}");
                places.push(index);
            })
            .unwrap();
        assert_eq!(places, [0, 1, 2, 3, 4, 5]);

        let tail = Tail::parse(emit(&output_head(&image))).unwrap();
        let output = TailOutput::new(tail, &config).unwrap();
        let needed = tuned_decoder_arena_bytes(&config, 1, VOCAB as usize);
        let output: &'static TailOutput<'static> = Box::leak(Box::new(output));
        let mut tuned = Decoder::with_head(&image, aligned(needed), 1, output).unwrap();
        encode(&mut tuned, &mut Random::new(seed));
        let (scale, ours) = (plain.logit_scale(), tuned.logit_scale());
        tuned
            .extend_with(&fed, |index, logits| {
                let greatest = |l: &[i16]| f32::from(*l.iter().max().unwrap());
                let want = &want[index];
                assert_eq!(greatest(logits), 32767.0);
                for (found, want_logit) in logits.iter().zip(want) {
                    let found = (f32::from(*found) - greatest(logits)) * ours;
                    let want = (f32::from(*want_logit) - greatest(want)) * scale;
                    // Half a step of the image's logits on either side, and one of the head's.
                    assert!((found - want).abs() < 1.2 * scale + ours, "{found}, {want}");
                }
            })
            .unwrap();
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for (index, config) in configs().iter().enumerate() {
        let int8 = model(config, 10 + index as u64);
        let image = leaked(&int8);
        let (scale, zero_point) = input_grid(&image).unwrap();
        let r = &mut Random::new(index as u64);
        let mut samples = Vec::new();
        for position in [1u8, 3, 0, 5] {
            let (fed, labels) = tokens(r);
            let mut latent = vec![0; decoder_latent_bytes(config)];
            decoder(&image, r)
                .latent(&fed, &labels, &mut latent)
                .unwrap();
            let parsed = SequenceLatent::parse(&latent, config).unwrap();
            assert_eq!((parsed.len(), parsed.position()), (6, 0));
            assert_eq!(parsed.label(2), Some(labels[2]));
            latent[0] = position as i8;
            samples.push((latent, Vec::new()));
        }
        let features = Features {
            values: &samples[1].0,
            scale,
            zero_point,
        };
        let none = options(Rounding::None);
        let d = usize::from(config.d_model);

        let len = affine_len(config);
        let mut method = NormBias::new(&image, head(d), buffers(config, len), none).unwrap();
        warm(&mut method, &samples, (scale, zero_point));
        let what = format!("norm-bias {config:?}");
        check_gradient(&mut method, |m| m.parameters_mut(), &features, 2, &what);

        let lora = LoraOptions {
            projections: Projections::ALL,
            rank: 2,
            block: none,
            ..LoraOptions::default()
        };
        let len = lora_len(config, &lora);
        let mut method = Lora::new(&image, head(d), buffers(config, len), lora).unwrap();
        warm(&mut method, &samples, (scale, zero_point));
        let r = &mut Random::new(77);
        // B is 0 at first, and so are A's gradients.
        let values = method.parameters_mut().0.iter_mut();
        values.for_each(|w| *w += 0.1 * r.unit());
        let what = format!("lora {config:?}");
        check_gradient(&mut method, |m| m.parameters_mut(), &features, 2, &what);
    }
}

/// The forward that trains is the integer runtime's, but for keys, values, scores and the stream, at every
/// position.
#[test]
fn the_forward_of_training_is_nearly_the_runtimes() {
    for (index, config) in configs().iter().enumerate() {
        let int8 = model(config, 40 + index as u64);
        let image = leaked(&int8);
        let (scale, zero_point) = input_grid(&image).unwrap();
        let grid = options(Rounding::Grid);
        let memory = buffers(config, affine_len(config));
        let mut method = NormBias::new(&image, output_head(&image), memory, grid).unwrap();
        let tail = Tail::parse(emit(&method)).unwrap();
        let r = &mut Random::new(3 + index as u64);
        let (mut squares, mut size) = (0.0, 0.0);
        for _ in 0..4 {
            let (fed, labels) = tokens(r);
            let mut decoder = decoder(&image, r);
            let mut latent = vec![0; decoder_latent_bytes(config)];
            decoder.latent(&fed, &labels, &mut latent).unwrap();
            decoder.restart();
            let mut want = Vec::new();
            decoder
                .extend_rows(&fed, |_, row| {
                    let mut logits = vec![0.0; VOCAB as usize];
                    tail.logits(row, &mut logits).unwrap();
                    want.push(logits);
                })
                .unwrap();
            for (position, want) in want.iter().enumerate() {
                latent[0] = position as i8;
                let features = Features {
                    values: &latent,
                    scale,
                    zero_point,
                };
                for (want, found) in want.iter().zip(method.logits(&features).unwrap()) {
                    squares += (want - found) * (want - found);
                    size += want * want;
                }
            }
        }
        let share = libm::sqrtf(squares / size);
        println!("{share}, {config:?}");
        assert!(share < 0.05, "{share}, {config:?}");
    }
}

/// A model with room to learn in, and random pairs.
fn to_learn(post: bool, n: usize) -> (Int8Model, Vec<SequencePair>) {
    let config = config(2, 32, post, false, true);
    let int8 = model(&config, 5);
    let r = &mut Random::new(9);
    let pairs = (0..n).map(|_| {
        let ids = (0..3 + r.below(6)).map(|_| r.below(12)).collect();
        let output = (0..2 + r.below(4)).map(|_| 1 + r.below(7)).collect();
        SequencePair {
            input: ModelInput::Tokens(ids, Vec::new()),
            right: vec![output],
        }
    });
    let pairs = pairs.collect();
    (int8, pairs)
}

fn plan(method: MethodId) -> Plan {
    let mut plan = Plan::new(method);
    plan.schedule.epochs = 150;
    plan.schedule.learning_rate = 0.02;
    plan.schedule.weight_decay = 0.0;
    plan
}

/// Every tensor that a tail's patch changes is of the decoder's last block, or its norm.
fn only_the_tail_moves(int8: &Int8Model, tail: &Tail<'_>) {
    let image = int8.image();
    let patched = image.patched(tail.block()).unwrap();
    let last = image.config().total_layers() - 1;
    let mut moved = 0;
    for spec in Layout::new(image.config()).iter() {
        let bytes = |image: &Image<'_>| {
            let tensor = image.tensor(spec.kind, spec.layer).unwrap();
            tensor.bytes().to_vec()
        };
        if bytes(&image) == bytes(&patched) {
            continue;
        }
        moved += 1;
        let own = (spec.kind, spec.layer) == (TensorKind::DecoderNorm, NO_LAYER);
        assert!(spec.layer == last || own, "{:?} {}", spec.kind, spec.layer);
        assert!(!spec.kind.name().starts_with("cross"), "{:?}", spec.kind);
    }
    assert!(moved > 0 || tail.block().is_empty());
}

#[test]
fn ten_pairs_are_learned_and_a_saved_tail_writes_the_same() {
    for post in [false, true] {
        let (int8, pairs) = to_learn(post, 10);
        let none = &|| ();
        let before = errors(&int8, None, &pairs, none).unwrap();
        assert!(before.wrong >= 9, "{before:?}");
        for method in [
            MethodId::Softmax,
            MethodId::Ridge,
            MethodId::NormBias,
            MethodId::Lora,
            MethodId::LastBlock,
        ] {
            let adapted =
                adapt_sequences(&int8, [&pairs, &[]], &[], &[], &plan(method), none).unwrap();
            let [first, after] = adapted.learned;
            println!(
                "{method:?}, post {post}: {} → {} wrong, loss {} → {}",
                first.wrong, after.wrong, adapted.report.first_loss, adapted.report.last_loss
            );
            assert_eq!(first, before);
            // Least squares on 50 positions of 32 numbers cannot name them all.
            let most = if method == MethodId::Ridge { 8 } else { 3 };
            assert!(after.wrong <= most, "{method:?}: {after:?}");
            let bytes = aligned(adapted.tail.len());
            bytes.copy_from_slice(&adapted.tail);
            let tail = Tail::parse(bytes).unwrap();
            assert_eq!(tail.method(), method);
            assert_eq!(tail.block().is_empty(), !method.below_the_block());
            only_the_tail_moves(&int8, &tail);
            let inputs: Vec<ModelInput> = pairs.iter().map(|p| p.input.clone()).collect();
            let beam = Search::Beam {
                width: 3,
                length_penalty: 0.0,
            };
            let written = int8.generate_tuned(&inputs, beam, Some(bytes), none);
            let right = written.unwrap().into_iter().zip(&pairs);
            let right = right.filter(|(written, pair)| *written == pair.right[0]);
            if method != MethodId::Ridge {
                assert!(right.count() + 1 >= 10 - after.wrong, "{method:?} by beam");
            }
        }
    }
}

#[test]
fn a_tune_that_makes_it_worse_is_rolled_back() {
    let (int8, mut pairs) = to_learn(false, 24);
    let inputs: Vec<ModelInput> = pairs.iter().map(|p| p.input.clone()).collect();
    let written = int8.generate(&inputs, Search::Greedy, &|| ()).unwrap();
    for (pair, written) in pairs.iter_mut().zip(&written) {
        pair.right = vec![written.clone()];
    }
    for method in [MethodId::Softmax, MethodId::Lora] {
        let mut plan = plan(method);
        plan.schedule.epochs = 1;
        plan.schedule.hold_back = 3;
        plan.schedule.learning_rate = 2.0;
        let tuned = learn(&int8, &pairs, &[], &plan, &|| ()).unwrap();
        let verdict = tuned.report.guard.expect("samples are held back");
        assert!(tuned.report.rolled_back(), "{verdict:?}");
        let after = errors(&int8, Some(&tuned.tail), &pairs, &|| ()).unwrap();
        assert!(after.wrong <= 1, "{method:?}: {after:?}");
        // Without the guard, it would have stayed.
        plan.schedule.hold_back = 0;
        let tuned = learn(&int8, &pairs, &[], &plan, &|| ()).unwrap();
        let after = errors(&int8, Some(&tuned.tail), &pairs, &|| ()).unwrap();
        assert!(after.wrong > 3, "{method:?}: {after:?}");
    }
}

#[test]
fn a_token_can_be_added() {
    let (int8, mut pairs) = to_learn(true, 6);
    let new = AddedToken {
        piece: "new".into(),
        fed_as: 3,
    };
    for pair in &mut pairs[..3] {
        pair.right[0][1] = VOCAB;
    }
    for method in [MethodId::Softmax, MethodId::Lora] {
        let plan = plan(method);
        let tuned = learn(&int8, &pairs, std::slice::from_ref(&new), &plan, &|| ()).unwrap();
        let tail = Tail::parse(&tuned.tail).unwrap();
        assert_eq!(tail.added_names().collect::<Vec<_>>(), ["new=3"]);
        let output = TailOutput::new(tail, &int8.config()).unwrap();
        assert_eq!(output.outputs(), VOCAB as usize + 1);
        assert_eq!([0, 5, VOCAB].map(|token| output.fed_as(token)), [0, 5, 3]);
        let after = errors(&int8, Some(&tuned.tail), &pairs, &|| ()).unwrap();
        println!("{method:?}: {after:?}, {:?}", tuned.report);
        assert!(after.wrong <= 1, "{method:?}: {after:?}");
    }
    assert!(learn(&int8, &pairs, &[], &plan(MethodId::Softmax), &|| ()).is_err());
}

/// A head over a buffer of its own, of so many classes added to what it starts from.
fn tail_of(origin: &'static dyn tailtune::tune::HeadOrigin, names: &[&str]) -> Tail<'static> {
    let (d, n) = (origin.d_model(), origin.classes() + names.len());
    let empty: Vec<ClassName> = names.iter().map(|_| ClassName::EMPTY).collect();
    let buffers = HeadBuffers {
        weights: leak(0.0, n * d),
        bias: leak(0.0, n),
        names: empty.leak(),
    };
    let mut head = LinearHead::new(buffers, origin).unwrap();
    for name in names {
        head.add_class(name).unwrap();
    }
    let out = aligned(tailtune::tune::tail::head_bytes(&head));
    tailtune::tune::tail::emit_head(&head, MethodId::Softmax, Math::Exact, out).unwrap();
    Tail::parse(out).unwrap()
}

#[test]
fn tails_of_encoders_and_of_other_decoders_are_refused() {
    use tailtune::model::Cut;
    let (int8, _) = to_learn(true, 1);
    let (image, config) = (leaked(&int8), int8.config());
    let origin: &'static Head<'static> = Box::leak(Box::new(Head::output(&image).unwrap()));
    let own = tail_of(origin, &[]);
    assert!(TailOutput::new(own, &config).is_ok());
    let refused = |tail: Tail<'static>, config: &ModelConfig| TailOutput::new(tail, config).err();

    let scratch: &'static FromScratch = Box::leak(Box::new(FromScratch { d_model: 32 }));
    let of_encoder = TuneError::Cut {
        found: Cut::Pooled,
        expected: Cut::Output,
    };
    assert_eq!(refused(tail_of(scratch, &["a"]), &config), Some(of_encoder));
    let encoder = ModelConfig {
        decoder: None,
        ..config
    };
    assert_eq!(refused(own, &encoder), Some(of_encoder));
    let mut other = config;
    other.decoder.as_mut().unwrap().vocab_size = 8;
    let vocabulary = TuneError::Vocabulary {
        found: 9,
        vocab_size: 8,
    };
    assert_eq!(refused(own, &other), Some(vocabulary));
    other = config;
    other.d_model = 16;
    assert!(matches!(
        refused(own, &other),
        Some(TuneError::FeatureLength { .. })
    ));
    for (name, index) in [("x", 1), ("x=9", 1), ("x=-1", 1), ("x=", 1)] {
        let tail = tail_of(origin, &["y=8", name]);
        assert_eq!(
            refused(tail, &config),
            Some(TuneError::FedAs { index }),
            "{name}"
        );
    }

    // A head goes on from what reads the same only, and a block's method takes no other head.
    let buffers_of = |n: usize| HeadBuffers {
        weights: leak(0.0, n * 32),
        bias: leak(0.0, n),
        names: leak(ClassName::EMPTY, n),
    };
    let mut head = LinearHead::new(buffers_of(9), origin).unwrap();
    let pooled = TuneError::Cut {
        found: Cut::Pooled,
        expected: Cut::Output,
    };
    assert_eq!(head.set_origin(scratch), Err(pooled));
    let own: &'static Tail<'static> = Box::leak(Box::new(own));
    assert_eq!(head.set_origin(own), Ok(()));

    // A head of another width, or with fewer outputs than the vocabulary.
    let small = model(&config_of_width(16), 3);
    let small_image = leaked(&small);
    let output: &'static TailOutput<'static> =
        Box::leak(Box::new(TailOutput::new(*own, &config).unwrap()));
    let arena = aligned(2 * decoder_arena_bytes(small_image.config(), 1));
    let error = Decoder::with_head(&small_image, arena, 1, output).err();
    let expected = EncoderError::OutputHead {
        found: (32, 9),
        expected: (16, 9),
    };
    assert_eq!(error, Some(expected));
    let needed = tuned_decoder_arena_bytes(&config, 1, 9);
    let short = aligned(needed - 1);
    let error = Decoder::with_head(&image, short, 1, output).err();
    let found = needed - 1;
    assert_eq!(error, Some(EncoderError::ArenaTooSmall { needed, found }));
}

fn config_of_width(d_model: u16) -> ModelConfig {
    config(2, d_model, true, false, true)
}

#[test]
fn latents_of_other_shapes_are_refused() {
    let config = config(2, 16, false, false, true);
    let int8 = model(&config, 2);
    let image = leaked(&int8);
    let r = &mut Random::new(1);
    let (fed, labels) = tokens(r);
    let mut latent = vec![0; decoder_latent_bytes(&config)];
    let mut decoder = decoder(&image, r);
    assert!(decoder.latent(&fed, &labels[1..], &mut latent).is_err());
    let short = &mut vec![0; latent.len() - 1];
    assert!(decoder.latent(&fed, &labels, short).is_err());
    decoder.latent(&fed, &labels, &mut latent).unwrap();
    assert!(SequenceLatent::parse(&latent, &config).is_some());
    // Position, tokens, rows of the encoder, reserved.
    for (at, value) in [(0, 6), (2, 8), (2, 0), (4, 10), (4, 0), (6, 1), (1, 1)] {
        let mut other = latent.clone();
        other[at] = value;
        assert!(
            SequenceLatent::parse(&other, &config).is_none(),
            "{at} {value}"
        );
    }
    assert!(SequenceLatent::parse(&latent[1..], &config).is_none());
}

/// A decoder's plan says what the methods cut out of their memory, to the number.
#[test]
fn a_plan_says_what_is_taken() {
    const ADDED: u16 = 2;
    for config in configs() {
        let int8 = model(&config, 1);
        let image = leaked(&int8);
        let origin = Head::output(&image).unwrap();
        let start = Start {
            image: &image,
            head: &origin,
            state: None,
        };
        for method in MethodId::ALL {
            let mut recipe = Recipe::new(method);
            recipe.schedule.momentum = 0.9;
            let setup = TuneSetup {
                schedule: recipe.schedule,
                lora: recipe.lora,
                samples: 5,
                ..TuneSetup::new(ADDED)
            };
            let plan = Tuner::plan(&config, method, &setup).unwrap();
            let capacity = (VOCAB + u32::from(ADDED)) as usize;
            let work = AnyMethod::workspace_len(&recipe, &start, capacity);
            let named = plan.names + plan.fields + plan.latent;
            let block = plan.block.next_multiple_of(4);
            let slack = if plan.block > 0 { 12 } else { 0 };
            let planned = plan.tuning() - named - plan.block + block + slack;
            assert_eq!(planned, 4 * work, "{method:?} {config:?}");
            let names = &mut vec![ClassName::EMPTY; ADDED.into()];
            let mut memory = vec![0.0; work];
            let mut workspace = Workspace::new(&mut memory);
            let made = AnyMethod::new(&recipe, start, capacity, names, &mut workspace);
            let mut made = made
                .map_err(|e| format!("{method:?} {config:?}: {e}"))
                .unwrap();
            for name in ["a".repeat(61) + "=1", "b".repeat(61) + "=2"] {
                made.add_class(&name).unwrap();
            }
            assert_eq!(plan.tail, made.tail_bytes(), "{method:?} {config:?}");
            let arena = tuned_decoder_arena_bytes(&config, 1, capacity);
            assert_eq!(plan.arena, arena);
            let latent = decoder_latent_bytes(&config);
            if method.below_the_block() {
                assert_eq!(plan.latent, latent);
                let positions = 5 * 7 * size_of::<Place>();
                assert_eq!(plan.replay, 5 * (latent + 2) + 4 * capacity + positions);
            }
        }
    }
}

/// In a device's memory (a replay of sequences, whose positions are lent one by one) a fit does what it does on
/// the host, to the bit.
#[test]
fn a_replay_of_sequences_learns_the_same() {
    let (int8, pairs) = to_learn(false, 4);
    let mut plan = plan(MethodId::Lora);
    plan.schedule.epochs = 2;
    let host = learn(&int8, &pairs, &[], &plan, &|| ()).unwrap();
    let (image, config) = (leaked(&int8), int8.config());
    let width = decoder_latent_bytes(&config);
    let (mut values, mut labels) = (vec![0; 4 * width], [0; 4]);
    let mut replay = Replay::new(&mut values, &mut labels, width).unwrap();
    for pair in &pairs {
        let arena = aligned(decoder_arena_bytes(&config, 1));
        let mut decoder = Decoder::new(&image, arena, 1).unwrap();
        let ModelInput::Tokens(ids, segments) = &pair.input else {
            panic!("tokens")
        };
        decoder.encode(Input::Tokens { ids, segments }).unwrap();
        let taught = forced(&int8, &pair.right[0], &[]).unwrap();
        let mut latent = vec![0; width];
        let features = decoder.latent(&taught.fed, &taught.labels, &mut latent);
        replay.push(&features.unwrap(), 0, 1).unwrap();
    }
    let (mut latent, mut places) = (vec![0; width], [Place::default(); 28]);
    let few = &mut places[..8];
    let short = Positions::new(&mut replay, &config, &mut latent, few).err();
    assert!(matches!(short, Some(TuneError::BufferTooSmall { .. })));
    let mut positions = Positions::new(&mut replay, &config, &mut latent, &mut places).unwrap();
    let origin = Head::output(&image).unwrap();
    let start = Start {
        image: &image,
        head: &origin,
        state: None,
    };
    let capacity = VOCAB as usize;
    let mut memory = vec![0.0; AnyMethod::workspace_len(&plan, &start, capacity)];
    let work = &mut Workspace::new(&mut memory);
    let mut method = AnyMethod::new(&plan, start, capacity, &mut [], work).unwrap();
    let fit = Fit::new(&mut method, &mut positions, &plan.schedule).unwrap();
    let report = fit.finish().unwrap();
    assert_eq!(report, host.report);
    assert!(emit(&method) == &host.tail[..]);
}
