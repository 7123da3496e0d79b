//! Targets from sources (Vaswani et al., arXiv 1706.03762): cross-entropy over the target's tokens with
//! teacher forcing. Batches hold pairs of like lengths, padded to their longest.

use crate::config::Config;
use crate::error::TrainError;
use crate::examples::Standard;
use crate::graph::{Graph, Input, Options, Target, Values};
use crate::model::Model;
use crate::params::Params;
use crate::supervised::{accuracy, cross_entropy, scalar};
use crate::trainer::{Loss, SHARDS, Stream, Task, shuffled};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tailtune_tools::cmd::terminal::progress;
use tailtune_tools::evaluation::sequence::{Question, Tokenizers, evaluate, questions};
use tailtune_tools::export::{Tensor, tensors};
use tailtune_tools::float_model::FloatModel;
use tailtune_tools::import::read_model;
use tailtune_tools::text::word_level::{self, END, PAD, START};
use tailtune_tools::text::{Parallel, tokenizer};
use tokenizers::Tokenizer;

/// The most batches among which pairs are sorted by length.
const WINDOW: usize = 64;
/// Sources that a validation during training decodes.
const WATCHED: usize = 500;

/// What is learned from, and what is watched.
pub struct SequenceData {
    train: Parallel,
    held_out: Parallel,
}

impl SequenceData {
    /// Reads files of pairs; without `valid` a share is held out.
    ///
    /// # Errors
    /// [`TrainError::Text`] names the file and the line.
    pub fn read(
        paths: &[PathBuf],
        valid: Option<&Path>,
        hold_out: f64,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let all = Parallel::read(paths)?;
        let (train, held_out) = match valid {
            Some(path) => (all, Parallel::read(&[path.to_owned()])?),
            None => all.split(hold_out, seed),
        };
        Ok(Self { train, held_out })
    }

    /// Returns the tokenizers of the pairs that are learned from; of the source `encoder`'s, if given.
    ///
    /// # Errors
    /// [`TrainError::Text`].
    pub fn tokenizers(&self, encoder: Option<&Tokenizer>) -> Result<Tokenizers, TrainError> {
        let entries = || self.train.entries().iter();
        Ok(Tokenizers {
            source: match encoder {
                Some(tokenizer) => tokenizer.clone(),
                None => word_level::characters(entries().map(|e| e.source.as_str()))?,
            },
            target: word_level::pieces(entries().flat_map(|e| &e.targets).map(String::as_str))?,
        })
    }

    /// Returns how many pairs there are to learn from.
    pub fn pairs(&self) -> usize {
        self.train.entries().iter().map(|e| e.targets.len()).sum()
    }

    /// Returns what identifies the data.
    pub fn fingerprint(&self) -> String {
        format!(
            "{} {}",
            self.train.fingerprint(),
            self.held_out.fingerprint()
        )
    }
}

/// A pretrained encoder that training starts from.
pub struct Pretrained {
    path: PathBuf,
    tensors: Vec<Tensor>,
    /// Of what it reads.
    pub tokenizer: Tokenizer,
}

impl Pretrained {
    /// Reads a model directory.
    ///
    /// # Errors
    /// [`TrainError`] names the file.
    pub fn read(dir: &Path) -> Result<Self, TrainError> {
        Ok(Self {
            path: dir.into(),
            tensors: tensors(&read_model(dir)?),
            tokenizer: tokenizer::read(dir)?,
        })
    }

    /// Puts the encoder's weights into `params`.
    ///
    /// # Errors
    /// [`TrainError::Unfit`] names the tensor of another shape.
    pub fn start(&self, params: &mut Params) -> Result<(), TrainError> {
        let mut taken = 0;
        for tensor in &self.tensors {
            let Some(own) = params.get_mut(&tensor.name) else {
                continue;
            };
            if own.shape != tensor.shape {
                return Err(TrainError::Unfit(format!(
                    "{}: {} has shape {:?}, the configuration's encoder has {:?}: pretrain an encoder of the same [model]",
                    self.path.display(),
                    tensor.name,
                    tensor.shape,
                    own.shape
                )));
            }
            own.values.clone_from(&tensor.values);
            taken += 1;
        }
        eprintln!(
            "{}: {taken} tensors of its {} start the encoder",
            self.path.display(),
            self.tensors.len()
        );
        Ok(())
    }
}

/// How a run learns sequences.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Share of the target that goes to all tokens evenly.
    pub label_smoothing: f32,
    /// Fake quantization and adapters.
    pub options: Options,
    /// Pairs of one step.
    pub batch: usize,
    /// Decides the order.
    pub seed: u64,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            label_smoothing: config.schedule.label_smoothing,
            options: Options {
                fake_quantize: config.quantization_aware,
                ..Options::default()
            },
            batch: config.schedule.batch,
            seed: config.seed,
        }
    }
}

/// A source and one of its targets, as ids without start and end of the target.
struct Pair {
    source: Vec<i32>,
    target: Vec<i32>,
}

/// Training on pairs.
pub struct SequenceToSequence<'a> {
    model: &'a Model,
    pairs: Vec<Pair>,
    left_out: usize,
    held_out: Vec<Question>,
    settings: Settings,
}

/// Half a batch.
pub struct Shard {
    input: Input,
    target: Target,
    /// What is to be written at the target's places.
    wanted: Vec<usize>,
    n: usize,
}

impl<'a> SequenceToSequence<'a> {
    /// Tokenizes the pairs; those that are longer than the model are left out.
    ///
    /// # Errors
    /// [`TrainError`]: a tokenizer fails, no pair fits the model, or it does not write a piece.
    pub fn new(
        model: &'a Model,
        data: &SequenceData,
        tokenizers: &Tokenizers,
        settings: Settings,
    ) -> Result<Self, TrainError> {
        let config = &model.template().config;
        let all = questions(&data.train, tokenizers, config)?;
        let seq_len = config.decoder.map_or(0, |d| usize::from(d.seq_len));
        let signed = |ids: &[u32]| ids.iter().map(|&i| i as i32).collect::<Vec<i32>>();
        let (mut pairs, mut left_out) = (Vec::new(), 0);
        for question in &all {
            for answer in &question.answers {
                if question.truncated || answer.len() + 1 > seq_len {
                    left_out += 1;
                    continue;
                }
                pairs.push(Pair {
                    source: signed(&question.input),
                    target: signed(answer),
                });
            }
        }
        known(&all, &data.train, &tokenizers.target)?;
        if pairs.is_empty() {
            return Err(TrainError::Unfit(format!(
                "no pair fits the model's seq_len of source and target; {left_out} are longer"
            )));
        }
        Ok(Self {
            model,
            pairs,
            left_out,
            held_out: questions(&data.held_out, tokenizers, config)?,
            settings,
        })
    }

    /// Returns what there is to learn from, for a message.
    pub fn said(&self) -> String {
        format!(
            "{} pairs to learn from ({} are too long), {} sources held out",
            self.pairs.len(),
            self.left_out,
            self.held_out.len()
        )
    }

    /// Returns the graph's options.
    pub fn options(&self) -> Options {
        self.settings.options
    }

    /// Decodes all that is held out and prints how much of it is wrong.
    pub fn report(&self, model: &FloatModel) {
        if self.held_out.is_empty() {
            return;
        }
        let bar = progress("greedy decoding, sources", self.held_out.len());
        let errors = evaluate(model, &self.held_out, &|| bar.inc(1));
        bar.finish_and_clear();
        println!(
            "held out: {} sources, {:.2} % of the sequences wrong, {:.2} % of the tokens",
            errors.n,
            100.0 * errors.sequence_error_rate(),
            100.0 * errors.token_error_rate()
        );
    }

    /// Returns the pairs of a step: a run of a window that is sorted by length, the runs in random order.
    fn places(&self, step: u64) -> Vec<usize> {
        let Settings { batch, seed, .. } = self.settings;
        // At most an epoch: sorted, the same pair of several epochs would fill a batch.
        let batches = WINDOW.min(self.pairs.len() / batch).max(1);
        let (window, at) = (step / batches as u64, (step % batches as u64) as usize);
        let count = batches * batch;
        let stream = Stream::new(self.pairs.len(), seed);
        let mut places = stream.places(window * count as u64, count);
        let lengths = |&p: &usize| (self.pairs[p].source.len(), self.pairs[p].target.len());
        places.sort_by_key(lengths);
        let order = shuffled(batches, seed ^ window.wrapping_mul(0x9e37_79b9));
        places[order[at] * batch..][..batch].to_vec()
    }

    fn shard<'p>(&self, pairs: impl Iterator<Item = &'p Pair> + Clone) -> Shard {
        let longest = |len: fn(&Pair) -> usize| pairs.clone().map(len).max().unwrap_or(0);
        let (source_len, len) = (longest(|p| p.source.len()), 1 + longest(|p| p.target.len()));
        let (mut sources, mut lengths) = (Vec::new(), Vec::new());
        let (mut ids, mut places, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let mut n = 0;
        for pair in pairs {
            sources.extend(&pair.source);
            sources.resize((n + 1) * source_len, PAD as i32);
            lengths.push(pair.source.len());
            let first = (n * len) as i32;
            places.extend(first..=first + pair.target.len() as i32);
            wanted.extend(pair.target.iter().map(|&id| id as usize));
            wanted.push(END as usize);
            ids.push(START as i32);
            ids.extend(&pair.target);
            n += 1;
            ids.resize(n * len, PAD as i32);
        }
        Shard {
            input: Input {
                values: Values::Tokens {
                    ids: sources,
                    segments: Vec::new(),
                },
                lengths,
            },
            target: Target { ids, places },
            wanted,
            n,
        }
    }

    fn held_out_loss(&self, params: &Params, watched: &[&Question]) -> f64 {
        let config = self.model.template().config.decoder;
        let seq_len = config.map_or(0, |d| usize::from(d.seq_len));
        let signed = |ids: &[u32]| ids.iter().map(|&i| i as i32).collect::<Vec<i32>>();
        let fits = |q: &&&Question| q.answers[0].len() < seq_len;
        let pair = |q: &&Question| Pair {
            source: signed(&q.input),
            target: signed(&q.answers[0]),
        };
        let pairs: Vec<Pair> = watched.iter().filter(fits).map(pair).collect();
        let graph = self.graph(params);
        let (mut sum, mut tokens) = (0.0, 0);
        for part in pairs.chunks(128) {
            let shard = self.shard(part.iter());
            let logits = graph.decode(Some(&shard.input), &shard.target, shard.n);
            let loss = cross_entropy(&logits, &shard.wanted, 0.0);
            sum += scalar(&loss) * shard.wanted.len() as f64;
            tokens += shard.wanted.len();
        }
        sum / tokens.max(1) as f64
    }
}

/// A piece that the model cannot write cannot be learned.
fn known(questions: &[Question], data: &Parallel, target: &Tokenizer) -> Result<(), TrainError> {
    let unknown = target.token_to_id("[UNK]");
    let bad = |q: &Question| q.answers.iter().flatten().any(|id| Some(*id) == unknown);
    match questions.iter().position(bad) {
        None => Ok(()),
        Some(place) => {
            let entry = &data.entries()[place];
            Err(TrainError::Unfit(format!(
                "{:?} has a target with a piece that the model does not write: {:?}; its pieces are those of {}",
                entry.source,
                entry.targets,
                word_level::TARGET_FILE
            )))
        }
    }
}

impl Task for SequenceToSequence<'_> {
    type Shard = Shard;

    fn shards(&self, step: u64) -> Vec<Shard> {
        let places = self.places(step);
        let parts = places.chunks(places.len().div_ceil(SHARDS));
        parts
            .map(|part| self.shard(part.iter().map(|&p| &self.pairs[p])))
            .collect()
    }

    fn graph<'a>(&'a self, params: &'a Params) -> Graph<'a> {
        self.model.graph(params, self.settings.options)
    }

    fn loss(&self, graph: &Graph<'_>, shard: &Shard) -> Loss {
        let logits = graph.decode(Some(&shard.input), &shard.target, shard.n);
        let total = cross_entropy(&logits, &shard.wanted, self.settings.label_smoothing);
        let parts = vec![("token_accuracy", accuracy(&logits, &shard.wanted))];
        Loss { total, parts }
    }

    fn validate(&self, params: &Params) -> BTreeMap<String, f64> {
        let step = self.held_out.len().div_ceil(WATCHED).max(1);
        let watched: Vec<&Question> = self.held_out.iter().step_by(step).collect();
        if watched.is_empty() {
            return BTreeMap::new();
        }
        let loss = self.held_out_loss(params, &watched);
        let model = self
            .model
            .float(params, &Standard::identity(0), self.settings.options);
        let watched: Vec<Question> = watched.into_iter().cloned().collect();
        let errors = evaluate(&model, &watched, &|| ());
        BTreeMap::from([
            ("held_out_loss".to_owned(), loss),
            (
                "held_out_sequence_errors".to_owned(),
                errors.sequence_error_rate(),
            ),
            (
                "held_out_token_errors".to_owned(),
                errors.token_error_rate(),
            ),
        ])
    }
}
