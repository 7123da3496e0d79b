//! The plan of tuning: of methods below the feature against their real buffers, and on the command line.

#[allow(dead_code)] // Its recordings are for other tests.
mod common;

use common::{TinyModel, json, run};
use std::path::Path;
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder};
use tailtune::model::Head;
use tailtune::model::latent::latent_bytes;
use tailtune::tune::block::{
    BlockBuffers, BlockOptions, FlatBuffers, LoraOptions, Projections, block_bytes,
};
use tailtune::tune::{
    AdamState, AnyHead, Buffer, ClassName, HeadBuffers, LastBlock, LinearHead, Lora, Math, Method,
    MethodId, NormBias, Optimizer, Recipe, Schedule, Softmax, SoftmaxBuffers, Start, TuneError,
    TunePlan, TuneSetup, Tuner, Velocity, Workspace,
};
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::int8::Int8Model;
use tailtune_tools::models;
use tailtune_tools::synthetic;

const ADDED: u16 = 2;

const KWT1: ModelConfig = models::KWT1.0;

fn small(d_model: u16, n_heads: u16, d_ff: u16, post: bool, relu: bool) -> ModelConfig {
    ModelConfig {
        n_layers: 2,
        d_model,
        n_heads,
        d_ff,
        seq_len: 6,
        n_classes: 3,
        input: InputKind::Frames {
            n_frames: 5,
            n_features: 4,
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
        final_norm: !post,
        ..KWT1
    }
}

fn model(config: &ModelConfig) -> Int8Model {
    let float = synthetic::model(config, 1);
    let quantized = synthetic::quantized(&float, 4, 2).unwrap();
    Int8Model::new(quantized.writer.finish().unwrap()).unwrap()
}

/// Makes the method of a plan over buffers of its bytes, of which `short` is a number (of the block, a byte)
/// shorter; begins an epoch and returns the bytes of its tail.
fn tail(
    int8: &Int8Model,
    plan: &TunePlan,
    setup: &TuneSetup,
    short: Option<Buffer>,
) -> Result<usize, TuneError> {
    let image = int8.image();
    let f = |bytes: usize, buffer| {
        assert!(bytes.is_multiple_of(4), "{bytes}");
        vec![0f32; bytes / 4 - usize::from(short == Some(buffer))]
    };
    let d = usize::from(image.config().d_model);
    let capacity = plan.head / 4 / (d + 1);
    let (mut weights, mut bias) = (vec![0.0; capacity * d], vec![0.0; capacity]);
    let mut names = vec![ClassName::EMPTY; plan.names / size_of::<ClassName>()];
    let (mut features, mut logits) = (
        f(plan.features, Buffer::Features),
        f(plan.logits, Buffer::Logits),
    );
    let pairs = plan.head_moments / plan.head;
    let mut moments = vec![(vec![0.0; capacity * d], vec![0.0; capacity]); pairs];
    let mut moments = moments
        .iter_mut()
        .map(|(weights, bias)| Velocity { weights, bias });
    let velocity = moments.next();
    let adam = moments.next().zip(moments.next());
    let origin = Head::new(&image).unwrap();
    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut names,
    };
    let mut head = LinearHead::new(buffers, &origin)?;
    for i in 0..setup.added {
        head.add_class(&format!("{i:063}"))?;
    }
    let buffers = SoftmaxBuffers {
        features: &mut features,
        logits: &mut logits,
        velocity,
        adam: adam.map(|(gradient, second)| AdamState::new(gradient, second)),
    };
    let head = Softmax::new(head, buffers, Math::Exact)?;

    let mut scratch = f(plan.scratch, Buffer::Scratch);
    let beside = plan.parameter_moments / plan.parameters;
    assert_eq!(beside * plan.parameters, plan.parameter_moments);
    let mut flat = [
        (true, Buffer::Parameters),
        (true, Buffer::Labels),
        (beside > 1, Buffer::Velocity),
        (beside > 2, Buffer::Adam),
    ]
    .map(|(there, buffer)| f(if there { plan.parameters } else { 4 }, buffer));
    let [values, gradient, first, second] = &mut flat;
    let buffers = BlockBuffers {
        scratch: &mut scratch,
        parameters: FlatBuffers {
            values,
            gradient,
            first: if beside > 1 { first } else { &mut [] },
            second: if beside > 2 { second } else { &mut [] },
        },
    };
    let options = BlockOptions::default();
    let begin = |method: &mut dyn Method| -> Result<usize, TuneError> {
        method.begin_epoch(&setup.schedule, 0)?;
        Ok(method.tail_bytes())
    };
    match plan.method {
        MethodId::NormBias => begin(&mut NormBias::new(&image, head, buffers, options)?),
        MethodId::Lora => begin(&mut Lora::new(&image, head, buffers, setup.lora)?),
        _ => {
            assert_eq!(plan.block, block_bytes(&image));
            let len = plan.block - usize::from(short == Some(Buffer::Block));
            let mut block = AlignedBytes::new(&vec![0; len]);
            begin(&mut LastBlock::new(
                &image, head, &mut block, buffers, options,
            )?)
        }
    }
}

fn schedules() -> [(Schedule, &'static [Buffer]); 3] {
    let sgd = Schedule {
        momentum: 0.0,
        ..Schedule::default()
    };
    let adam = Schedule {
        optimizer: Optimizer::Adam,
        ..Schedule::default()
    };
    [
        (sgd, &[]),
        (Schedule::default(), &[Buffer::Velocity]),
        (adam, &[Buffer::Velocity, Buffer::Adam]),
    ]
}

/// The gradient goes by the name of a buffer that no method has.
const ALWAYS: [Buffer; 5] = [
    Buffer::Features,
    Buffer::Logits,
    Buffer::Scratch,
    Buffer::Parameters,
    Buffer::Labels,
];

#[test]
fn buffers_of_the_plans_bytes_are_taken_and_one_number_less_is_refused() {
    let adapters = |projections, rank| LoraOptions {
        projections,
        rank,
        ..LoraOptions::default()
    };
    let configs = [
        small(16, 2, 24, false, false),
        small(9, 3, 11, true, true),
        ModelConfig {
            n_layers: 1,
            ..KWT1
        },
    ];
    let mut refused = 0;
    for config in configs {
        let int8 = model(&config);
        for (schedule, moments) in schedules() {
            for (method, lora) in [
                (MethodId::NormBias, LoraOptions::default()),
                (MethodId::Lora, LoraOptions::default()),
                (MethodId::Lora, adapters(Projections::ALL, 3)),
                (MethodId::LastBlock, LoraOptions::default()),
            ] {
                let setup = TuneSetup {
                    schedule,
                    lora,
                    ..TuneSetup::new(ADDED)
                };
                let plan = Tuner::plan(&config, method, &setup).unwrap();
                let case = format!("{config:?} {method:?} {schedule:?}");
                assert_eq!(tail(&int8, &plan, &setup, None), Ok(plan.tail), "{case}");
                assert_eq!(plan.latent, latent_bytes(&config));
                assert_eq!(plan.tail_buffer + plan.block, plan.tail);
                let block = (method == MethodId::LastBlock).then_some(Buffer::Block);
                for &buffer in ALWAYS.iter().chain(moments).chain(&block) {
                    let found = tail(&int8, &plan, &setup, Some(buffer));
                    let small = matches!(found, Err(TuneError::BufferTooSmall { .. }));
                    assert!(small, "{case}: {buffer:?} one short: {found:?}");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(refused, 3 * (4 * 3 * 5 + 4 * 3 + 3));
}

/// What the arena lends is what a head's method cuts out of a workspace, and its tail's buffer: they fit, and
/// with a number less they do not.
#[test]
fn a_head_is_tuned_in_what_the_arena_lends() {
    let config = ModelConfig {
        n_layers: 1,
        ..KWT1
    };
    let int8 = model(&config);
    let image = int8.image();
    let head = Head::new(&image).unwrap();
    for method in [MethodId::Ncm, MethodId::Ridge, MethodId::Softmax] {
        let recipe = Recipe::new(method);
        let setup = TuneSetup {
            schedule: recipe.schedule,
            ..TuneSetup::new(ADDED)
        };
        let plan = Tuner::plan(&config, method, &setup).unwrap();
        let fits = |bytes: usize| {
            let mut memory = vec![0.0; bytes / 4];
            let mut work = Workspace::new(&mut memory);
            let mut names = [ClassName::EMPTY; ADDED as usize];
            let start = Start {
                image: &image,
                head: &head,
                state: None,
            };
            let capacity = head.n_classes() + usize::from(ADDED);
            let mut any = AnyHead::new(&recipe, start, capacity, &mut names, &mut work).unwrap();
            for i in 0..ADDED {
                any.add_class(&format!("{i:063}")).unwrap();
            }
            let tail = work.take(any.tail_buffer_len().div_ceil(4));
            tail.is_ok()
        };
        let lent = plan.shared();
        assert!(lent < plan.arena, "{method:?}: all of it is counted here");
        assert!(fits(lent) && !fits(lent - 4), "{method:?}: {lent}");
    }
    let last = Tuner::plan(&config, MethodId::LastBlock, &TuneSetup::new(ADDED)).unwrap();
    assert_eq!(last.shared(), 0);
}

/// The firmware of the micro:bit tunes in the arena: counted once, the model that is made for it fits.
#[test]
fn boards_that_tune_heads_only_count_the_arena_once() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    let micro = tailtune_tools::models::KEYWORDS_MICRO;
    let found = json(dir, &["plan", micro, "--board", "microbit-v1"]);
    assert_eq!(found["fits"], true, "{found}");
    let parts = found["ram"].as_array().unwrap();
    let sum: usize = parts.iter().map(|part| number(part, "bytes")).sum();
    let shared = number(&found, "shared_bytes");
    assert!(shared > 0 && shared <= number(&found, "arena_bytes"));
    assert_eq!(number(&found, "ram_bytes"), sum - shared);
    // Neither a board that tunes blocks too, nor a method of a block.
    let found = json(dir, &["plan", micro, "--board", "nrf52840-dk"]);
    assert_eq!(number(&found, "shared_bytes"), 0);
    let (text, _) = run(dir, &["plan", micro, "--board", "microbit-v1"], 0);
    assert!(text.contains("in turns with the encoder"), "{text}");
    // Softmax with four new classes is too much for it, class means are not; asked for, it is refused.
    assert!(
        text.contains("fits with") && text.contains("by class means"),
        "{text}"
    );
    let softmax = ["plan", micro, "--board", "microbit-v1", "--tune", "softmax"];
    assert_eq!(json(dir, &softmax)["fits"], false);
}

fn number(value: &serde_json::Value, key: &str) -> usize {
    let number = value[key].as_u64();
    number.unwrap_or_else(|| panic!("{key} is no whole number in {value}")) as usize
}

fn plan(dir: &Path, more: &[&str]) -> serde_json::Value {
    let plan = ["plan", "m.bin", "--board", "nrf52840-dk"];
    json(dir, &[&plan, more].concat())
}

/// KWT-1's last block with everything that its training takes, samples in flash, in 160 KiB.
#[test]
fn the_last_block_of_kwt1_is_planned_for_a_board() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    std::fs::write(dir.join("m.bin"), model(&KWT1).bytes()).unwrap();
    let last = ["--tune", "last-block", "--replay-in", "flash"];
    let found = plan(dir, &last);
    let tune = &found["tune"];
    let parts = found["ram"].as_array().unwrap();
    let sum: usize = parts.iter().map(|part| number(part, "bytes")).sum();
    assert_eq!(sum, number(&found, "ram_bytes"));
    println!("last block of KWT-1: {sum} bytes of RAM");
    assert!(sum <= 160 * 1024, "{sum}");
    let fits = number(tune, "tail_bytes") <= number(tune, "tail_room_bytes");
    assert_eq!(found["fits"], fits, "{found}");
    assert!(number(tune, "replay_flash_bytes") >= 64 * latent_bytes(&KWT1));
    assert!(number(tune, "step_instructions") > 1_000_000);
    // 1.2 cycles an instruction at 64 MHz.
    let ms = number(tune, "step_instructions") as f64 * 1.2 / 64e3;
    assert!((tune["step_ms"].as_f64().unwrap() - ms).abs() < 1e-6 * ms);
    let call = [&["plan", "m.bin", "--board", "nrf52840-dk"], &last[..]].concat();
    let (text, _) = run(dir, &call, 0);
    for says in ["block: int8 weights in place", "a model", "of flash"] {
        assert!(text.contains(says), "{text}");
    }
    // In RAM the same samples do not fit.
    let in_ram = plan(dir, &last[..2]);
    assert_eq!(in_ram["fits"], false);
    assert_eq!(number(&in_ram["tune"], "replay_flash_bytes"), 0);
}

#[test]
fn every_method_is_planned_and_what_cannot_be_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    let config = small(16, 2, 24, false, false);
    std::fs::write(dir.join("m.bin"), model(&config).bytes()).unwrap();
    TinyModel::new().write(&dir.join("model"));
    let bytes = |more: &[&str]| number(&plan(dir, more)["tune"], "tuning_bytes");
    for method in ["ncm", "ridge", "softmax", "norm-bias", "lora", "last-block"] {
        let found = plan(dir, &["--tune", method, "--replay", "10"]);
        assert_eq!(found["tune"]["method"], method);
        assert_eq!(found["fits"], true, "{found}");
        let solves = number(&found["tune"], "end_instructions") > 0;
        assert_eq!(solves, method == "ridge");
        let args = [
            "plan",
            "model",
            "--board",
            "qemu-microbit",
            "--tune",
            method,
        ];
        let found = json(dir, &args);
        assert!(found["tune"]["step_instructions"].is_null(), "no FPU");
    }
    let softmax = |optimizer| bytes(&["--tune", "softmax", "--optimizer", optimizer]);
    let head = 4 * 17 * 7;
    assert_eq!(softmax("momentum") - softmax("sgd"), head);
    assert_eq!(softmax("adam") - softmax("momentum"), 2 * head);
    let lora = |rank| bytes(&["--tune", "lora", "--rank", rank]);
    assert_eq!(lora("3") - lora("2"), 3 * 4 * 4 * 16);
    let classes = |n| bytes(&["--tune", "ncm", "--classes", n]);
    assert_eq!(classes("5") - classes("4"), 4 * 17 + 64 + 2 * 4);
    let default = plan(dir, &[]);
    assert!(default["tune"].is_null());
    for (wrong, says) in [
        (&["--tune", "lora", "--rank", "33"][..], "rank"),
        (&["--tune", "magic"], "magic"),
        (&["--replay", "3"], "--tune"),
    ] {
        let call = [&["plan", "m.bin", "--board", "nrf52840-dk"], wrong].concat();
        let (_, err) = run(dir, &call, 2);
        assert!(err.contains(says), "{err}");
    }
    let (_, err) = run(
        dir,
        &["plan", "m.bin", "--tune", "ncm", "--replay-in", "flash"],
        2,
    );
    assert!(err.contains("--board"), "{err}");
}
