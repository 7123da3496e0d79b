//! Tuning below the pooled feature, on blocks of many shapes: latents, gradients, tails.

mod blocks;

use blocks::*;
use tailtune::image::{Image, NO_LAYER, TensorKind, patch_range, patch_tensor_mut};
use tailtune::model::{Encoder, Features, arena_bytes};
use tailtune::tune::block::{
    BlockOptions, LoraOptions, MasterBuffers, Projections, Rounding, affine_len, block_bytes,
    lora_len, master_len,
};
use tailtune::tune::{
    LastBlock, LastBlockMaster, Lora, Method, MethodId, NormBias, Schedule, Tail,
};
use tailtune_tools::synthetic::Random;

#[test]
fn gradients_are_those_of_finite_differences() {
    for (index, config) in configs().iter().enumerate() {
        let int8 = model(config, 10 + index as u64);
        let samples = latents(&int8, 9, 3);
        let image: Image<'static> = leaked(&int8);
        let (scale, zero_point) = grid(&image);
        let features = Features {
            values: &samples[1].0,
            scale,
            zero_point,
        };
        let none = options(Rounding::None);

        let len = affine_len(config);
        let mut method = NormBias::new(
            &image,
            head(config.d_model.into()),
            buffers(config, len),
            none,
        )
        .unwrap();
        warm(&mut method, &samples, (scale, zero_point));
        check_gradient(
            &mut method,
            |m| m.parameters_mut(),
            &features,
            2,
            &format!("norm-bias {config:?}"),
        );

        let lora = LoraOptions {
            projections: Projections::ALL,
            rank: 2,
            block: none,
            ..LoraOptions::default()
        };
        let len = lora_len(config, &lora);
        let mut method = Lora::new(
            &image,
            head(config.d_model.into()),
            buffers(config, len),
            lora,
        )
        .unwrap();
        warm(&mut method, &samples, (scale, zero_point));
        let r = &mut Random::new(77);
        // B is 0 at first, and so are A's gradients.
        method
            .parameters_mut()
            .0
            .iter_mut()
            .for_each(|w| *w += 0.1 * r.unit());
        check_gradient(
            &mut method,
            |m| m.parameters_mut(),
            &features,
            2,
            &format!("lora {config:?}"),
        );
    }
}

/// The slope of the loss by one int8 weight, by a unit up and down.
fn slope_by_unit(
    image: &Image<'static>,
    block: &'static [u8],
    (kind, epilogue, index): (TensorKind, TensorKind, usize),
    features: &Features<'_>,
    label: usize,
) -> f64 {
    let at = |by: i8| {
        let moved = aligned(block.len());
        moved.copy_from_slice(block);
        let (_, data) = patch_tensor_mut(moved, kind, 1).unwrap();
        data[index] = data[index].cast_signed().wrapping_add(by).cast_unsigned();
        // The input's zero point is folded into the channel's bias.
        let (_, data) = patch_tensor_mut(moved, epilogue, 1).unwrap();
        let bias = i32::from_le_bytes(data[..4].try_into().unwrap());
        let bias = bias - i32::from(by) * zero_point(image, kind);
        data[..4].copy_from_slice(&bias.to_le_bytes());
        let patched = image.patched(moved).unwrap();
        let config = *image.config();
        let buffers = buffers(&config, affine_len(&config));
        let none = options(Rounding::None);
        let mut method = NormBias::new(&patched, image_head(image), buffers, none).unwrap();
        loss(&mut method, features, label)
    };
    (at(1) - at(-1)) / 2.0
}

/// int8 weights move, on average, as far as the slope of the loss by them says: rounded up and down by
/// chance, within a channel they keep its proportions.
#[test]
fn weights_move_along_their_gradient() {
    for (index, config) in configs().iter().enumerate() {
        let int8 = model(config, 20 + index as u64);
        let samples = latents(&int8, 3, 5);
        let image = leaked(&int8);
        let (scale, zero_point) = grid(&image);
        let features = Features {
            values: &samples[1].0,
            scale,
            zero_point,
        };
        let label = 2;
        let none = options(Rounding::None);
        let buffers = buffers(config, affine_len(config));
        let block = aligned(block_bytes(&image));
        let mut method = LastBlock::new(&image, image_head(&image), block, buffers, none).unwrap();
        let start = Tail::parse(emit(&method)).unwrap().block();
        use TensorKind::*;
        for (kind, epilogue) in [
            (Query, QueryEpilogue),
            (Value, ValueEpilogue),
            (Out, OutEpilogue),
            (Ff1, Ff1Epilogue),
            (Ff2, Ff2Epilogue),
        ] {
            let range = patch_range(start, kind, 1).unwrap();
            let columns = if kind == Ff2 {
                config.d_ff
            } else {
                config.d_model
            };
            let columns = usize::from(columns).min(8);
            // Channel 0 of a pair: every second weight.
            let weights = &start[range.clone()];
            let places = (0..columns).map(|k| 2 * k);
            let places: Vec<usize> = places
                .filter(|&at| weights[at].cast_signed().abs() < 126)
                .collect();
            let slopes: Vec<f64> = places
                .iter()
                .map(|&at| slope_by_unit(&image, start, (kind, epilogue, at), &features, label))
                .collect();
            let mut moved = vec![0i64; places.len()];
            let mut rate = 1e-3;
            let mut tries = 0;
            // A rate at which the weights of this channel move by about a unit.
            while moved.iter().map(|m| m.abs()).max().unwrap() < 120 && tries < 12 {
                moved.fill(0);
                tries += 1;
                rate *= 4.0;
                for seed in 1..=200 {
                    let schedule = Schedule {
                        epochs: 1,
                        learning_rate: rate,
                        momentum: 0.0,
                        seed,
                        ..Schedule::default()
                    };
                    method.restore();
                    method.begin_epoch(&schedule, 0).unwrap();
                    method.step(&features, label as u16, 1.0).unwrap();
                    let tail = Tail::parse(emit(&method)).unwrap();
                    let range = patch_range(tail.block(), kind, 1).unwrap();
                    let now = &tail.block()[range.clone()];
                    let before = &start[range];
                    for (sum, &at) in moved.iter_mut().zip(&places) {
                        *sum +=
                            i64::from(now[at].cast_signed()) - i64::from(before[at].cast_signed());
                    }
                }
            }
            let moved: Vec<f64> = moved.iter().map(|&m| m as f64).collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            if slopes.iter().all(|s| *s == 0.0) {
                // A unit that ReLU has switched off.
                assert!(
                    moved.iter().all(|m| *m == 0.0),
                    "{kind:?} of {config:?}: {moved:?}"
                );
                continue;
            }
            let cosine =
                dot(&moved, &slopes) / (dot(&moved, &moved) * dot(&slopes, &slopes)).sqrt();
            assert!(
                cosine < -0.95,
                "{kind:?} of {config:?}: {cosine}, {moved:?}, {slopes:?}"
            );
        }
    }
}

/// How far logits are from others.
#[derive(Default)]
struct Distance {
    squares: f32,
    size: f32,
}

impl Distance {
    fn add(&mut self, want: &[f32], found: &[f32]) {
        for (a, b) in want.iter().zip(found) {
            self.squares += (a - b) * (a - b);
            self.size += a * a;
        }
    }

    /// Root mean square of the difference, by that of what was wanted.
    fn share(&self) -> f32 {
        libm::sqrtf(self.squares / self.size)
    }
}

/// The forward that trains is the integer runtime's, but for keys, values, scores and the stream.
#[test]
fn the_forward_of_training_is_nearly_the_runtimes() {
    for (index, config) in configs().iter().enumerate() {
        let int8 = model(config, 40 + index as u64);
        let samples = latents(&int8, 12, 11);
        let image = leaked(&int8);
        let (scale, zero_point) = grid(&image);
        let buffers = buffers(config, affine_len(config));
        let on_grid = options(Rounding::Grid);
        let mut method = NormBias::new(&image, image_head(&image), buffers, on_grid).unwrap();
        let tail = Tail::parse(emit(&method)).unwrap();
        let pooled = image.tensor(TensorKind::Pooled, NO_LAYER).unwrap();
        let mut distance = Distance::default();
        for (latent, feature) in &samples {
            let by_runtime = Features {
                values: feature,
                scale: pooled.scale(),
                zero_point: pooled.entry().zero_point,
            };
            let mut logits = [0.0; 4];
            tail.logits(&by_runtime, &mut logits).unwrap();
            let features = Features {
                values: latent,
                scale,
                zero_point,
            };
            distance.add(&logits, method.logits(&features).unwrap());
        }
        let share = distance.share();
        println!("{config:?}: {share}");
        assert!(share < 0.05, "{config:?}: {share}");
    }
}

/// A tail that nothing was learned for changes no bit; one that something was learned for is what the
/// integer runtime runs, and nearly what was trained.
#[test]
fn tails_are_what_the_runtime_runs() {
    for (index, config) in configs().iter().enumerate() {
        let int8 = model(config, 30 + index as u64);
        let samples = latents(&int8, 12, 9);
        let image = leaked(&int8);
        let grid = grid(&image);
        // Keys and values are not clipped in training: steps that leave their grids would part it from
        // the runtime.
        let gentle = BlockOptions {
            rate: 0.2,
            rounding: Rounding::Grid,
        };
        let lora = LoraOptions {
            projections: Projections::ALL,
            block: gentle,
            ..LoraOptions::default()
        };
        let (affine, low_rank) = (affine_len(config), lora_len(config, &lora));
        let block = aligned(block_bytes(&image));
        let on_grid = gentle;
        let d = usize::from(config.d_model);
        let mut norm_bias =
            NormBias::new(&image, head(d), buffers(config, affine), on_grid).unwrap();
        let mut adapters = Lora::new(&image, head(d), buffers(config, low_rank), lora).unwrap();
        let whole = buffers(config, affine);
        let mut last_block = LastBlock::new(&image, head(d), block, whole, on_grid).unwrap();
        check_tail(&image, &mut norm_bias, &samples, grid);
        check_tail(&image, &mut adapters, &samples, grid);
        check_tail(&image, &mut last_block, &samples, grid);

        let copy = MasterBuffers {
            weights: leak(0.0, master_len(config)),
            velocity: leak(0.0, master_len(config)),
        };
        let (block, whole) = (aligned(block_bytes(&image)), buffers(config, affine));
        let mut master =
            LastBlockMaster::new(&image, head(d), block, copy, whole, on_grid).unwrap();
        check_tail(&image, &mut master, &samples, grid);

        // In parts, the same bytes; and training goes on with what it had learned.
        let bytes = emit(&last_block);
        let features = Features {
            values: &samples[0].0,
            scale: grid.0,
            zero_point: grid.1,
        };
        let logits = last_block.logits(&features).unwrap().to_vec();
        let (mut before, mut behind) = ([0; 16], vec![0; bytes.len()]);
        let parts = last_block.tail_parts(&mut before, &mut behind).unwrap();
        assert_eq!(parts.concat(), bytes);
        assert_eq!(emit(&last_block), bytes, "again");
        let mut distance = Distance::default();
        distance.add(&logits, last_block.logits(&features).unwrap());
        assert!(distance.share() < 0.02, "{config:?}: {}", distance.share());
    }
}

fn run(image: &Image<'_>, latent: &[i8]) -> Vec<i8> {
    let mut arena = vec![0u64; arena_bytes(image.config()).div_ceil(8)];
    let arena = zerocopy::IntoBytes::as_mut_bytes(arena.as_mut_slice());
    let mut encoder = Encoder::new(image, arena).unwrap();
    encoder.forward_latent(latent).unwrap().values.to_vec()
}

fn check_tail<M: Method>(
    image: &Image<'static>,
    method: &mut M,
    samples: &[(Vec<i8>, Vec<i8>)],
    (scale, zero_point): (f32, i8),
) {
    let what = method.id();
    let tail = Tail::parse(emit(method)).unwrap();
    let patched = image.patched(tail.block()).unwrap();
    for (latent, feature) in samples {
        assert_eq!(
            &run(&patched, latent),
            feature,
            "{what:?}: nothing was learned"
        );
    }
    let schedule = Schedule {
        epochs: 10,
        learning_rate: 0.02,
        momentum: 0.5,
        ..Schedule::default()
    };
    let mut first = 0.0;
    let mut last = 0.0;
    for epoch in 0..schedule.epochs {
        method.begin_epoch(&schedule, epoch).unwrap();
        last = 0.0;
        for (i, (latent, _)) in samples.iter().enumerate() {
            let features = Features {
                values: latent,
                scale,
                zero_point,
            };
            last += method.step(&features, (i % CLASSES) as u16, 1.0).unwrap();
        }
        if epoch == 0 {
            first = last;
        }
        method.end_epoch().unwrap();
    }
    assert!(last < 0.85 * first, "{what:?}: loss {first} → {last}");
    let bytes = emit(method);
    let tail = Tail::parse(bytes).unwrap();
    assert_eq!(tail.method(), what);
    let patched = image.patched(tail.block()).unwrap();
    let pooled = image.tensor(TensorKind::Pooled, NO_LAYER).unwrap();
    let mut distance = Distance::default();
    let mut changed = false;
    for (latent, old) in samples {
        let values = run(&patched, latent);
        changed |= values != *old;
        let features = Features {
            values: &values,
            scale: pooled.scale(),
            zero_point: pooled.entry().zero_point,
        };
        let mut logits = [0.0; CLASSES];
        tail.logits(&features, &mut logits).unwrap();
        let features = Features {
            values: latent,
            scale,
            zero_point,
        };
        distance.add(&logits, method.logits(&features).unwrap());
    }
    let share = distance.share();
    assert!(changed, "{what:?} changed nothing");
    println!("{what:?}: loss {first} → {last}, logits off by {share}");
    let bound = if what == MethodId::Lora { 0.3 } else { 0.15 };
    assert!(share < bound, "{what:?} of {:?}: {share}", image.config());
    method.restore();
    let again = Tail::parse(emit(method)).unwrap();
    for (latent, feature) in samples {
        let restored = image.patched(again.block()).unwrap();
        assert_eq!(&run(&restored, latent), feature, "{what:?} restored");
    }
    // Learn again, so that what follows has something to emit.
    method.begin_epoch(&schedule, 0).unwrap();
    let features = Features {
        values: &samples[0].0,
        scale,
        zero_point,
    };
    method.step(&features, 0, 1.0).unwrap();
    method.end_epoch().unwrap();
}
