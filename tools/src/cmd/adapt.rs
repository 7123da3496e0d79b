//! `tailtune adapt`: tail tuning on the host, or the same on the emulated board.

use super::adapt_sequences::AdaptSequences;
use super::fit_args::{FitArgs, plan_json};
use super::source::{self, Reader, Silence};
use super::study::StudyArgs;
use super::terminal::{percent, print, print_json, progress};
use super::{CommandError, wrong_call};
use crate::adapt::tuning::{Plan, latent_len};
use crate::adapt::{Adapted, Sample, adapt};
use crate::board::{self, Board};
use crate::data::Dataset;
use crate::int8::Int8Model;
use clap::Args;
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tailtune::tune::MethodId;

/// Tune the head on some data and measure it on other data
///
/// Classes that the image does not know are added; accuracy before counts them as wrong.
#[derive(Debug, Args)]
pub struct Adapt {
    /// The image
    image: PathBuf,
    /// What to learn from
    #[arg(long, value_name = "DATA", required_unless_present_any = ["study", "data"])]
    train: Option<PathBuf>,
    /// Of an image with a decoder: the pairs to learn from, a file of lines SOURCE, a tab, and the target's
    /// pieces; --test then takes pairs too, and the fit takes one in ten positions of each token for the guard
    /// unless --hold-back says otherwise
    #[arg(long, value_name = "PAIRS", conflicts_with_all = ["train", "study", "shots", "speaker", "board"])]
    data: Option<PathBuf>,
    /// With --data: more pairs to learn from, which are not counted as learned: what the model knows already and
    /// should keep
    #[arg(long, value_name = "PAIRS", requires = "data")]
    rehearse: Option<PathBuf>,
    /// With --data: a piece that the target's vocabulary does not have, and the piece of the vocabulary that is fed
    /// to the decoder in its place; may be given several times
    #[arg(long, value_name = "PIECE=KNOWN", requires = "data")]
    add_token: Vec<String>,
    /// What to measure on; samples that were learned from are left out
    #[arg(long, value_name = "DATA", required_unless_present_any = ["study", "data"])]
    test: Option<PathBuf>,
    #[command(flatten)]
    study: StudyArgs,
    /// For an image of a text model: the directory of its tokenizer.json
    #[arg(long, value_name = "MODEL_DIR")]
    tokenizer: Option<PathBuf>,
    /// How to tune
    #[arg(long, value_enum, default_value = "softmax")]
    method: MethodName,
    /// Learn from this many samples a class, drawn by the seed; without it, from all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shots: Option<u32>,
    /// Only this speaker (a manifest's third column), for training and test
    #[arg(long)]
    speaker: Option<String>,
    /// Decides which samples are drawn, and their order
    #[arg(long, default_value_t = 1)]
    seed: u32,
    #[command(flatten)]
    fit: FitArgs,
    /// Tune on this emulated board instead of the host
    #[arg(long, value_parser = board::find)]
    board: Option<Board>,
    /// Write the job for the firmware of --board to this file (.bin, .hex, .elf) instead of doing it:
    /// flashed to the board's job region, the board does it at its next boot
    #[arg(long, value_name = "FILE", requires = "board")]
    job: Option<PathBuf>,
    /// With --job: measure on no more than this many samples, so that the job fits its region
    #[arg(long, value_name = "N", requires = "job")]
    max_test: Option<usize>,
    /// Write the tuned tail to this file
    #[arg(long, value_name = "FILE")]
    tail: Option<PathBuf>,
    /// Print one JSON object. Of a decoder: learned and test (each n, sequence_error_rate and token_error_rate,
    /// before and after), steps, positions, tail_bytes, tail_crc32, method, fit, rolled_back, seed. Else:
    /// accuracy_before, accuracy_after, steps, tail_bytes, tail_crc32, method, fit,
    /// rolled_back, lowered, seed, n_train, n_test, classes, board
    #[arg(long)]
    json: bool,
}

/// The methods by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum MethodName {
    /// Nearest class mean: one pass; the image's own classes take part once they have a sample
    Ncm,
    /// Least squares on one-hot labels in closed form, from nothing
    Ridge,
    /// Softmax regression on the pooled feature, SGD with momentum
    Softmax,
    /// Norms and biases of the last block, and the head
    NormBias,
    /// Low-rank adapters of the last block's queries and values, and the head
    Lora,
    /// The whole last block in place, and the head
    LastBlock,
}

impl From<MethodName> for MethodId {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Ncm => Self::Ncm,
            MethodName::Ridge => Self::Ridge,
            MethodName::Softmax => Self::Softmax,
            MethodName::NormBias => Self::NormBias,
            MethodName::Lora => Self::Lora,
            MethodName::LastBlock => Self::LastBlock,
        }
    }
}

impl Adapt {
    pub(super) fn run(self) -> Result<(), CommandError> {
        if !self.study.study.is_empty() {
            return self.study.run(&self.image, self.json);
        }
        let method = MethodId::from(self.method);
        let plan = self.fit.plan(method, self.seed)?;
        if self.board.is_some() && plan.keep_old.is_some() {
            return Err(wrong_call(
                "the boards' firmware has no --keep-old so far: leave --board or --keep-old out",
            ));
        }
        let int8 = Int8Model::read(&self.image)?;
        if int8.config().decoder.is_some() {
            return self.sequences(&int8, plan);
        }
        if self.data.is_some() {
            return Err(wrong_call(
                "--data is for images with a decoder: give --train and --test",
            ));
        }
        let (train, test) = self.split(&int8)?;
        eprintln!(
            "{} samples to learn from, {} to measure on",
            train.samples.len(),
            test.samples.len()
        );
        if let (Some(path), Some(board)) = (&self.job, &self.board) {
            let mut test = test;
            test.samples.truncate(self.max_test.unwrap_or(usize::MAX));
            return super::on_board::write_job(
                board,
                path,
                &int8,
                self.tokenizer.as_deref(),
                &train,
                &test,
                &plan.recipe,
            );
        }
        let adapted = match &self.board {
            None => {
                let reader = Reader::of_image(&int8.image(), self.tokenizer.as_deref())?;
                let run = |data| run(&int8, &reader, data, method.below_the_block());
                let (train, test) = (run(&train)?, run(&test)?);
                adapt(&int8, &train, &test, &plan)?
            }
            Some(board) => super::on_board::adapt(
                board,
                &int8,
                self.tokenizer.as_deref(),
                &train,
                &test,
                &plan.recipe,
            )?,
        };
        if let Some(path) = &self.tail {
            crate::output::write_whole(path, &adapted.tail)?;
        }
        self.report(&adapted, &plan, train.samples.len(), test.samples.len())
    }

    /// Tunes an image with a decoder.
    fn sequences(&self, int8: &Int8Model, plan: Plan) -> Result<(), CommandError> {
        let (Some(data), Some(tokenizer)) = (&self.data, &self.tokenizer) else {
            return Err(wrong_call(
                "an image with a decoder learns from pairs: give --data PAIRS.tsv and --tokenizer MODEL_DIR",
            ));
        };
        AdaptSequences {
            data,
            rehearse: self.rehearse.as_deref(),
            test: self.test.as_deref(),
            tokenizer,
            add_token: &self.add_token,
            tail: self.tail.as_deref(),
            seed: self.seed,
            json: self.json,
        }
        .run(int8, plan)
    }

    fn train(&self) -> &Path {
        self.train.as_deref().unwrap_or(Path::new(""))
    }

    fn test(&self) -> &Path {
        self.test.as_deref().unwrap_or(Path::new(""))
    }

    /// Returns what to learn from and what to measure on: no sample is in both.
    fn split(&self, int8: &Int8Model) -> Result<(Dataset, Dataset), CommandError> {
        let mut train = source::open(self.train(), self.speaker.as_deref(), Silence::Clips)?;
        let mut test = source::open(self.test(), self.speaker.as_deref(), Silence::Clips)?;
        let labels: Vec<String> = int8.image().labels().iter().map(str::to_owned).collect();
        train.name_classes(&labels);
        test.name_classes(&labels);
        if let Some(shots) = self.shots {
            let picked = train.pick_shots(shots as usize, self.seed.into())?;
            train.samples = picked
                .into_iter()
                .map(|i| train.samples[i].clone())
                .collect();
        }
        let learned: HashSet<&str> = train.samples.iter().map(|s| s.id.as_str()).collect();
        let all = test.samples.len();
        test.samples.retain(|s| !learned.contains(s.id.as_str()));
        if test.samples.len() < all {
            eprintln!(
                "{} test samples are learned from: left out of the test",
                all - test.samples.len()
            );
        }
        if test.samples.is_empty() {
            return Err(format!(
                "{}: no test sample is left; take --shots, or other data for --test",
                self.test().display()
            )
            .into());
        }
        Ok((train, test))
    }

    fn report(
        &self,
        adapted: &Adapted,
        plan: &Plan,
        n_train: usize,
        n_test: usize,
    ) -> Result<(), CommandError> {
        let crc = tailtune::store::record::checksum(&adapted.tail);
        if self.json {
            return print_json(&json!({
                "accuracy_before": adapted.accuracy_before,
                "accuracy_after": adapted.accuracy_after,
                "steps": adapted.report.steps,
                "tail_bytes": adapted.tail.len(),
                "tail_crc32": format!("{crc:08x}"),
                "method": plan.method.name(),
                "fit": plan_json(plan),
                "rolled_back": adapted.report.rolled_back(),
                "lowered": adapted.lowered,
                "seed": self.seed,
                "n_train": n_train,
                "n_test": n_test,
                "classes": adapted.classes,
                "board": self.board.as_ref().map(|b| &b.name),
            }));
        }
        print(&format!(
            "accuracy before   {}",
            percent(adapted.accuracy_before)
        ))?;
        print(&format!(
            "accuracy after    {}",
            percent(adapted.accuracy_after)
        ))?;
        print(&format!(
            "steps             {} ({} epochs of {n_train} samples; loss {:.4} → {:.4})",
            adapted.report.steps,
            adapted.report.epochs,
            adapted.report.first_loss,
            adapted.report.last_loss
        ))?;
        if adapted.report.rolled_back() {
            print("guard             the samples held back say that it is worse: rolled back")?;
        }
        if let Some(lowered) = adapted.lowered {
            print(&format!("added classes     lowered by {lowered:.3}"))?;
        }
        print(&format!(
            "tail              {} bytes, CRC-32 {crc:08x}",
            adapted.tail.len()
        ))?;
        print(&format!("classes           {}", adapted.classes.join(", ")))
    }
}

/// Runs the encoder over a dataset.
fn run(
    int8: &Int8Model,
    reader: &Reader,
    data: &Dataset,
    below: bool,
) -> Result<Vec<Sample>, CommandError> {
    let inputs = int8.prepare(&reader.read(data)?)?;
    let bar = progress("int8, clips", inputs.len());
    let outputs = int8.run(&inputs, &|| bar.inc(1))?;
    let latents = if below && latent_len(&int8.image()) > 0 {
        int8.latents(&inputs, &|| ())?
    } else {
        vec![(Vec::new(), Vec::new()); inputs.len()]
    };
    bar.finish_and_clear();
    let labels = data.samples.iter().map(|s| s.label.clone());
    let outputs = outputs.into_iter().zip(latents).zip(labels);
    Ok(outputs
        .map(|((output, (_, latent)), label)| Sample {
            output,
            latent,
            label,
        })
        .collect())
}
