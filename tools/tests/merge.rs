//! An adapted tail merged into its image gives the tail's answers, to the head's quantization.

use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::model::{Encoder, Head, arena_bytes};
use tailtune::store::Record;
use tailtune::store::export::parse;
use tailtune::store::record::checksum;
use tailtune::tune::{HeadOrigin, MethodId, Optimizer, Tail};
use tailtune_tools::adapt::tuning::{Labelled, Origin, Plan, tune};
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::int8::{AsInput, Int8Input, Int8Model, argmax};
use tailtune_tools::merge::{Merge, MergeError};
use tailtune_tools::synthetic::{self, Random};
use zerocopy::IntoBytes;

fn model(norm: NormOrder, seed: u64) -> Int8Model {
    let config = ModelConfig {
        n_layers: 2,
        d_model: 16,
        n_heads: 2,
        d_ff: 24,
        seq_len: 9,
        n_classes: 3,
        input: InputKind::Frames {
            n_frames: 8,
            n_features: 5,
        },
        class_token: true,
        norm,
        activation: Activation::Gelu,
        pooling: Pooling::ClassToken,
        embed_norm: false,
        final_norm: norm == NormOrder::Pre,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    };
    let float = synthetic::model(&config, seed);
    let mut quantized = synthetic::quantized(&float, 60, seed).unwrap();
    quantized.writer.provenance("board", "nrf52840-dk");
    Int8Model::new(quantized.writer.finish().unwrap()).unwrap()
}

/// Inputs whose class is told by their level, so that there is something to learn.
fn samples(int8: &Int8Model, n: usize, seed: u64) -> (Vec<Int8Input>, Vec<Labelled>) {
    let r = &mut Random::new(seed);
    let classes = 5u32;
    let (mut labels, mut inputs) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let label = r.below(classes);
        let mut input = synthetic::input(&int8.config(), 8, r);
        if let tailtune_tools::reference::ModelInput::Frames(frames) = &mut input {
            for (i, x) in frames.iter_mut().enumerate() {
                let column = i % 5;
                *x *= 0.3;
                if column == label as usize {
                    *x += 2.0 * (1.0 + 3.0 * column as f32);
                }
            }
        }
        labels.push(label as u16);
        inputs.push(input);
    }
    let inputs = int8.prepare(&inputs).unwrap();
    let latents = int8.latents(&inputs, &|| ()).unwrap();
    let labelled = latents.into_iter().zip(labels);
    let labelled = labelled.map(|((feature, latent), label)| Labelled {
        feature,
        latent,
        label,
    });
    (inputs, labelled.collect())
}

fn export(id: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let record = Record {
        sequence: 4,
        len: payload.len() as u32,
        model_id: id,
        erases: 1,
        other_erases: 1,
        payload_crc: checksum(payload),
    };
    [&record.emit()[..], payload].concat()
}

fn tuned(int8: &Int8Model, method: MethodId, train: &[Labelled]) -> AlignedBytes {
    let mut plan = Plan::new(method);
    plan.schedule.epochs = 6;
    if method.below_the_block() {
        plan.schedule.optimizer = Optimizer::Adam;
    }
    let added = ["fourth".to_owned(), "fünf".to_owned()];
    let train: Vec<&Labelled> = train.iter().collect();
    tune(int8, Origin::Image, &added, &train, &plan)
        .unwrap()
        .tail
}

/// The logits of each input by the tail, as a device computes them: the image with the tail's block in its
/// place, then the tail's head.
fn answers(int8: &Int8Model, bytes: &[u8], inputs: &[Int8Input]) -> Vec<Vec<f32>> {
    let tail = Tail::parse(bytes).unwrap();
    let image = int8.image();
    let image = image.patched(tail.block()).unwrap();
    let mut arena = vec![0u128; arena_bytes(image.config()).div_ceil(16)];
    let arena = arena.as_mut_slice().as_mut_bytes();
    let mut encoder = Encoder::new(&image, arena).unwrap();
    let one = |input: &Int8Input| {
        let features = encoder.forward(input.as_input()).unwrap();
        let mut out = vec![0.0; tail.classes()];
        tail.logits(&features, &mut out).unwrap();
        out
    };
    inputs.iter().map(one).collect()
}

#[test]
fn a_merged_image_answers_as_the_tail_does() {
    for norm in [NormOrder::Post, NormOrder::Pre] {
        let int8 = model(norm, 3);
        let (_, train) = samples(&int8, 120, 5);
        let (inputs, test) = samples(&int8, 200, 6);
        let test: Vec<&Labelled> = test.iter().collect();
        for method in MethodId::ALL {
            let name = method.name();
            let bytes = tuned(&int8, method, &train);
            let tail = Tail::parse(&bytes).unwrap();
            let export = export(int8.image().model_id().0, &bytes);
            let exported = parse(&export).unwrap();
            let merge = Merge::new(int8.image(), &exported, &bytes).unwrap();
            let new = Int8Model::new(merge.image().unwrap()).unwrap();
            let image = new.image();
            let labels: Vec<&str> = image.labels().iter().collect();
            assert_eq!(labels, ["class 0", "class 1", "class 2", "fourth", "fünf"]);
            assert_ne!(image.model_id(), int8.image().model_id());
            let origin = image.provenance();
            assert!(
                origin.starts_with("board=nrf52840-dk\nmerged=tail 4 of model "),
                "{origin}"
            );
            assert!(origin.contains(name));

            // The head's weights are the tail's to half a step, or to what int8 clips for a smaller step.
            let head = Head::new(&image).unwrap();
            for class in 0..5 {
                let row = |of: &dyn HeadOrigin| -> Vec<f32> {
                    (0..16).map(|k| of.weight(class, k)).collect()
                };
                let (want, found) = (row(&tail), row(&head));
                let max = want.iter().fold(0f32, |m, w| m.max(w.abs()));
                for (a, b) in want.iter().zip(&found) {
                    assert!((a - b).abs() <= 0.22 * max, "{name}: {a} {b} of {max}");
                }
                let noise: f32 = want.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(libm::sqrtf(noise) <= 4.0 * max / 127.0, "{name}: {noise}");
            }

            // What the head reads is the same to the bit, so the answers differ by its weights alone.
            let wanted = answers(&int8, &bytes, &inputs);
            let outputs = new.run(&inputs, &|| ()).unwrap();
            let scale = head.logit_scale();
            let (mut same, mut right) = (0, [0, 0]);
            for ((want, output), sample) in wanted.iter().zip(&outputs).zip(&test) {
                let found: Vec<f32> = output
                    .logits
                    .iter()
                    .map(|&l| f32::from(l) * scale)
                    .collect();
                let pooled = image
                    .tensor(tailtune::image::TensorKind::Pooled, 0xffff)
                    .unwrap();
                let (step, zero) = (pooled.scale(), pooled.zero_point());
                for class in 0..5 {
                    let off: f32 = (0..16)
                        .map(|k| {
                            let x = (i32::from(output.pooled[k]) - zero) as f32 * step;
                            x * (HeadOrigin::weight(&head, class, k) - tail.weight(class, k))
                        })
                        .sum();
                    let off = off + HeadOrigin::bias(&head, class) - tail.bias(class);
                    let error = (found[class] - want[class] - off).abs();
                    assert!(
                        error <= scale + 1e-3 * want[class].abs(),
                        "{name}: {error} of {scale}"
                    );
                }
                same += usize::from(argmax(want) == argmax(&found));
                for (right, logits) in right.iter_mut().zip([want, &found]) {
                    *right += usize::from(argmax(logits) == Some(sample.label.into()));
                }
            }
            assert!(same >= 190, "{name}: {same} of 200 answers are the same");
            assert!(
                right[0].abs_diff(right[1]) <= 6,
                "{name}: {right:?} of 200 are right"
            );
            assert!(
                right[0] > 80,
                "{name}: {right:?} of 200: nothing was learned"
            );
        }
    }
}

#[test]
fn a_tail_of_the_images_classes_keeps_the_model() {
    let int8 = model(NormOrder::Post, 3);
    let (_, train) = samples(&int8, 60, 5);
    let train: Vec<&Labelled> = train.iter().filter(|s| s.label < 3).collect();
    let plan = Plan::new(MethodId::Softmax);
    let bytes = tune(&int8, Origin::Image, &[], &train, &plan).unwrap().tail;
    let export = export(int8.image().model_id().0, &bytes);
    let merge = Merge::new(int8.image(), &parse(&export).unwrap(), &bytes).unwrap();
    let new = merge.image().unwrap();
    // Trunk, cut and labels are what a model's id is made of.
    let new = Int8Model::new(new).unwrap();
    assert_eq!(new.image().model_id(), int8.image().model_id());
    assert_ne!(new.bytes(), int8.bytes());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (int8, other) = (model(NormOrder::Post, 3), model(NormOrder::Post, 4));
    let (_, train) = samples(&int8, 40, 5);
    let bytes = tuned(&int8, MethodId::Softmax, &train);
    let own = export(int8.image().model_id().0, &bytes);
    let refused = Merge::new(other.image(), &parse(&own).unwrap(), &bytes).unwrap_err();
    assert!(
        matches!(refused, MergeError::OtherModel { .. }),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .contains("give the image that was on the device")
    );
    let mut cut = bytes.to_vec();
    cut.truncate(40);
    let cut = AlignedBytes::new(&cut);
    let refused = Merge::new(int8.image(), &parse(&own).unwrap(), &cut);
    assert!(matches!(refused.unwrap_err(), MergeError::Tail(_)));
}

#[test]
fn float_layers_are_those_that_the_tail_changes() {
    for norm in [NormOrder::Post, NormOrder::Pre] {
        let int8 = model(norm, 3);
        let (_, train) = samples(&int8, 60, 5);
        for (method, block) in [(MethodId::Ridge, false), (MethodId::LastBlock, true)] {
            let bytes = tuned(&int8, method, &train);
            let tail = Tail::parse(&bytes).unwrap();
            let own = export(int8.image().model_id().0, &bytes);
            let merge = Merge::new(int8.image(), &parse(&own).unwrap(), &bytes).unwrap();
            let (config, tensors) = merge.float().unwrap();
            assert_eq!(config["labels"].as_array().unwrap().len(), 5);
            assert_eq!(config["layer"].as_u64(), block.then_some(1));
            let head = &tensors[0];
            assert_eq!((&*head.name, &*head.shape), ("head.weight", &[5, 16][..]));
            for (i, w) in head.values.iter().enumerate() {
                assert_eq!(*w, tail.weight(i / 16, i % 16));
            }
            let names: Vec<&str> = tensors.iter().map(|t| &*t.name).collect();
            assert_eq!(names.contains(&"layers.1.attention.q.weight"), block);
            let last = block && norm == NormOrder::Pre;
            assert_eq!(names.contains(&"final_norm.weight"), last);
            assert!(
                tensors
                    .iter()
                    .all(|t| t.values.iter().all(|x| x.is_finite()))
            );
        }
    }
}
