//! `tailtune adapt IMAGE --study …`: whole protocols, every method beside the others.

use super::source::Reader;
use super::terminal::{percent, print, print_json, progress, table};
use super::{CommandError, wrong_call};
use crate::adapt::study::{Clip, Row, Study};
use crate::adapt::tuning::{Labelled, latent_len};
use crate::data::{Dataset, Sample, Source};
use crate::evaluation::study_plot;
use crate::int8::Int8Model;
use crate::reference::ModelInput;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use tailtune::tune::MethodId;

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Every protocol whose data was given
    All,
    /// A head learned from all speakers but one, then 5 shots a digit of that one (--digits)
    NewSpeaker,
    /// 1, 2 and 3 shots a word of one speaker, a head from scratch (--words)
    FewShots,
    /// Two thirds of the speakers, the others measured (--words)
    OtherSpeakers,
    /// The same, then 2 shots a word of each other speaker, in noise (--words)
    Noise,
    /// The image's own head and two words more (--words, --known, --replay)
    AddWords,
    /// 3 labelled shots a digit, then 20 without labels (--digits)
    SelfLabel,
}

/// What protocols run on.
#[derive(Debug, Args)]
pub struct StudyArgs {
    /// Run whole protocols instead, every method beside the others; --train and --test are not used
    #[arg(long, value_name = "PROTOCOL")]
    pub study: Vec<Protocol>,
    /// Digits of several speakers: a folder of DIGIT_SPEAKER_TAKE.wav (as the Free Spoken Digit Dataset), or
    /// a manifest with speakers
    #[arg(long, value_name = "DATA")]
    digits: Option<PathBuf>,
    /// Words of several speakers: a folder of WORD/SPEAKER_….wav, or a manifest with speakers
    #[arg(long, value_name = "DATA")]
    words: Option<PathBuf>,
    /// Of --words, only these, separated by commas
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    only: Vec<String>,
    /// Clips of the words that the image knows, to be measured before and after two are added
    #[arg(long, value_name = "DATA")]
    known: Option<PathBuf>,
    /// Other clips of those words, learned again beside the new ones; words that the image does not know are
    /// its `_unknown_`
    #[arg(long, value_name = "DATA")]
    replay: Option<PathBuf>,
    /// Seeds, 1 to this
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Draw the table to this file (.svg)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// Noise in a clip: as loud as a tenth of the clip's power, 10 dB below it.
const NOISE_DB: f64 = 10.0;

impl StudyArgs {
    pub fn run(&self, image: &Path, json: bool) -> Result<(), CommandError> {
        let int8 = Int8Model::read(image)?;
        let below = latent_len(&int8.image()) > 0;
        let methods: Vec<MethodId> = MethodId::ALL
            .into_iter()
            .filter(|m| below || !m.below_the_block())
            .collect();
        if !below {
            eprintln!("the model pools the mean of all rows: only heads are tuned");
        }
        let study = Study {
            int8: &int8,
            seeds: self.seeds,
            methods: &methods,
        };
        let rows = self.rows(&study, &int8)?;
        if rows.is_empty() {
            return Err(wrong_call(
                "no protocol has its data: new-speaker and self-label take --digits; few-shots, other-speakers and noise --words; add-words --words, --known and --replay",
            ));
        }
        if let Some(path) = &self.plot {
            crate::output::write_whole(path, study_plot(&rows).as_bytes())?;
        }
        if json {
            return print_json(&json!({ "seeds": self.seeds, "rows": rows }));
        }
        let mut lines = table(&[
            "protocol", "", "method", "before", "after", "worst", "runs", "",
        ]);
        for row in &rows {
            lines.add_row([
                row.study.clone(),
                row.what.clone(),
                row.method.to_owned(),
                row.before.map_or(String::new(), percent),
                percent(row.after),
                percent(row.worst),
                row.runs.to_string(),
                row.note.clone().unwrap_or_default(),
            ]);
        }
        print(&lines.to_string())
    }

    fn wants(&self, protocol: Protocol) -> bool {
        self.study.contains(&protocol) || self.study.contains(&Protocol::All)
    }

    fn rows(&self, study: &Study<'_>, int8: &Int8Model) -> Result<Vec<Row>, CommandError> {
        use Protocol::*;
        let mut rows = Vec::new();
        if let Some(path) = self
            .digits
            .as_ref()
            .filter(|_| self.wants(NewSpeaker) || self.wants(SelfLabel))
        {
            let clips = encode(int8, &spoken(path, &[])?, None)?;
            if self.wants(NewSpeaker) {
                rows.extend(done("new-speaker", study.new_speaker(&clips, 5))?);
            }
            if self.wants(SelfLabel) {
                rows.extend(done("self-label", study.self_label(&clips, 20))?);
            }
        }
        let of_words = [FewShots, OtherSpeakers, Noise, AddWords];
        if let Some(path) = self
            .words
            .as_ref()
            .filter(|_| of_words.iter().any(|p| self.wants(*p)))
        {
            let data = spoken(path, &self.only)?;
            let clips = encode(int8, &data, None)?;
            if self.wants(FewShots) {
                for shots in 1..=3 {
                    rows.extend(done("few-shots", study.few_shots(&clips, shots))?);
                }
            }
            if self.wants(OtherSpeakers) {
                rows.extend(done("other-speakers", study.other_speakers(&clips, None))?);
            }
            if self.wants(Noise) {
                let noisy = encode(int8, &data, Some(NOISE_DB))?;
                rows.extend(done("noise", study.other_speakers(&clips, Some(&noisy)))?);
            }
            if let (true, Some(known), Some(replay)) =
                (self.wants(AddWords), &self.known, &self.replay)
            {
                let labels: Vec<String> = int8.image().labels().iter().map(str::to_owned).collect();
                let mut old = Dataset::open(known)?;
                old.name_classes(&labels);
                old.silence_zeros();
                let old = encode(int8, &old, None)?;
                let replay = encode(int8, &of_known_words(Dataset::open(replay)?, &labels), None)?;
                rows.extend(done(
                    "add-words",
                    study.add_words(&old, &replay, &clips, 5),
                )?);
            }
        }
        Ok(rows)
    }
}

fn done<E: Into<CommandError>>(
    name: &str,
    rows: Result<Vec<Row>, E>,
) -> Result<Vec<Row>, CommandError> {
    let rows = rows.map_err(Into::into)?;
    eprintln!("{name}: done");
    Ok(rows)
}

/// Takes words that the image does not know for its `_unknown_`, one clip in four of them, and adds one clip of silence.
fn of_known_words(mut data: Dataset, labels: &[String]) -> Dataset {
    const UNKNOWN: &str = "_unknown_";
    let mut others = 0;
    data.samples.retain_mut(|sample| {
        if labels.contains(&sample.label) {
            return true;
        }
        others += 1;
        // The words come one after the other: every fourth clip is of all of them.
        let kept = others % 4 == 1 && labels.iter().any(|l| l == UNKNOWN);
        sample.label = UNKNOWN.into();
        kept
    });
    if labels.iter().any(|l| l == "_silence_") {
        data.samples.push(Sample {
            id: "silence".into(),
            label: "_silence_".into(),
            speaker: None,
            source: Source::Zeros,
        });
    }
    data
}

/// Opens clips that name their speakers: by a manifest, or by their files' names.
fn spoken(path: &Path, only: &[String]) -> Result<Dataset, CommandError> {
    let files = |dir: &Path| -> Result<Vec<PathBuf>, CommandError> {
        let read = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let mut files: Vec<PathBuf> = read
            .map(|f| f.map(|f| f.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        Ok(files)
    };
    let is_wav = |path: &PathBuf| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("wav"))
    };
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let mut samples = Vec::new();
    if !path.is_dir() {
        samples = Dataset::open(path)?.samples;
        if let Some(sample) = samples.iter().find(|s| s.speaker.is_none()) {
            return Err(format!(
                "{}: {} names no speaker; a protocol needs a manifest path,label,speaker",
                path.display(),
                sample.id
            )
            .into());
        }
    } else {
        for entry in files(path)? {
            let clips = if entry.is_dir() {
                files(&entry)?
            } else {
                vec![entry.clone()]
            };
            for clip in clips.into_iter().filter(is_wav) {
                let file = name(&clip);
                let mut parts = file.split('_');
                let (first, second) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
                let (label, speaker) = if entry.is_dir() {
                    (name(&entry), first.to_owned())
                } else {
                    (first.to_owned(), second.to_owned())
                };
                samples.push(Sample {
                    id: clip.display().to_string(),
                    label,
                    speaker: Some(speaker),
                    source: Source::Wav(clip),
                });
            }
        }
    }
    samples.retain(|s| only.is_empty() || only.contains(&s.label));
    if samples.is_empty() {
        return Err(format!("{}: no clips; give a folder of DIGIT_SPEAKER_TAKE.wav, of WORD/SPEAKER_TAKE.wav, or a manifest path,label,speaker", path.display()).into());
    }
    Ok(Dataset {
        samples,
        numbered: false,
    })
}

/// Runs the trunk over clips, in noise of so many dB below each if wanted.
fn encode(int8: &Int8Model, data: &Dataset, noise: Option<f64>) -> Result<Vec<Clip>, CommandError> {
    let reader = Reader::of_image(&int8.image(), None)?;
    let inputs: Vec<ModelInput> = match noise {
        None => reader.read(data)?,
        Some(db) => reader.read_in_noise(data, db)?,
    };
    let inputs = int8.prepare(&inputs)?;
    let bar = progress("int8, clips", inputs.len());
    let tick = || bar.inc(1);
    let encoded = if latent_len(&int8.image()) > 0 {
        int8.latents(&inputs, &tick)?
    } else {
        let outputs = int8.run(&inputs, &tick)?;
        outputs
            .into_iter()
            .map(|o| (o.pooled, Vec::new()))
            .collect()
    };
    bar.finish_and_clear();
    let clips = data.samples.iter().zip(encoded);
    Ok(clips
        .map(|(sample, (feature, latent))| Clip {
            word: sample.label.clone(),
            speaker: sample.speaker.clone().unwrap_or_default(),
            sample: Labelled {
                feature,
                latent,
                label: 0,
            },
        })
        .collect())
}
