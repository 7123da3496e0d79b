//! `tailtune adapt IMAGE --study …`: whole protocols, every method beside the others.

use super::source::Reader;
use super::study_table::study_table;
use super::terminal::{print, print_json, progress};
use super::{CommandError, wrong_call};
use crate::adapt::study::{AddWords, Clip, Row, Study};
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
        let mut rows = self.of_digits(&study)?;
        rows.extend(self.of_words(&study)?);
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
        print(&study_table(&rows))
    }

    fn wants(&self, protocol: Protocol) -> bool {
        self.study.contains(&protocol) || self.study.contains(&Protocol::All)
    }

    /// Returns the data if one of the protocols is wanted and the data was given.
    fn wanted<'p>(&self, path: &'p Option<PathBuf>, protocols: &[Protocol]) -> Option<&'p Path> {
        let wanted = protocols.iter().any(|p| self.wants(*p));
        path.as_deref().filter(|_| wanted)
    }

    fn of_digits(&self, study: &Study<'_>) -> Result<Vec<Row>, CommandError> {
        use Protocol::{NewSpeaker, SelfLabel};
        let mut rows = Vec::new();
        let Some(path) = self.wanted(&self.digits, &[NewSpeaker, SelfLabel]) else {
            return Ok(rows);
        };
        let clips = encode(study.int8, &Dataset::open_spoken(path)?, None)?;
        if self.wants(NewSpeaker) {
            rows.extend(done("new-speaker", study.new_speaker(&clips, 5))?);
        }
        if self.wants(SelfLabel) {
            rows.extend(done("self-label", study.self_label(&clips, 20))?);
        }
        Ok(rows)
    }

    fn of_words(&self, study: &Study<'_>) -> Result<Vec<Row>, CommandError> {
        use Protocol::{FewShots, Noise, OtherSpeakers};
        let mut rows = Vec::new();
        let all = [FewShots, OtherSpeakers, Noise, Protocol::AddWords];
        let Some(path) = self.wanted(&self.words, &all) else {
            return Ok(rows);
        };
        let mut data = Dataset::open_spoken(path)?;
        let only = |s: &Sample| self.only.is_empty() || self.only.contains(&s.label);
        data.samples.retain(only);
        if data.samples.is_empty() {
            return Err(wrong_call(format!(
                "{}: no clip of {}; --only names words as the folders do",
                path.display(),
                self.only.join(", ")
            )));
        }
        let clips = encode(study.int8, &data, None)?;
        if self.wants(FewShots) {
            for shots in 1..=3 {
                rows.extend(done("few-shots", study.few_shots(&clips, shots))?);
            }
        }
        if self.wants(OtherSpeakers) {
            rows.extend(done("other-speakers", study.other_speakers(&clips))?);
        }
        if self.wants(Noise) {
            let noisy = encode(study.int8, &data, Some(NOISE_DB))?;
            rows.extend(done("noise", study.noise(&clips, &noisy, 2))?);
        }
        if self.wants(Protocol::AddWords) {
            rows.extend(self.add_words(study, &clips)?);
        }
        Ok(rows)
    }

    fn add_words(&self, study: &Study<'_>, new: &[Clip]) -> Result<Vec<Row>, CommandError> {
        let (Some(known), Some(replay)) = (&self.known, &self.replay) else {
            return Ok(Vec::new());
        };
        let image = study.int8.image();
        let labels: Vec<String> = image.labels().iter().map(str::to_owned).collect();
        let mut old = Dataset::open(known)?;
        old.name_classes(&labels);
        old.silence_zeros();
        let old = encode(study.int8, &old, None)?;
        let replay = of_known_words(Dataset::open(replay)?, &labels);
        let replay = encode(study.int8, &replay, None)?;
        let mut rows = Vec::new();
        for (shots, one_speaker) in [(3, true), (20, false)] {
            let data = AddWords {
                old: &old,
                replay: &replay,
                new,
                shots,
                one_speaker,
            };
            rows.extend(done("add-words", study.add_words(&data))?);
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

/// Takes words that the image does not know for its `_unknown_`, and adds one clip of silence.
fn of_known_words(mut data: Dataset, labels: &[String]) -> Dataset {
    const UNKNOWN: &str = "_unknown_";
    const SILENCE: &str = "_silence_";
    let known = |label: &str| labels.iter().any(|l| l == label);
    data.name_classes(labels);
    for sample in data.samples.iter_mut().filter(|s| !known(&s.label)) {
        sample.label = UNKNOWN.into();
    }
    data.samples.retain(|s| known(&s.label));
    if known(SILENCE) {
        data.samples.push(Sample {
            id: "silence".into(),
            label: SILENCE.into(),
            speaker: None,
            source: Source::Zeros,
        });
    }
    data
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
