//! Masked language model and next-sentence prediction (Devlin et al., "BERT", arXiv 1810.04805,
//! §3.1): 15 % of the pieces are chosen; of these 80 % become `[MASK]`, 10 % another piece, 10 % stay;
//! of the pairs half follow each other in the text.

use crate::config::Config;
use crate::corpus::Corpus;
use crate::error::TrainError;
use crate::graph::{Graph, Input, Options, Values};
use crate::model::{Model, initialised};
use crate::params::Params;
use crate::supervised::{accuracy, cross_entropy, scalar};
use crate::tokenizer::{SPECIAL, ids};
use crate::trainer::{Loss, SHARDS, Stream, Task};
use burn::tensor::{Int, Tensor, TensorData, activation};
use std::collections::BTreeMap;
use tailtune_tools::import::names;
use tailtune_tools::synthetic::Random;
use tokenizers::Tokenizer;

const CLS: u32 = 2;
const SEP: u32 = 3;
const MASK: u32 = 4;

/// Adds the heads: `mlm.dense`, `mlm.norm`, `mlm.bias` (the token table is the last matrix) and `nsp`.
pub fn add_heads(params: &mut Params, model: &Model, seed: u64) {
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
    for (name, shape) in shapes {
        params.push(initialised(name, shape, seed), true);
    }
}

/// A sentence by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    document: usize,
    sentence: usize,
}

/// Tokenized documents and the pairs in them.
struct Text {
    documents: Vec<Vec<Vec<u32>>>,
    /// Sentences that another follows.
    pairs: Vec<Place>,
}

impl Text {
    fn new(corpus: &Corpus, tokenizer: &Tokenizer) -> Result<Self, TrainError> {
        let mut documents = Vec::new();
        for document in corpus.documents() {
            let tokens = document.iter().map(|s| ids(tokenizer, s));
            documents.push(tokens.collect::<Result<Vec<_>, _>>()?);
        }
        let places = |(document, d): (usize, &Vec<Vec<u32>>)| {
            (1..d.len()).map(move |i| Place {
                document,
                sentence: i - 1,
            })
        };
        let pairs = documents.iter().enumerate().flat_map(places).collect();
        Ok(Self { documents, pairs })
    }

    /// Returns a pair and whether the second sentence is not the next one.
    fn pair(&self, place: Place, r: &mut Random) -> (&[u32], &[u32], bool) {
        let document = &self.documents[place.document];
        let first = &document[place.sentence];
        let next = Place {
            sentence: place.sentence + 1,
            ..place
        };
        if r.below(2) == 0 {
            return (first, &document[next.sentence], false);
        }
        loop {
            let document = r.below(self.documents.len() as u32) as usize;
            let sentence = r.below(self.documents[document].len() as u32) as usize;
            let other = Place { document, sentence };
            if other != next {
                return (first, &self.documents[document][sentence], true);
            }
        }
    }
}

/// Pretraining on text.
pub struct MaskedLm<'a> {
    model: &'a Model,
    train: Text,
    held_out: Text,
    vocab_size: u32,
    seq_len: usize,
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

/// One pair, masked.
struct Sequence {
    ids: Vec<u32>,
    segments: Vec<i32>,
    chosen: Vec<(usize, u32)>,
    not_next: bool,
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
        let train = Text::new(&train, tokenizer)?;
        if train.pairs.is_empty() {
            return Err(TrainError::Unfit(
                "no document has two sentences; next-sentence prediction needs some that follow each other: one sentence a line, an empty line between documents".into(),
            ));
        }
        Ok(Self {
            model,
            train,
            held_out: Text::new(&held_out, tokenizer)?,
            vocab_size: tokenizer.get_vocab_size(true) as u32,
            seq_len: model.template().config.seq_len.into(),
            options: Options {
                fake_quantize: config.quantization_aware,
                ..Options::default()
            },
            batch: config.schedule.batch,
            seed: config.seed,
        })
    }

    fn sequence(&self, text: &Text, place: usize, r: &mut Random) -> Sequence {
        let (a, b, not_next) = text.pair(text.pairs[place], r);
        // [CLS] a [SEP] b [SEP]: the longer sentence gives way until both fit.
        let room = self.seq_len.saturating_sub(3);
        let (mut n, mut m) = (a.len(), b.len());
        while n + m > room {
            if n >= m { n -= 1 } else { m -= 1 }
        }
        let mut tokens = vec![CLS];
        tokens.extend(&a[..n]);
        tokens.push(SEP);
        tokens.extend(&b[..m]);
        tokens.push(SEP);
        let segments = (0..tokens.len()).map(|i| i32::from(i > n + 1)).collect();
        let chosen = mask(&mut tokens, self.vocab_size, r);
        Sequence {
            ids: tokens,
            segments,
            chosen,
            not_next,
        }
    }

    fn shard(&self, text: &Text, places: &[usize], seeds: u64) -> Shard {
        let sequence = |(i, &place): (usize, &usize)| {
            let salt = (seeds + i as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
            self.sequence(text, place, &mut Random::new(self.seed ^ salt))
        };
        let sequences: Vec<Sequence> = places.iter().enumerate().map(sequence).collect();
        let len = sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0);
        let (mut ids, mut segments, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let (mut chosen, mut targets) = (Vec::new(), Vec::new());
        for (row, sequence) in sequences.iter().enumerate() {
            let padding = len - sequence.ids.len();
            ids.extend(sequence.ids.iter().map(|&id| id as i32));
            ids.extend(std::iter::repeat_n(0, padding));
            segments.extend(&sequence.segments);
            segments.extend(std::iter::repeat_n(0, padding));
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

/// Chooses 15 % of the pieces, at least one, and hides them; returns where they stood and what they
/// were.
fn mask(tokens: &mut [u32], vocab_size: u32, r: &mut Random) -> Vec<(usize, u32)> {
    let mut places: Vec<usize> = (0..tokens.len())
        .filter(|&i| tokens[i] != CLS && tokens[i] != SEP)
        .collect();
    let n = ((places.len() as f32 * 0.15 + 0.5) as usize).clamp(1.min(places.len()), places.len());
    let mut chosen = Vec::new();
    for _ in 0..n {
        let at = places.swap_remove(r.below(places.len() as u32) as usize);
        chosen.push((at, tokens[at]));
        let special = SPECIAL.len() as u32;
        match r.below(10) {
            0..8 => tokens[at] = MASK,
            8 => tokens[at] = special + r.below(vocab_size.saturating_sub(special).max(1)),
            _ => {}
        }
    }
    chosen
}

impl Task for MaskedLm<'_> {
    type Shard = Shard;

    fn shards(&self, step: u64) -> Vec<Shard> {
        let start = step * self.batch as u64;
        let places = Stream::new(self.train.pairs.len(), self.seed).places(start, self.batch);
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
        let next = graph.head("nsp", output.pooled);
        let nsp = cross_entropy(&next, &shard.not_next, 0.0);
        let words = word_logits(graph, output.hidden, &shard.chosen);
        let mlm = cross_entropy(&words, &shard.targets, 0.0);
        let parts = vec![
            ("mlm_loss", scalar(&mlm)),
            ("nsp_loss", scalar(&nsp)),
            ("mlm_accuracy", accuracy(&words, &shard.targets)),
            ("nsp_accuracy", accuracy(&next, &shard.not_next)),
        ];
        Loss {
            total: mlm + nsp,
            parts,
        }
    }

    fn validate(&self, params: &Params) -> BTreeMap<String, f64> {
        let n = self.held_out.pairs.len().min(256);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_of_ten_chosen_pieces_are_masked_one_is_another_one_stays() {
        let (mut masked, mut other, mut same, mut all) = (0, 0, 0, 0);
        for seed in 0..400 {
            let before: Vec<u32> = (0..60).map(|i| 5 + i).collect();
            let mut tokens = before.clone();
            let chosen = mask(&mut tokens, 1000, &mut Random::new(seed));
            assert_eq!(chosen.len(), 9);
            all += chosen.len();
            for (at, was) in chosen {
                assert_eq!(before[at], was);
                match tokens[at] {
                    MASK => masked += 1,
                    id if id == was => same += 1,
                    _ => other += 1,
                }
            }
        }
        let share = |n: i32| f64::from(n) / all as f64;
        assert!((share(masked) - 0.8).abs() < 0.02, "{}", share(masked));
        assert!((share(other) - 0.1).abs() < 0.02 && (share(same) - 0.1).abs() < 0.02);
    }

    #[test]
    fn special_pieces_are_never_chosen() {
        let mut tokens = [CLS, 9, SEP, 8, SEP];
        let chosen = mask(&mut tokens, 100, &mut Random::new(1));
        assert!(chosen.iter().all(|(at, _)| [1, 3].contains(at)) && chosen.len() == 1);
        assert!(mask(&mut [CLS, SEP, SEP], 100, &mut Random::new(1)).is_empty());
    }
}
