//! Tuning on the emulated board: what `adapt --board` and the demo share.

use super::source::Reader;
use super::terminal::print;
use super::{CommandError, wrong_call};
use crate::adapt::Adapted;
use crate::board::Board;
use crate::data::Dataset;
use crate::emulator::{Emulator, JobRequest, JobSample, outcome};
use crate::int8::{Int8Input, Int8Model};
use crate::output::{Placement, write_image};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use tailtune::tune::{Recipe, Report, Score, Verdict};
use tailtune_app::job::Kind;
use tailtune_app::outcome::Outcome;

/// A job's data, quantized and labelled as the board takes it.
pub struct Material {
    /// Names of the classes that the image does not know, sorted.
    pub added: Vec<String>,
    /// The image's classes, then the added ones.
    pub classes: Vec<String>,
    /// What to learn from.
    pub train: Vec<JobSample>,
    /// What to measure on.
    pub test: Vec<JobSample>,
}

impl Material {
    /// Makes the features of both datasets and numbers their labels; an image that reads tokens needs the
    /// directory of its tokenizer.
    ///
    /// # Errors
    /// Data that cannot be read, or more classes than labels can number.
    pub fn new(
        int8: &Int8Model,
        tokenizer: Option<&Path>,
        train: &Dataset,
        test: &Dataset,
    ) -> Result<Self, CommandError> {
        let mut classes: Vec<String> = int8.image().labels().iter().map(str::to_owned).collect();
        let mut added: Vec<String> = train.samples.iter().map(|s| s.label.clone()).collect();
        added.retain(|label| !classes.contains(label));
        added.sort();
        added.dedup();
        classes.extend(added.iter().cloned());
        let reader = Reader::of_image(&int8.image(), tokenizer)?;
        let config = int8.config();
        let samples = |data: &Dataset| -> Result<Vec<JobSample>, CommandError> {
            let inputs = int8.prepare(&reader.read(data)?)?;
            let labels = data.samples.iter().map(|s| {
                // A label that nobody knows is one that no class has.
                let class = classes.iter().position(|c| *c == s.label);
                class
                    .and_then(|c| u16::try_from(c).ok())
                    .unwrap_or(u16::MAX)
            });
            let sample = |(label, input)| match input {
                Int8Input::Frames(values) => JobSample { label, values },
                Int8Input::Tokens(ids, segments) => {
                    JobSample::tokens(label, &ids, &segments, &config)
                }
            };
            Ok(labels.zip(inputs).map(sample).collect())
        };
        Ok(Self {
            train: samples(train)?,
            test: samples(test)?,
            added,
            classes,
        })
    }

    /// Returns the job.
    pub fn request(&self, kind: Kind, recipe: &Recipe) -> JobRequest<'_> {
        JobRequest {
            kind,
            added: &self.added,
            train: if kind == Kind::Adapt {
                &self.train
            } else {
                &[]
            },
            test: &self.test,
            recipe: *recipe,
        }
    }
}

/// Runs an adapt or evaluate job in a new emulator process, with progress.
///
/// # Errors
/// As [`Emulator::run`].
pub fn run(
    emulator: &Emulator,
    dir: &Path,
    int8: &Int8Model,
    request: &JobRequest<'_>,
) -> Result<(Outcome, Vec<u8>), CommandError> {
    Ok(outcome(&run_bytes(emulator, dir, int8, request)?)?)
}

/// Runs a job in a new emulator process, with progress; returns its result.
///
/// # Errors
/// As [`Emulator::run`].
pub fn run_bytes(
    emulator: &Emulator,
    dir: &Path,
    int8: &Int8Model,
    request: &JobRequest<'_>,
) -> Result<Vec<u8>, CommandError> {
    let mut console = Console::default();
    let bytes = emulator.run(dir, int8.bytes(), &request.bytes(), &mut |line| {
        console.line(line)
    })?;
    console.end();
    Ok(bytes)
}

/// Tunes on this board, with a flash of its own.
///
/// # Errors
/// A board that is not emulated, or anything on the way to the result.
pub fn adapt(
    board: &Board,
    int8: &Int8Model,
    tokenizer: Option<&Path>,
    train: &Dataset,
    test: &Dataset,
    recipe: &Recipe,
) -> Result<Adapted, CommandError> {
    eprintln!("building the firmware of {}", board.name);
    let emulator = Emulator::build(board)?;
    let material = Material::new(int8, tokenizer, train, test)?;
    let dir = tempfile::tempdir()?;
    let (o, tail) = run(
        &emulator,
        dir.path(),
        int8,
        &material.request(Kind::Adapt, recipe),
    )?;
    let share = |right: u32| f64::from(right) / f64::from(o.test.get().max(1));
    Ok(Adapted {
        classes: material.classes,
        accuracy_before: share(o.right_before.get()),
        accuracy_after: share(o.right_after.get()),
        report: Report {
            epochs: o.epochs.get(),
            steps: o.steps.get(),
            first_loss: o.first_loss.get(),
            last_loss: o.last_loss.get(),
            guard: guard(&o),
        },
        tail,
        lowered: None,
    })
}

fn guard(o: &Outcome) -> Option<Verdict> {
    let score = |right: u32| Score {
        right,
        total: o.held_back.get(),
    };
    (o.held_back.get() > 0).then(|| Verdict {
        before: score(o.held_right_before.get()),
        after: score(o.held_right_after.get()),
    })
}

/// Writes an adapt job for the firmware of a board, at its job region.
///
/// # Errors
/// A board without such a region, or a job that is larger than it.
pub fn write_job(
    board: &Board,
    path: &Path,
    int8: &Int8Model,
    tokenizer: Option<&Path>,
    train: &Dataset,
    test: &Dataset,
    recipe: &Recipe,
) -> Result<(), CommandError> {
    let name = &board.name;
    let Some(region) = &board.regions.job else {
        let hint = "its firmware takes jobs another way; leave --job out to run it";
        return Err(format!("board {name} has no job region: {hint}").into());
    };
    let place = Placement {
        board: board.name.clone(),
        address: region.address,
        capacity: region.bytes as usize,
        uf2_family: board.uf2_family,
    };
    place.takes(path).map_err(wrong_call)?;
    let material = Material::new(int8, tokenizer, train, test)?;
    let job = material.request(Kind::Adapt, recipe).bytes();
    if job.len() > region.bytes as usize {
        let samples = material.train.len() + material.test.len();
        return Err(format!(
            "a job of {samples} samples has {} bytes, the job region of {name} holds {}: give fewer --shots or --max-test",
            job.len(),
            region.bytes
        )
        .into());
    }
    write_image(path, &job, &place)?;
    print(&format!(
        "{}: {} bytes for the job region of {name} at {:#010x}",
        path.display(),
        job.len(),
        region.address
    ))
}

/// Shows the firmware's lines: `PHASE DONE/TOTAL` as a bar, or a line a phase where there is no
/// terminal; anything else as it is.
#[derive(Default)]
struct Console {
    phase: String,
    bar: Option<ProgressBar>,
}

impl Console {
    fn line(&mut self, line: &str) {
        let Some((phase, done, total)) = progress_of(line) else {
            eprintln!("  device: {line}");
            return;
        };
        if phase != self.phase {
            self.end();
            self.phase = phase.to_owned();
            if std::io::stderr().is_terminal() {
                let bar = ProgressBar::new(total);
                let style = "  device: {msg:16} [{bar:30}] {pos}/{len}, {eta} left";
                if let Ok(style) = ProgressStyle::with_template(style) {
                    bar.set_style(style);
                }
                bar.set_message(phase.to_owned());
                self.bar = Some(bar);
            } else {
                eprintln!("  device: {phase} ({total})");
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}

/// Splits `PHASE DONE/TOTAL`.
fn progress_of(line: &str) -> Option<(&str, u64, u64)> {
    let (phase, numbers) = line.rsplit_once(' ')?;
    let (done, total) = numbers.split_once('/')?;
    Some((phase, done.parse().ok()?, total.parse().ok()?))
}
