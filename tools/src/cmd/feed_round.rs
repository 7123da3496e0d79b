//! One round of clips to a device: what is sent, what the host expects, what comes back.

use super::CommandError;
use super::eval::confusion_table;
use super::source::Reader;
use super::terminal::{percent, print};
use crate::adapt::measure;
use crate::adapt::tuning::{Labelled, latent_len};
use crate::audio::FrontEnd;
use crate::data::Dataset;
use crate::evaluation::Column;
use crate::feed::clips::{Bytes, features, sound};
use crate::feed::{Answer, Client, Wire};
use crate::int8::{Int8Model, Int8Output};
use crate::reference::ModelInput;
use serde_json::{Value, json};
use std::path::Path;
use tailtune::image::InputKind;
use tailtune::model::Head;
use tailtune::tune::Tail;
use tailtune_app::feed::message::{Unit, Welcome};

/// A labelled clip.
pub struct Clip {
    /// Its file, or its place in one.
    pub id: String,
    /// Its class.
    pub label: String,
    /// Sound as the device takes it; none of what is no sound.
    sound: Option<Vec<i16>>,
    /// The input that the encoder reads.
    frames: Vec<i8>,
}

/// Clips in the order in which they are sent.
pub struct Clips {
    /// Them.
    pub all: Vec<Clip>,
}

impl Clips {
    /// Reads the clips of a dataset.
    ///
    /// # Errors
    /// A model of text, or data that cannot be read or does not fit the model.
    pub fn new(int8: &Int8Model, data: &Dataset) -> Result<Self, CommandError> {
        let image = int8.image();
        if matches!(image.config().input, InputKind::Tokens { .. }) {
            return Err("the image reads tokens: sound, images and sensor windows are fed, text is not; `tailtune eval` takes it".into());
        }
        let front_end = FrontEnd::of(&image);
        let sounds = data.samples.iter().map(|sample| match &front_end {
            Some(front_end) => sound(sample, front_end),
            None => Ok(None),
        });
        let sounds = sounds.collect::<Result<Vec<_>, _>>()?;
        let places: Vec<usize> = (0..sounds.len()).filter(|&i| sounds[i].is_none()).collect();
        let mut others = match &places[..] {
            [] => Vec::new(),
            places => Reader::of_image(&image, None)?.read(&data.subset(places))?,
        }
        .into_iter();
        let inputs = sounds.iter().map(|sound| match (sound, &front_end) {
            (Some(sound), Some(front_end)) => features(sound, front_end),
            _ => match others.next() {
                Some(ModelInput::Frames(frames)) => frames,
                _ => Vec::new(),
            },
        });
        let frames = int8.quantize(&inputs.collect::<Vec<_>>())?;
        let samples = data.samples.iter().zip(sounds).zip(frames);
        let all = samples.map(|((sample, sound), frames)| Clip {
            id: sample.id.clone(),
            label: sample.label.clone(),
            sound,
            frames,
        });
        Ok(Self { all: all.collect() })
    }

    fn run(&self, int8: &Int8Model) -> Result<Vec<Int8Output>, CommandError> {
        let inputs: Vec<Vec<i8>> = self.all.iter().map(|clip| clip.frames.clone()).collect();
        Ok(int8.run(&inputs, &|| ())?)
    }

    /// Returns the clips as a fit reads them; labels are places in `classes`.
    ///
    /// # Errors
    /// As the host's own run.
    pub fn labelled(
        &self,
        int8: &Int8Model,
        classes: &[String],
    ) -> Result<Vec<Labelled>, CommandError> {
        let below = latent_len(&int8.image()) > 0;
        let inputs: Vec<Vec<i8>> = self.all.iter().map(|clip| clip.frames.clone()).collect();
        let latents = match below {
            true => int8
                .latents(&inputs, &|| ())?
                .into_iter()
                .map(|l| l.1)
                .collect(),
            false => vec![Vec::new(); inputs.len()],
        };
        let outputs = self.run(int8)?.into_iter().zip(latents);
        let labelled = outputs
            .zip(&self.all)
            .map(|((output, latent), clip)| Labelled {
                feature: output.pooled,
                latent,
                label: class_of(classes, &clip.label).map_or(u16::MAX, |class| class as u16),
            });
        Ok(labelled.collect())
    }
}

fn class_of(classes: &[String], label: &str) -> Option<usize> {
    classes.iter().position(|class| class == label)
}

/// What the host's own run gives.
pub struct Expected {
    /// Logits of the image's own head, of each clip.
    own: Vec<Vec<i16>>,
    /// Those of the tail; none where it is not known.
    tail: Option<Vec<Vec<f32>>>,
}

impl Expected {
    /// Runs the image, and the tail where there is one.
    ///
    /// # Errors
    /// A tail that does not fit the image.
    pub fn new(int8: &Int8Model, clips: &Clips, tail: Option<&[u8]>) -> Result<Self, CommandError> {
        let tail = match tail {
            Some(tail) => {
                let samples = clips.labelled(int8, &[])?;
                let samples: Vec<&Labelled> = samples.iter().collect();
                // At an address that is a multiple of 16, as a device has it.
                let tail = crate::image_writer::AlignedBytes::new(tail);
                Tail::parse(&tail).map_err(|e| format!("the tail in the device's flash: {e}"))?;
                Some(measure::logits(int8, &tail, &samples)?)
            }
            None => None,
        };
        let own = clips.run(int8)?.into_iter().map(|output| output.logits);
        Ok(Self {
            own: own.collect(),
            tail,
        })
    }

    /// Says whether an answer is the host's, bit by bit; none where there is nothing to compare with.
    fn agrees(&self, index: usize, answer: &Answer) -> Option<bool> {
        let own = (!answer.own.is_empty()).then(|| self.own.get(index) == Some(&answer.own));
        let bits = |logits: &[f32]| logits.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
        let tail = self.tail.as_ref().and_then(|tail| tail.get(index));
        let tail = tail.map(|tail| bits(tail) == bits(&answer.tail));
        match (own, tail) {
            (Some(a), Some(b)) => Some(a && b),
            (a, b) => a.or(b),
        }
    }
}

/// How a round goes about it.
pub struct Round<'r> {
    /// The model.
    pub int8: &'r Int8Model,
    /// Classes in the order of the device's logits.
    pub labels: Vec<String>,
    /// What the device says of itself.
    pub welcome: &'r Welcome,
    /// What is compared with; none for nothing.
    pub expected: Option<Expected>,
    /// Whether nothing is printed on the way.
    pub quiet: bool,
    /// Whether labels go along.
    pub with_labels: bool,
}

/// What came back of one clip.
struct Heard {
    file: String,
    expected: String,
    answer: String,
    /// The greatest logit less the second.
    margin: f32,
    cost: Option<u32>,
    equal: Option<bool>,
}

/// What came back.
pub struct Heards {
    heard: Vec<Heard>,
    labels: Vec<String>,
    column: Column,
    compared: bool,
}

impl Round<'_> {
    /// Sends the clips and prints a line for each answer.
    ///
    /// # Errors
    /// A device that does not answer.
    pub fn send<W: Wire>(
        &self,
        device: &mut Client<W>,
        clips: &Clips,
    ) -> Result<Heards, CommandError> {
        let scale = Head::new(&self.int8.image()).map_or(1.0, |head| head.logit_scale());
        let hears = self.welcome.sample_rate.get() > 0;
        let (mut heard, mut logits, mut truth) = (Vec::new(), Vec::new(), Vec::new());
        for (index, clip) in clips.all.iter().enumerate() {
            let class = class_of(&self.labels, &clip.label);
            let sent = match &clip.sound {
                Some(sound) if hears => Bytes::of_sound(sound),
                _ => Bytes::of_values(&clip.frames),
            };
            let label = class.filter(|_| self.with_labels).map(|class| class as u16);
            let answer = device.clip(label, sent.form, &sent.bytes);
            let answer = answer.map_err(|e| format!("{}: {e}", clip.id))?;
            let real: Vec<f32> = match answer.tail.is_empty() {
                true => answer.own.iter().map(|&l| f32::from(l) * scale).collect(),
                false => answer.tail.clone(),
            };
            let expected = self.expected.as_ref();
            let line = Heard {
                file: short(&clip.id),
                expected: clip.label.clone(),
                answer: self.name(answer.class),
                margin: margin(&real),
                cost: (self.welcome.unit != Unit::None).then_some(answer.cost),
                equal: expected.and_then(|expected| expected.agrees(index, &answer)),
            };
            if !self.quiet {
                print(&line.as_text(self.welcome.unit))?;
            }
            heard.push(line);
            logits.push(real);
            truth.push(class);
        }
        // A tail may have classes whose names nobody here knows.
        let classes = logits.iter().map(Vec::len).max().unwrap_or(0);
        let named = self.labels.len();
        let mut labels = self.labels.clone();
        labels.extend((named..classes).map(|class| self.name(class)));
        Ok(Heards {
            column: Column::new("device", &labels, &truth, &logits),
            heard,
            labels,
            compared: self.expected.is_some(),
        })
    }

    fn name(&self, class: usize) -> String {
        let name = self.labels.get(class).cloned();
        name.unwrap_or_else(|| format!("class {class}"))
    }
}

impl Heard {
    fn as_text(&self, unit: Unit) -> String {
        let cost = self
            .cost
            .map(|cost| format!("  {cost} {}", unit_name(unit)));
        let equal = match self.equal {
            Some(true) => "  as the host",
            Some(false) => "  NOT AS THE HOST",
            None => "",
        };
        format!(
            "{}  expected {}  answer {}  margin {:.3}{}{equal}",
            self.file,
            self.expected,
            self.answer,
            self.margin,
            cost.unwrap_or_default()
        )
    }
}

fn unit_name(unit: Unit) -> &'static str {
    self::unit(unit).unwrap_or("")
}

/// Returns what a device counts, in words.
pub fn unit(unit: Unit) -> Option<&'static str> {
    match unit {
        Unit::None => None,
        Unit::Microseconds => Some("µs"),
        Unit::Instructions => Some("instructions"),
    }
}

fn margin(logits: &[f32]) -> f32 {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    match sorted[..] {
        [first, second, ..] => first - second,
        _ => 0.0,
    }
}

/// Returns a file with its folder.
fn short(id: &str) -> String {
    let mut parts: Vec<_> = Path::new(id).iter().rev().take(2).collect();
    parts.reverse();
    let parts: Vec<_> = parts.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

impl Heards {
    /// Returns how many answers are not the host's.
    pub fn different(&self) -> usize {
        let different = self.heard.iter().filter(|h| h.equal == Some(false));
        different.count()
    }

    /// Prints accuracy, comparison and confusion.
    ///
    /// # Errors
    /// As [`print()`].
    pub fn as_text(&self) -> Result<(), CommandError> {
        print(&format!(
            "accuracy   {} of {} clips",
            percent(self.column.top1),
            self.heard.len()
        ))?;
        if self.compared {
            let compared = self.heard.iter().filter(|h| h.equal.is_some()).count();
            let equal = compared - self.different();
            print(&format!(
                "compared   {equal} of {compared} answers are the host's, bit by bit"
            ))?;
        }
        confusion_table(&self.labels, &self.column)
    }

    /// Returns the same, and every clip.
    pub fn as_json(&self) -> Value {
        let clips = self.heard.iter().map(|h| {
            json!({
                "file": h.file, "expected": h.expected, "answer": h.answer, "margin": h.margin,
                "cost": h.cost, "equal": h.equal,
            })
        });
        json!({
            "n": self.heard.len(), "accuracy": self.column.top1,
            "different": self.compared.then(|| self.different()),
            "labels": self.labels, "confusion": self.column.confusion,
            "clips": clips.collect::<Vec<_>>(),
        })
    }
}
