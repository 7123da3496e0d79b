//! Masked language model and next-sentence prediction, on the pairs or single sentences of [`tailtune_tools::text`].

use crate::config::Config;
use crate::error::TrainError;
use crate::graph::{Graph, Input, Options, Values};
use crate::model::{Model, initialised};
use crate::params::Params;
use crate::supervised::{accuracy, cross_entropy, scalar};
use crate::trainer::{Loss, SHARDS, Stream, Task};
use burn::tensor::{Int, Tensor, TensorData, activation};
use std::collections::BTreeMap;
use tailtune_tools::import::names;
use tailtune_tools::synthetic::Random;
use tailtune_tools::text::{Corpus, Sequence, Shape, Text};
use tokenizers::Tokenizer;

/// Adds the heads: `mlm.dense`, `mlm.norm`, `mlm.bias` (the token table is the last matrix) and, where
/// pairs of sentences are read, `nsp`.
pub fn add_heads(params: &mut Params, model: &Model, next_sentence: bool, seed: u64) {
    let config = &model.template().config;
    let d = usize::from(config.d_model);
    let vocab = params.get(names::TOKENS).map_or(0, |t| t.shape[0]);
    let shapes: [(&str, &[usize]); 7] = [
        ("mlm.dense.weight", &[d, d]),
        ("mlm.dense.bias", &[d]),
        ("mlm.norm.weight", &[d]),
        ("mlm.norm.bias", &[d]),
        ("mlm.bias", &[vocab]),
        ("nsp.weight", &[2, d]),
        ("nsp.bias", &[2]),
    ];
    let wanted = |(name, _): &(&str, _)| next_sentence || !name.starts_with("nsp");
    for (name, shape) in shapes.into_iter().filter(wanted) {
        params.push(initialised(name, shape, seed), true);
    }
}

/// Pretraining on text.
pub struct MaskedLm<'a> {
    model: &'a Model,
    train: Text,
    held_out: Text,
    shape: Shape,
    next_sentence: bool,
    options: Options,
    batch: usize,
    seed: u64,
}

/// Half a batch, padded to its longest pair.
pub struct Shard {
    input: Input,
    n: usize,
    /// Places in `[n · len]` of the chosen pieces, and what they were.
    chosen: Vec<usize>,
    targets: Vec<usize>,
    /// 0 where the second sentence follows the first, 1 where not.
    not_next: Vec<usize>,
}

impl<'a> MaskedLm<'a> {
    /// Tokenizes the corpus.
    ///
    /// # Errors
    /// [`TrainError`]: the tokenizer fails, or no sentence follows another.
    pub fn new(
        model: &'a Model,
        corpus: &Corpus,
        tokenizer: &Tokenizer,
        config: &Config,
    ) -> Result<Self, TrainError> {
        let (train, held_out) = corpus.clone().split(config.hold_out);
        let architecture = &model.template().config;
        let text = |corpus: &Corpus| match config.text.next_sentence {
            true => Text::new(corpus, tokenizer),
            false => Text::single(corpus, tokenizer, architecture),
        };
        let train = text(&train)?;
        if train.pairs() == 0 {
            return Err(TrainError::Unfit(
                "no document has two sentences; next-sentence prediction needs some that follow each other: one sentence a line, an empty line between documents".into(),
            ));
        }
        Ok(Self {
            model,
            train,
            held_out: text(&held_out)?,
            shape: Shape {
                vocab_size: tokenizer.get_vocab_size(true) as u32,
                seq_len: model.template().config.seq_len.into(),
            },
            next_sentence: config.text.next_sentence,
            options: Options {
                fake_quantize: config.quantization_aware,
                ..Options::default()
            },
            batch: config.schedule.batch,
            seed: config.seed,
        })
    }

    fn shard(&self, text: &Text, places: &[usize], seeds: u64) -> Shard {
        let sequence = |(i, &place): (usize, &usize)| {
            let salt = (seeds + i as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
            text.sequence(place, self.shape, &mut Random::new(self.seed ^ salt))
        };
        let sequences: Vec<Sequence> = places.iter().enumerate().map(sequence).collect();
        let len = sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0);
        let (mut ids, mut segments, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let (mut chosen, mut targets) = (Vec::new(), Vec::new());
        for (row, sequence) in sequences.iter().enumerate() {
            let padding = len - sequence.ids.len();
            ids.extend(sequence.ids.iter().map(|&id| id as i32));
            ids.extend(std::iter::repeat_n(0, padding));
            segments.extend(sequence.segments.iter().map(|&s| i32::from(s)));
            if self.next_sentence {
                segments.extend(std::iter::repeat_n(0, padding));
            }
            lengths.push(sequence.ids.len());
            chosen.extend(sequence.chosen.iter().map(|(at, _)| row * len + at));
            targets.extend(sequence.chosen.iter().map(|(_, id)| *id as usize));
        }
        Shard {
            input: Input {
                values: Values::Tokens { ids, segments },
                lengths,
            },
            n: sequences.len(),
            chosen,
            targets,
            not_next: sequences.iter().map(|s| usize::from(s.not_next)).collect(),
        }
    }
}

impl Task for MaskedLm<'_> {
    type Shard = Shard;

    fn shards(&self, step: u64) -> Vec<Shard> {
        let start = step * self.batch as u64;
        let places = Stream::new(self.train.pairs(), self.seed).places(start, self.batch);
        let size = self.batch.div_ceil(SHARDS);
        let parts = places.chunks(size).enumerate();
        parts
            .map(|(i, part)| self.shard(&self.train, part, start + (i * size) as u64))
            .collect()
    }

    fn graph<'a>(&'a self, params: &'a Params) -> Graph<'a> {
        self.model.graph(params, self.options)
    }

    fn loss(&self, graph: &Graph<'_>, shard: &Shard) -> Loss {
        let output = graph.forward(&shard.input, shard.n);
        let words = word_logits(graph, output.hidden, &shard.chosen);
        let mlm = cross_entropy(&words, &shard.targets, 0.0);
        let mut parts = vec![
            ("mlm_loss", scalar(&mlm)),
            ("mlm_accuracy", accuracy(&words, &shard.targets)),
        ];
        if !self.next_sentence {
            return Loss { total: mlm, parts };
        }
        let next = graph.head("nsp", output.pooled);
        let nsp = cross_entropy(&next, &shard.not_next, 0.0);
        parts.push(("nsp_loss", scalar(&nsp)));
        parts.push(("nsp_accuracy", accuracy(&next, &shard.not_next)));
        Loss {
            total: mlm + nsp,
            parts,
        }
    }

    fn validate(&self, params: &Params) -> BTreeMap<String, f64> {
        let n = self.held_out.pairs().min(256);
        if n == 0 {
            return BTreeMap::new();
        }
        let places: Vec<usize> = (0..n).collect();
        let shard = self.shard(&self.held_out, &places, u64::MAX / 2);
        let loss = self.loss(&self.graph(params), &shard);
        let held_out = |(name, value): (&str, f64)| (format!("held_out_{name}"), value);
        loss.parts.into_iter().map(held_out).collect()
    }
}

/// Returns the logits over the vocabulary at places of `[batch · len]`.
fn word_logits(graph: &Graph<'_>, hidden: Tensor<3>, places: &[usize]) -> Tensor<2> {
    let [batch, len, d] = hidden.dims();
    let places: Vec<i32> = places.iter().map(|&p| p as i32).collect();
    let n = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [n]), graph.device());
    let rows = hidden.reshape([batch * len, d]).select(0, places);
    let rows = activation::gelu(graph.head("mlm.dense", rows));
    let rows = graph.norm("mlm.norm", rows);
    let table = graph.matrix(names::TOKENS);
    rows.matmul(table.transpose()) + graph.vector("mlm.bias").unsqueeze::<2>()
}
