//! The forward on the autodiff framework against the reference, and its gradients: frameworks have
//! been seen to cut them silently at fused operations, so every parameter of every kind of encoder
//! must get one, and the right one.

use burn::tensor::Tensor;
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune_tools::float_model::{ActivationFn, FloatModel};
use tailtune_tools::reference::ModelInput;
use tailtune_tools::reference::forward;
use tailtune_tools::synthetic::{self, Random};
use tailtune_train::examples::Standard;
use tailtune_train::graph::{Graph, Input, Options, Output, Values, values};
use tailtune_train::model::Model;
use tailtune_train::params::Params;

const FRAMES: ModelConfig = ModelConfig {
    n_layers: 2,
    d_model: 12,
    n_heads: 3,
    d_ff: 20,
    seq_len: 7,
    n_classes: 4,
    input: InputKind::Frames {
        n_frames: 7,
        n_features: 5,
    },
    class_token: false,
    norm: NormOrder::Pre,
    activation: Activation::Gelu,
    pooling: Pooling::Mean,
    embed_norm: false,
    final_norm: true,
    embedding_rank: 0,
    pooler: false,
    decoder: None,
};

const KINDS: [ModelConfig; 5] = [
    FRAMES,
    ModelConfig {
        seq_len: 8,
        class_token: true,
        norm: NormOrder::Post,
        pooling: Pooling::ClassToken,
        final_norm: false,
        ..FRAMES
    },
    ModelConfig {
        activation: Activation::Relu,
        pooling: Pooling::First,
        embed_norm: true,
        ..FRAMES
    },
    ModelConfig {
        input: InputKind::Tokens {
            vocab_size: 30,
            n_segments: 2,
        },
        norm: NormOrder::Post,
        embed_norm: true,
        ..FRAMES
    },
    ModelConfig {
        input: InputKind::Tokens {
            vocab_size: 30,
            n_segments: 2,
        },
        norm: NormOrder::Post,
        pooling: Pooling::First,
        embed_norm: true,
        embedding_rank: 5,
        pooler: true,
        ..FRAMES
    },
];

/// One input of full length, as both forwards take it.
fn input(config: &ModelConfig, len: usize, seed: u64) -> (ModelInput, Input) {
    let one = synthetic::input(config, len, &mut Random::new(seed));
    let values = match &one {
        ModelInput::Frames(frames) => Values::Frames(frames.clone()),
        ModelInput::Tokens(ids, segments) => Values::Tokens {
            ids: ids.iter().map(|&i| i as i32).collect(),
            segments: segments.iter().map(|&s| i32::from(s)).collect(),
        },
    };
    let lengths = Vec::new();
    (one, Input { values, lengths })
}

fn logits(model: &Model, params: &Params, input: &Input, batch: usize) -> Vec<f32> {
    let graph = model.graph(params, Options::default());
    let output = graph.forward(input, batch);
    values(graph.head("head", output.pooled))
}

fn close(a: &[f32], b: &[f32], bound: f32) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= bound * (1.0 + b.abs()), "{a} {b}");
    }
}

fn model(config: &ModelConfig) -> (Model, Params) {
    let model = Model::new(synthetic::model(config, 5));
    let width = match config.input {
        InputKind::Frames { n_features, .. } => n_features.into(),
        _ => 0,
    };
    let params = model.params(&Standard::identity(width));
    (model, params)
}

#[test]
fn the_forward_is_the_references() {
    for config in KINDS {
        for activation in [ActivationFn::GeluErf, ActivationFn::GeluTanh] {
            let mut float: FloatModel = synthetic::model(&config, 5);
            if config.activation == Activation::Gelu {
                float.activation = activation;
            }
            let model = Model::new(float.clone());
            let (one, input) = input(&config, 7, 11);
            let params = Params::new(tailtune_tools::export::tensors(&float));
            let want = forward(&float, one.float(), &mut ()).logits;
            close(&logits(&model, &params, &input, 1), &want, 2e-4);
        }
    }
}

/// A padded batch gives each input what it gives alone.
#[test]
fn padding_changes_nothing() {
    for config in KINDS {
        let (model, params) = model(&config);
        let (long, _) = input(&config, 7, 1);
        let (short, _) = input(&config, 4, 2);
        let padded = match (&long, &short) {
            (ModelInput::Frames(a), ModelInput::Frames(b)) => {
                let mut all = [a.clone(), b.clone()].concat();
                all.resize(2 * a.len(), 9.0);
                Values::Frames(all)
            }
            (ModelInput::Tokens(a, s), ModelInput::Tokens(b, t)) => {
                let joined = |a: Vec<i32>, b: Vec<i32>, pad| {
                    let mut all = [a, b].concat();
                    all.resize(14, pad);
                    all
                };
                let ids = |x: &[u32]| x.iter().map(|&i| i as i32).collect();
                let segments = |x: &[u8]| x.iter().map(|&i| i32::from(i)).collect();
                Values::Tokens {
                    ids: joined(ids(a), ids(b), 3),
                    segments: joined(segments(s), segments(t), 1),
                }
            }
            _ => unreachable!("both are of one kind"),
        };
        let batch = Input {
            values: padded,
            lengths: vec![7, 4],
        };
        let both = logits(&model, &params, &batch, 2);
        let alone = |one: &ModelInput| forward(model.template(), one.float(), &mut ()).logits;
        close(&both, &[alone(&long), alone(&short)].concat(), 2e-4);
    }
}

/// A loss that depends on the logits and on every row of the residual stream.
fn loss(graph: &Graph<'_>, input: &Input, batch: usize) -> Tensor<1> {
    let Output { hidden, pooled } = graph.forward(input, batch);
    let logits = graph.head("head", pooled);
    let weighted = |n: usize| (0..n).map(|i| ((i * 7) % 11) as f32 / 11.0 - 0.4).collect();
    let weights = |n: usize| {
        let values: Vec<f32> = weighted(n);
        Tensor::<1>::from_data(burn::tensor::TensorData::new(values, [n]), graph.device())
    };
    let (n, m) = (hidden.shape().num_elements(), logits.shape().num_elements());
    (hidden.square().reshape([n]) * weights(n)).sum()
        + (logits.square().reshape([m]) * weights(m)).sum()
}

#[test]
fn every_parameter_of_every_kind_gets_its_gradient() {
    for config in KINDS {
        for fake_quantize in [false, true] {
            let (model, params) = model(&config);
            let (_, input) = input(&config, 7, 3);
            let options = Options {
                fake_quantize,
                ..Options::default()
            };
            let graph = model.graph(&params, options);
            let gradients = graph.gradients(&loss(&graph, &input, 1), &params);
            for (param, gradient) in params.iter().zip(&gradients) {
                let name = &param.tensor.name;
                let gradient = gradient
                    .as_ref()
                    .unwrap_or_else(|| panic!("no gradient of {name}"));
                assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
                // A constant added to all keys changes no softmax.
                let free = name.ends_with("attention.k.bias");
                assert!(
                    free || gradient.iter().any(|g| g.abs() > 1e-6),
                    "{name} gets only zeros"
                );
            }
        }
    }
}

/// Central differences of the loss, for the largest gradient of each parameter.
#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for config in KINDS {
        let (model, mut params) = model(&config);
        let (_, input) = input(&config, 7, 3);
        let value = |params: &Params| {
            let graph = model.graph(params, Options::default());
            f64::from(values(loss(&graph, &input, 1))[0])
        };
        let gradients = {
            let graph = model.graph(&params, Options::default());
            graph.gradients(&loss(&graph, &input, 1), &params)
        };
        for (i, gradient) in gradients.iter().enumerate() {
            let gradient = gradient.as_ref().unwrap();
            let place = (0..gradient.len())
                .max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()))
                .unwrap();
            let name = params.iter().nth(i).unwrap().tensor.name.clone();
            let before = params.get(&name).unwrap().values[place];
            let step = 2e-3 * before.abs().max(0.5);
            let mut at = |x: f32| {
                params.get_mut(&name).unwrap().values[place] = x;
                value(&params)
            };
            let slope = (at(before + step) - at(before - step)) / (2.0 * f64::from(step));
            at(before);
            let got = f64::from(gradient[place]);
            let bound = 0.03 * got.abs().max(slope.abs()) + 0.02;
            assert!(
                (got - slope).abs() < bound,
                "{name}[{place}]: {got}, slope {slope}"
            );
        }
    }
}
