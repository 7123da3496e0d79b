//! Masked reconstruction: spans of frames are hidden, and the encoder says what they were from the
//! frames around them (Liu et al., "Mockingjay", arXiv 1910.12638, with spans of fixed length).

use crate::augment::Augment;
use crate::examples::{Examples, Standard};
use crate::graph::{Graph, Input, Options};
use crate::model::Model;
use crate::params::Params;
use crate::supervised::scalar;
use crate::trainer::{Loss, SHARDS, Stream, Task};
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use std::collections::BTreeMap;
use tailtune_tools::synthetic::Random;

/// The head that reconstructs frames: `[n_features, d_model]`.
pub const HEAD: &str = "reconstruct";

/// Share of the frames that is hidden, and the frames of one span.
const MASKED: f32 = 0.15;
const SPAN: usize = 4;

/// Masked reconstruction of examples, whose labels are not looked at.
pub struct MaskedFrames<'a> {
    /// The architecture.
    pub model: &'a Model,
    /// The samples.
    pub examples: &'a Examples,
    /// What is done to sounds; frames are masked as said above.
    pub augment: &'a Augment,
    /// What features are standardised by.
    pub standard: &'a Standard,
    /// Fake quantization.
    pub options: Options,
    /// Samples of one step.
    pub batch: usize,
    /// Decides order, augmentation and masks.
    pub seed: u64,
}

/// Half a batch.
pub struct Shard {
    input: Vec<f32>,
    target: Vec<f32>,
    /// 1 where a number counts, 0 elsewhere.
    weight: Vec<f32>,
    n: usize,
}

impl MaskedFrames<'_> {
    fn shard(&self, places: &[usize], seeds: u64, held_out: bool) -> Shard {
        let width = self.standard.mean.len();
        let of = if held_out {
            &self.examples.held_out
        } else {
            &self.examples.train
        };
        let samples = places.par_iter().enumerate().map(|(i, &place)| {
            let salt = (seeds + i as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
            let r = &mut Random::new(self.seed ^ salt);
            let augment = (!held_out).then_some((self.augment, &mut *r));
            let mut target = self.examples.features(&of[place], augment);
            self.standard.apply(&mut target);
            let hidden = hidden_frames(target.len() / width, r);
            let (mut input, mut weight) = (target.clone(), vec![0.0; target.len()]);
            for frame in hidden {
                input[frame * width..][..width].fill(0.0);
                weight[frame * width..][..width].fill(1.0);
            }
            (input, target, weight)
        });
        let samples: Vec<_> = samples.collect();
        let mut shard = Shard {
            input: Vec::new(),
            target: Vec::new(),
            weight: Vec::new(),
            n: samples.len(),
        };
        for (input, target, weight) in samples {
            shard.input.extend(input);
            shard.target.extend(target);
            shard.weight.extend(weight);
        }
        shard
    }
}

/// Returns the hidden frames of `n`, sorted, each once.
fn hidden_frames(n: usize, r: &mut Random) -> Vec<usize> {
    let spans = ((n as f32 * MASKED / SPAN as f32) + 0.5).max(1.0) as usize;
    let mut hidden = Vec::new();
    for _ in 0..spans {
        let start = r.below(n.saturating_sub(SPAN) as u32 + 1) as usize;
        hidden.extend(start..(start + SPAN).min(n));
    }
    hidden.sort_unstable();
    hidden.dedup();
    hidden
}

impl Task for MaskedFrames<'_> {
    type Shard = Shard;

    fn shards(&self, step: u64) -> Vec<Shard> {
        let start = step * self.batch as u64;
        let places = Stream::new(self.examples.train.len(), self.seed).places(start, self.batch);
        let size = self.batch.div_ceil(SHARDS);
        let parts = places.chunks(size).enumerate();
        parts
            .map(|(i, part)| self.shard(part, start + (i * size) as u64, false))
            .collect()
    }

    fn graph<'a>(&'a self, params: &'a Params) -> Graph<'a> {
        self.model.graph(params, self.options)
    }

    fn loss(&self, graph: &Graph<'_>, shard: &Shard) -> Loss {
        let output = graph.forward(&Input::frames(shard.input.clone()), shard.n);
        let [n, len, d] = output.hidden.dims();
        // The class token's row says nothing about a frame.
        let first = usize::from(self.model.template().config.class_token);
        let hidden = output.hidden.slice([0..n, first..len, 0..d]);
        let rows = n * (len - first);
        let said = graph.head(HEAD, hidden.reshape([rows, d]));
        let tensor = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [rows, values.len() / rows]);
            Tensor::<2>::from_data(data, graph.device())
        };
        let counted = shard.weight.iter().sum::<f32>().max(1.0);
        let error = (said - tensor(&shard.target)) * tensor(&shard.weight);
        let total = error.square().sum().div_scalar(counted);
        let parts = vec![("reconstruction_mse", scalar(&total))];
        Loss { total, parts }
    }

    fn validate(&self, params: &Params) -> BTreeMap<String, f64> {
        let n = self.examples.held_out.len().min(256);
        if n == 0 {
            return BTreeMap::new();
        }
        let places: Vec<usize> = (0..n).collect();
        let loss = self.loss(
            &self.graph(params),
            &self.shard(&places, u64::MAX / 2, true),
        );
        let mse = loss.parts.first().map_or(f64::NAN, |p| p.1);
        BTreeMap::from([("held_out_mse".to_owned(), mse)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_share_asked_for_is_hidden() {
        let mut total = 0;
        for seed in 0..200 {
            let hidden = hidden_frames(50, &mut Random::new(seed));
            assert!(hidden.iter().all(|&f| f < 50) && hidden.windows(2).all(|w| w[0] < w[1]));
            total += hidden.len();
        }
        let share = total as f32 / (200.0 * 50.0);
        assert!((0.1..0.17).contains(&share), "{share}");
        assert_eq!(hidden_frames(2, &mut Random::new(1)), [0, 1]);
    }
}
