//! What tuning is worth: whole protocols over many speakers or splits, every method beside the others.
//!
//! ```text
//! new_speaker     a head learned from all speakers but one, then 5 shots a class of that one
//! few_shots       a head from scratch, 1 to 3 shots a class of one speaker, that speaker's other clips
//! other_speakers  a head from scratch on two thirds of the speakers, the others measured
//! noise           the same, then 2 shots a class of each other speaker, all of that speaker's clips in noise
//! add_words       the image's own head, two words more; its old words measured again
//! self_label      3 labelled shots a class of one speaker, then unlabelled ones, guarded
//! base            a head that many speakers taught, and its way to a new one: of new_speaker and noise
//! row             the table's lines
//! ```
//!
//! Tails are measured as a device runs them: the integer runtime, the tuned block in it. No run looks at the clips
//! that it is measured on before it is done.

mod add_words;
mod base;
mod few_shots;
mod new_speaker;
mod noise;
mod other_speakers;
mod row;
mod self_label;

pub use add_words::AddWords;
pub use row::{Pseudo, Row};

use super::AdaptError;
use super::measure::accuracy;
use super::tuning::{Labelled, Origin, Plan, tune};
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use crate::synthetic::Random;
use rayon::prelude::*;
use row::{Pair, row};
use std::collections::BTreeSet;
use tailtune::tune::{Decay, MethodId};

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
        if test.is_empty() {
            return Err(AdaptError::NoTest);
        }
        accuracy(self.int8, tail, &samples(test))
    }

    /// Runs every method on all cores, and gathers.
    fn each_method<R: Send>(
        &self,
        one: impl Fn(MethodId) -> Result<R, AdaptError> + Sync,
    ) -> Result<Vec<R>, AdaptError> {
        self.methods.par_iter().map(|&method| one(method)).collect()
    }

    /// Runs every item with every seed on all cores, and gathers.
    fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        one: impl Fn(&T, u64) -> Result<R, AdaptError> + Sync,
    ) -> Result<Vec<R>, AdaptError> {
        let seeds = |item| (1..=self.seeds).map(move |seed| (item, seed));
        let runs: Vec<(&T, u64)> = items.iter().flat_map(seeds).collect();
        runs.par_iter()
            .map(|(item, seed)| one(item, *seed))
            .collect()
    }

    /// Returns a row a method of runs that each hold one pair a method.
    fn rows(&self, study: &str, what: &str, runs: &[Vec<Pair>]) -> Vec<Row> {
        let of_method = |index: usize| runs.iter().map(move |run| run[index]);
        let rows = self.methods.iter().enumerate();
        rows.map(|(index, &method)| {
            let runs: Vec<Pair> = of_method(index).collect();
            row(study, what, method, &runs)
        })
        .collect()
    }
}

/// Returns the plan of a fit of many samples from scratch.
fn many(method: MethodId) -> Plan {
    let mut plan = Plan::new(method);
    plan.schedule.epochs = if method.below_the_block() { 20 } else { 40 };
    plan.schedule.decay = Decay::Cosine;
    plan
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
        let all = of_word.len();
        random.draw(&mut of_word, all);
        let (first, others) = of_word.split_at(shots.min(all));
        picked.extend_from_slice(first);
        rest.extend_from_slice(others);
    }
    (picked, rest)
}

fn samples<'c>(clips: &[&'c Clip]) -> Vec<&'c Labelled> {
    clips.iter().map(|c| &c.sample).collect()
}

/// Numbers the words of clips; returns them in order.
fn number(clips: &mut [Clip]) -> Vec<String> {
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

/// Returns the clips of some speakers.
fn of_speakers<'c>(clips: &'c [Clip], who: &[&str]) -> Vec<&'c Clip> {
    let own = |clip: &&Clip| who.contains(&clip.speaker.as_str());
    clips.iter().filter(own).collect()
}

/// Returns two thirds of the speakers, drawn by the seed, and the others.
fn split_speakers(clips: &[Clip], seed: u64) -> (Vec<&str>, Vec<&str>) {
    let mut learn = speakers(clips);
    let all = learn.len();
    Random::new(seed).draw(&mut learn, all);
    let other = learn.split_off(all * 2 / 3);
    (learn, other)
}

#[cfg(test)]
mod tests;
