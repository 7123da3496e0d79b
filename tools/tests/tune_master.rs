//! The last block trained by an f32 copy of its weights, on blocks of many shapes: what the int8 weights are
//! of it, its first step against that of training in place, and the ways in which it can go wrong.

mod blocks;

use blocks::*;
use tailtune::image::{Image, ModelConfig, TensorKind, patch_range};
use tailtune::model::Features;
use tailtune::tune::block::{
    BlockOptions, MasterBuffers, Rounding, affine_len, block_bytes, master_len,
};
use tailtune::tune::{
    Buffer, Fit, LastBlock, LastBlockMaster, Method, Samples, Schedule, Tail, TuneError,
};
use tailtune_tools::int8::Int8Model;

use TensorKind::*;

/// Weights and epilogues, in the copy's order.
const PROJECTIONS: [(TensorKind, TensorKind); 6] = [
    (Query, QueryEpilogue),
    (Key, KeyEpilogue),
    (Value, ValueEpilogue),
    (Out, OutEpilogue),
    (Ff1, Ff1Epilogue),
    (Ff2, Ff2Epilogue),
];

/// Steps at which no shape diverges.
const GENTLE: BlockOptions = BlockOptions {
    rate: 0.2,
    rounding: Rounding::Grid,
};

struct Case {
    config: ModelConfig,
    image: Image<'static>,
    samples: Vec<(Vec<i8>, Vec<i8>)>,
    grid: (f32, i8),
}

fn cases() -> impl Iterator<Item = Case> {
    configs().into_iter().enumerate().map(|(index, config)| {
        let int8: Int8Model = model(&config, 60 + index as u64);
        let image = leaked(&int8);
        Case {
            samples: latents(&int8, 12, 13),
            grid: grid(&image),
            image,
            config,
        }
    })
}

impl Case {
    fn features(&self, index: usize) -> Features<'_> {
        Features {
            values: &self.samples[index].0,
            scale: self.grid.0,
            zero_point: self.grid.1,
        }
    }

    fn master(&self, velocity: bool, options: BlockOptions) -> LastBlockMaster<'static> {
        let len = master_len(&self.config);
        let copy = MasterBuffers {
            weights: leak(0.0, len),
            velocity: leak(0.0, if velocity { len } else { 0 }),
        };
        let block = aligned(block_bytes(&self.image));
        let buffers = buffers(&self.config, affine_len(&self.config));
        let head = head(self.config.d_model.into());
        LastBlockMaster::new(&self.image, head, block, copy, buffers, options).unwrap()
    }

    /// A projection's `[out, in]`.
    fn shape(&self, projection: usize) -> (usize, usize) {
        let (d, ff) = (self.config.d_model.into(), self.config.d_ff.into());
        [(d, d), (d, d), (d, d), (d, d), (ff, d), (d, ff)][projection]
    }

    /// Every int8 weight of a tail's block, in the copy's order.
    fn weights(&self, block: &[u8]) -> Vec<i8> {
        let mut all = Vec::new();
        for (projection, (kind, _)) in PROJECTIONS.into_iter().enumerate() {
            let (rows, columns) = self.shape(projection);
            let data = &block[patch_range(block, kind, 1).unwrap()];
            for channel in 0..rows {
                for k in 0..columns {
                    all.push(data[packed(channel, k, rows, columns)].cast_signed());
                }
            }
        }
        all
    }
}

/// Where a weight lies: pairs of channels interleaved, a last odd one alone.
fn packed(channel: usize, k: usize, rows: usize, columns: usize) -> usize {
    match channel | 1 {
        odd if odd < rows => (channel - channel % 2) * columns + 2 * k + channel % 2,
        _ => channel * columns + k,
    }
}

fn learn<M: Method>(method: &mut M, case: &Case, schedule: &Schedule) -> (f32, f32) {
    let mut losses = Vec::new();
    for epoch in 0..schedule.epochs {
        method.begin_epoch(schedule, epoch).unwrap();
        let steps = (0..case.samples.len()).map(|i| {
            let label = (i % CLASSES) as u16;
            method.step(&case.features(i), label, 1.0).unwrap()
        });
        losses.push(steps.sum::<f32>());
        method.end_epoch().unwrap();
    }
    (losses[0], losses[losses.len() - 1])
}

#[test]
fn int8_weights_are_the_copy_rounded() {
    for case in cases() {
        for (velocity, batch, momentum, learning_rate) in [
            (false, 1, 0.0, 0.02),
            (false, 1, 0.5, 0.02),
            (true, 1, 0.5, 0.02),
            (true, 5, 0.5, 0.1),
        ] {
            let what = format!("batch {batch}, momentum {momentum}, {:?}", case.config);
            let mut method = case.master(velocity, GENTLE);
            let start = Tail::parse(emit(&method)).unwrap().block();
            let before = case.weights(start);
            let copied = |method: &LastBlockMaster<'_>| method.weights().0.to_vec();
            assert!(
                copied(&method)
                    .iter()
                    .zip(&before)
                    .all(|(u, &q)| *u == f32::from(q))
            );
            let schedule = Schedule {
                epochs: 30,
                batch,
                momentum,
                learning_rate,
                ..Schedule::default()
            };
            let (first, last) = learn(&mut method, &case, &schedule);
            assert!(last < 0.85 * first, "{what}: loss {first} → {last}");
            // Without the linear biases' own part, what is left is what moved weights make of them.
            let norms = if case.config.final_norm { 6 } else { 4 };
            let biases = norms * usize::from(case.config.d_model);
            method.parameters_mut().0[biases..].fill(0.0);
            let block = Tail::parse(emit(&method)).unwrap().block();
            let after = case.weights(block);
            for (i, (u, &q)) in copied(&method).iter().zip(&after).enumerate() {
                let rounded = libm::rintf(*u).clamp(-127.0, 127.0);
                assert_eq!(f32::from(q), rounded, "{what}: weight {i}, {u}");
            }
            let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            assert!(changed > 0, "{what}: no weight moved");
            assert_biases_follow(&case, start, block, &before, &after);
        }
    }
}

/// `bias = b / unit − zero point · Σ weights`, whatever the weights.
fn assert_biases_follow(case: &Case, start: &[u8], block: &[u8], before: &[i8], after: &[i8]) {
    let mut at = 0;
    for (projection, (kind, epilogue)) in PROJECTIONS.into_iter().enumerate() {
        let (rows, columns) = case.shape(projection);
        let zero = zero_point(&case.image, kind);
        let bias = |block: &[u8], channel: usize| {
            let data = &block[patch_range(block, epilogue, 1).unwrap()];
            i32::from_le_bytes(data[8 * channel..][..4].try_into().unwrap())
        };
        for channel in 0..rows {
            let row = at + channel * columns..at + (channel + 1) * columns;
            let sum = |weights: &[i8]| weights.iter().map(|&w| i32::from(w)).sum::<i32>();
            let moved = sum(&after[row.clone()]) - sum(&before[row]);
            let want = bias(start, channel) - zero * moved;
            assert_eq!(bias(block, channel), want, "{kind:?}, channel {channel}");
        }
        at += rows * columns;
    }
}

/// The first step in place is that of the copy, rounded up or down, and on average the same; norms, biases and
/// head step alike to the bit.
#[test]
fn the_first_step_is_that_of_training_in_place() {
    const SEEDS: u32 = 60;
    for case in cases() {
        let stepped = |schedule: &Schedule, method: &mut dyn Method| {
            method.restore();
            method.begin_epoch(schedule, 0).unwrap();
            method.step(&case.features(1), 2, 1.0).unwrap()
        };
        let config = &case.config;
        let d = usize::from(config.d_model);
        let copy = MasterBuffers {
            weights: leak(0.0, master_len(config)),
            velocity: &mut [],
        };
        let lend = || buffers(config, affine_len(config));
        let bytes = || aligned(block_bytes(&case.image));
        let on_grid = BlockOptions {
            rate: 300.0,
            rounding: Rounding::Grid,
        };
        let image = &case.image;
        let mut master =
            LastBlockMaster::new(image, image_head(image), bytes(), copy, lend(), on_grid).unwrap();
        let mut in_place =
            LastBlock::new(image, image_head(image), bytes(), lend(), on_grid).unwrap();
        assert_eq!(master.head().d_model(), d);
        let before = case.weights(Tail::parse(emit(&master)).unwrap().block());
        let schedule = |seed| Schedule {
            momentum: 0.0,
            learning_rate: 0.01,
            seed,
            ..Schedule::default()
        };
        let loss = stepped(&schedule(1), &mut master);
        let steps: Vec<f32> = master
            .weights()
            .0
            .iter()
            .zip(&before)
            .map(|(u, &q)| u - f32::from(q))
            .collect();
        let mut mean = vec![0f64; steps.len()];
        for seed in 1..=SEEDS {
            assert_eq!(stepped(&schedule(seed), &mut in_place), loss);
            assert_eq!(in_place.parameters_mut().0, master.parameters_mut().0);
            assert_eq!(in_place.head().bias(), master.head().bias());
            let after = case.weights(Tail::parse(emit(&in_place)).unwrap().block());
            for (i, (after, &q)) in after.iter().zip(&before).enumerate() {
                let moved = f32::from(*after) - f32::from(q);
                assert!(
                    (moved - steps[i]).abs() < 1.001,
                    "{config:?}, weight {i}: {moved}, {}",
                    steps[i]
                );
                mean[i] += f64::from(moved) / f64::from(SEEDS);
            }
        }
        let mut at = 0;
        for (projection, (kind, _)) in PROJECTIONS.into_iter().enumerate() {
            let (rows, columns) = case.shape(projection);
            // A weight near its clip moves less far, on average, than the copy.
            let range = (at..at + rows * columns).filter(|&i| before[i].abs() < 90);
            let (mut off, mut size) = (0.0, 0.0);
            for i in range {
                off += (mean[i] - f64::from(steps[i])).powi(2);
                size += f64::from(steps[i]).powi(2);
            }
            let share = (off / size).sqrt();
            assert!(share < 0.02, "{config:?}, {kind:?}: {share}");
            at += rows * columns;
        }
    }
}

/// Samples, and the labels they go by.
struct Labelled<'c, L> {
    case: &'c Case,
    label: L,
}

/// Whether a sample is the second or fourth of its class; it is the one before it once more.
fn is_second(index: usize) -> bool {
    (index / CLASSES) % 2 == 1
}

fn right(index: usize) -> u16 {
    (index % CLASSES) as u16
}

impl<L: Fn(usize) -> u16> Samples for Labelled<'_, L> {
    fn len(&self) -> usize {
        self.case.samples.len()
    }

    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)> {
        let label = (self.label)(index);
        let seen = index - if is_second(index) { CLASSES } else { 0 };
        (index < self.len()).then(|| (self.case.features(seen), label))
    }
}

/// A fit that makes the samples held back worse goes back to the image: copy, int8 weights and all.
#[test]
fn a_worse_tune_is_rolled_back() {
    for case in cases() {
        let mut method = case.master(true, GENTLE);
        let start = (emit(&method), method.weights().0.to_vec());
        let schedule = Schedule {
            epochs: 100,
            learning_rate: 0.02,
            momentum: 0.5,
            hold_back: 2,
            ..Schedule::default()
        };
        let mut fit = |label: &dyn Fn(usize) -> u16| {
            let case = &case;
            let mut samples = Labelled { case, label };
            let fit = Fit::new(&mut method, &mut samples, &schedule).unwrap();
            let report = fit.finish().unwrap();
            let (copy, velocity) = method.weights();
            let held = (copy.to_vec(), velocity.to_vec());
            (report.guard.unwrap(), emit(&method), held)
        };
        let (verdict, tail, (copy, _)) = fit(&right);
        assert!(verdict.kept(), "{:?}: {verdict:?}", case.config);
        assert_ne!(tail, start.0, "nothing was learned");
        assert_ne!(copy, start.1);
        // What is learned from then on says something else.
        let wrong = |index| match is_second(index) {
            true => right(index),
            false => right(index + 1),
        };
        let (verdict, tail, (copy, velocity)) = fit(&wrong);
        assert!(!verdict.kept(), "{:?}: {verdict:?}", case.config);
        assert_eq!(tail, start.0);
        assert_eq!(copy, start.1);
        assert!(velocity.iter().all(|v| *v == 0.0));
    }
}

#[test]
fn a_fit_that_diverges_leaves_what_was_there() {
    for case in cases() {
        for velocity in [false, true] {
            let mut method = case.master(velocity, options(Rounding::Grid));
            let start = emit(&method);
            let schedule = Schedule {
                learning_rate: 3e37,
                ..Schedule::default()
            };
            let mut samples = Labelled {
                case: &case,
                label: right,
            };
            let fit = Fit::new(&mut method, &mut samples, &schedule).unwrap();
            let error = fit.finish().unwrap_err();
            assert!(matches!(error, TuneError::NotFinite { .. }), "{error}");
            assert_eq!(emit(&method), start);
            assert!(method.weights().0.iter().all(|u| u.is_finite()));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let case = cases().next().unwrap();
    let batch = Schedule {
        batch: 2,
        ..Schedule::default()
    };
    let needed = master_len(&case.config);
    let too_small = |buffer, found| TuneError::BufferTooSmall {
        buffer,
        needed,
        found,
    };
    let on_grid = options(Rounding::Grid);
    let error = case.master(false, on_grid).begin_epoch(&batch, 0);
    assert_eq!(error, Err(too_small(Buffer::Velocity, 0)));
    case.master(true, on_grid).begin_epoch(&batch, 0).unwrap();
    for (weights, velocity, error) in [
        (needed - 1, 0, too_small(Buffer::Parameters, needed - 1)),
        (needed, needed - 1, too_small(Buffer::Velocity, needed - 1)),
    ] {
        let copy = MasterBuffers {
            weights: leak(0.0, weights),
            velocity: leak(0.0, velocity),
        };
        let block = aligned(block_bytes(&case.image));
        let lent = buffers(&case.config, affine_len(&case.config));
        let head = head(case.config.d_model.into());
        let made = LastBlockMaster::new(&case.image, head, block, copy, lent, on_grid);
        assert_eq!(made.err(), Some(error));
    }
}
