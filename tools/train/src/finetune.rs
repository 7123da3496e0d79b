//! `tailtune finetune`: a pretrained model on new data: what moves, what is replaced, and who
//! teaches.

mod adapters;
mod sequence;

use crate::augment::Augment;
use crate::config::Distill;
use crate::error::TrainError;
use crate::examples::{DataArg, Examples, Reads, Standard};
use crate::graph::Options;
use crate::model::{Model, initialised};
use crate::params::Params;
use crate::pretrain::add_projector;
use crate::schedule::Schedule;
use crate::supervised::Supervised;
use crate::teacher::Answers;
use crate::trainer::Trainer;
use crate::what::What;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tailtune::image::{Activation, InputKind};
use tailtune_tools::audio::FrontEnd;
use tailtune_tools::export::write_model;
use tailtune_tools::float_model::{ActivationFn, Embedding, FloatModel, Linear};
use tailtune_tools::import::{names, read_model};
use tailtune_tools::text::tokenizer;
use tokenizers::Tokenizer;

/// Train a pretrained model, or some of it, on labelled data, or a model with a decoder on pairs
#[derive(Debug, Args)]
pub struct Finetune {
    /// The pretrained model
    model: PathBuf,
    /// Data, given as often as there are sources: PATH[,language=L][,plain][,repeat=N][,exclude=CLASS]...[,only=CLASS]...[,as=CLASS]
    #[arg(long, required = true, value_name = "D")]
    data: Vec<DataArg>,
    /// What moves: head, last-N (blocks, and the head), all, norm+bias (of all blocks, and the head)
    /// or lora (adapters of rank --rank beside the attention's projections, and the head); of a model
    /// with a decoder, whose head is the output projection, also encoder, decoder or both
    #[arg(long, default_value = "head", value_name = "WHAT")]
    train: What,
    /// Rank of the adapters
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    rank: u16,
    /// A new head for the classes of the data, in the place of the model's own
    #[arg(long)]
    new_head: bool,
    /// A new projection from frames or a new table of tokens, with random weights, in the place of
    /// the model's own; it moves
    #[arg(long)]
    new_embedding: bool,
    /// Another activation function in the place of the model's own; the model as it was teaches
    /// unless --teacher names another
    #[arg(long, value_enum, value_name = "FUNCTION")]
    activation: Option<NewActivation>,
    /// A model whose features and logits are learned too
    #[arg(long, value_name = "MODEL_DIR")]
    teacher: Option<PathBuf>,
    /// Weight of the distance to the teacher's features
    #[arg(long, default_value_t = 1.0)]
    teacher_features: f32,
    /// Weight of the cross-entropy to the teacher's logits, where both know the same classes
    #[arg(long, default_value_t = 0.0)]
    teacher_logits: f32,
    /// Softens those logits
    #[arg(long, default_value_t = 2.0)]
    temperature: f32,
    /// Round weights and activations to int8 grids while training
    #[arg(long)]
    quantization_aware: bool,
    /// Schedule and augmentation: a TOML file with [schedule] and [augment]; without it batches
    /// of 32, 20 epochs but at least 300 steps, no augmentation
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For a model with a decoder: pairs to watch, in the place of a share that is held out
    #[arg(long, value_name = "FILE")]
    valid: Option<PathBuf>,
    /// Share of the samples that are held out to watch
    #[arg(long, default_value_t = 0.1)]
    hold_out: f64,
    /// Decides order, augmentation, new weights and what is held out
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the new model is called; else as the old one
    #[arg(long)]
    name: Option<String>,
    /// The directory to write; a run that was killed goes on from its checkpoint there
    #[arg(short, long, value_name = "MODEL_DIR")]
    output: PathBuf,
    /// Stop after this many steps of this call, with a checkpoint at the last report
    #[arg(long, value_name = "N")]
    stop_after: Option<u64>,
}

/// The functions that may replace the model's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NewActivation {
    /// GELU by the error function.
    Gelu,
    /// Rectified linear unit.
    Relu,
}

/// The file of `--config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    schedule: Schedule,
    #[serde(default)]
    augment: Augment,
}

impl Finetune {
    /// Runs the command.
    ///
    /// # Errors
    /// [`TrainError`] says what stands in the way and what to do.
    pub fn run(&self) -> Result<(), TrainError> {
        let original = read_model(&self.model)?;
        if original.decoder.is_some() {
            return self.sequence(original);
        }
        self.check_encoder()?;
        let examples = self.examples(&original)?;
        let plan = self.plan(examples.train.len())?;
        let mut template = original.clone();
        self.replace(&mut template, &examples);
        let model = Model::new(template);
        let standard = self.standard(&model, &examples)?;
        let (mut params, options) = self.params(&model, &standard);
        let answers = self.answers(&original, &examples)?;
        let weights = self.distill();
        if let Some(answers) = &answers {
            add_projector(&mut params, answers, &model, self.seed);
        }
        let task = Supervised {
            model: &model,
            examples: &examples,
            augment: &plan.augment,
            standard: &standard,
            teacher: answers.as_ref().map(|a| (a, &weights)),
            label_smoothing: plan.schedule.label_smoothing,
            options,
            batch: plan.schedule.batch,
            seed: self.seed,
        };
        eprintln!(
            "{} classes, {} samples to learn from, {} held out, {} of {} parameters move",
            examples.labels.len(),
            examples.train.len(),
            examples.held_out.len(),
            params.count(true),
            params.count(false)
        );
        let trainer = self.trainer(&model, &plan, &examples.fingerprint);
        let outcome = trainer.train(&task, &mut params)?;
        let tuned = model.float(&params, &standard, options);
        write_model(&self.output, &tuned, &[])?;
        self.copy_tokenizer()?;
        let held_out = outcome.curve.last("held_out_accuracy");
        let held_out = held_out.map_or(String::new(), |a| {
            format!(", {:.2} % of the held-out samples", 100.0 * a)
        });
        println!(
            "{}: {} parameters, {:.1} minutes{held_out}; training.svg shows the curve",
            self.output.display(),
            tuned.parameters(),
            outcome.seconds / 60.0
        );
        Ok(())
    }

    fn trainer<'a>(&'a self, model: &'a Model, plan: &'a Plan, data: &str) -> Trainer<'a> {
        Trainer {
            dir: &self.output,
            title: &model.template().name,
            run: format!("{self:?} {} {data}", serde_json::json!(plan)),
            schedule: &plan.schedule,
            stop_after: self.stop_after,
        }
    }

    /// What only a model with a decoder has.
    fn check_encoder(&self) -> Result<(), TrainError> {
        let said = match (self.train, &self.valid) {
            (What::Decoder, _) => {
                "--train decoder: the model has no decoder; give head, last-N, encoder, all, norm+bias or lora"
            }
            (_, Some(_)) => {
                "--valid: the model has no decoder, and reads no pairs; --hold-out says what share of the samples is watched"
            }
            _ => return Ok(()),
        };
        Err(TrainError::Unfit(said.into()))
    }

    fn examples(&self, model: &FloatModel) -> Result<Examples, TrainError> {
        let front_end = model.front_end.as_ref().map(FrontEnd::new).transpose()?;
        let new_classes = self.new_head || model.labels.is_empty();
        let labels = (!new_classes).then_some(model.labels.as_slice());
        let reads = Reads {
            input: model.config.input,
            front_end,
            tokenizer: self.tokenizer(model)?.map(|t| (t, &model.config)),
        };
        Examples::read(&self.data, reads, labels, self.hold_out, self.seed)
    }

    /// A model of text brings its tokenizer along.
    fn tokenizer(&self, model: &FloatModel) -> Result<Option<Tokenizer>, TrainError> {
        match model.config.input {
            InputKind::Tokens { .. } => Ok(Some(tokenizer::read(&self.model)?)),
            _ => Ok(None),
        }
    }

    /// Returns schedule and augmentation for `n` samples.
    fn plan(&self, n: usize) -> Result<Plan, TrainError> {
        let Some(path) = &self.config else {
            let batch = 32.min(n).max(2);
            let steps = (20 * n).div_ceil(batch).max(300) as u64;
            let schedule = Schedule::short(steps, batch, self.train.rate());
            let augment = Augment::default();
            return Ok(Plan { schedule, augment });
        };
        let bad = |reason: String| TrainError::Config {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::Io {
            path: path.clone(),
            source,
        })?;
        let plan: Plan = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        match plan.schedule.fault().or_else(|| plan.augment.fault()) {
            Some(reason) => Err(bad(reason)),
            None => Ok(plan),
        }
    }

    /// Puts new modules in the place of old ones.
    fn replace(&self, model: &mut FloatModel, examples: &Examples) {
        if let Some(name) = &self.name {
            model.name.clone_from(name);
        }
        if self.new_head || model.labels.is_empty() {
            model.labels.clone_from(&examples.labels);
            model.config.n_classes = model.labels.len() as u16;
            model.head = linear(
                names::HEAD,
                model.labels.len(),
                model.config.d_model.into(),
                self.seed,
            );
        }
        if self.new_embedding {
            match &mut model.embedding {
                Embedding::Frames { projection } => {
                    let (out, input) = (projection.out_features, projection.in_features);
                    *projection = linear(names::PROJECTION, out, input, self.seed);
                }
                Embedding::Tokens { table, .. } => {
                    let columns = match model.config.embedding_rank {
                        0 => usize::from(model.config.d_model),
                        rank => rank.into(),
                    };
                    let shape = [table.len() / columns, columns];
                    *table = initialised(names::TOKENS, &shape, self.seed).values;
                }
            }
        }
        match self.activation {
            Some(NewActivation::Relu) => {
                (model.activation, model.config.activation) =
                    (ActivationFn::Relu, Activation::Relu);
            }
            Some(NewActivation::Gelu) => {
                (model.activation, model.config.activation) =
                    (ActivationFn::GeluErf, Activation::Gelu);
            }
            None => {}
        }
    }

    /// A projection that stays must stay to the bit: only one that moves reads standardised
    /// features.
    fn standard(&self, model: &Model, examples: &Examples) -> Result<Standard, TrainError> {
        let Some((_, width)) = model.template().config.input.frames() else {
            return Ok(Standard::identity(0));
        };
        let moves = self.train == What::All || self.new_embedding;
        Ok(match moves {
            true => examples.statistics(width),
            false => Standard::identity(width),
        })
    }

    fn params(&self, model: &Model, standard: &Standard) -> (Params, Options) {
        // New weights are made for standardised features already.
        let fold = match self.new_embedding {
            true => Standard::identity(standard.mean.len()),
            false => standard.clone(),
        };
        let mut params = model.params(&fold);
        for param in params.iter_mut() {
            let name = &param.tensor.name;
            let embedding = [names::PROJECTION, names::TOKENS];
            let new = self.new_embedding && embedding.iter().any(|e| name.starts_with(e));
            param.moves = new || self.train.moves(name, &model.template().config);
        }
        let mut options = Options {
            fake_quantize: self.quantization_aware,
            ..Options::default()
        };
        if self.train == What::Lora {
            // Scale 2: alpha twice the rank, as the paper's authors use for small ranks.
            options.lora_scale = 2.0;
            self.add_adapters(&mut params, model);
        }
        (params, options)
    }

    fn distill(&self) -> Distill {
        Distill {
            features: self.teacher_features,
            logits: self.teacher_logits,
            temperature: self.temperature,
        }
    }

    fn answers(
        &self,
        original: &FloatModel,
        examples: &Examples,
    ) -> Result<Option<Answers>, TrainError> {
        let teacher = match (&self.teacher, self.activation) {
            (Some(dir), _) => read_model(dir)?,
            (None, Some(_)) => original.clone(),
            (None, None) => return Ok(None),
        };
        if self.teacher_logits > 0.0 && teacher.labels != examples.labels {
            return Err(TrainError::Unfit(format!(
                "the teacher knows {} classes, the data has {}, or they are others: --teacher-logits needs the same ones in the same order; use --teacher-features alone",
                teacher.labels.len(),
                examples.labels.len()
            )));
        }
        let kinds = (teacher.config.input, original.config.input);
        if matches!(kinds, (InputKind::Tokens { vocab_size: a, .. }, InputKind::Tokens { vocab_size: b, .. }) if a != b)
            || kinds.0.frames().is_some() != kinds.1.frames().is_some()
        {
            return Err(TrainError::Unfit(
                "the teacher reads another kind of input, or tokens of another vocabulary: give one that reads what the model reads".into(),
            ));
        }
        Answers::of(&teacher, examples, &self.output.join("teacher.safetensors")).map(Some)
    }

    /// A text model keeps its tokenizer.
    fn copy_tokenizer(&self) -> Result<(), TrainError> {
        copy(
            &self.model.join("tokenizer.json"),
            &self.output.join("tokenizer.json"),
        )
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), TrainError> {
    match std::fs::read(from) {
        Ok(bytes) => Ok(tailtune_tools::export::write_whole(to, &bytes)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(TrainError::Io {
            path: from.into(),
            source,
        }),
    }
}

fn linear(name: &str, out_features: usize, in_features: usize, seed: u64) -> Linear {
    let weight = initialised(&names::weight(name), &[out_features, in_features], seed);
    Linear {
        out_features,
        in_features,
        weight: weight.values,
        bias: vec![0.0; out_features],
    }
}
