//! The decoder on the autodiff framework against the reference, and its gradients: as `gradients.rs` does
//! for the encoder.

use burn::tensor::{Tensor, TensorData};
use tailtune::image::{Activation, DecoderConfig, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune_tools::reference::{ModelInput, decode};
use tailtune_tools::synthetic::{self, Random};
use tailtune_train::examples::Standard;
use tailtune_train::graph::{Graph, Input, Options, Target, Values, values};
use tailtune_train::model::Model;
use tailtune_train::params::Params;

const VOCAB: usize = 11;

const PRE: ModelConfig = ModelConfig {
    n_layers: 1,
    d_model: 12,
    n_heads: 3,
    d_ff: 20,
    seq_len: 7,
    n_classes: 0,
    input: InputKind::Tokens {
        vocab_size: 30,
        n_segments: 0,
    },
    class_token: false,
    norm: NormOrder::Pre,
    activation: Activation::Gelu,
    pooling: Pooling::First,
    embed_norm: false,
    final_norm: true,
    embedding_rank: 0,
    pooler: false,
    decoder: Some(DECODER),
};

const DECODER: DecoderConfig = DecoderConfig {
    n_layers: 2,
    seq_len: 6,
    vocab_size: VOCAB as u32,
    start: 2,
    end: 3,
    tied: true,
    embed_norm: false,
    final_norm: true,
};

const KINDS: [ModelConfig; 4] = [
    PRE,
    ModelConfig {
        norm: NormOrder::Post,
        activation: Activation::Relu,
        embed_norm: true,
        final_norm: false,
        decoder: Some(DecoderConfig {
            tied: false,
            embed_norm: true,
            final_norm: false,
            ..DECODER
        }),
        ..PRE
    },
    ModelConfig {
        input: InputKind::Frames {
            n_frames: 7,
            n_features: 5,
        },
        ..PRE
    },
    ModelConfig {
        n_layers: 0,
        seq_len: 6,
        input: InputKind::Tokens {
            vocab_size: VOCAB as u32,
            n_segments: 0,
        },
        final_norm: false,
        ..PRE
    },
];

/// Two inputs and two targets of unlike lengths, as the reference takes them.
fn pairs(config: &ModelConfig) -> Vec<(Option<ModelInput>, Vec<u32>)> {
    let r = &mut Random::new(9);
    // A batch of frames is never padded.
    let lengths = match config.input {
        InputKind::Frames { .. } => [7, 7],
        _ => [7, 4],
    };
    let pair = |(len, target_len): (usize, usize)| {
        let input = (config.n_layers > 0).then(|| synthetic::input(config, len, r));
        let tokens = (0..target_len).map(|_| r.below(VOCAB as u32)).collect();
        (input, tokens)
    };
    lengths.into_iter().zip([3, 6]).map(pair).collect()
}

/// The same as one padded batch.
fn batch(pairs: &[(Option<ModelInput>, Vec<u32>)]) -> (Option<Input>, Target) {
    let (mut ids, mut places) = (Vec::new(), Vec::new());
    for (row, (_, tokens)) in pairs.iter().enumerate() {
        ids.extend(tokens.iter().map(|&t| t as i32));
        ids.resize((row + 1) * 6, 8);
        places.extend((0..tokens.len()).map(|i| (row * 6 + i) as i32));
    }
    let (mut frames, mut sources, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for (row, (input, _)) in pairs.iter().enumerate() {
        match input {
            Some(ModelInput::Frames(f)) => frames.extend(f),
            Some(ModelInput::Tokens(t, _)) => {
                sources.extend(t.iter().map(|&t| t as i32));
                sources.resize((row + 1) * 7, 5);
                lengths.push(t.len());
            }
            None => {}
        }
    }
    let segments = Vec::new();
    let input = match (frames.is_empty(), sources.is_empty()) {
        (false, _) => Some(Input::frames(frames)),
        (_, false) => Some(Input {
            values: Values::Tokens {
                ids: sources,
                segments,
            },
            lengths,
        }),
        _ => None,
    };
    (input, Target { ids, places })
}

fn model(config: &ModelConfig) -> (Model, Params) {
    config.check().unwrap();
    let model = Model::new(synthetic::model(config, 5));
    let width = config.input.frames().map_or(0, |(_, n)| n);
    let params = model.params(&Standard::identity(width));
    (model, params)
}

#[test]
fn the_decoder_is_the_references() {
    for config in KINDS {
        let (model, params) = model(&config);
        let pairs = pairs(&config);
        let (input, target) = batch(&pairs);
        let graph = model.graph(&params, Options::default());
        let got = values(graph.decode(input.as_ref(), &target, 2));
        let one = |(input, tokens): &(Option<ModelInput>, Vec<u32>)| {
            let input = input.as_ref().map(ModelInput::float);
            decode(model.template(), input, tokens, &mut ()).logits
        };
        let want: Vec<f32> = pairs.iter().flat_map(one).collect();
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() <= 2e-4 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

/// A loss that depends on every logit.
fn loss(graph: &Graph<'_>, input: Option<&Input>, target: &Target) -> Tensor<1> {
    let logits = graph.decode(input, target, 2);
    let n = logits.shape().num_elements();
    let weights: Vec<f32> = (0..n).map(|i| ((i * 7) % 11) as f32 / 11.0 - 0.4).collect();
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), graph.device());
    (logits.square().reshape([n]) * weights).sum()
}

#[test]
fn every_parameter_of_encoder_and_decoder_gets_its_gradient() {
    for config in KINDS {
        for fake_quantize in [false, true] {
            let (model, params) = model(&config);
            let (input, target) = batch(&pairs(&config));
            let options = Options {
                fake_quantize,
                ..Options::default()
            };
            let graph = model.graph(&params, options);
            let loss = loss(&graph, input.as_ref(), &target);
            let gradients = graph.gradients(&loss, &params);
            for (param, gradient) in params.iter().zip(&gradients) {
                let name = &param.tensor.name;
                let gradient = gradient
                    .as_ref()
                    .unwrap_or_else(|| panic!("no gradient of {name}"));
                assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
                // A constant added to all keys changes no softmax.
                let free = name.ends_with(".k.bias");
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
        let (input, target) = batch(&pairs(&config));
        let value = |params: &Params| {
            let graph = model.graph(params, Options::default());
            f64::from(values(loss(&graph, input.as_ref(), &target))[0])
        };
        let gradients = {
            let graph = model.graph(&params, Options::default());
            graph.gradients(&loss(&graph, input.as_ref(), &target), &params)
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
