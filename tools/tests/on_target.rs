//! The emulated board against the host, bit by bit. These tests need the boards' targets and
//! qemu-system-arm: `cargo verify` runs them.

use std::path::Path;
use std::sync::OnceLock;
use tailtune::image::{Activation, DecoderConfig, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::model::arena_bytes;
use tailtune::tune::block::Projections;
use tailtune::tune::{BlockWeights, MethodId, Optimizer, Recipe, Schedule, Tail};
use tailtune_app::job::Kind;
use tailtune_app::outcome::Outcome;
use tailtune_tools::adapt::{Sample, adapt};
use tailtune_tools::audio::{FrontEnd, FrontEndConfig, FrontEndKind};
use tailtune_tools::board;
use tailtune_tools::emulator::{
    Emulator, EmulatorError, JobRequest, JobSample, decode_results, infer_results, outcome,
};
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::int8::{Int8Model, Search};
use tailtune_tools::reference::ModelInput;
use tailtune_tools::synthetic::{self, Random};
use tailtune_tools::text::section::{Coverage, Options, section};
use tailtune_tools::text::{Corpus, tokenizer};

const CONFIG: ModelConfig = ModelConfig {
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

fn emulator() -> &'static Emulator {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    EMULATOR.get_or_init(|| {
        let board = board::find("qemu-mps2-an386").expect("the emulated board is known");
        Emulator::build(&board).expect("its firmware builds")
    })
}

fn model(config: &ModelConfig, seed: u64) -> Int8Model {
    let float = synthetic::model(config, seed);
    let quantized = synthetic::quantized(&float, 50, seed).expect("quantizes");
    Int8Model::new(quantized.writer.finish().expect("writes")).expect("parses")
}

/// Inputs that lie in `classes` clusters, so that there is something to learn.
fn inputs(int8: &Int8Model, n: usize, classes: usize, seed: u64) -> Vec<Vec<i8>> {
    let config = int8.config();
    let frames = |r: &mut Random| match synthetic::input(&config, config.max_input_len(), r) {
        ModelInput::Frames(frames) => frames,
        ModelInput::Tokens(..) => panic!("the test's models read frames"),
    };
    let centres: Vec<_> = (0..classes)
        .map(|c| frames(&mut Random::new(1000 + c as u64)))
        .collect();
    let r = &mut Random::new(seed);
    let one = |i: usize, r: &mut Random| {
        let noise = frames(r);
        centres[i % classes]
            .iter()
            .zip(&noise)
            .map(|(c, x)| c + 0.2 * x)
            .collect()
    };
    let floats: Vec<Vec<f32>> = (0..n).map(|i| one(i, r)).collect();
    int8.quantize(&floats).expect("finite")
}

fn run(dir: &Path, int8: &Int8Model, request: &JobRequest<'_>) -> Result<Vec<u8>, EmulatorError> {
    emulator().run(dir, int8.bytes(), &request.bytes(), &mut |_| ())
}

fn labelled(inputs: &[Vec<i8>], classes: usize, first: u16) -> Vec<JobSample> {
    let sample = |(i, values): (usize, &Vec<i8>)| JobSample {
        label: first + (i % classes) as u16,
        values: values.clone(),
    };
    inputs.iter().enumerate().map(sample).collect()
}

fn infer<'a>(test: &'a [JobSample]) -> JobRequest<'a> {
    JobRequest {
        kind: Kind::Infer,
        added: &[],
        train: &[],
        test,
        recipe: Recipe::new(MethodId::Softmax),
    }
}

#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn kernels_are_the_portable_ones() {
    let mut expected = Vec::new();
    let mut operands = Box::new(tailtune_app::check::Operands::new());
    tailtune_app::check::run(&mut operands, &mut |case, [a, b, c, d], hash| {
        expected.push(format!("{case} {a} {b} {c} {d} {hash:08x}"));
    });
    let boards = board::all().unwrap();
    let emulated = boards.iter().filter(|b| b.name.starts_with("qemu-"));
    let mut cores = 0;
    for board in emulated {
        let dir = tempfile::tempdir().unwrap();
        let emulator = Emulator::build(board).unwrap();
        let found = emulator.check(dir.path()).unwrap();
        let different: Vec<_> = expected
            .iter()
            .filter(|line| !found.contains(line))
            .collect();
        let name = &board.name;
        assert!(
            different.is_empty(),
            "{name}: only the host says: {different:#?}"
        );
        assert_eq!(found.len(), expected.len(), "{name}");
        cores += 1;
    }
    assert!(cores >= 5, "{cores} emulated boards");
}

#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn a_fault_ends_the_run_at_once_and_says_what_it_was() {
    let boards = board::all().unwrap();
    // The micro:bit runs the kernels' test alone.
    let emulated = |b: &&board::Board| b.is_emulated() && b.name != "qemu-microbit";
    let mut runs = 0;
    for board in boards.iter().filter(emulated) {
        let dir = tempfile::tempdir().unwrap();
        let emulator = Emulator::build(board).unwrap();
        let bottom = board.ram[0].address;
        let ends = [
            "fault: at 0x".to_owned(),
            format!("fault: the stack is used up, its 65536 bytes end at {bottom:#010x}"),
        ];
        for (how, end) in (0..).zip(ends) {
            let begun = std::time::Instant::now();
            let error = emulator.fault(dir.path(), how).unwrap_err();
            assert!(begun.elapsed().as_secs() < 20, "{}", board.name);
            let EmulatorError::Firmware { console, .. } = &error else {
                panic!("{}: {error}", board.name);
            };
            assert!(console.starts_with(&end), "{}: {console}", board.name);
            runs += 1;
        }
    }
    assert!(runs >= 12, "{runs}");
}

/// Decoders of even and odd shapes, on the core with kernels of its own and on one without.
#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn what_a_decoder_writes_is_the_hosts() {
    let shape = |d_model, n_heads, norm, n_segments| ModelConfig {
        d_model,
        n_heads,
        d_ff: 26,
        seq_len: 9,
        n_classes: 0,
        input: InputKind::Tokens {
            vocab_size: 40,
            n_segments,
        },
        class_token: false,
        norm,
        pooling: Pooling::First,
        decoder: Some(DecoderConfig {
            n_layers: 2,
            seq_len: 13,
            vocab_size: 21,
            start: 1,
            end: 2,
            tied: norm == NormOrder::Pre,
            embed_norm: false,
            final_norm: norm == NormOrder::Pre,
        }),
        ..CONFIG
    };
    let shapes = [
        shape(20, 2, NormOrder::Pre, 0),
        shape(18, 3, NormOrder::Post, 2),
        shape(15, 5, NormOrder::Pre, 0),
    ];
    let boards = ["qemu-mps2-an386", "qemu-mps2-an385-v6m", "qemu-mps3-an547"];
    let boards = boards.map(|name| board::find(name).expect("a board"));
    for board in &boards {
        let emulator = Emulator::build(board).expect("its firmware builds");
        for (seed, config) in (1..).zip(shapes) {
            let int8 = model(&config, seed);
            let r = &mut Random::new(seed);
            let inputs: Vec<ModelInput> = (0..6)
                .map(|_| synthetic::input(&config, 1 + r.below(9) as usize, r))
                .collect();
            let want = int8
                .generate(&inputs, Search::Greedy, &|| ())
                .expect("fits");
            let test: Vec<JobSample> = inputs
                .iter()
                .map(|input| match input {
                    ModelInput::Tokens(ids, segments) => {
                        JobSample::tokens(0, ids, segments, &config)
                    }
                    ModelInput::Frames(_) => panic!("the test's models read tokens"),
                })
                .collect();
            let request = JobRequest {
                kind: Kind::Decode,
                ..infer(&test)
            };
            let dir = tempfile::tempdir().expect("a directory");
            let job = request.bytes();
            let bytes = emulator.run(dir.path(), int8.bytes(), &job, &mut |_| ());
            let found = decode_results(&bytes.expect("done"), test.len()).expect("whole");
            let tokens: Vec<_> = found.iter().map(|r| r.tokens.clone()).collect();
            assert_eq!(tokens, want, "{}, {config:?}", board.name);
            assert!(want.iter().any(|tokens| tokens.len() > 2));
            assert!(found.iter().all(|r| r.encoder > 1000 && r.decoder > 1000));
        }
    }
}

#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn logits_are_the_hosts() {
    let pre = ModelConfig {
        norm: NormOrder::Pre,
        final_norm: true,
        pooling: Pooling::Mean,
        activation: Activation::Relu,
        d_model: 15,
        d_ff: 13,
        n_heads: 5,
        ..CONFIG
    };
    // Shapes for the kernels of the core: heads of 10, 6 and 1 columns, hidden layers that are no multiple
    // of 4 or odd, sequences of every remainder by 4, features by 8 with a rest; all rows computed.
    let shape = |d_model, n_heads, d_ff, n_frames: u16, n_features| ModelConfig {
        d_model,
        n_heads,
        d_ff,
        seq_len: n_frames,
        class_token: false,
        pooling: Pooling::Mean,
        input: InputKind::Frames {
            n_frames,
            n_features,
        },
        ..CONFIG
    };
    let shapes = [
        shape(20, 2, 26, 12, 22),
        shape(18, 3, 34, 13, 8),
        shape(6, 6, 17, 14, 3),
        shape(64, 1, 70, 15, 18),
        shape(2, 1, 2, 1, 2),
        shape(10, 2, 12, 3, 5),
    ];
    let shapes = [CONFIG, pre].into_iter().chain(shapes);
    for (seed, config) in (1..).zip(shapes) {
        let int8 = model(&config, seed);
        let inputs = inputs(&int8, 6, 3, 4);
        let dir = tempfile::tempdir().unwrap();
        let bytes = run(dir.path(), &int8, &infer(&labelled(&inputs, 3, 0))).unwrap();
        let found = infer_results(&bytes, &int8.image()).unwrap();
        let want = int8.run(&inputs, &|| ()).unwrap();
        assert_eq!(found.len(), want.len());
        for (found, want) in found.iter().zip(&want) {
            assert_eq!(found.whole, want.logits, "{config:?}");
            assert_eq!(found.steps, want.logits, "{config:?}");
        }
    }
}

/// What the board and the host make of the same job.
struct Tuned {
    test: Vec<JobSample>,
    train: Vec<JobSample>,
    added: Vec<String>,
    /// The board's.
    outcome: Outcome,
    tail: Vec<u8>,
}

/// Tunes on the board, and by the same steps on the host; both must hold the same bits.
fn tuned_like_the_host(dir: &Path, int8: &Int8Model, recipe: Recipe) -> Tuned {
    let added: Vec<String> = ["neu", "zoom in", "صفر"].map(String::from).to_vec();
    let train = labelled(&inputs(int8, 30, 3, 5), 3, 5);
    let test = labelled(&inputs(int8, 15, 3, 6), 3, 5);
    let request = JobRequest {
        kind: Kind::Adapt,
        added: &added,
        train: &train,
        test: &test,
        recipe,
    };
    let (outcome, tail) = outcome(&run(dir, int8, &request).unwrap()).unwrap();
    let samples = |samples: &[JobSample]| -> Vec<Sample> {
        let values: Vec<Vec<i8>> = samples.iter().map(|s| s.values.clone()).collect();
        let outputs = int8.latents(&values, &|| ()).unwrap();
        let label = |s: &JobSample| added[usize::from(s.label) - 5].clone();
        let pooled = int8.run(&values, &|| ()).unwrap();
        pooled
            .into_iter()
            .zip(outputs)
            .zip(samples)
            .map(|((output, (_, latent)), s)| Sample {
                latent,
                output,
                label: label(s),
            })
            .collect()
    };
    let host = adapt(int8, &samples(&train), &samples(&test), &recipe.into()).unwrap();
    let name = recipe.method.name();
    assert!(
        tail == host.tail,
        "{name}: the device's parameters are not the host's, bit by bit"
    );
    let right = (host.accuracy_after * 15.0).round() as u32;
    assert_eq!(outcome.right_after.get(), right, "{name}");
    assert_eq!(outcome.steps.get(), host.report.steps, "{name}");
    assert_eq!(outcome.last_loss.get(), host.report.last_loss, "{name}");
    Tuned {
        test,
        train,
        added,
        outcome,
        tail,
    }
}

/// Every method, over at least 100 steps where it steps: what the device learns is what the host learns,
/// bit by bit, and a new process finds it in flash.
#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn every_method_is_the_hosts_and_survives_a_reset() {
    let pre = ModelConfig {
        norm: NormOrder::Pre,
        final_norm: true,
        activation: Activation::Relu,
        ..CONFIG
    };
    for (method, config) in MethodId::ALL
        .into_iter()
        .flat_map(|m| [(m, CONFIG), (m, pre)])
    {
        let int8 = model(&config, 3);
        let mut recipe = Recipe::new(method);
        recipe.schedule.epochs = 4;
        recipe.lora.rank = 3;
        recipe.lora.projections = Projections::ALL;
        if config == pre {
            recipe.schedule = Schedule {
                label_smoothing: 0.1,
                class_balance: true,
                hold_back: 5,
                ..recipe.schedule
            };
            recipe.schedule.batch = 3;
            match method {
                MethodId::LastBlock => recipe.weights = BlockWeights::CopyMomentum,
                _ => recipe.schedule.optimizer = Optimizer::Adam,
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let tuned = tuned_like_the_host(dir.path(), &int8, recipe);
        let name = method.name();
        let passes = if matches!(method, MethodId::Ncm | MethodId::Ridge) {
            1
        } else {
            4
        };
        let held_back = tuned.outcome.held_back.get();
        assert_eq!(held_back, if config == pre { 6 } else { 0 }, "{name}");
        assert_eq!(
            tuned.outcome.steps.get(),
            passes * (30 - held_back),
            "{name}"
        );
        let request = JobRequest {
            kind: Kind::Evaluate,
            added: &tuned.added,
            train: &[],
            test: &tuned.test,
            recipe,
        };
        let (again, loaded) = outcome(&run(dir.path(), &int8, &request).unwrap()).unwrap();
        assert!(loaded == tuned.tail, "{name}: another tail after the reset");
        assert_eq!(again.right_after, tuned.outcome.right_after, "{name}");
    }
}

/// The memory is that of the nRF52840 DK's firmware: 32 of its 48 KiB of arena, and 112 KiB to tune in.
#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn the_last_block_of_kwt_1_fits_the_boards() {
    let config = ModelConfig {
        d_model: 64,
        n_heads: 1,
        d_ff: 256,
        seq_len: 99,
        n_classes: 12,
        input: InputKind::Frames {
            n_frames: 98,
            n_features: 40,
        },
        ..CONFIG
    };
    assert!(arena_bytes(&config) <= 32 * 1024);
    let int8 = model(&config, 3);
    let (train, test) = (inputs(&int8, 8, 2, 5), inputs(&int8, 4, 2, 6));
    let mut recipe = Recipe::new(MethodId::LastBlock);
    recipe.schedule.epochs = 2;
    let request = JobRequest {
        kind: Kind::Adapt,
        added: &["new".into()],
        train: &labelled(&train, 2, 11),
        test: &labelled(&test, 2, 11),
        recipe,
    };
    let dir = tempfile::tempdir().unwrap();
    let (outcome, tail) = outcome(&run(dir.path(), &int8, &request).unwrap()).unwrap();
    assert_eq!(outcome.steps.get(), 16);
    // In a slot of the DK, 60 KiB, behind a record's header.
    assert!(tail.len() <= 60 * 1024 - 256, "{}", tail.len());
    let tail = AlignedBytes::new(&tail);
    let method = Tail::parse(&tail).map(|tail| tail.method());
    assert_eq!(method, Ok(MethodId::LastBlock));
}

#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn tails_survive_resets_and_the_newest_counts() {
    let int8 = model(&CONFIG, 3);
    let mut recipe = Recipe::new(MethodId::Softmax);
    recipe.schedule.epochs = 12;
    let dir = tempfile::tempdir().unwrap();
    let tuned = tuned_like_the_host(dir.path(), &int8, recipe);
    let (first, tail) = (tuned.outcome, tuned.tail);
    assert_eq!((first.right_before.get(), first.steps.get()), (0, 12 * 30));
    assert!(first.right_after.get() >= 12, "{} of 15", first.right_after);

    // A reset: a new process that gets the firmware, the image and the flash.
    let request = JobRequest {
        kind: Kind::Evaluate,
        added: &tuned.added,
        train: &[],
        test: &tuned.test,
        recipe,
    };
    let (second, loaded) = outcome(&run(dir.path(), &int8, &request).unwrap()).unwrap();
    assert_eq!(loaded, tail);
    assert_eq!(second.right_after, first.right_after);
    assert_eq!(second.sequence, first.sequence);

    // The tail of this model is not another's.
    let other = model(&CONFIG, 4);
    let refused = run(dir.path(), &other, &request).unwrap_err().to_string();
    assert!(refused.contains("WrongModel"), "{refused}");

    // A second tune goes to the other slot; the newest counts.
    let again = JobRequest {
        kind: Kind::Adapt,
        train: &tuned.train,
        ..request.clone()
    };
    let (third, _) = outcome(&run(dir.path(), &int8, &again).unwrap()).unwrap();
    assert_ne!(third.slot, first.slot);
    assert_eq!(third.sequence.get(), first.sequence.get() + 1);
    let (fourth, _) = outcome(&run(dir.path(), &int8, &request).unwrap()).unwrap();
    assert_eq!(fourth.sequence, third.sequence);
}

#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn failures_say_why() {
    let int8 = model(&CONFIG, 3);
    let test = labelled(&inputs(&int8, 2, 2, 7), 2, 0);
    let dir = tempfile::tempdir().unwrap();
    let request = JobRequest {
        kind: Kind::Evaluate,
        ..infer(&test)
    };
    let message = |result: Result<Vec<u8>, EmulatorError>| result.unwrap_err().to_string();
    assert!(message(run(dir.path(), &int8, &request)).contains("Empty"));
    let broken = &int8.bytes()[..1000];
    let result = emulator().run(dir.path(), broken, &infer(&test).bytes(), &mut |_| ());
    assert!(message(result).contains("damaged image"));
    let result = emulator().run(dir.path(), int8.bytes(), &[b'x'; 200], &mut |_| ());
    assert!(message(result).contains("no job"));
    let short = [JobSample {
        label: 0,
        values: vec![0; 3],
    }];
    assert!(message(run(dir.path(), &int8, &infer(&short))).contains("multiples of 7"));
}

/// The front end on the device: sound in blocks gives the frames and the logits of the host, by both
/// kinds of features.
#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn what_the_board_hears_is_what_the_host_hears() {
    for kind in [FrontEndKind::Mfcc, FrontEndKind::LogMel] {
        let front_end = FrontEnd::new(&FrontEndConfig {
            kind,
            sample_rate: 16000,
            clip_len: 4500,
            window_len: 480,
            hop_len: 400,
            fft_len: 512,
            mel_bins: if kind == FrontEndKind::Mfcc { 40 } else { 7 },
            mel_lower: 20.0,
            mel_upper: 7600.0,
            n_features: 7,
            floor: 1e-6,
        })
        .unwrap();
        let config = ModelConfig {
            seq_len: 12,
            input: InputKind::Frames {
                n_frames: 11,
                n_features: 7,
            },
            ..CONFIG
        };
        let float = synthetic::model(&config, 4);
        let mut quantized = synthetic::quantized(&float, 50, 4).unwrap();
        quantized.writer.front_end(front_end.section());
        let int8 = Int8Model::new(quantized.writer.finish().unwrap()).unwrap();
        let r = &mut Random::new(9);
        let sounds: Vec<Vec<i16>> = (0..3)
            .map(|_| (0..4500).map(|_| (r.normal() * 6000.0) as i16).collect())
            .collect();
        let clip = |sound: &Vec<i16>| JobSample {
            label: 0,
            values: sound
                .iter()
                .flat_map(|s| s.to_le_bytes().map(|b| b as i8))
                .collect(),
        };
        let test: Vec<JobSample> = sounds.iter().map(clip).collect();
        let dir = tempfile::tempdir().unwrap();
        let request = JobRequest {
            kind: Kind::Listen,
            ..infer(&test)
        };
        let found = run(dir.path(), &int8, &request).unwrap();
        let mut want = Vec::new();
        for sound in &sounds {
            let float: Vec<f32> = sound.iter().map(|&s| f32::from(s) / 32768.0).collect();
            let frames = front_end.features(&float);
            want.extend(frames.iter().flat_map(|x| x.to_le_bytes()));
            let input = int8.quantize(&[frames]).unwrap();
            let logits = &int8.run(&input, &|| ()).unwrap()[0].logits;
            want.extend(logits.iter().flat_map(|x| x.to_le_bytes()));
        }
        assert_eq!(found, want);
    }
}

/// The tokenizer on the device: the ids of the host, which are those of the `tokenizers` crate.
#[test]
#[ignore = "needs the boards' targets and qemu-system-arm"]
fn the_board_tokenizes_as_the_host_does() {
    const TEXTS: [&str; 6] = [
        "Turn the lamp in the Café on, please!",
        "naïve façade CAFE\u{301} a\u{302e}\u{1d165}\u{301}b",
        "你好 turn  the\tlamp [MASK] off",
        "unfathomable",
        "turn?",
        "한글",
    ];
    let corpus = tempfile::tempdir().unwrap();
    let path = corpus.path().join("corpus.txt");
    std::fs::write(&path, TEXTS.join("\n").repeat(4)).unwrap();
    let corpus = Corpus::read(&[path]).unwrap();
    let host = tokenizer::train(&corpus, 200).unwrap();
    let options = Options {
        coverage: Coverage::Full,
        ..Options::default()
    };
    let config = ModelConfig {
        input: InputKind::Tokens {
            vocab_size: 200,
            n_segments: 2,
        },
        class_token: false,
        pooling: Pooling::First,
        ..CONFIG
    };
    let mut quantized = synthetic::quantized(&synthetic::model(&config, 4), 20, 4).unwrap();
    let section = section(&host, options).unwrap().bytes;
    quantized.writer.tokenizer(&section);
    let int8 = Int8Model::new(quantized.writer.finish().unwrap()).unwrap();
    let sample = |text: &str| {
        let mut values: Vec<i8> = text.bytes().map(|b| b as i8).collect();
        values.resize(64, 0);
        JobSample { label: 0, values }
    };
    let test = TEXTS.map(sample);
    let request = JobRequest {
        kind: Kind::Tokenize,
        ..infer(&test)
    };
    let dir = tempfile::tempdir().unwrap();
    let found = run(dir.path(), &int8, &request).unwrap();
    let mut want = Vec::new();
    for text in TEXTS {
        let ids = tokenizer::ids(&host, text).unwrap();
        want.extend((ids.len() as u32).to_le_bytes());
        want.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    }
    assert_eq!(found, want);
}
