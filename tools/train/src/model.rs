//! Between a model as it is stored and the parameters that training moves.
//!
//! Training reads standardised features; a stored model reads them as the front end gives them: the
//! standardisation is folded into the projection, `W' = W / σ`, `b' = b − W' · μ`, and out of it.

use crate::examples::Standard;
use crate::graph::{Graph, Options};
use crate::params::Params;
use tailtune_tools::export::{Tensor, tensors, tensors_mut};
use tailtune_tools::float_model::{Embedding, FloatModel, Linear};
use tailtune_tools::import::names;
use tailtune_tools::synthetic::Random;

/// A model as a template: its architecture, and every name and shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    template: FloatModel,
}

impl Model {
    /// Takes a model as the template.
    pub fn new(template: FloatModel) -> Self {
        Self { template }
    }

    /// Returns the template.
    pub fn template(&self) -> &FloatModel {
        &self.template
    }

    /// Returns a graph over `params`.
    pub fn graph<'a>(&'a self, params: &'a Params, options: Options) -> Graph<'a> {
        let model = &self.template;
        let graph = Graph::new(
            &model.config,
            model.activation,
            model.eps(),
            params,
            options,
        );
        graph.with_pooler(model.pooler.as_ref().map(|p| p.activation))
    }

    /// Returns the template's own parameters, reading features standardised by `standard`.
    pub fn params(&self, standard: &Standard) -> Params {
        let mut model = self.template.clone();
        if let Embedding::Frames { projection } = &mut model.embedding {
            unfold(projection, standard);
        }
        Params::new(tensors(&model))
    }

    /// Returns the model that `params` make, with adapters merged and the standardisation folded in.
    pub fn float(&self, params: &Params, standard: &Standard, options: Options) -> FloatModel {
        let mut model = self.template.clone();
        for (name, _, values) in tensors_mut(&mut model) {
            if let Some(tensor) = params.get(&name) {
                values.clone_from(&tensor.values);
                merge(values, params, &name, options.lora_scale);
            }
        }
        if let Embedding::Frames { projection } = &mut model.embedding {
            fold(projection, standard);
        }
        model
    }
}

/// Adds `B · A · scale` to a weight that has an adapter.
fn merge(values: &mut [f32], params: &Params, name: &str, scale: f32) {
    let Some(layer) = name.strip_suffix(".weight") else {
        return;
    };
    let adapter = |part: &str| params.get(&format!("{layer}.{part}"));
    let (Some(a), Some(b)) = (adapter("lora_a"), adapter("lora_b")) else {
        return;
    };
    let (rank, width) = (a.shape[0], a.shape[1]);
    for (row, b) in values
        .chunks_exact_mut(width)
        .zip(b.values.chunks_exact(rank))
    {
        for (b, a) in b.iter().zip(a.values.chunks_exact(width)) {
            for (w, a) in row.iter_mut().zip(a) {
                *w += scale * b * a;
            }
        }
    }
}

fn fold(projection: &mut Linear, standard: &Standard) {
    let width = projection.in_features;
    for (row, bias) in projection
        .weight
        .chunks_exact_mut(width)
        .zip(&mut projection.bias)
    {
        for ((w, mean), deviation) in row.iter_mut().zip(&standard.mean).zip(&standard.deviation) {
            *w /= deviation;
            *bias -= *w * mean;
        }
    }
}

fn unfold(projection: &mut Linear, standard: &Standard) {
    let width = projection.in_features;
    for (row, bias) in projection
        .weight
        .chunks_exact_mut(width)
        .zip(&mut projection.bias)
    {
        for ((w, mean), deviation) in row.iter_mut().zip(&standard.mean).zip(&standard.deviation) {
            *bias += *w * mean;
            *w *= deviation;
        }
    }
}

/// Fills the parameters of a model with random weights: matrices uniform within √(3 / inputs) · 0.58
/// (the framework's own Kaiming rule for linear layers), tables and positions normal with deviation
/// 0.02 (BERT's), norms 1 and 0, biases 0.
pub fn initialise(model: &mut FloatModel, seed: u64) {
    let r = &mut Random::new(seed ^ 0x696e_6974);
    for (name, shape, values) in tensors_mut(model) {
        initialise_one(&name, &shape, values, r);
    }
}

/// Returns a new tensor with random weights by the rule of [`initialise`].
pub fn initialised(name: &str, shape: &[usize], seed: u64) -> Tensor {
    let mut tensor = Tensor::new(name, shape, &vec![0.0; shape.iter().product()]);
    let r = &mut Random::new(seed ^ name.bytes().fold(7, |h, b| h * 31 + u64::from(b)));
    initialise_one(name, shape, &mut tensor.values, r);
    tensor
}

fn initialise_one(name: &str, shape: &[usize], values: &mut [f32], r: &mut Random) {
    let norm = name.contains("norm");
    let table = [
        names::TOKENS,
        names::SEGMENTS,
        names::POSITIONS,
        names::CLASS_TOKEN,
        names::TARGET_TOKENS,
        names::TARGET_POSITIONS,
    ];
    if table.contains(&name) {
        values.iter_mut().for_each(|x| *x = 0.02 * r.normal());
    } else if shape.len() == 2 {
        let bound = 1.0 / libm::sqrtf(shape[1] as f32);
        values.iter_mut().for_each(|x| *x = bound * r.unit());
    } else {
        let one = norm && name.ends_with(".weight");
        values.fill(if one { 1.0 } else { 0.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
    use tailtune_tools::reference::{FloatInput, forward};
    use tailtune_tools::synthetic;

    fn model() -> FloatModel {
        synthetic::model(
            &ModelConfig {
                n_layers: 1,
                d_model: 8,
                n_heads: 2,
                d_ff: 16,
                seq_len: 5,
                n_classes: 3,
                input: InputKind::Frames {
                    n_frames: 5,
                    n_features: 4,
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
            },
            3,
        )
    }

    #[test]
    fn folding_a_standardisation_undoes_unfolding_it() {
        let model = Model::new(model());
        let standard = Standard {
            mean: vec![1.0, -20.0, 3.0, 0.0],
            deviation: vec![2.0, 30.0, 0.5, 1.0],
        };
        let params = model.params(&standard);
        let back = model.float(&params, &standard, Options::default());
        let frames: Vec<f32> = (0..20).map(|i| i as f32 - 10.0).collect();
        let logits = |m: &FloatModel| forward(m, FloatInput::Frames(&frames), &mut ()).logits;
        let pairs = logits(model.template()).into_iter().zip(logits(&back));
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4));
        let same = Standard::identity(4);
        assert_eq!(
            model.float(&model.params(&same), &same, Options::default()),
            *model.template()
        );
    }

    #[test]
    fn a_merged_adapter_is_the_product_of_its_parts() {
        let model = Model::new(model());
        let standard = Standard::identity(4);
        let mut params = model.params(&standard);
        let name = names::layer(0, "attention.q");
        params.push(
            Tensor::new(format!("{name}.lora_a"), &[1, 8], &[1.0; 8]),
            true,
        );
        let b: Vec<f32> = (0..8).map(|i| i as f32).collect();
        params.push(Tensor::new(format!("{name}.lora_b"), &[8, 1], &b), true);
        let options = Options {
            lora_scale: 0.5,
            ..Options::default()
        };
        let merged = model.float(&params, &standard, options);
        let (old, new) = (
            &model.template().layers[0].q.weight,
            &merged.layers[0].q.weight,
        );
        assert!((new[3 * 8 + 2] - old[3 * 8 + 2] - 1.5).abs() < 1e-6);
        assert_eq!(model.template().layers[0].k, merged.layers[0].k);
    }
}
