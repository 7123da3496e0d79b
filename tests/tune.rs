//! Tuning in fixed memory: what it learns, what it refuses, that it repeats to the bit, and tails.

mod common;

use common::random::Random;
use proptest::prelude::*;
use tailtune::model::Features;
use tailtune::store::record::checksum;
use tailtune::tune::*;

const D: usize = 16;
const C: usize = 6;
const SCALE: f32 = 0.03;
const ZERO_POINT: i8 = -5;

fn features(values: &[i8]) -> Features<'_> {
    Features {
        values,
        scale: SCALE,
        zero_point: ZERO_POINT,
    }
}

/// Samples around one random centre per class.
fn clusters(classes: usize, per_class: usize, seed: u64, spread: i32) -> Vec<([i8; D], u16)> {
    let mut centres = Random(99);
    let centres: Vec<[i8; D]> = (0..classes)
        .map(|_| core::array::from_fn(|_| centres.int8()))
        .collect();
    let mut random = Random(seed);
    let noise = |random: &mut Random| random.below(2 * spread as usize + 1) as i32 - spread;
    (0..classes * per_class)
        .map(|i| {
            let label = i % classes;
            let values = centres[label].map(|v| {
                let v = i32::from(v) + noise(&mut random);
                v.clamp(-128, 127) as i8
            });
            (values, label as u16)
        })
        .collect()
}

/// All memory of a small tuner.
struct Memory {
    head: HeadMemory<D, C>,
    softmax: MomentumMemory<D, C>,
    replay: ReplayMemory<D, 64>,
}

impl Memory {
    fn new() -> Self {
        Self {
            head: HeadMemory::new(),
            softmax: MomentumMemory::new(),
            replay: ReplayMemory::new(),
        }
    }

    fn tuner<'m>(&'m mut self, origin: &'m dyn HeadOrigin) -> Tuner<'m, Softmax<'m>> {
        let head = LinearHead::new(self.head.buffers(), origin).unwrap();
        let method = Softmax::new(head, self.softmax.buffers(), Math::Exact).unwrap();
        Tuner::new(method, self.replay.replay(D).unwrap())
    }
}

const SCRATCH: FromScratch = FromScratch { d_model: D };
/// What stands for an image's head of four classes.
fn image() -> impl HeadOrigin {
    let weight = |class: usize, k: usize| ((class * 31 + k * 17) % 23) as f32 / 23.0 - 0.5;
    OriginFn::new(D, 4, weight, |class| class as f32 * 0.1 - 0.2)
}

fn observe(tuner: &mut Tuner<'_, Softmax<'_>>, samples: &[([i8; D], u16)]) {
    for (values, label) in samples {
        tuner.observe(&features(values), *label).unwrap();
    }
}

fn parameters(tuner: &Tuner<'_, Softmax<'_>>) -> Vec<u32> {
    let head = tuner.method().head();
    let weights = (0..head.classes()).flat_map(|c| head.weights(c).unwrap());
    weights.chain(head.bias()).map(|w| w.to_bits()).collect()
}

fn tail(tuner: &Tuner<'_, Softmax<'_>>) -> Vec<u8> {
    let mut bytes = vec![0xaa; tuner.tail_bytes()];
    assert_eq!(tuner.emit_tail(&mut bytes), Ok(bytes.len()));
    bytes
}

fn accuracy(tuner: &mut Tuner<'_, Softmax<'_>>, samples: &[([i8; D], u16)]) -> f64 {
    let right = samples.iter().filter(|(values, label)| {
        let found = tuner.method_mut().predict(&features(values));
        found == Ok(*label)
    });
    right.count() as f64 / samples.len() as f64
}

#[test]
fn learns_classes_from_scratch() {
    let mut memory = Memory::new();
    let mut tuner = memory.tuner(&SCRATCH);
    for name in ["a", "b", "c", "d"] {
        tuner.method_mut().head_mut().add_class(name).unwrap();
    }
    observe(&mut tuner, &clusters(4, 5, 1, 60));
    let report = tuner.fit(&Schedule::default()).unwrap();
    assert_eq!((report.epochs, report.steps), (20, 400));
    assert!(report.last_loss < 0.05 * report.first_loss, "{report:?}");
    assert_eq!(
        tuner.score(),
        Ok(Score {
            right: 20,
            total: 20
        })
    );
    let test = clusters(4, 100, 2, 60);
    let found = accuracy(&mut tuner, &test);
    assert!(found > 0.97, "{found}");
}

#[test]
fn classes_grow_at_run_time() {
    let origin = image();
    let mut memory = Memory::new();
    let mut tuner = memory.tuner(&origin);
    let mut old = [0.0; 4];
    let before: Vec<_> = clusters(6, 4, 3, 20)
        .iter()
        .map(|(values, _)| {
            let head = tuner.method().head();
            head.logits(&features(values), &mut old).unwrap();
            argmax(&old).unwrap()
        })
        .collect();
    let head = tuner.method_mut().head_mut();
    assert_eq!(head.add_class("new word"), Ok(4));
    assert_eq!(head.add_class("كلمة"), Ok(5));
    let class = 5;
    assert_eq!(head.add_class("كلمة"), Err(TuneError::NameTaken { class }));
    assert_eq!(
        head.add_class("x"),
        Err(TuneError::ClassesFull { capacity: C })
    );
    assert_eq!((head.classes(), head.model_classes()), (6, 4));
    assert_eq!(head.added_name(3), None);
    assert_eq!(head.added_name(4), Some("new word"));
    assert_eq!(head.added_name(5), Some("كلمة"));
    assert_eq!(head.added_name(6), None);
    // Untrained, the new classes win nothing that was decided before.
    for ((values, _), before) in clusters(6, 4, 3, 20).iter().zip(before) {
        let found = tuner.method_mut().predict(&features(values)).unwrap();
        assert_eq!(usize::from(found), before);
    }
    observe(&mut tuner, &clusters(6, 4, 4, 20));
    tuner.fit(&Schedule::default()).unwrap();
    let found = accuracy(&mut tuner, &clusters(6, 50, 5, 20));
    assert!(found > 0.99, "{found}");
}

#[test]
fn names_have_a_limit() {
    let mut memory = Memory::new();
    let mut tuner = memory.tuner(&SCRATCH);
    let head = tuner.method_mut().head_mut();
    let long = "x".repeat(NAME_BYTES);
    assert_eq!(head.add_class(&long), Ok(0));
    let (found, capacity) = (NAME_BYTES + 1, NAME_BYTES);
    let error = head.add_class(&"y".repeat(found));
    assert_eq!(error, Err(TuneError::NameTooLong { found, capacity }));
    assert_eq!(head.classes(), 1);
}

#[test]
fn bad_samples_are_refused_and_change_nothing() {
    let origin = image();
    let mut memory = Memory::new();
    let mut tuner = memory.tuner(&origin);
    let start = parameters(&tuner);
    let values = [1i8; D + 1];
    let good = features(&values[..D]);
    let with_scale = |scale| Features { scale, ..good };
    let (found, classes) = (4, 4);
    let label = TuneError::LabelOutOfRange { found, classes };
    assert_eq!(tuner.observe(&good, 4), Err(label));
    for found in [0, D - 1, D + 1] {
        let error = tuner.observe(&features(&values[..found]), 0);
        let expected = D;
        assert_eq!(error, Err(TuneError::FeatureLength { found, expected }));
    }
    let scales = [0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for scale in scales {
        let scale_error = |result| matches!(result, Err(TuneError::FeatureScale { .. }));
        assert!(scale_error(tuner.observe(&with_scale(scale), 0)));
        let method = tuner.method_mut();
        assert!(scale_error(
            method.step(&with_scale(scale), 0, 1.0).map(|_| ())
        ));
        assert!(scale_error(method.predict(&with_scale(scale)).map(|_| ())));
        let mut out = [0.0; 4];
        assert!(scale_error(
            method.head().logits(&with_scale(scale), &mut out)
        ));
    }
    assert_eq!(tuner.fit(&Schedule::default()), Err(TuneError::NoSamples));
    for _ in 0..64 {
        tuner.observe(&good, 1).unwrap();
    }
    let full = TuneError::ReplayFull { capacity: 64 };
    assert_eq!(tuner.observe(&good, 1), Err(full));
    tuner.replay_mut().clear();
    tuner.observe(&good, 1).unwrap();
    let mixed = tuner.observe(&with_scale(1.0), 1);
    assert!(matches!(mixed, Err(TuneError::FeatureQuantization { .. })));
    assert_eq!(tuner.replay().labels(), [1]);
    assert_eq!(tuner.method_mut().step(&good, 9, 1.0).map(|_| ()), {
        let (found, classes) = (9, 4);
        Err(TuneError::LabelOutOfRange { found, classes })
    });
    assert_eq!(parameters(&tuner), start);
}

#[test]
fn bad_schedules_are_refused() {
    let origin = image();
    let mut memory = Memory::new();
    let mut tuner = memory.tuner(&origin);
    observe(&mut tuner, &clusters(4, 1, 1, 1));
    let start = parameters(&tuner);
    let good = Schedule::default();
    use ScheduleField::*;
    let bad = [
        (Schedule { epochs: 0, ..good }, Epochs),
        (
            Schedule {
                learning_rate: 0.0,
                ..good
            },
            LearningRate,
        ),
        (
            Schedule {
                learning_rate: f32::NAN,
                ..good
            },
            LearningRate,
        ),
        (
            Schedule {
                momentum: 1.0,
                ..good
            },
            Momentum,
        ),
        (
            Schedule {
                momentum: f32::NAN,
                ..good
            },
            Momentum,
        ),
        (
            Schedule {
                weight_decay: -1.0,
                ..good
            },
            WeightDecay,
        ),
        (
            Schedule {
                weight_decay: f32::NAN,
                ..good
            },
            WeightDecay,
        ),
        (
            Schedule {
                weight_decay: 100.0,
                ..good
            },
            WeightDecay,
        ),
    ];
    for (schedule, field) in bad {
        assert_eq!(tuner.fit(&schedule), Err(TuneError::Schedule(field)));
    }
    assert_eq!(parameters(&tuner), start);
    // Momentum without memory for it.
    let mut head = HeadMemory::<D, C>::new();
    let mut plain = SoftmaxMemory::<D, C>::new();
    let head = LinearHead::new(head.buffers(), &origin).unwrap();
    let mut method = Softmax::new(head, plain.buffers(), Math::Exact).unwrap();
    let (buffer, needed, found) = (Buffer::Velocity, C * D, 0);
    let missing = TuneError::BufferTooSmall {
        buffer,
        needed,
        found,
    };
    assert_eq!(method.begin_epoch(&good, 0), Err(missing));
    let plain = Schedule {
        momentum: 0.0,
        ..good
    };
    assert_eq!(method.begin_epoch(&plain, 0), Ok(()));
}

#[test]
fn small_buffers_are_refused() {
    let origin = image();
    let mut names = [const { ClassName::EMPTY }; 2];
    let mut bias = [0.0; 4];
    let mut weights = [0.0; 4 * D];
    let mut new = |w: usize, b: usize| {
        let buffers = HeadBuffers {
            weights: &mut weights[..w],
            bias: &mut bias[..b],
            names: &mut names,
        };
        LinearHead::new(buffers, &origin).map(|head| head.capacity())
    };
    assert_eq!(new(4 * D, 4), Ok(4));
    let error = |buffer, needed, found| {
        Err(TuneError::BufferTooSmall {
            buffer,
            needed,
            found,
        })
    };
    assert_eq!(new(4 * D - 1, 4), error(Buffer::Weights, 4 * D, 4 * D - 1));
    assert_eq!(new(4 * D, 3), error(Buffer::Bias, 4, 3));
    let mut none = HeadMemory::<D, C>::new();
    let empty = FromScratch { d_model: 0 };
    let head = LinearHead::new(none.buffers(), &empty).map(|_| ());
    assert_eq!(head, Err(TuneError::NoFeatures));
    let mut head = HeadMemory::<D, C>::new();
    let mut softmax = SoftmaxMemory::<8, C>::new();
    let head = LinearHead::new(head.buffers(), &origin).unwrap();
    let method = Softmax::new(head, softmax.buffers(), Math::Exact).map(|_| 0);
    assert_eq!(method, error(Buffer::Features, D, 8));
    let replay = Replay::new(&mut [0; D - 1], &mut [0; 4], D).map(|_| 0);
    assert_eq!(replay, error(Buffer::Replay, D, D - 1));
}

#[test]
fn divergence_puts_the_old_tail_back() {
    let origin = image();
    let mut memory = Memory::new();
    let mut tuner = memory.tuner(&origin);
    tuner.method_mut().head_mut().add_class("new").unwrap();
    observe(&mut tuner, &clusters(5, 4, 1, 60));
    let start = parameters(&tuner);
    for learning_rate in [1e36, 1e38, f32::MAX] {
        let schedule = Schedule {
            learning_rate,
            ..Schedule::default()
        };
        let mut fit = tuner.begin_fit(&schedule).unwrap();
        let error = loop {
            match fit.step() {
                Ok(more) => assert!(more, "{learning_rate} should diverge"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, TuneError::NotFinite { .. }), "{error:?}");
        // It stays over, however it is asked.
        assert_eq!(fit.step(), Err(error));
        assert_eq!(fit.finish(), Err(error));
        assert_eq!(parameters(&tuner), start);
    }
    // And it still learns, as if nothing had been.
    tuner.fit(&Schedule::default()).unwrap();
    let after = parameters(&tuner);
    let mut memory = Memory::new();
    let mut fresh = memory.tuner(&origin);
    fresh.method_mut().head_mut().add_class("new").unwrap();
    observe(&mut fresh, &clusters(5, 4, 1, 60));
    fresh.fit(&Schedule::default()).unwrap();
    assert_eq!(parameters(&fresh), after);
}

#[test]
fn an_origin_that_is_not_finite_trains_nothing() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let weight = |class, k| if (class, k) == (1, 3) { bad } else { 0.1 };
        let origin = OriginFn::new(D, 4, weight, |_| 0.0);
        let mut memory = Memory::new();
        let mut tuner = memory.tuner(&origin);
        observe(&mut tuner, &clusters(4, 2, 1, 60));
        let start = parameters(&tuner);
        let error = tuner.fit(&Schedule::default());
        assert!(matches!(error, Err(TuneError::NotFinite { .. })));
        assert_eq!(parameters(&tuner), start);
        let mut out = [0; 1000];
        let error = tuner.emit_tail(&mut out);
        assert_eq!(error, Err(TailError::NotFinite { index: D + 3 }));
    }
}

/// Steps taken one by one are the fit, and the order is the seed's.
#[test]
fn repeats_to_the_bit() {
    let run = |seed, scale, one_by_one| {
        let origin = image();
        let mut memory = Memory::new();
        let mut tuner = memory.tuner(&origin);
        for (values, label) in clusters(4, 6, 8, 40) {
            let features = Features {
                values: &values,
                scale,
                zero_point: ZERO_POINT,
            };
            tuner.observe(&features, label).unwrap();
        }
        let schedule = Schedule {
            seed,
            epochs: 7,
            weight_decay: 1e-3,
            ..Schedule::default()
        };
        let report = if one_by_one {
            let mut fit = tuner.begin_fit(&schedule).unwrap();
            for left in (0..7 * 24).rev() {
                assert_eq!(fit.step(), Ok(left > 0));
                assert_eq!(fit.steps_left(), left);
            }
            assert_eq!(fit.step(), Ok(false));
            fit.finish().unwrap()
        } else {
            tuner.fit(&schedule).unwrap()
        };
        (parameters(&tuner), report)
    };
    // The second scale makes features, products and velocities subnormal.
    for scale in [SCALE, 3e-41] {
        assert_eq!(run(1, scale, false), run(1, scale, false));
        assert_eq!(run(1, scale, false), run(1, scale, true));
        assert_ne!(run(1, scale, false).0, run(2, scale, false).0);
    }
}

/// The bits themselves, so that another target or another version of the math library is noticed.
#[test]
fn golden_bits() {
    let mut sums = [0; 3];
    for (sum, (math, scale)) in sums.iter_mut().zip([
        (Math::Exact, SCALE),
        (Math::Exact, 3e-41),
        (Math::Fast, SCALE),
    ]) {
        let mut memory = Memory::new();
        let head = LinearHead::new(memory.head.buffers(), &SCRATCH).unwrap();
        let method = Softmax::new(head, memory.softmax.buffers(), math).unwrap();
        let mut tuner = Tuner::new(method, memory.replay.replay(D).unwrap());
        for name in ["a", "b", "c"] {
            tuner.method_mut().head_mut().add_class(name).unwrap();
        }
        for (values, label) in clusters(3, 6, 8, 40) {
            let features = Features {
                values: &values,
                scale,
                zero_point: ZERO_POINT,
            };
            tuner.observe(&features, label).unwrap();
        }
        let schedule = Schedule {
            weight_decay: 1e-3,
            ..Schedule::default()
        };
        tuner.fit(&schedule).unwrap();
        // From the names on: the numbers, whatever the header's format.
        *sum = checksum(&tail(&tuner)[tail::HEADER_BYTES..]);
    }
    assert_eq!(
        sums.map(|sum| format!("{sum:08x}")),
        ["1519ab4d", "548f14c2", "8a5de7ab"]
    );
}

#[test]
fn ram_is_as_promised() {
    let (plain, momentum) = (plain_bytes::<64, 16>(), momentum_bytes::<64, 16>());
    println!("d_model 64, 16 classes: {plain} bytes plain, {momentum} with momentum");
    assert!(plain <= 8 * 1024, "{plain}");
    assert!(momentum <= 16 * 1024, "{momentum}");
    // The numbers of the module's documentation, in KiB.
    assert_eq!((plain * 10).div_ceil(1024), 57);
    assert_eq!((momentum * 10).div_ceil(1024), 98);
    let (ncm, adam) = (ncm_bytes::<64, 16>(), adam_bytes::<64, 16>());
    let ridge = ridge_bytes::<64, 16, { ridge::factor_len(64) }>();
    println!("{ncm} as means, {ridge} ridge, {adam} Adam");
    assert!(ridge <= 16 * 1024 && adam <= 20 * 1024, "{ridge} {adam}");
    assert_eq!(
        [ncm, ridge, adam].map(|n| (n * 10).div_ceil(1024)),
        [56, 145, 179]
    );
}

fn small_tail() -> Vec<u8> {
    let weight = |class: usize, k: usize| (class + 2 * k) as f32 * 0.25 - 1.0;
    let origin = OriginFn::new(3, 2, weight, |class| class as f32);
    let mut head = HeadMemory::<3, 4>::new();
    let mut memory = SoftmaxMemory::<3, 4>::new();
    let mut head = LinearHead::new(head.buffers(), &origin).unwrap();
    head.add_class("né").unwrap();
    head.add_class("").unwrap();
    let method = Softmax::new(head, memory.buffers(), Math::Fast).unwrap();
    let mut bytes = vec![0xaa; method.tail_bytes()];
    assert_eq!(method.emit_tail(&mut bytes), Ok(bytes.len()));
    bytes
}

#[test]
fn tail_bytes_are_as_documented() {
    let bytes = small_tail();
    assert_eq!(
        bytes[..16],
        [2, 3, 1, 0, 3, 0, 4, 0, 2, 0, 5, 0, 0, 0, 0, 0]
    );
    assert_eq!(&bytes[16..24], b"\x03n\xc3\xa9\0\0\0\0");
    assert_eq!(bytes.len(), 24 + 4 * (4 * 3 + 4));
    assert_eq!(bytes[24..32], [0, 0, 0x80, 0xbf, 0, 0, 0, 0xbf]);
    let tail = Tail::parse(&bytes).unwrap();
    assert_eq!(
        (tail.method(), tail.math()),
        (MethodId::Softmax, Math::Fast)
    );
    assert!(tail.added_names().eq(["né", ""]));
}

#[test]
fn tails_round_trip_and_give_the_same_logits() {
    let origin = image();
    let mut memory = Memory::new();
    let mut tuner = memory.tuner(&origin);
    tuner.method_mut().head_mut().add_class("new word").unwrap();
    observe(&mut tuner, &clusters(5, 4, 1, 60));
    tuner.fit(&Schedule::default()).unwrap();
    let bytes = tail(&tuner);
    let parsed = Tail::parse(&bytes).unwrap();
    let mut again = Memory::new();
    let mut copy = again.tuner(&parsed);
    assert_eq!(parameters(&copy), parameters(&tuner));
    assert_eq!(tail(&copy), bytes);
    assert_eq!(copy.method().head().added_name(4), Some("new word"));
    assert_eq!(copy.method_mut().head_mut().add_class("another"), Ok(5));
    for (values, _) in clusters(5, 10, 9, 90) {
        let features = features(&values);
        let (mut a, mut b) = ([0.0; 5], [0.0; 5]);
        tuner.method().head().logits(&features, &mut a).unwrap();
        parsed.logits(&features, &mut b).unwrap();
        let c = tuner.method_mut().logits(&features).unwrap();
        assert_eq!(a.map(f32::to_bits), b.map(f32::to_bits));
        assert!(c.iter().map(|l| l.to_bits()).eq(a.map(f32::to_bits)));
    }
    let (needed, found) = (bytes.len(), bytes.len() - 1);
    let error = tuner.emit_tail(&mut vec![0; found]);
    assert_eq!(error, Err(TailError::BufferTooSmall { needed, found }));
}

/// Every prefix, every byte set to every value, and whatever parses is the only form of its content.
#[test]
fn broken_tails_are_refused() {
    let good = small_tail();
    for len in 0..good.len() {
        assert!(Tail::parse(&good[..len]).is_err(), "{len}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(
        Tail::parse(&longer),
        Err(TailError::Length { .. })
    ));
    for at in 0..good.len() {
        for value in 0..=255u8 {
            let mut bytes = good.clone();
            bytes[at] = value;
            let Ok(tail) = Tail::parse(&bytes) else {
                continue;
            };
            assert!(
                at >= 24 || bytes == good || matches!(at, 1..=3 | 16..24),
                "{at} {value}"
            );
            let mut memory = HeadMemory::<3, 4>::new();
            let head = LinearHead::new(memory.buffers(), &tail).unwrap();
            assert!(head.is_finite());
            let mut again = vec![0; bytes.len()];
            let emitted = tail::emit_head(&head, tail.method(), tail.math(), &mut again);
            assert_eq!(emitted, Ok(bytes.len()));
            assert_eq!(again, bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_parse_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200), shape: [u8; 4]) {
        let _ = Tail::parse(&bytes);
        // Past the first checks.
        if bytes.len() >= tail::HEADER_BYTES {
            let [d, c, m, n] = shape;
            let mut hostile = bytes.clone();
            let shape = [2, 1 + n % 6, 0, 0, d % 4, 0, c % 4, 0, m % 4, 0, n % 16, 0, 16 * (d % 3), 0, 0, 0];
            hostile[..shape.len()].copy_from_slice(&shape);
            let _ = Tail::parse(&hostile);
        }
    }

    /// Whatever features, scales and rates: no panic, and parameters that are finite.
    #[test]
    fn any_sample_and_schedule(
        values in prop::array::uniform16(any::<i8>()),
        scale in any::<u32>().prop_map(f32::from_bits),
        zero_point: i8,
        label in 0u16..6,
        rate in any::<u32>().prop_map(f32::from_bits),
        momentum in 0.0f32..1.0,
        decay in any::<u32>().prop_map(f32::from_bits),
    ) {
        let origin = image();
        let mut memory = Memory::new();
        let mut tuner = memory.tuner(&origin);
        let features = Features { values: &values, scale, zero_point };
        let _ = tuner.observe(&features, label);
        let schedule = Schedule {
            learning_rate: rate, momentum, weight_decay: decay, ..Schedule::default()
        };
        let _ = tuner.fit(&schedule);
        prop_assert!(tuner.method().is_finite());
        let _ = tuner.method_mut().predict(&features);
    }
}
