//! `cargo demo`: the whole journey. Convert a model, build the firmware, tune the head on the
//! emulated board, reset it, and see that it remembers.

use super::on_board::{self, Material};
use super::source::{self, Reader, Silence};
use super::terminal::{kib, percent, print, print_json, table};
use super::{CommandError, convert};
use crate::board;
use crate::data::Dataset;
use crate::emulator::Emulator;
use crate::import::read_model;
use crate::models;
use crate::setup::{Mode, Need, setup};
use clap::Args;
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tailtune::model::arena_bytes;
use tailtune::tune::{MethodId, Recipe, Schedule};
use tailtune_app::job::Kind;

/// Show the whole journey on the emulated board: convert, flash, tune new words, reset, remember
#[derive(Debug, Args)]
pub struct Demo {
    /// The pretrained model
    #[arg(long, value_name = "MODEL_DIR", default_value = models::KEYWORDS)]
    model: PathBuf,
    /// Sound to calibrate on
    #[arg(long, value_name = "DATA", default_value = models::KNOWN_WORDS)]
    calibrate: PathBuf,
    /// The new words: a folder with one sub-folder a word, or a CSV manifest path,label,speaker
    #[arg(long, value_name = "DATA", default_value = models::NEW_WORDS)]
    data: PathBuf,
    /// Whose words, where the data says who speaks
    #[arg(long)]
    speaker: Option<String>,
    /// Recordings of each word to learn from
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    shots: u32,
    /// Recordings of each word to measure on
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    tests: u32,
    /// Decides which recordings are drawn
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Only check what is installed, install nothing
    #[arg(long)]
    no_setup: bool,
    /// Print one JSON object at the end: parameters, image_bytes, arena_bytes, n_train, n_test,
    /// accuracy_before, accuracy_after, accuracy_after_reset, tail_bytes, steps
    #[arg(long)]
    json: bool,
}

const BOARD: &str = "qemu-mps2-an386";

impl Demo {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let started = Instant::now();
        eprintln!("[1/6] what is needed");
        let mode = if self.no_setup {
            Mode::CheckOnly
        } else {
            Mode::Install
        };
        setup(&Need::demo(), mode)?;
        present(
            &self.model,
            "--model",
            "a model directory with config.json and model.safetensors",
        )?;
        let sounds = "a folder with one sub-folder a class of .wav files";
        present(&self.calibrate, "--calibrate", sounds)?;
        present(&self.data, "--data", sounds)?;

        eprintln!("[2/6] {} → int8 image", self.model.display());
        let board = board::find(BOARD)?;
        let model = read_model(&self.model)?;
        let calibration = Dataset::open(&self.calibrate)?;
        let clips = Reader::of_model(&self.model, &model)?.read_to_calibrate(&calibration)?;
        let (int8, _) = convert::quantized(&model, &clips, &board)?;
        let work = tempfile::Builder::new()
            .prefix("tailtune-demo-")
            .tempdir()?;
        let (train, test) = self.words()?;
        let material = Material::new(&int8, None, &train, &test)?;

        eprintln!("[3/6] firmware for {BOARD}");
        let emulator = Emulator::build(&board)?;

        let mut recipe = Recipe::new(MethodId::Softmax);
        recipe.schedule = Schedule {
            epochs: 60,
            learning_rate: 0.005,
            momentum: 0.9,
            weight_decay: 0.001,
            seed: self.seed,
            ..Schedule::default()
        };
        eprintln!(
            "[4/6] on the device: learn {} new words from {} recordings, save",
            material.added.len(),
            material.train.len()
        );
        let request = material.request(Kind::Adapt, &recipe);
        let (tuned, tail) = on_board::run(&emulator, work.path(), &int8, &request)?;
        eprintln!("[5/6] reset: a new emulator process with the same firmware, image and flash");
        let request = material.request(Kind::Evaluate, &recipe);
        let (reset, kept) = on_board::run(&emulator, work.path(), &int8, &request)?;
        if kept != tail {
            return Err("the tail after the reset is not the one that was saved".into());
        }

        eprintln!("[6/6] done in {:.0} s", started.elapsed().as_secs_f64());
        let n = tuned.test.get();
        let share = |right: u32| f64::from(right) / f64::from(n.max(1));
        let (before, after, again) = (
            share(tuned.right_before.get()),
            share(tuned.right_after.get()),
            share(reset.right_after.get()),
        );
        if self.json {
            return print_json(&json!({
                "parameters": model.parameters(), "image_bytes": int8.bytes().len(),
                "arena_bytes": arena_bytes(&model.config), "n_train": material.train.len(),
                "n_test": n, "accuracy_before": before, "accuracy_after": after,
                "accuracy_after_reset": again, "tail_bytes": tail.len(),
                "steps": tuned.steps.get(),
            }));
        }
        print(&format!(
            "{}: {} parameters, image {}, arena {}, tail {}",
            model.name,
            model.parameters(),
            kib(int8.bytes().len()),
            kib(arena_bytes(&model.config)),
            kib(tail.len())
        ))?;
        print(&format!("new words: {}", material.added.join(", ")))?;
        let mut rows = table(&[
            "on the emulated Cortex-M4",
            &format!("new words right, of {n}"),
            "accuracy",
        ]);
        for (what, right, accuracy) in [
            ("before tuning", tuned.right_before.get(), before),
            ("after tuning on the device", tuned.right_after.get(), after),
            ("after a reset", reset.right_after.get(), again),
        ] {
            rows.add_row([what.to_owned(), right.to_string(), percent(accuracy)]);
        }
        print(&rows.to_string())
    }

    /// Returns what to learn from and what to measure on.
    fn words(&self) -> Result<(Dataset, Dataset), CommandError> {
        let all = source::open(&self.data, self.speaker.as_deref(), Silence::Clips)?;
        let train = all.subset(&all.pick_shots(self.shots as usize, self.seed.into())?);
        let learned: HashSet<&str> = train.samples.iter().map(|s| s.id.as_str()).collect();
        let mut rest = all.clone();
        rest.samples.retain(|s| !learned.contains(s.id.as_str()));
        let test = rest.subset(&rest.pick_shots(self.tests as usize, self.seed.into())?);
        Ok((train, test))
    }
}

fn present(path: &Path, flag: &str, what: &str) -> Result<(), CommandError> {
    if path.exists() {
        return Ok(());
    }
    Err(format!("{} is not there: give {what} with {flag}", path.display()).into())
}
