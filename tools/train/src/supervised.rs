//! Classes from labels, with what a teacher adds.

use crate::augment::Augment;
use crate::config::Distill;
use crate::examples::{Example, Examples, Signal, Standard};
use crate::graph::{Graph, Input, Options, Values, values};
use crate::model::Model;
use crate::params::Params;
use crate::teacher::Answers;
use crate::trainer::{Loss, SHARDS, Stream, Task};
use burn::tensor::{Int, Tensor, TensorData, activation};
use rayon::prelude::*;
use std::collections::BTreeMap;
use tailtune_tools::import::names;
use tailtune_tools::int8::argmax;
use tailtune_tools::reference::forward;
use tailtune_tools::synthetic::Random;

/// The map from the student's features to the teacher's.
pub const PROJECTOR: &str = "distill";

/// Supervised training on examples.
pub struct Supervised<'a> {
    /// The architecture, and how parameters become a model.
    pub model: &'a Model,
    /// The samples.
    pub examples: &'a Examples,
    /// What is done to them.
    pub augment: &'a Augment,
    /// What features are standardised by.
    pub standard: &'a Standard,
    /// A teacher's answers by example id, and their weights.
    pub teacher: Option<(&'a Answers, &'a Distill)>,
    /// Share of the target that goes to all classes evenly.
    pub label_smoothing: f32,
    /// Fake quantization and adapters.
    pub options: Options,
    /// Samples of one step.
    pub batch: usize,
    /// Decides order and augmentation.
    pub seed: u64,
}

/// Half a batch.
pub struct Shard {
    input: Input,
    classes: Vec<usize>,
    ids: Vec<usize>,
}

impl Supervised<'_> {
    fn sample(&self, example: &Example, seed: u64) -> Vec<f32> {
        let r = &mut Random::new(seed);
        let mut frames = self
            .examples
            .features(example, Some((self.augment, &mut *r)));
        self.standard.apply(&mut frames);
        self.augment
            .frames(&mut frames, self.standard.mean.len(), r);
        frames
    }

    fn shard(&self, places: &[usize], position: u64) -> Shard {
        let examples: Vec<&Example> = places.iter().map(|&p| &self.examples.train[p]).collect();
        let frames = examples.par_iter().enumerate().map(|(i, example)| {
            let salt = (position + i as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
            self.sample(example, self.seed ^ salt)
        });
        let input = match padded(&examples) {
            Some(tokens) => tokens,
            None => Input::frames(frames.collect::<Vec<_>>().concat()),
        };
        Shard {
            input,
            classes: examples.iter().map(|e| e.class).collect(),
            ids: examples.iter().map(|e| e.id).collect(),
        }
    }

    fn distilled(
        &self,
        graph: &Graph<'_>,
        pooled: &Tensor<2>,
        logits: &Tensor<2>,
        shard: &Shard,
    ) -> Option<(Tensor<1>, Vec<(&'static str, f64)>)> {
        let (answers, weights) = self.teacher?;
        let n = shard.ids.len();
        let mut total = Tensor::<1>::zeros([1], graph.device());
        let mut parts = Vec::new();
        let rows = |of: &dyn Fn(usize) -> Vec<f32>, width: usize| {
            let all: Vec<f32> = shard.ids.iter().flat_map(|&id| of(id)).collect();
            Tensor::<2>::from_data(TensorData::new(all, [n, width]), graph.device())
        };
        if weights.features > 0.0 {
            let want = rows(&|id| answers.features(id).to_vec(), answers.n_features);
            let got = graph.head(PROJECTOR, pooled.clone());
            let distance = (got - want).square().mean();
            parts.push(("teacher_distance", scalar(&distance)));
            total = total + distance.mul_scalar(weights.features);
        }
        if weights.logits > 0.0 {
            let temperature = weights.temperature;
            let soft = |id: usize| answers.probabilities(id, temperature);
            let want = rows(&soft, answers.n_classes);
            let log = activation::log_softmax(logits.clone().div_scalar(temperature), 1);
            let entropy = (want * log).sum_dim(1).mean().neg();
            parts.push(("teacher_entropy", scalar(&entropy)));
            total = total + entropy.mul_scalar(weights.logits * temperature * temperature);
        }
        Some((total, parts))
    }
}

impl Task for Supervised<'_> {
    type Shard = Shard;

    fn shards(&self, step: u64) -> Vec<Shard> {
        let start = step * self.batch as u64;
        let places = Stream::new(self.examples.train.len(), self.seed).places(start, self.batch);
        let size = self.batch.div_ceil(SHARDS);
        let parts = places.chunks(size).enumerate();
        parts
            .map(|(i, part)| self.shard(part, start + (i * size) as u64))
            .collect()
    }

    fn graph<'a>(&'a self, params: &'a Params) -> Graph<'a> {
        self.model.graph(params, self.options)
    }

    fn loss(&self, graph: &Graph<'_>, shard: &Shard) -> Loss {
        let n = shard.classes.len();
        let output = graph.forward(&shard.input, n);
        let logits = graph.head(names::HEAD, output.pooled.clone());
        let mut parts = vec![("train_accuracy", accuracy(&logits, &shard.classes))];
        let entropy = cross_entropy(&logits, &shard.classes, self.label_smoothing);
        let mut total = entropy;
        if let Some((more, said)) = self.distilled(graph, &output.pooled, &logits, shard) {
            total = total + more;
            parts.extend(said);
        }
        Loss { total, parts }
    }

    fn validate(&self, params: &Params) -> BTreeMap<String, f64> {
        let held_out = &self.examples.held_out;
        if held_out.is_empty() {
            return BTreeMap::new();
        }
        let model = self.model.float(params, self.standard, self.options);
        let right = |example: &&Example| {
            let input = self.examples.input(example);
            let output = forward(&model, input.float(), &mut ());
            argmax(&output.logits) == Some(example.class)
        };
        let right = held_out.par_iter().filter(right).count();
        let share = right as f64 / held_out.len() as f64;
        BTreeMap::from([("held_out_accuracy".to_owned(), share)])
    }
}

/// Returns token sequences padded to the longest; none for samples of something else.
fn padded(examples: &[&Example]) -> Option<Input> {
    let tokens = |example: &&&Example| match &example.signal {
        Signal::Tokens(ids, segments) => Some((ids.clone(), segments.clone())),
        _ => None,
    };
    let all: Vec<(Vec<u32>, Vec<u8>)> = examples.iter().filter_map(|e| tokens(&e)).collect();
    if all.is_empty() {
        return None;
    }
    let len = all.iter().map(|(ids, _)| ids.len()).max().unwrap_or(0);
    let (mut ids, mut segments) = (Vec::new(), Vec::new());
    for (one, parts) in &all {
        let padding = len - one.len();
        ids.extend(one.iter().map(|&id| id as i32));
        ids.extend(std::iter::repeat_n(0, padding));
        if !parts.is_empty() {
            segments.extend(parts.iter().map(|&s| i32::from(s)));
            segments.extend(std::iter::repeat_n(0, padding));
        }
    }
    Some(Input {
        values: Values::Tokens { ids, segments },
        lengths: all.iter().map(|(ids, _)| ids.len()).collect(),
    })
}

/// Cross-entropy with label smoothing, the mean over rows.
pub fn cross_entropy(logits: &Tensor<2>, classes: &[usize], smoothing: f32) -> Tensor<1> {
    let [n, width] = logits.dims();
    let log = activation::log_softmax(logits.clone(), 1);
    let ids: Vec<i32> = classes.iter().map(|&c| c as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [n, 1]), &logits.device());
    let own = log
        .clone()
        .gather(1, ids)
        .mean()
        .neg()
        .mul_scalar(1.0 - smoothing);
    match smoothing > 0.0 {
        true => own + log.sum().neg().mul_scalar(smoothing / (n * width) as f32),
        false => own,
    }
}

/// Returns the share of rows whose largest logit is the class.
pub fn accuracy(logits: &Tensor<2>, classes: &[usize]) -> f64 {
    let [n, width] = logits.dims();
    let all = values(logits.clone().detach());
    let rows = all.chunks_exact(width.max(1)).zip(classes);
    rows.filter(|(row, class)| argmax(row) == Some(**class))
        .count() as f64
        / n.max(1) as f64
}

/// Returns a tensor's first element.
pub fn scalar(tensor: &Tensor<1>) -> f64 {
    f64::from(
        values(tensor.clone().detach())
            .first()
            .copied()
            .unwrap_or(f32::NAN),
    )
}
