//! `tailtune pretrain`.

use crate::config::{Config, Task, TokenizerName};
use crate::error::TrainError;
use crate::examples::{DataArg, Examples, Reads, Standard};
use crate::graph::Options;
use crate::masked_frames::{self, MaskedFrames};
use crate::masked_lm::{self, MaskedLm};
use crate::model::{Model, initialise, initialised};
use crate::params::Params;
use crate::sequence::{Pretrained, SequenceData, SequenceToSequence};
use crate::supervised::{PROJECTOR, Supervised};
use crate::teacher::Answers;
use crate::trainer::{Outcome, Trainer};
use clap::Args;
use std::path::PathBuf;
use tailtune::image::ModelConfig;
use tailtune_tools::audio::FrontEnd;
use tailtune_tools::export::{Tensor, write_model};
use tailtune_tools::float_model::{ActivationFn, FloatModel};
use tailtune_tools::import::{names, read_model};
use tailtune_tools::synthetic;
use tailtune_tools::text::{Corpus, tokenizer, word_level};

/// Train a model from random weights: an encoder, supervised, by masked frames, or by masked words and next sentences; or an encoder with a decoder, from sources and targets
#[derive(Debug, Args)]
pub struct Pretrain {
    /// The configuration, TOML: task, architecture, front end, schedule, augmentation
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Data, given as often as there are sources: PATH[,language=L][,plain][,repeat=N][,exclude=CLASS]...[,only=CLASS]...[,as=CLASS]
    #[arg(long, required = true, value_name = "D")]
    data: Vec<DataArg>,
    /// A model whose features or logits are learned too, as [distill] of the configuration says
    #[arg(long, value_name = "MODEL_DIR")]
    teacher: Option<PathBuf>,
    /// Where the teacher's answers are kept; several runs on the same data may share them
    #[arg(long, value_name = "FILE", requires = "teacher")]
    teacher_cache: Option<PathBuf>,
    /// For sequence to sequence: pairs to watch, in the place of a share that is held out
    #[arg(long, value_name = "FILE")]
    valid: Option<PathBuf>,
    /// For sequence to sequence: a pretrained encoder to start from, with its tokenizer
    #[arg(long, value_name = "MODEL_DIR")]
    encoder: Option<PathBuf>,
    /// The directory to write; a run that was killed goes on from its checkpoint there
    #[arg(short, long, value_name = "MODEL_DIR")]
    output: PathBuf,
    /// Stop after this many steps of this call, with a checkpoint at the last report
    #[arg(long, value_name = "N")]
    stop_after: Option<u64>,
}

impl Pretrain {
    /// Runs the command.
    ///
    /// # Errors
    /// [`TrainError`] says what stands in the way and what to do.
    pub fn run(&self) -> Result<(), TrainError> {
        let config = Config::read(&self.config)?;
        match config.task {
            Task::Supervised => self.supervised(&config),
            Task::MaskedFrames => self.masked_frames(&config),
            Task::MaskedLm => self.masked_lm(&config),
            Task::SequenceToSequence => self.sequence_to_sequence(&config),
        }
    }

    fn examples(&self, config: &Config) -> Result<Examples, TrainError> {
        let front_end = config.frontend.as_ref().map(FrontEnd::new).transpose()?;
        let input = config.input(0)?;
        Examples::read(
            &self.data,
            Reads {
                input,
                front_end,
                tokenizer: None,
            },
            None,
            config.hold_out,
            config.seed,
        )
    }

    fn trainer<'a>(&'a self, config: &'a Config, data: &str) -> Trainer<'a> {
        let teacher = self.teacher.as_ref().map(|t| t.display().to_string());
        Trainer {
            dir: &self.output,
            title: &config.name,
            run: format!("{} {data} {teacher:?}", serde_json::json!(config)),
            schedule: &config.schedule,
            stop_after: self.stop_after,
        }
    }

    fn supervised(&self, config: &Config) -> Result<(), TrainError> {
        let examples = self.examples(config)?;
        let model = Model::new(template(config, examples.labels.clone(), 0)?);
        let standard = examples.statistics(n_features(&model)?);
        let mut params = model.params(&standard_of_new(&standard));
        let answers = self.answers(&examples)?;
        let teacher = match (&answers, &config.distill) {
            (Some(answers), Some(weights)) => {
                add_projector(&mut params, answers, &model, config.seed);
                Some((answers, weights))
            }
            (None, None) => None,
            _ => {
                let text = "--teacher and [distill] of the configuration go together";
                return Err(TrainError::Unfit(text.into()));
            }
        };
        let task = Supervised {
            model: &model,
            examples: &examples,
            augment: &config.augment,
            standard: &standard,
            teacher,
            label_smoothing: config.schedule.label_smoothing,
            options: options(config),
            batch: config.schedule.batch,
            seed: config.seed,
        };
        announce(&model, &examples, &params);
        let trainer = self.trainer(config, &examples.fingerprint);
        let outcome = trainer.train(&task, &mut params)?;
        let trained = model.float(&params, &standard, task.options);
        self.finish(&trained, &[], &outcome)
    }

    fn answers(&self, examples: &Examples) -> Result<Option<Answers>, TrainError> {
        let Some(dir) = &self.teacher else {
            return Ok(None);
        };
        let teacher = read_model(dir)?;
        let own = self.output.join("teacher.safetensors");
        let cache = self.teacher_cache.as_ref().unwrap_or(&own);
        Answers::of(&teacher, examples, cache).map(Some)
    }

    fn masked_frames(&self, config: &Config) -> Result<(), TrainError> {
        let examples = self.examples(config)?;
        let model = Model::new(template(config, Vec::new(), 0)?);
        let width = n_features(&model)?;
        let standard = examples.statistics(width);
        let mut params = model.params(&standard_of_new(&standard));
        let shape = [width, model.template().config.d_model.into()];
        add_linear(&mut params, masked_frames::HEAD, shape, config.seed);
        let task = MaskedFrames {
            model: &model,
            examples: &examples,
            augment: &config.augment,
            standard: &standard,
            options: options(config),
            batch: config.schedule.batch,
            seed: config.seed,
        };
        announce(&model, &examples, &params);
        let trainer = self.trainer(config, &examples.fingerprint);
        let outcome = trainer.train(&task, &mut params)?;
        let trained = model.float(&params, &standard, task.options);
        let extra = extras(&params, masked_frames::HEAD);
        self.finish(&trained, &extra, &outcome)
    }

    fn masked_lm(&self, config: &Config) -> Result<(), TrainError> {
        let paths: Vec<PathBuf> = self.data.iter().map(|d| d.path.clone()).collect();
        let corpus = Corpus::read(&paths)?;
        let tokenizer = match config.text.tokenizer {
            TokenizerName::WordPiece => {
                tokenizer::train(&corpus, config.model.vocab_size.unwrap_or(4096))?
            }
            TokenizerName::Characters => word_level::characters(corpus.iter())?,
        };
        tokenizer::write(&tokenizer, &self.output)?;
        let vocab_size = tokenizer.get_vocab_size(true) as u32;
        let model = Model::new(template(config, Vec::new(), vocab_size)?);
        let mut params = model.params(&Standard::identity(0));
        let next_sentence = config.text.next_sentence;
        masked_lm::add_heads(&mut params, &model, next_sentence, config.seed);
        let task = MaskedLm::new(&model, &corpus, &tokenizer, config)?;
        eprintln!(
            "{} sentences, {vocab_size} tokens, {} parameters",
            corpus.sentences(),
            params.count(false)
        );
        let trainer = self.trainer(config, &corpus.fingerprint());
        let outcome = trainer.train(&task, &mut params)?;
        let trained = model.float(&params, &Standard::identity(0), options(config));
        let extra = [extras(&params, "mlm."), extras(&params, "nsp.")].concat();
        self.finish(&trained, &extra, &outcome)
    }

    fn sequence_to_sequence(&self, config: &Config) -> Result<(), TrainError> {
        let paths: Vec<PathBuf> = self.data.iter().map(|d| d.path.clone()).collect();
        let valid = self.valid.as_deref();
        let data = SequenceData::read(&paths, valid, config.hold_out, config.seed)?;
        let encoder = self.encoder.as_deref().map(Pretrained::read).transpose()?;
        let tokenizers = data.tokenizers(encoder.as_ref().map(|e| &e.tokenizer))?;
        let sizes = [&tokenizers.source, &tokenizers.target].map(|t| t.get_vocab_size(true) as u32);
        let architecture = config.sequence_architecture(sizes[0], sizes[1])?;
        let model = Model::new(template_of(config, &architecture, Vec::new()));
        let mut params = model.params(&Standard::identity(0));
        if let Some(encoder) = &encoder {
            encoder.start(&mut params)?;
        }
        let task = SequenceToSequence::new(&model, &data, &tokenizers, config.into())?;
        eprintln!(
            "{}, tokens of source and target: {sizes:?}, {} parameters",
            task.said(),
            model.template().parameters(),
        );
        tokenizers.write(&self.output)?;
        let run = format!("{} {:?}", data.fingerprint(), self.encoder);
        let outcome = self.trainer(config, &run).train(&task, &mut params)?;
        let trained = model.float(&params, &Standard::identity(0), task.options());
        self.finish(&trained, &[], &outcome)?;
        task.report(&trained);
        Ok(())
    }

    fn finish(
        &self,
        model: &FloatModel,
        extra: &[Tensor],
        outcome: &Outcome,
    ) -> Result<(), TrainError> {
        write_model(&self.output, model, extra)?;
        println!(
            "{}: {} parameters, {:.1} minutes; training.svg shows the curve",
            self.output.display(),
            model.parameters(),
            outcome.seconds / 60.0
        );
        Ok(())
    }
}

fn options(config: &Config) -> Options {
    Options {
        fake_quantize: config.quantization_aware,
        ..Options::default()
    }
}

/// New weights are made for standardised features already: nothing is to be unfolded.
fn standard_of_new(standard: &Standard) -> Standard {
    Standard::identity(standard.mean.len())
}

/// Returns the columns of the model's frames.
///
/// # Errors
/// [`TrainError::Unfit`] for a model of something else.
pub fn n_features(model: &Model) -> Result<usize, TrainError> {
    let frames = model.template().config.input.frames();
    let text = "the model does not read frames, the data is frames or sound";
    let (_, n_features) = frames.ok_or_else(|| TrainError::Unfit(text.into()))?;
    Ok(n_features)
}

fn announce(model: &Model, examples: &Examples, params: &Params) {
    eprintln!(
        "{} classes, {} samples to learn from, {} held out, {} parameters ({} in training)",
        examples.labels.len(),
        examples.train.len(),
        examples.held_out.len(),
        model.template().parameters(),
        params.count(true)
    );
}

fn extras(params: &Params, prefix: &str) -> Vec<Tensor> {
    let named = params.iter().map(|p| &p.tensor);
    named
        .filter(|t| t.name.starts_with(prefix))
        .cloned()
        .collect()
}

/// Adds a linear layer `[out, in]` with random weights.
pub fn add_linear(params: &mut Params, name: &str, [out, input]: [usize; 2], seed: u64) {
    params.push(initialised(&names::weight(name), &[out, input], seed), true);
    params.push(initialised(&names::bias(name), &[out], seed), true);
}

/// Adds the map from the student's features to the teacher's.
pub fn add_projector(params: &mut Params, answers: &Answers, model: &Model, seed: u64) {
    let shape = [answers.n_features, model.template().config.d_model.into()];
    add_linear(params, PROJECTOR, shape, seed);
}

/// Returns a model of the configuration's architecture with random weights.
///
/// # Errors
/// [`TrainError::Unfit`] names what the runtime refuses.
pub fn template(
    config: &Config,
    labels: Vec<String>,
    vocab_size: u32,
) -> Result<FloatModel, TrainError> {
    let architecture = config.architecture(labels.len(), vocab_size)?;
    Ok(template_of(config, &architecture, labels))
}

/// Returns a model of `architecture` with random weights, and the rest as the configuration says.
fn template_of(config: &Config, architecture: &ModelConfig, labels: Vec<String>) -> FloatModel {
    let mut model = synthetic::model(architecture, config.seed);
    model.name.clone_from(&config.name);
    model.activation = match config.activation() {
        ActivationFn::GeluTanh => ActivationFn::GeluTanh,
        _ => model.activation,
    };
    model.labels = labels;
    model.front_end.clone_from(&config.frontend);
    for norm in model.norms_mut() {
        norm.eps = config.model.layer_norm_eps;
    }
    initialise(&mut model, config.seed);
    model
}
