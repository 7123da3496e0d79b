//! The gradients that the runtime's methods train by, against the autodiff framework's: every parameter of the
//! softmax head, of norms and biases, of adapters and of the whole last block, on blocks of several shapes.
//!
//! Each tensor of parameters is compared as a whole, by the norm of the difference. Without rounding both
//! sides compute the same smooth function in f32. On the image's grids a number that lies at a tie could be
//! rounded up by one side and down by the other: latents of which one comes that near are left out.

#[path = "../../tests/blocks/mod.rs"]
mod blocks;
mod oracle;

use blocks::*;
use burn::tensor::{Device, Tensor, TensorData, activation};
use oracle::{Block, Graph, Named, Outcome, PROJECTIONS};
use tailtune::image::{Image, ModelConfig};
use tailtune::model::Features;
use tailtune::tune::block::{
    LoraOptions, MasterBuffers, Projections, Rounding, affine_len, block_bytes, lora_len,
    master_len,
};
use tailtune::tune::{
    LastBlock, LastBlockMaster, LinearHead, Lora, Method, NormBias, Schedule, Tail,
};
use tailtune_tools::synthetic::Random;
use tailtune_train::graph::values;

/// How far a gradient may be from the framework's, by the norm of either.
const BOUND: f64 = 1e-4;
/// How near to a tie a number may be, in units, for both sides to round it alike.
const TIE: f32 = 1e-3;
const LABEL: usize = 2;

struct Case {
    config: ModelConfig,
    image: Image<'static>,
    latents: Vec<Vec<i8>>,
    grid: (f32, i8),
    block: Block,
    name: String,
}

fn cases() -> Vec<Case> {
    let shapes = configs().into_iter().enumerate();
    let case = |(index, config): (usize, ModelConfig)| {
        let int8 = model(&config, 80 + index as u64);
        let image = leaked(&int8);
        let latents = latents(&int8, 9, 21).into_iter().map(|(latent, _)| latent);
        Case {
            latents: latents.collect(),
            grid: grid(&image),
            block: Block::new(&image),
            image,
            config,
            name: format!("{config:?}"),
        }
    };
    shapes.map(case).collect()
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// Returns the tensor that is farthest from what is wanted, and how far: `|a − b| / max(|a|, |b|)`. A tensor
/// that is small beside the largest is measured by that one: it is the rounding of what cancels.
fn farthest(found: &Named, want: &Named) -> (f64, String) {
    let smallest = 1e-4 * want.values().map(|g| norm(g)).fold(0.0, f64::max);
    let one = |(name, a): (&String, &Vec<f32>)| {
        let b = &want[name];
        assert_eq!(a.len(), b.len(), "{name}");
        let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let size = norm(a).max(norm(b)).max(smallest);
        (norm(&difference) / size, name.clone())
    };
    let all = found.iter().map(one);
    all.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

/// Gradients must be those of the framework. As a control: with the sign of one tensor turned, or one element
/// of it a tenth of its norm away, they must not be.
fn check(found: &Named, want: &Named, what: &str) {
    let (off, name) = farthest(found, want);
    println!("{what}: {name} off by {off:.1e}");
    assert!(off < BOUND, "{what}: {name} is off by {off} of its norm");
    let largest = want.values().map(|g| norm(g)).fold(0.0, f64::max);
    let mut controlled = 0;
    for (name, gradient) in found {
        if norm(gradient) < 1e-5 * largest {
            continue;
        }
        controlled += 1;
        let with = |change: &dyn Fn(&mut Vec<f32>)| {
            let mut copy = found.clone();
            change(copy.get_mut(name).unwrap());
            farthest(&copy, want).0
        };
        let turned = with(&|g| g.iter_mut().for_each(|g| *g = -*g));
        assert!(turned > BOUND, "{what}: {name} passes with its sign turned");
        let pushed = with(&|g| g[0] += 0.1 * norm(gradient) as f32);
        assert!(pushed > BOUND, "{what}: {name} passes with a wrong element");
    }
    assert!(
        2 * controlled > found.len(),
        "{what}: too little to control"
    );
}

/// A schedule under which gradients only gather.
fn gathering() -> Schedule {
    Schedule {
        batch: 1_000_000,
        epochs: 1,
        momentum: 0.0,
        ..Schedule::default()
    }
}

/// One under which a step of the head and of norms and biases is its gradient.
fn whole_steps() -> Schedule {
    Schedule {
        learning_rate: 1.0,
        batch: 1,
        ..gathering()
    }
}

fn head_named(head: &LinearHead<'_>) -> Named {
    let classes = (0..head.classes()).map(|c| head.weights(c).unwrap());
    Named::from([
        ("head.weight".into(), classes.collect::<Vec<_>>().concat()),
        ("head.bias".into(), head.bias().to_vec()),
    ])
}

/// Splits the parameters of `norm-bias`, or their gradient, by name.
fn affine_named(case: &Case, flat: &[f32]) -> Named {
    let (d, norms) = (
        usize::from(case.config.d_model),
        if case.config.final_norm { 3 } else { 2 },
    );
    let mut rest = flat;
    let mut named = Named::new();
    let mut take = |name: String, len: usize| {
        let (part, after) = rest.split_at(len);
        rest = after;
        named.insert(name, part.to_vec());
    };
    for norm in 0..norms {
        take(format!("norm{norm}.gain"), d);
        take(format!("norm{norm}.bias"), d);
    }
    for (index, (name, ..)) in PROJECTIONS.iter().enumerate() {
        if *name != "key" {
            take(format!("{name}.bias"), case.block.shape(index).0);
        }
    }
    assert!(rest.is_empty());
    named
}

fn minus(a: &Named, b: &Named) -> Named {
    let one = |(name, a): (&String, &Vec<f32>)| {
        let difference = a.iter().zip(&b[name]).map(|(a, b)| a - b);
        (name.clone(), difference.collect())
    };
    a.iter().map(one).collect()
}

impl Case {
    fn features(&self, index: usize) -> Features<'_> {
        Features {
            values: &self.latents[index],
            scale: self.grid.0,
            zero_point: self.grid.1,
        }
    }

    /// Runs the framework on every latent that no tie is near; with the method's head, and `more` parameters.
    fn outcomes(
        &self,
        head: &LinearHead<'_>,
        more: &Named,
        on_grids: bool,
    ) -> Vec<(usize, Outcome)> {
        let mut parameters = self.block.parameters();
        parameters.extend(head_named(head));
        parameters.extend(more.clone());
        let run = |index: usize| {
            let graph = Graph::new(&self.block, &parameters, on_grids, LORA_FACTOR);
            (index, graph.run(&self.latents[index], LABEL))
        };
        let all = (0..self.latents.len()).map(run);
        let kept: Vec<_> = all.filter(|(_, o)| !on_grids || o.tie > TIE).collect();
        assert!(
            kept.len() >= 4,
            "{}: ties in {} latents",
            self.name,
            9 - kept.len()
        );
        kept
    }

    /// The gradients of norms, biases and head, as steps of a method that makes them at once.
    fn steps<M: Method>(
        &self,
        method: &mut M,
        index: usize,
        parts: impl Fn(&mut M) -> Named,
    ) -> (f32, Named) {
        method.restore();
        let before = parts(method);
        method.begin_epoch(&whole_steps(), 0).unwrap();
        let loss = method
            .step(&self.features(index), LABEL as u16, 1.0)
            .unwrap();
        (loss, minus(&before, &parts(method)))
    }
}

const LORA_FACTOR: f32 = 4.0;

const ROUNDINGS: [(Rounding, bool); 2] = [(Rounding::None, false), (Rounding::Grid, true)];

fn same_loss(case: &Case, ours: f32, theirs: f32) {
    assert!(
        (ours - theirs).abs() < 1e-4 * (1.0 + theirs),
        "{}: loss {ours}, {theirs}",
        case.name
    );
}

#[test]
fn norms_biases_and_the_head() {
    for case in cases() {
        for (rounding, on_grids) in ROUNDINGS {
            let len = affine_len(&case.config);
            let (image, lent) = (&case.image, buffers(&case.config, len));
            let mut method =
                NormBias::new(image, image_head(image), lent, options(rounding)).unwrap();
            for (index, want) in case.outcomes(method.head(), &Named::new(), on_grids) {
                let what = format!("norm-bias, {rounding:?}, latent {index}, {}", case.name);
                method.restore();
                method.begin_epoch(&gathering(), 0).unwrap();
                let loss = method
                    .step(&case.features(index), LABEL as u16, 1.0)
                    .unwrap();
                same_loss(&case, loss, want.loss);
                let found = affine_named(&case, method.parameters_mut().1);
                check(&found, &want.gradients, &what);
                let (_, found) = case.steps(&mut method, index, |m| head_named(m.head()));
                check(&found, &want.gradients, &what);
            }
        }
    }
}

/// Splits the parameters of `lora`, or their gradient, by name.
fn adapters_named(case: &Case, rank: usize, flat: &[f32]) -> Named {
    let mut rest = flat;
    let mut named = Named::new();
    for (index, (name, ..)) in PROJECTIONS.iter().enumerate() {
        let (rows, columns) = case.block.shape(index);
        let (a, after) = rest.split_at(rank * columns);
        let (b, after) = after.split_at(rows * rank);
        named.insert(format!("{name}.lora_a"), a.to_vec());
        named.insert(format!("{name}.lora_b"), b.to_vec());
        rest = after;
    }
    assert!(rest.is_empty());
    named
}

#[test]
fn adapters() {
    for case in cases() {
        for rank in [1, 3] {
            for (rounding, on_grids) in ROUNDINGS {
                let lora = LoraOptions {
                    projections: Projections::ALL,
                    rank,
                    alpha: LORA_FACTOR * rank as f32,
                    block: options(rounding),
                    ..LoraOptions::default()
                };
                let lent = buffers(&case.config, lora_len(&case.config, &lora));
                let image = &case.image;
                let mut method = Lora::new(image, image_head(image), lent, lora).unwrap();
                let r = &mut Random::new(5);
                // B is 0 at first, and so are A's gradients.
                let (parameters, _) = method.parameters_mut();
                parameters.iter_mut().for_each(|w| *w += 0.02 * r.unit());
                let named = adapters_named(&case, rank, method.parameters_mut().0);
                for (index, want) in case.outcomes(method.head(), &named, on_grids) {
                    let what = format!("lora {rank}, {rounding:?}, latent {index}, {}", case.name);
                    method.begin_epoch(&gathering(), 0).unwrap();
                    let loss = method
                        .step(&case.features(index), LABEL as u16, 1.0)
                        .unwrap();
                    same_loss(&case, loss, want.loss);
                    let found = adapters_named(&case, rank, method.parameters_mut().1);
                    check(&found, &want.gradients, &what);
                }
            }
        }
    }
}

/// Splits the copy's weights, or what is as long, by name.
fn weights_named(case: &Case, flat: impl Iterator<Item = f32>) -> Named {
    let mut flat = flat;
    let all = PROJECTIONS.iter().enumerate().map(|(index, (name, ..))| {
        let (rows, columns) = case.block.shape(index);
        let own: Vec<f32> = flat.by_ref().take(rows * columns).collect();
        assert_eq!(own.len(), rows * columns);
        (format!("{name}.weight"), own)
    });
    all.collect()
}

/// The scale of every weight.
fn scales(case: &Case) -> Vec<f32> {
    let of = |index: usize| {
        let columns = case.block.shape(index).1;
        let scales = &case.block.linears[index].scales;
        scales
            .iter()
            .flat_map(move |&s| std::iter::repeat_n(s, columns))
    };
    (0..PROJECTIONS.len()).flat_map(of).collect()
}

/// The copy's velocities gather its gradients: `V = −rate/B · g·x / s`.
#[test]
fn the_whole_block_by_its_copy() {
    for case in cases() {
        for (rounding, on_grids) in ROUNDINGS {
            let len = master_len(&case.config);
            let copy = MasterBuffers {
                weights: leak(0.0, len),
                velocity: leak(0.0, len),
            };
            let lent = buffers(&case.config, affine_len(&case.config));
            let (image, block) = (&case.image, aligned(block_bytes(&case.image)));
            let options = options(rounding);
            let mut method =
                LastBlockMaster::new(image, image_head(image), block, copy, lent, options).unwrap();
            let schedule = gathering();
            let rate = schedule.learning_rate / schedule.batch as f32;
            for (index, want) in case.outcomes(method.head(), &Named::new(), on_grids) {
                let what = format!("copy, {rounding:?}, latent {index}, {}", case.name);
                method.restore();
                method.begin_epoch(&schedule, 0).unwrap();
                let loss = method
                    .step(&case.features(index), LABEL as u16, 1.0)
                    .unwrap();
                same_loss(&case, loss, want.loss);
                let velocity = method.weights().1.iter().zip(scales(&case));
                let found = weights_named(&case, velocity.map(|(v, s)| -v * s / rate));
                check(&found, &want.gradients, &what);
                let found = affine_named(&case, method.parameters_mut().1);
                check(&found, &want.gradients, &what);
            }
        }
    }
}

/// Weights of a tail's block, in the copy's order.
fn int8_weights(case: &Case, method: &LastBlock<'_>) -> Vec<f32> {
    let tail = Tail::parse(emit(method)).unwrap();
    let block = Block::new(&case.image.patched(tail.block()).unwrap());
    let reals = block.parameters();
    let all = PROJECTIONS
        .iter()
        .flat_map(|(name, ..)| reals[&format!("{name}.weight")].clone());
    all.zip(scales(case))
        .map(|(w, s)| libm::rintf(w / s))
        .collect()
}

/// In place a weight moves by `−rate · g·x / s` units of int8, rounded up or down by chance: each by less than
/// a unit from there, unless it is clipped. Norms, biases and head move by their gradients.
#[test]
fn the_whole_block_in_place() {
    for case in cases() {
        for (rounding, on_grids) in ROUNDINGS {
            let lent = buffers(&case.config, affine_len(&case.config));
            let (image, block) = (&case.image, aligned(block_bytes(&case.image)));
            let options = options(rounding);
            let mut method =
                LastBlock::new(image, image_head(image), block, lent, options).unwrap();
            let before = int8_weights(&case, &method);
            let scales = scales(&case);
            for (index, want) in case.outcomes(method.head(), &Named::new(), on_grids) {
                let what = format!("in place, {rounding:?}, latent {index}, {}", case.name);
                let (loss, found) = case.steps(&mut method, index, |m| {
                    let mut named = head_named(m.head());
                    let values = m.parameters_mut().0.to_vec();
                    named.extend(affine_named(&case, &values));
                    named
                });
                same_loss(&case, loss, want.loss);
                check(&found, &want.gradients, &what);
                for (projection, (name, ..)) in PROJECTIONS.iter().enumerate() {
                    let name = format!("{name}.weight");
                    let start: usize = (0..projection)
                        .map(|p| case.block.shape(p))
                        .map(|(rows, columns)| rows * columns)
                        .sum();
                    let gradient = &want.gradients[&name];
                    let own = start..start + gradient.len();
                    let steps = gradient.iter().zip(&scales[own.clone()]);
                    let steps: Vec<f32> = steps.map(|(g, s)| -g / s).collect();
                    let longest = steps.iter().fold(0f32, |m, s| m.max(s.abs()));
                    if longest == 0.0 {
                        continue;
                    }
                    // The longest step is of a hundred units.
                    let rate = 100.0 / longest;
                    let schedule = Schedule {
                        learning_rate: rate,
                        ..whole_steps()
                    };
                    method.restore();
                    method.begin_epoch(&schedule, 0).unwrap();
                    method
                        .step(&case.features(index), LABEL as u16, 1.0)
                        .unwrap();
                    let after = int8_weights(&case, &method);
                    let near = |steps: &[f32], sign: f32| {
                        let all = steps.iter().zip(own.clone()).filter(|(step, at)| {
                            let to = (before[*at] + sign * rate * *step).clamp(-127.0, 127.0);
                            (after[*at] - to).abs() < 1.0 + 1e-2
                        });
                        all.count()
                    };
                    assert_eq!(near(&steps, 1.0), steps.len(), "{what}: {name}");
                    assert!(
                        near(&steps, -1.0) < steps.len(),
                        "{what}: {name}, sign turned"
                    );
                }
            }
        }
    }
}

/// The head on pooled features alone: widths and class counts, label smoothing, weights of samples.
#[test]
fn the_softmax_head() {
    for (d, shots) in [(1, 1), (7, 3), (64, 2), (33, 5)] {
        for smoothing in [0.0, 0.1] {
            let r = &mut Random::new(d as u64);
            let mut method = head(d);
            let schedule = Schedule {
                label_smoothing: smoothing,
                learning_rate: 0.5,
                momentum: 0.0,
                ..Schedule::default()
            };
            method.begin_epoch(&schedule, 0).unwrap();
            let (scale, zero_point) = (0.02 / libm::sqrtf(d as f32), 5);
            // Each step but the first starts from a head that is not zero.
            for shot in 0..4 * shots {
                let feature: Vec<i8> = (0..d).map(|_| (r.below(256) as i32 - 128) as i8).collect();
                let features = Features {
                    values: &feature,
                    scale,
                    zero_point,
                };
                let label = shot % CLASSES;
                let weight = 0.5 + shot as f32 / 8.0;
                let before = head_named(method.head());
                let loss = method.step(&features, label as u16, weight).unwrap();
                let mut found = minus(&before, &head_named(method.head()));
                let gradients = found.values_mut().flatten();
                gradients.for_each(|g| *g /= schedule.learning_rate);

                let device = Device::flex().autodiff();
                let leaf = |name: &str| {
                    let values = before[name].clone();
                    let len = values.len();
                    let tensor = Tensor::<1>::from_data(TensorData::new(values, [len]), &device);
                    tensor.require_grad()
                };
                let (w, b) = (leaf("head.weight"), leaf("head.bias"));
                let x = feature
                    .iter()
                    .map(|&v| (f32::from(v) - f32::from(zero_point)) * scale);
                let x = TensorData::new(x.collect::<Vec<f32>>(), [1, d]);
                let x = Tensor::<2>::from_data(x, &device);
                let logits = x.matmul(w.clone().reshape([CLASSES, d]).transpose());
                let log = activation::log_softmax(logits + b.clone().unsqueeze::<2>(), 1);
                let target = (0..CLASSES).map(|c| {
                    let hit = if c == label { 1.0 - smoothing } else { 0.0 };
                    hit + smoothing / CLASSES as f32
                });
                let target = TensorData::new(target.collect::<Vec<f32>>(), [1, CLASSES]);
                let target = Tensor::<2>::from_data(target, &device);
                let theirs = -(log * target).sum() * weight;
                let gradients = theirs.backward();
                let of = |leaf: &Tensor<1>| values(leaf.grad(&gradients).unwrap());
                let want =
                    Named::from([("head.weight".into(), of(&w)), ("head.bias".into(), of(&b))]);
                let theirs = values(theirs)[0];
                assert!(
                    (loss - theirs).abs() < 1e-4 * (1.0 + theirs),
                    "{loss}, {theirs}"
                );
                check(
                    &found,
                    &want,
                    &format!("head of {d}, smoothing {smoothing}, step {shot}"),
                );
            }
        }
    }
}
