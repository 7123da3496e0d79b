//! `tailtune feed`: clips to the running device, and what it takes them for.

use super::adapt::MethodName;
use super::feed_round::{Clips, Expected, Round};
use super::fit_args::{FitArgs, plan_json};
use super::on_probe::attach_probe;
use super::source::{self, Silence};
use super::terminal::{print, print_json};
use super::{CommandError, wrong_call};
use crate::adapt::tuning::{self, Labelled, Origin, Plan};
use crate::board::{self, Board};
use crate::data::Dataset;
use crate::feed::{Client, Wire, open_rtt, open_serial};
use crate::flash::plan::real;
use crate::flash::slots::{self, hex};
use crate::int8::Int8Model;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tailtune::store::record::checksum;
use tailtune::tune::MethodId;
use tailtune_app::feed::message::Welcome;
use tailtune_app::outcome::Outcome;

type Device = Client<Box<dyn Wire>>;

/// Send clips to the running device and print what it takes them for
///
/// WAV files go as sound through the device's own front end, other data as the frames that its encoder reads.
/// The answers are compared with the host's own int8 run, bit by bit. The device answers by the newest tail in
/// its flash, or else by the image's own head. It is not reset.
#[derive(Debug, Args)]
pub struct Feed {
    /// The image that the device holds
    image: PathBuf,
    /// Labelled data, as `tailtune eval` takes it; with --label also a folder of files, or one file
    #[arg(long)]
    data: PathBuf,
    /// The board (see `tailtune boards`)
    #[arg(long, value_parser = board::find, required_unless_present = "serial")]
    board: Option<Board>,
    /// The debug probe, needed where there are several (see `tailtune probes`)
    #[arg(long, value_name = "VID:PID[:SERIAL]", conflicts_with = "serial")]
    probe: Option<String>,
    /// Over this serial port instead of RTT through a probe
    #[arg(long, value_name = "PORT")]
    serial: Option<String>,
    /// Speed of the serial port
    #[arg(
        long,
        value_name = "BAUD",
        default_value_t = 115_200,
        requires = "serial"
    )]
    baud: u32,
    /// The class of all clips; without it, the data says
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// Only this speaker (a manifest's third column)
    #[arg(long)]
    speaker: Option<String>,
    /// Only this many clips a class, drawn by the seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shots: Option<u32>,
    /// Compare with the host's own run: on unless it is `--compare=false`
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    compare: bool,
    /// Give up after this long without a sign of life
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Let the device learn from the clips and their labels, fit, and save the tail: as a button would
    #[arg(long)]
    tune: bool,
    /// With --tune: clips to send once it has learned; those that it learned from are left out
    #[arg(long, value_name = "DATA", requires = "tune")]
    test: Option<PathBuf>,
    /// How to tune: ncm, ridge or softmax
    #[arg(long, value_enum, default_value = "softmax")]
    method: MethodName,
    /// Decides which clips are drawn, and the order of the fit
    #[arg(long, default_value_t = 1)]
    seed: u32,
    #[command(flatten)]
    fit: FitArgs,
    /// Print one JSON object: model_id, board, sample_rate, tail_crc32 (of what answers at first, or null), unit,
    /// n, accuracy, different (answers that are not the host's; null with --compare=false), labels,
    /// confusion[truth][predicted], clips[] with file, expected, answer, margin, cost, equal; tuned (null without
    /// --tune) with method, fit, steps, tail_bytes, tail_crc32, slot, sequence, rolled_back, equal; test (null
    /// without --test) with n, accuracy, different, labels, confusion, clips[]
    #[arg(long)]
    json: bool,
}

impl Feed {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let plan = self.plan()?;
        let int8 = Int8Model::read(&self.image)?;
        let names: Vec<String> = int8.image().labels().iter().map(str::to_owned).collect();
        let mut data = self.data(&self.data)?;
        data.name_classes(&names);
        if let Some(shots) = self.shots {
            let picked = data.pick_shots(shots as usize, self.seed.into())?;
            data = data.subset(&picked);
        }
        let clips = Clips::new(&int8, &data)?;
        let test = self.test_clips(&int8, &names, &data)?;

        let (mut device, in_flash) = self.connect(&int8)?;
        let welcome = device.hello(&int8.image().model_id().0)?;
        if let Some(text) = greeting(&int8, &welcome) {
            eprintln!("{text}");
        }
        let added = match self.tune {
            true => added(&names, &clips),
            false => Vec::new(),
        };
        if self.tune {
            device.learn(&plan.recipe, clips.all.len(), &added)?;
        }
        // Who learns answers by the image's own head.
        let tail = in_flash.filter(|tail| !self.tune && checksum(tail) == welcome.tail_crc.get());
        let expected = self.expect(&int8, &clips, tail.as_deref())?;
        let mut round = Round {
            int8: &int8,
            labels: [&names[..], &added].concat(),
            welcome: &welcome,
            expected,
            quiet: self.json,
            with_labels: self.tune,
        };
        if let Some(tail) = &tail {
            round.labels.extend(tail_names(tail));
        }
        let first = round.send(&mut device, &clips)?;
        let tuned = match self.tune {
            true => Some(self.fit(&int8, &mut device, &clips, &round.labels, &plan)?),
            false => None,
        };
        let mut second = None;
        if let (Some(clips), Some(tuned)) = (&test, &tuned) {
            round.expected = self.expect(&int8, clips, Some(&tuned.tail))?;
            round.with_labels = false;
            second = Some(round.send(&mut device, clips)?);
        }
        device.bye()?;

        let wrong = first.different() + second.as_ref().map_or(0, |s| s.different());
        let of = clips.all.len() + test.as_ref().map_or(0, |t| t.all.len());
        if self.json {
            let mut value = first.as_json();
            value["model_id"] = json!(hex(&welcome.model_id));
            value["board"] = json!(self.board.as_ref().map(|b| &b.name));
            value["sample_rate"] = json!(welcome.sample_rate.get());
            value["unit"] = json!(super::feed_round::unit(welcome.unit));
            value["tail_crc32"] =
                json!((welcome.tail == 1).then(|| format!("{:08x}", welcome.tail_crc.get())));
            value["tuned"] = json!(tuned.as_ref().map(|t| t.as_json(&plan)));
            value["test"] = json!(second.as_ref().map(|s| s.as_json()));
            print_json(&value)?;
        } else {
            first.as_text()?;
            if let Some(tuned) = &tuned {
                tuned.as_text()?;
            }
            if let Some(second) = &second {
                second.as_text()?;
            }
        }
        if let Some(tuned) = tuned.filter(|t| self.compare && !t.equal) {
            return Err(format!(
                "the device's tail is not the host's: {} bytes, the host's CRC-32 is {:08x}; is its firmware of this version?",
                tuned.outcome.tail_len.get(),
                checksum(&tuned.tail)
            )
            .into());
        }
        match wrong {
            0 => Ok(()),
            _ => Err(format!(
                "{wrong} of {of} answers are not those of the host's own run: is its firmware of this version?"
            )
            .into()),
        }
    }

    fn plan(&self) -> Result<Plan, CommandError> {
        let method = MethodId::from(self.method);
        let plan = self.fit.plan(method, self.seed)?;
        if method.below_the_block() || plan.keep_old.is_some() {
            return Err(wrong_call(
                "over a line a device tunes heads only, without --keep-old: take --method ncm, ridge or softmax, or \
                 write a job with `tailtune adapt --job`",
            ));
        }
        Ok(plan)
    }

    fn data(&self, path: &Path) -> Result<Dataset, CommandError> {
        match &self.label {
            Some(label) => Ok(Dataset::open_as(path, label)?),
            None => source::open(path, self.speaker.as_deref(), Silence::Clips),
        }
    }

    fn test_clips(
        &self,
        int8: &Int8Model,
        names: &[String],
        learned: &Dataset,
    ) -> Result<Option<Clips>, CommandError> {
        let Some(path) = &self.test else {
            return Ok(None);
        };
        let mut data = self.data(path)?;
        data.name_classes(names);
        data.samples
            .retain(|s| learned.samples.iter().all(|l| l.id != s.id));
        Ok(Some(Clips::new(int8, &data)?))
    }

    /// Returns the device, and the tail of this model in its flash where a probe can see it.
    fn connect(&self, int8: &Int8Model) -> Result<(Device, Option<Vec<u8>>), CommandError> {
        let patience = Duration::from_secs(self.timeout);
        if let Some(port) = &self.serial {
            let wire: Box<dyn Wire> = Box::new(open_serial(port, self.baud)?);
            return Ok((Client::new(wire, patience), None));
        }
        let board = self.board.as_ref();
        let board = board.ok_or_else(|| wrong_call("give --board or --serial"))?;
        real(board).map_err(wrong_call)?;
        let mut device = attach_probe(board, self.probe.as_deref(), false)?;
        // No tail is no error: the device says by what it answers.
        let found = slots::read(&mut device, board).ok();
        let found = found.filter(|found| found.model_id == int8.image().model_id().0);
        let tail = match &found {
            Some(found) => Some(slots::parse(&found.export)?.payload.to_vec()),
            None => None,
        };
        let wire: Box<dyn Wire> = Box::new(open_rtt(device, board)?);
        Ok((Client::new(wire, patience), tail))
    }

    fn expect(
        &self,
        int8: &Int8Model,
        clips: &Clips,
        tail: Option<&[u8]>,
    ) -> Result<Option<Expected>, CommandError> {
        match self.compare {
            true => Ok(Some(Expected::new(int8, clips, tail)?)),
            false => Ok(None),
        }
    }

    /// Lets the device fit; does the same here, and holds the tails against each other.
    fn fit(
        &self,
        int8: &Int8Model,
        device: &mut Device,
        clips: &Clips,
        classes: &[String],
        plan: &Plan,
    ) -> Result<Tuned, CommandError> {
        let outcome = device.fit()?;
        let known = int8.image().labels().iter().count();
        let samples: Vec<Labelled> = clips.labelled(int8, classes)?;
        let samples: Vec<&Labelled> = samples.iter().collect();
        let tuned = tuning::tune(int8, Origin::Image, &classes[known..], &samples, plan)?;
        let welcome = device.hello(&int8.image().model_id().0)?;
        let host = (tuned.tail.len() as u32, checksum(&tuned.tail));
        let rolled_back = outcome.tail_len.get() == 0;
        Ok(Tuned {
            outcome,
            crc: welcome.tail_crc.get(),
            equal: match rolled_back {
                true => tuned.report.rolled_back(),
                false => (welcome.tail_bytes.get(), welcome.tail_crc.get()) == host,
            },
            tail: tuned.tail.to_vec(),
        })
    }
}

/// Returns the labels that the image does not know, sorted.
fn added(known: &[String], clips: &Clips) -> Vec<String> {
    let mut added: Vec<String> = clips.all.iter().map(|c| c.label.clone()).collect();
    added.retain(|label| !known.contains(label));
    added.sort();
    added.dedup();
    added
}

fn tail_names(tail: &[u8]) -> Vec<String> {
    let tail = tailtune::tune::Tail::parse(tail);
    tail.map_or(Vec::new(), |tail| {
        tail.added_names().map(str::to_owned).collect()
    })
}

/// Returns what is worth to know of the device before the first clip.
fn greeting(int8: &Int8Model, welcome: &Welcome) -> Option<String> {
    if welcome.tail == 1 {
        return Some(format!(
            "the device answers by the tail in its flash, CRC-32 {:08x}",
            welcome.tail_crc.get()
        ));
    }
    (welcome.sample_rate.get() == 0 && int8.image().front_end().is_some()).then(|| {
        "the device's firmware has no room for the image's front end: frames are sent instead of sound".into()
    })
}

/// What the device learned, and what the host makes of the same clips.
struct Tuned {
    outcome: Outcome,
    /// CRC-32 of the device's tail.
    crc: u32,
    /// The host's.
    tail: Vec<u8>,
    equal: bool,
}

impl Tuned {
    fn as_text(&self) -> Result<(), CommandError> {
        let o = &self.outcome;
        if o.tail_len.get() == 0 {
            return print(
                "tuned      the clips held back say that it is worse: rolled back, nothing saved",
            );
        }
        print(&format!(
            "tuned      {} steps, loss {:.4} → {:.4}; tail of {} bytes, CRC-32 {:08x}, in slot {}, save {}: {}",
            o.steps.get(),
            o.first_loss.get(),
            o.last_loss.get(),
            o.tail_len.get(),
            self.crc,
            o.slot.get(),
            o.sequence.get(),
            if self.equal {
                "the host's, bit by bit"
            } else {
                "not the host's"
            }
        ))
    }

    fn as_json(&self, plan: &Plan) -> Value {
        let o = &self.outcome;
        json!({
            "method": plan.method.name(), "fit": plan_json(plan), "steps": o.steps.get(),
            "first_loss": o.first_loss.get(), "last_loss": o.last_loss.get(),
            "tail_bytes": o.tail_len.get(), "tail_crc32": format!("{:08x}", self.crc),
            "slot": o.slot.get(), "sequence": o.sequence.get(),
            "rolled_back": o.tail_len.get() == 0, "equal": self.equal,
        })
    }
}
