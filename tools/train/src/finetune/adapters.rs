//! Low-rank adapters (Hu et al., arXiv 2106.09685) beside the projections of attention.

use super::Finetune;
use crate::model::{Model, initialised};
use crate::params::Params;
use tailtune::image::ModelConfig;
use tailtune_tools::export::Tensor;
use tailtune_tools::import::names;

impl Finetune {
    pub(super) fn add_adapters(&self, params: &mut Params, model: &Model) {
        let (d, rank) = (
            usize::from(model.template().config.d_model),
            usize::from(self.rank),
        );
        for name in projections(&model.template().config) {
            params.push(
                initialised(&format!("{name}.lora_a"), &[rank, d], self.seed),
                true,
            );
            // B starts at 0: the first forward is the pretrained model's.
            let zeros = vec![0.0; d * rank];
            params.push(
                Tensor::new(format!("{name}.lora_b"), &[d, rank], &zeros),
                true,
            );
        }
    }
}

/// Returns the names of all projections of attention.
fn projections(config: &ModelConfig) -> Vec<String> {
    let parts = |name: &dyn Fn(&str) -> String, attention: &str| {
        ["q", "k", "v", "o"].map(|part| name(&format!("{attention}.{part}")))
    };
    let mut all = Vec::new();
    for layer in 0..config.n_layers.into() {
        all.extend(parts(&|part| names::layer(layer, part), "attention"));
    }
    for layer in 0..config.decoder.map_or(0, |d| d.n_layers).into() {
        let name = |part: &str| names::decoder_layer(layer, part);
        all.extend(parts(&name, "attention"));
        if config.has_encoder() {
            all.extend(parts(&name, "cross"));
        }
    }
    all
}
