//! What tuning is worth: whole protocols over many speakers or splits, every method beside the others.
//!
//! ```text
//! new-speaker     a head learned from all speakers but one, then 5 shots a class of that one
//! few-shots       a head from scratch, 1 to 3 shots a class of one speaker, that speaker's other clips
//! other-speakers  a head from scratch on two thirds of the speakers, the others measured
//! noise           the same, then 2 shots a class of each other speaker, all of that speaker's clips in noise
//! add-words       the image's own head, two words more; its old words measured again
//! self-label      3 labelled shots a class of one speaker, then unlabelled ones
//! ```
//!
//! Tails are measured as a device runs them: the integer runtime, the tuned block in it.

use super::AdaptError;
use super::tuning::{Labelled, Origin, Plan, accuracy, tune};
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use crate::synthetic::Random;
use rayon::prelude::*;
use std::collections::BTreeSet;
use tailtune::tune::{MethodId, SelfLabel};

/// A clip: what it is, whose, and what the encoder made of it.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Its class.
    pub word: String,
    /// Who spoke.
    pub speaker: String,
    /// What the methods take; the label is the place of `word` among the study's words.
    pub sample: Labelled,
}

/// One line of the table: a method in a protocol.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// The protocol.
    pub study: String,
    /// The variant: shots, noise.
    pub what: String,
    /// The method.
    pub method: &'static str,
    /// Mean accuracy before the shots, where there was something.
    pub before: Option<f64>,
    /// Mean accuracy after.
    pub after: f64,
    /// The lowest of the accuracies that the mean is of.
    pub worst: f64,
    /// Of how many speakers or splits, times seeds.
    pub runs: usize,
    /// Other numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a study runs with.
#[derive(Debug, Clone, Copy)]
pub struct Study<'s> {
    /// The image.
    pub int8: &'s Int8Model,
    /// Seeds, 1 to this.
    pub seeds: u64,
    /// The methods that can be had.
    pub methods: &'s [MethodId],
}

/// Before and after, of one run.
type Pair = (Option<f64>, f64);

fn row(study: &str, what: &str, method: MethodId, runs: &[Pair]) -> Row {
    let n = runs.len().max(1) as f64;
    let before: Option<f64> = runs.iter().map(|r| r.0).sum();
    Row {
        study: study.into(),
        what: what.into(),
        method: method.name(),
        before: before.map(|b| b / n),
        after: runs.iter().map(|r| r.1).sum::<f64>() / n,
        worst: runs.iter().map(|r| r.1).fold(1.0, f64::min),
        runs: runs.len(),
        note: None,
    }
}

/// Returns the plan of a fit of many samples from scratch.
fn many(method: MethodId) -> Plan {
    let mut plan = Plan::new(method);
    plan.schedule.epochs = if method.below_the_block() { 20 } else { 40 };
    plan.schedule.decay = tailtune::tune::Decay::Cosine;
    plan
}

/// Returns the plan of a fit of few samples, from scratch or from a tail.
fn few(method: MethodId) -> Plan {
    Plan::new(method)
}

/// Returns `shots` clips of each word, drawn by the seed, and the others.
fn draw<'c>(
    clips: &[&'c Clip],
    words: usize,
    shots: usize,
    seed: u64,
) -> (Vec<&'c Clip>, Vec<&'c Clip>) {
    let random = &mut Random::new(seed);
    let (mut picked, mut rest) = (Vec::new(), Vec::new());
    for word in 0..words {
        let of_word = clips.iter().filter(|c| usize::from(c.sample.label) == word);
        let mut of_word: Vec<&Clip> = of_word.copied().collect();
        for i in (1..of_word.len()).rev() {
            of_word.swap(i, random.below(i as u32 + 1) as usize);
        }
        let shots = shots.min(of_word.len());
        picked.extend_from_slice(&of_word[..shots]);
        rest.extend_from_slice(&of_word[shots..]);
    }
    (picked, rest)
}

fn samples<'c>(clips: &[&'c Clip]) -> Vec<&'c Labelled> {
    clips.iter().map(|c| &c.sample).collect()
}

/// Numbers the words of clips; returns them in order.
pub fn number(clips: &mut [Clip]) -> Vec<String> {
    let words: BTreeSet<&String> = clips.iter().map(|c| &c.word).collect();
    let words: Vec<String> = words.into_iter().cloned().collect();
    for clip in clips {
        let place = words.iter().position(|w| *w == clip.word).unwrap_or(0);
        clip.sample.label = place as u16;
    }
    words
}

fn speakers(clips: &[Clip]) -> Vec<&str> {
    let all: BTreeSet<&str> = clips.iter().map(|c| c.speaker.as_str()).collect();
    all.into_iter().collect()
}

/// Runs every (item, seed) on all cores, and gathers.
fn each<T: Sync, R: Send>(
    items: &[T],
    seeds: u64,
    one: impl Fn(&T, u64) -> Result<R, AdaptError> + Sync,
) -> Result<Vec<R>, AdaptError> {
    let pairs: Vec<(&T, u64)> = items
        .iter()
        .flat_map(|item| (1..=seeds).map(move |seed| (item, seed)))
        .collect();
    pairs
        .par_iter()
        .map(|(item, seed)| one(item, *seed))
        .collect()
}

impl Study<'_> {
    fn tail(
        &self,
        origin: Origin<'_>,
        added: &[String],
        train: &[&Clip],
        plan: &Plan,
    ) -> Result<AlignedBytes, AdaptError> {
        Ok(tune(self.int8, origin, added, &samples(train), plan)?.tail)
    }

    fn measure(&self, tail: &[u8], test: &[&Clip]) -> Result<f64, AdaptError> {
        accuracy(self.int8, tail, &samples(test))
    }

    /// A head learned from all speakers but one, then `shots` a class of that one and some of what the head
    /// was learned from.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn new_speaker(&self, clips: &[Clip], shots: usize) -> Result<Vec<Row>, AdaptError> {
        let mut clips = clips.to_vec();
        let words = number(&mut clips);
        let speakers = speakers(&clips);
        let mut runs: Vec<Vec<Pair>> = vec![Vec::new(); self.methods.len()];
        let all = each(&speakers, self.seeds, |speaker, seed| {
            let (own, others): (Vec<&Clip>, Vec<&Clip>) =
                clips.iter().partition(|c| c.speaker == **speaker);
            let (shots, test) = draw(&own, words.len(), shots, seed);
            // What a device keeps of what its head was made of.
            let (replay, _) = draw(&others, words.len(), REPLAY_PER_CLASS, seed);
            let base = |method| {
                let plan = many(method);
                self.tail(Origin::Scratch, &words, &others, &plan)
            };
            let (ncm, ridge) = (base(MethodId::Ncm)?, base(MethodId::Ridge)?);
            let softmax = base(MethodId::Softmax)?;
            let one = |method: &MethodId| {
                let start = match method {
                    MethodId::Ncm => &ncm,
                    MethodId::Ridge => &ridge,
                    _ => &softmax,
                };
                let mut plan = few(*method);
                let sums = matches!(method, MethodId::Ncm | MethodId::Ridge);
                let mut train = shots.clone();
                if sums {
                    // The tail holds the others' sums: the shots must outweigh them.
                    plan.schedule.emphasis = EMPHASIS;
                } else {
                    train.extend_from_slice(&replay);
                    plan.schedule.epochs = 30;
                }
                let tail = self.tail(Origin::Tail(start), &[], &train, &plan)?;
                Ok((
                    Some(self.measure(start, &test)?),
                    self.measure(&tail, &test)?,
                ))
            };
            self.methods
                .iter()
                .map(one)
                .collect::<Result<Vec<Pair>, AdaptError>>()
        })?;
        for of_speaker in all {
            runs.iter_mut()
                .zip(of_speaker)
                .for_each(|(r, pair)| r.push(pair));
        }
        let what = format!("{shots} shots");
        Ok(self.rows("new-speaker", &what, &runs))
    }

    fn rows(&self, study: &str, what: &str, runs: &[Vec<Pair>]) -> Vec<Row> {
        let rows = self.methods.iter().zip(runs);
        rows.map(|(&method, runs)| row(study, what, method, runs))
            .collect()
    }

    /// A head from scratch: `shots` a word of one speaker, that speaker's other clips.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn few_shots(&self, clips: &[Clip], shots: usize) -> Result<Vec<Row>, AdaptError> {
        let mut clips = clips.to_vec();
        let words = number(&mut clips);
        let speakers = speakers(&clips);
        let all = each(&speakers, self.seeds, |speaker, seed| {
            let own: Vec<&Clip> = clips.iter().filter(|c| c.speaker == **speaker).collect();
            let (shots, test) = draw(&own, words.len(), shots, seed);
            let one = |method: &MethodId| {
                let tail = self.tail(Origin::Scratch, &words, &shots, &few(*method))?;
                Ok((None, self.measure(&tail, &test)?))
            };
            self.methods
                .iter()
                .map(one)
                .collect::<Result<Vec<Pair>, AdaptError>>()
        })?;
        Ok(self.rows(
            "few-shots",
            &format!("{shots} shots"),
            &transpose(&all, self.methods.len()),
        ))
    }

    /// A head from scratch on two thirds of the speakers; the others measured. With `noisy` clips (the same
    /// clips in noise), then two shots a word of each other speaker, all of that speaker in noise.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn other_speakers(
        &self,
        clips: &[Clip],
        noisy: Option<&[Clip]>,
    ) -> Result<Vec<Row>, AdaptError> {
        let mut clips = clips.to_vec();
        let words = number(&mut clips);
        let mut in_noise = noisy.map(<[Clip]>::to_vec).unwrap_or_default();
        number(&mut in_noise);
        let speakers = speakers(&clips);
        let all = each(&[()], self.seeds, |(), seed| {
            let mut order = speakers.clone();
            let random = &mut Random::new(seed);
            for i in (1..order.len()).rev() {
                order.swap(i, random.below(i as u32 + 1) as usize);
            }
            let (learn, other) = order.split_at(order.len() * 2 / 3);
            let of = |who: &[&str]| -> Vec<&Clip> {
                clips
                    .iter()
                    .filter(|c| who.contains(&c.speaker.as_str()))
                    .collect()
            };
            let (train, test) = (of(learn), of(other));
            if noisy.is_none() {
                let one = |method: &MethodId| {
                    let tail = self.tail(Origin::Scratch, &words, &train, &many(*method))?;
                    Ok(vec![(None, self.measure(&tail, &test)?)])
                };
                return self
                    .methods
                    .par_iter()
                    .map(one)
                    .collect::<Result<Vec<_>, AdaptError>>();
            }
            let base = |method| self.tail(Origin::Scratch, &words, &train, &many(method));
            let (ncm, ridge) = (base(MethodId::Ncm)?, base(MethodId::Ridge)?);
            let softmax = base(MethodId::Softmax)?;
            let (replay, _) = draw(&train, words.len(), REPLAY_PER_CLASS, seed);
            let one = |method: &MethodId| {
                let start = match method {
                    MethodId::Ncm => &ncm,
                    MethodId::Ridge => &ridge,
                    _ => &softmax,
                };
                let of_speaker = |speaker: &&str| {
                    let own: Vec<&Clip> =
                        in_noise.iter().filter(|c| c.speaker == *speaker).collect();
                    let (mut shots, test) = draw(&own, words.len(), 2, seed);
                    let mut plan = few(*method);
                    if matches!(method, MethodId::Ncm | MethodId::Ridge) {
                        plan.schedule.emphasis = EMPHASIS;
                    } else {
                        shots.extend_from_slice(&replay);
                        plan.schedule.epochs = 30;
                    }
                    let tail = self.tail(Origin::Tail(start), &[], &shots, &plan)?;
                    Ok((
                        Some(self.measure(start, &test)?),
                        self.measure(&tail, &test)?,
                    ))
                };
                other
                    .iter()
                    .map(of_speaker)
                    .collect::<Result<Vec<Pair>, AdaptError>>()
            };
            self.methods.par_iter().map(one).collect()
        })?;
        let mut runs = vec![Vec::new(); self.methods.len()];
        for of_seed in all {
            runs.iter_mut()
                .zip(of_seed)
                .for_each(|(r, pairs)| r.extend(pairs));
        }
        let (study, what) = match noisy {
            Some(_) => ("noise", "2 shots in noise"),
            None => ("other-speakers", "all clips"),
        };
        Ok(self.rows(study, what, &runs))
    }

    /// The image's own head and two words more. `old` clips carry the image's labels; `replay` clips of the
    /// old words are learned again beside the new words' shots. The accuracy is the old words', the
    /// new words' stands in the note.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn add_words(
        &self,
        old: &[Clip],
        replay: &[Clip],
        new: &[Clip],
        shots: usize,
    ) -> Result<Vec<Row>, AdaptError> {
        let labels: Vec<String> = self
            .int8
            .image()
            .labels()
            .iter()
            .map(str::to_owned)
            .collect();
        let mut new = new.to_vec();
        let words = number(&mut new);
        let pairs: Vec<[usize; 2]> = (0..words.len() / 2).map(|i| [2 * i, 2 * i + 1]).collect();
        let labelled = |clips: &[Clip], names: &[String]| -> Vec<Clip> {
            let place = |c: &Clip| names.iter().position(|n| *n == c.word);
            let known = clips.iter().filter_map(|c| place(c).map(|p| (c, p)));
            known
                .map(|(c, p)| {
                    let mut c = c.clone();
                    c.sample.label = p as u16;
                    c
                })
                .collect()
        };
        let (old, replay) = (labelled(old, &labels), labelled(replay, &labels));
        let old: Vec<&Clip> = old.iter().collect();
        let replay: Vec<&Clip> = replay.iter().collect();
        // The image's head holds no sums for ncm and ridge to go on from.
        let methods: Vec<MethodId> = self
            .methods
            .iter()
            .copied()
            .filter(|m| !matches!(m, MethodId::Ncm | MethodId::Ridge))
            .collect();
        let start = {
            let mut plan = few(MethodId::Softmax);
            plan.schedule.learning_rate = f32::MIN_POSITIVE;
            plan.schedule.epochs = 1;
            self.tail(Origin::Image, &[], &old[..1], &plan)?
        };
        let before = self.measure(&start, &old)?;
        let all = each(&pairs, 1, |pair, seed| {
            let names: Vec<String> = pair.iter().map(|&p| words[p].clone()).collect();
            let all_names: Vec<String> = labels.iter().chain(&names).cloned().collect();
            let two = labelled(&new, &all_names);
            let two: Vec<&Clip> = two.iter().collect();
            let (shots, rest) = draw(&two, all_names.len(), shots, seed);
            let mut train = shots;
            train.extend_from_slice(&replay);
            let one = |method: &MethodId| {
                let mut plan = few(*method);
                // Small steps: the old words' head is good already.
                plan.schedule.epochs = 20;
                plan.schedule.learning_rate = 0.0004;
                plan.schedule.weight_decay = 0.0;
                let tail = self.tail(Origin::Image, &names, &train, &plan)?;
                Ok((self.measure(&tail, &old)?, self.measure(&tail, &rest)?))
            };
            methods
                .par_iter()
                .map(one)
                .collect::<Result<Vec<(f64, f64)>, AdaptError>>()
        })?;
        let mut rows = Vec::new();
        for (index, &method) in methods.iter().enumerate() {
            let runs: Vec<Pair> = all.iter().map(|r| (Some(before), r[index].0)).collect();
            let fresh = all.iter().map(|r| r[index].1).sum::<f64>() / all.len().max(1) as f64;
            let mut row = row(
                "add-words",
                &format!("2 words, {shots} shots"),
                method,
                &runs,
            );
            row.note = Some(format!("new words {:.2} %", 100.0 * fresh));
            rows.push(row);
        }
        Ok(rows)
    }

    /// 3 labelled shots a class of one speaker, then `unlabelled` clips a class without their labels; the rest
    /// measured.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn self_label(&self, clips: &[Clip], unlabelled: usize) -> Result<Vec<Row>, AdaptError> {
        let mut clips = clips.to_vec();
        let words = number(&mut clips);
        let speakers = speakers(&clips);
        let heads: Vec<MethodId> = self
            .methods
            .iter()
            .copied()
            .filter(|m| !m.below_the_block())
            .collect();
        let all = each(&speakers, self.seeds, |speaker, seed| {
            let own: Vec<&Clip> = clips.iter().filter(|c| c.speaker == **speaker).collect();
            let (shots, rest) = draw(&own, words.len(), 3, seed);
            let (stream, test) = draw(&rest, words.len(), unlabelled, seed + 1000);
            let means = self.tail(Origin::Scratch, &words, &shots, &few(MethodId::Ncm))?;
            let labels = pseudo_labels(self.int8, &means, &samples(&stream), SelfLabel::default())?;
            let mut pseudo = Vec::new();
            let mut wrong = 0;
            for (clip, label) in stream.iter().zip(labels) {
                if let Some(label) = label {
                    wrong += usize::from(label != clip.sample.label);
                    let mut sample = clip.sample.clone();
                    sample.label = label;
                    pseudo.push(sample);
                }
            }
            let shares = (
                wrong as f64 / pseudo.len().max(1) as f64,
                pseudo.len() as f64 / stream.len().max(1) as f64,
            );
            let one = |method: &MethodId| {
                let plan = few(*method);
                let few_only =
                    tune(self.int8, Origin::Scratch, &words, &samples(&shots), &plan)?.tail;
                let mut train = samples(&shots);
                train.extend(pseudo.iter());
                let more = tune(self.int8, Origin::Scratch, &words, &train, &plan)?.tail;
                Ok((
                    Some(self.measure(&few_only, &test)?),
                    self.measure(&more, &test)?,
                ))
            };
            let pairs = heads
                .iter()
                .map(one)
                .collect::<Result<Vec<Pair>, AdaptError>>()?;
            Ok((pairs, shares))
        })?;
        let n = all.len().max(1) as f64;
        let wrong = all.iter().map(|(_, s)| s.0).sum::<f64>() / n;
        let taken = all.iter().map(|(_, s)| s.1).sum::<f64>() / n;
        let mut rows = Vec::new();
        for (index, &method) in heads.iter().enumerate() {
            let runs: Vec<Pair> = all.iter().map(|(pairs, _)| pairs[index]).collect();
            let mut row = row(
                "self-label",
                &format!("3 shots, {unlabelled} unlabelled"),
                method,
                &runs,
            );
            row.note = Some(format!(
                "{:.1} % of the stream taken, {:.1} % of those wrong",
                100.0 * taken,
                100.0 * wrong
            ));
            rows.push(row);
        }
        Ok(rows)
    }
}

/// Clips of each class that are learned again beside new ones.
const REPLAY_PER_CLASS: usize = 10;
/// How often a new speaker's shot counts beside the sums of the others.
const EMPHASIS: f32 = 50.0;

fn transpose(all: &[Vec<Pair>], methods: usize) -> Vec<Vec<Pair>> {
    (0..methods)
        .map(|m| all.iter().map(|r| r[m]).collect())
        .collect()
}

/// Returns the pseudo-labels of samples by the class means of a tail of `ncm`.
fn pseudo_labels(
    int8: &Int8Model,
    means: &[u8],
    stream: &[&Labelled],
    rule: SelfLabel,
) -> Result<Vec<Option<u16>>, AdaptError> {
    super::tuning::with_means(int8, means, |ncm, features_of| {
        stream
            .iter()
            .map(|s| Ok(rule.label(ncm, &features_of(&s.feature))?))
            .collect()
    })
}
