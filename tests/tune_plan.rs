//! The plan of a method above the feature against its real buffers, byte by byte; and its instructions
//! against counted ones.

use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::model::arena_bytes;
use tailtune::tune::{
    AdamState, Buffer, ClassName, HeadBuffers, LinearHead, Math, Method, MethodId, Ncm, NcmBuffers,
    Optimizer, OriginFn, Replay, ReplayPlace, Ridge, RidgeBuffers, RidgeOptions, Schedule, Softmax,
    SoftmaxBuffers, TuneError, TunePlan, TuneSetup, Tuner, Velocity, adam_bytes, momentum_bytes,
    ncm_bytes, plain_bytes,
};

/// KWT-1.
const KWT1: ModelConfig = ModelConfig {
    n_layers: 12,
    d_model: 64,
    n_heads: 1,
    d_ff: 256,
    seq_len: 99,
    n_classes: 12,
    input: InputKind::Frames {
        n_frames: 98,
        n_features: 40,
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

const SGD: Schedule = Schedule {
    momentum: 0.0,
    ..Schedule::DEFAULT
};
const ADAM: Schedule = Schedule {
    optimizer: Optimizer::Adam,
    ..Schedule::DEFAULT
};

/// A plan is a constant where firmware sizes its statics by one.
const PLAN: TunePlan = match Tuner::plan(&KWT1, MethodId::Softmax, &TuneSetup::new(4)) {
    Ok(plan) => plan,
    Err(_) => panic!(),
};
static HEAD: [f32; PLAN.head / 4] = [0.0; PLAN.head / 4];

fn config(d_model: u16, n_classes: u16) -> ModelConfig {
    ModelConfig {
        d_model,
        n_classes,
        ..KWT1
    }
}

/// Width, classes of the image, added ones.
const SHAPES: [(u16, u16, u16); 5] = [(64, 12, 4), (64, 0, 16), (7, 3, 1), (1, 1, 0), (48, 10, 2)];

/// Every buffer of a head's method, as long as the plan says but for one, which is a number shorter.
struct Buffers {
    weights: Vec<f32>,
    bias: Vec<f32>,
    names: Vec<ClassName>,
    features: Vec<f32>,
    logits: Vec<f32>,
    state: Vec<f32>,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Buffers {
    fn new(plan: &TunePlan, d: usize, short: Option<Buffer>) -> Self {
        let f = |bytes: usize, buffer: Buffer| {
            assert!(bytes.is_multiple_of(4));
            vec![0.0; bytes / 4 - usize::from(short == Some(buffer))]
        };
        let capacity = plan.head / 4 / (d + 1);
        assert_eq!(capacity * (d + 1) * 4, plan.head);
        let pairs = plan.head_moments / plan.head;
        assert_eq!(pairs * plan.head, plan.head_moments);
        let moment = |buffer| (f(4 * capacity * d, buffer), vec![0.0; capacity]);
        Self {
            weights: f(4 * capacity * d, Buffer::Weights),
            bias: f(4 * capacity, Buffer::Bias),
            names: vec![ClassName::EMPTY; plan.names / size_of::<ClassName>()],
            features: f(plan.features, Buffer::Features),
            logits: f(plan.logits, Buffer::Logits),
            state: match plan.method {
                MethodId::Ncm => f(plan.state, Buffer::Counts),
                MethodId::Ridge => f(plan.state, Buffer::Factor),
                _ => f(plan.state, Buffer::Replay),
            },
            moments: [Buffer::Velocity, Buffer::Adam, Buffer::Velocity]
                .into_iter()
                .take(pairs)
                .map(moment)
                .collect(),
        }
    }

    /// Makes the method over a head with every added class, begins an epoch, and returns the bytes of its
    /// tail.
    fn run(
        &mut self,
        plan: &TunePlan,
        shape: (u16, u16, u16),
        s: &Schedule,
    ) -> Result<usize, TuneError> {
        let (d, classes, added) = shape;
        let origin = OriginFn::new(d.into(), classes.into(), |c, k| (c + k) as f32, |_| 0.0);
        let buffers = HeadBuffers {
            weights: &mut self.weights,
            bias: &mut self.bias,
            names: &mut self.names,
        };
        let head = LinearHead::new(buffers, &origin)?;
        let (features, logits) = (&mut *self.features, &mut *self.logits);
        let name = |i: u16| format!("{i:063}");
        match plan.method {
            MethodId::Ncm => {
                let counts = &mut *self.state;
                let buffers = NcmBuffers {
                    features,
                    logits,
                    counts,
                };
                let mut method = Ncm::new(head, buffers, None)?;
                for i in 0..added {
                    method.add_class(&name(i))?;
                }
                assert!(method.add_class("more").is_err());
                method.begin_epoch(s, 0)?;
                Ok(method.tail_bytes())
            }
            MethodId::Ridge => {
                let factor = &mut *self.state;
                let buffers = RidgeBuffers {
                    features,
                    logits,
                    factor,
                };
                let mut method = Ridge::new(head, buffers, RidgeOptions::default(), None)?;
                for i in 0..added {
                    method.add_class(&name(i))?;
                }
                method.begin_epoch(s, 0)?;
                Ok(method.tail_bytes())
            }
            _ => {
                let mut moments = self
                    .moments
                    .iter_mut()
                    .map(|(weights, bias)| Velocity { weights, bias });
                let velocity = moments.next();
                let adam = moments
                    .next()
                    .zip(moments.next())
                    .map(|(g, s)| AdamState::new(g, s));
                let buffers = SoftmaxBuffers {
                    features,
                    logits,
                    velocity,
                    adam,
                };
                let mut method = Softmax::new(head, buffers, Math::Exact)?;
                for i in 0..added {
                    method.head_mut().add_class(&name(i))?;
                }
                method.begin_epoch(s, 0)?;
                Ok(method.tail_bytes())
            }
        }
    }
}

fn setup(added: u16, schedule: Schedule) -> TuneSetup {
    TuneSetup {
        schedule,
        ..TuneSetup::new(added)
    }
}

#[test]
fn buffers_of_the_plans_bytes_are_taken_and_one_number_less_is_refused() {
    assert_eq!(HEAD.len(), 16 * 65);
    let methods = [
        (
            MethodId::Ncm,
            SGD,
            &[Buffer::Features, Buffer::Logits, Buffer::Counts][..],
        ),
        (
            MethodId::Ridge,
            SGD,
            &[Buffer::Features, Buffer::Logits, Buffer::Factor],
        ),
        (MethodId::Softmax, SGD, &[Buffer::Features, Buffer::Logits]),
        (
            MethodId::Softmax,
            Schedule::DEFAULT,
            &[Buffer::Features, Buffer::Logits, Buffer::Velocity],
        ),
        (
            MethodId::Softmax,
            ADAM,
            &[
                Buffer::Features,
                Buffer::Logits,
                Buffer::Velocity,
                Buffer::Adam,
            ],
        ),
    ];
    let mut refused = 0;
    for shape in SHAPES {
        let (d, classes, added) = shape;
        let config = config(d, classes);
        for (method, schedule, buffers) in &methods {
            let plan = Tuner::plan(&config, *method, &setup(added, *schedule)).unwrap();
            let case = format!("{shape:?} {method:?} {:?}", schedule.optimizer);
            let tail = Buffers::new(&plan, d.into(), None).run(&plan, shape, schedule);
            assert_eq!(tail, Ok(plan.tail), "{case}");
            assert_eq!(plan.tail_buffer, plan.tail, "{case}");
            assert_eq!(plan.arena, arena_bytes(&config));
            for &buffer in [Buffer::Weights, Buffer::Bias].iter().chain(*buffers) {
                let found = Buffers::new(&plan, d.into(), Some(buffer)).run(&plan, shape, schedule);
                match found {
                    Err(TuneError::BufferTooSmall { .. } | TuneError::ClassesFull { .. }) => {}
                    // A head that is a class smaller asks for fewer moments, counts and logits.
                    found => panic!("{case}: {buffer:?} one short: {found:?}"),
                }
                refused += 1;
            }
            let below = [
                plan.parameters,
                plan.parameter_moments,
                plan.scratch,
                plan.block,
                plan.latent,
            ];
            assert_eq!((below, plan.replay, plan.replay_flash), ([0; 5], 0, 0));
        }
    }
    assert_eq!(refused, 5 * (5 + 5 + 4 + 5 + 6));
}

/// What momentum, batches and Adam need is there where a schedule asks for it, and refused where it is not.
#[test]
fn moments_are_those_that_a_schedule_asks_for() {
    let batch = Schedule { batch: 4, ..SGD };
    for (schedule, needed) in [(SGD, 0), (batch, 1), (Schedule::DEFAULT, 1), (ADAM, 3)] {
        let plan = Tuner::plan(&KWT1, MethodId::Softmax, &setup(4, schedule)).unwrap();
        assert_eq!(plan.head_moments, needed * plan.head);
        for (given, schedule_of) in [(0, SGD), (1, Schedule::DEFAULT), (3, ADAM)] {
            let memory = Tuner::plan(&KWT1, MethodId::Softmax, &setup(4, schedule_of)).unwrap();
            let took = Buffers::new(&memory, 64, None).run(&memory, (64, 12, 4), &schedule);
            assert_eq!(
                took.is_ok(),
                given >= needed,
                "{needed} needed, {given} given"
            );
        }
    }
}

/// The owners of fixed sizes hold what the plan counts; a ridge's own one rounds its features up.
#[test]
fn fixed_memories_are_as_large_as_their_plans() {
    let config = config(64, 0);
    let bytes = |method, schedule| {
        let plan = Tuner::plan(&config, method, &setup(16, schedule)).unwrap();
        plan.tuning()
    };
    assert_eq!(bytes(MethodId::Softmax, SGD), plain_bytes::<64, 16>());
    assert_eq!(
        bytes(MethodId::Softmax, Schedule::DEFAULT),
        momentum_bytes::<64, 16>()
    );
    assert_eq!(bytes(MethodId::Softmax, ADAM), adam_bytes::<64, 16>());
    assert_eq!(bytes(MethodId::Ncm, SGD), ncm_bytes::<64, 16>());
    let ridge = tailtune::tune::ridge_bytes::<64, 16, { tailtune::tune::ridge::factor_len(64) }>();
    assert_eq!(ridge - bytes(MethodId::Ridge, SGD), 4 * (3 * 64 - 2 * 65));
}

#[test]
fn a_replay_in_ram_is_as_large_as_its_plan() {
    for (samples, d) in [(1, 1), (64, 64), (100, 7)] {
        let setup = TuneSetup {
            samples,
            ..TuneSetup::new(2)
        };
        let plan = Tuner::plan(&config(d, 5), MethodId::Ncm, &setup).unwrap();
        let n = samples as usize;
        let (mut values, mut labels) = (vec![0i8; n * usize::from(d)], vec![0u16; n]);
        let mut seen = vec![0u32; 7];
        assert_eq!(
            plan.replay,
            values.len() + 2 * labels.len() + 4 * seen.len()
        );
        let replay = Replay::new(&mut values, &mut labels, d.into()).unwrap();
        assert_eq!(replay.balanced(&mut seen, 1).capacity(), n);
    }
}

#[test]
fn what_a_method_refuses_its_plan_refuses() {
    let mean = ModelConfig {
        pooling: Pooling::Mean,
        ..KWT1
    };
    for method in MethodId::ALL {
        let plan = Tuner::plan(&mean, method, &TuneSetup::new(0));
        assert_eq!(plan.is_err(), method.below_the_block(), "{method:?}");
    }
    let mut wide = TuneSetup::new(0);
    wide.lora.rank = 33;
    assert_eq!(
        Tuner::plan(&KWT1, MethodId::Lora, &wide),
        Err(TuneError::NoBlock)
    );
    let batch = setup(0, Schedule { batch: 2, ..SGD });
    assert!(Tuner::plan(&KWT1, MethodId::LastBlock, &batch).is_err());
    let flash = |word, erase| {
        let replay = ReplayPlace::Flash { word, erase };
        Tuner::plan(
            &KWT1,
            MethodId::Ncm,
            &TuneSetup {
                samples: 9,
                replay,
                ..TuneSetup::new(0)
            },
        )
    };
    assert!(flash(4, 4096).is_ok());
    for (word, erase) in [(0, 4096), (3, 4096), (512, 4096), (4, 0), (8, 4)] {
        assert!(flash(word, erase).is_err(), "{word} {erase}");
    }
}

/// The last block of KWT-1 with everything that its training takes, samples in flash, in 160 KiB.
#[test]
fn the_last_block_of_kwt1_fits() {
    let setup = TuneSetup {
        samples: 64,
        replay: ReplayPlace::Flash {
            word: 4,
            erase: 4096,
        },
        ..TuneSetup::new(4)
    };
    let plan = Tuner::plan(&KWT1, MethodId::LastBlock, &setup).unwrap();
    println!("{} bytes; {plan:?}", plan.ram());
    assert!(plan.ram() <= 160 * 1024, "{}", plan.ram());
    assert!(plan.parameter_moments >= plan.parameters && plan.block > 50_000);
}

/// d_model, heads, d_ff, tokens, classes; post-norm; GELU; instructions on the emulated Cortex-M4F (rustc 1.95)
/// of a step of Adam, class means, ridge, of its solution, and of the three methods below the feature with
/// momentum, by the programs of `tailtune bench`.
type Counted = ((u16, u16, u16, u16, u16), bool, bool, [u32; 7]);
#[rustfmt::skip]
const COUNTED: [Counted; 10] = [
    ((64, 1, 256, 99, 12), true, true, [98_465, 5_944, 19_455, 757_944, 1_290_132, 1_339_662, 3_909_337]),
    ((64, 4, 256, 50, 10), false, true, [81_700, 5_270, 18_781, 698_338, 1_660_695, 1_731_000, 4_293_294]),
    ((64, 4, 256, 99, 12), true, true, [98_470, 5_944, 19_455, 757_944, 2_122_867, 2_226_430, 4_756_830]),
    ((48, 4, 96, 50, 10), false, true, [62_258, 4_264, 12_569, 390_014, 936_146, 996_707, 1_975_665]),
    ((32, 2, 128, 30, 4), true, false, [17_793, 1_956, 6_271, 120_248, 392_905, 432_318, 985_416]),
    ((64, 1, 256, 20, 2), true, true, [17_195, 2_574, 16_085, 459_914, 1_056_117, 1_105_647, 3_685_526]),
    ((64, 1, 64, 99, 12), true, true, [98_492, 5_944, 19_455, 757_944, 821_604, 876_990, 2_170_105]),
    ((32, 1, 128, 99, 16), true, true, [68_805, 4_544, 8_859, 248_252, 481_764, 510_122, 1_199_249]),
    ((16, 1, 32, 10, 3), false, false, [7_592, 1_153, 2_694, 31_049, 95_648, 111_416, 227_862]),
    ((64, 1, 256, 99, 12), true, false, [98_465, 5_944, 19_455, 757_944, 1_254_308, 1_303_838, 3_432_009]),
];

/// d_model and classes; a step of plain SGD and with momentum. The first is `tests/bench.json`'s.
const COUNTED_HEADS: [((u16, u16), [u32; 2]); 4] = [
    ((64, 12), [9_941, 13_624]),
    ((64, 2), [2_321, 2_954]),
    ((32, 16), [8_192, 11_047]),
    ((16, 3), [1_406, 1_768]),
];

#[test]
fn instructions_are_within_15_percent_of_counted_ones() {
    use MethodId::*;
    let momentum = Schedule::DEFAULT;
    let close = |case: String, estimate: u32, counted: u32| {
        let off = f64::from(estimate) / f64::from(counted) - 1.0;
        println!("{case}: {estimate} of {counted}, {:+.1} %", 100.0 * off);
        assert!(off.abs() <= 0.15, "{case}: {estimate} of {counted}");
    };
    for (shape, counted) in COUNTED_HEADS {
        for (schedule, counted) in [SGD, momentum].into_iter().zip(counted) {
            let setup = setup(0, schedule);
            let plan = Tuner::plan(&config(shape.0, shape.1), Softmax, &setup).unwrap();
            close(format!("{shape:?} softmax"), plan.instructions(), counted);
        }
    }
    for (shape, post, gelu, counted) in COUNTED {
        let (d_model, n_heads, d_ff, seq_len, n_classes) = shape;
        let config = ModelConfig {
            d_model,
            n_heads,
            d_ff,
            seq_len,
            n_classes,
            norm: if post {
                NormOrder::Post
            } else {
                NormOrder::Pre
            },
            activation: if gelu {
                Activation::Gelu
            } else {
                Activation::Relu
            },
            final_norm: !post,
            ..KWT1
        };
        let plan = |method, schedule| Tuner::plan(&config, method, &setup(0, schedule)).unwrap();
        let solution = plan(Ridge, SGD).end_instructions();
        let estimates = [
            plan(Softmax, ADAM).instructions(),
            plan(Ncm, SGD).instructions(),
            plan(Ridge, SGD).instructions(),
            solution,
            plan(NormBias, momentum).instructions(),
            plan(Lora, momentum).instructions(),
            plan(LastBlock, momentum).instructions(),
        ];
        for ((which, estimate), counted) in estimates.into_iter().enumerate().zip(counted) {
            close(format!("{shape:?} {which}"), estimate, counted);
        }
    }
}
