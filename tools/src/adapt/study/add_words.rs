//! Words added to an image's own: what the old ones lose, and how well the new ones are known.

use super::row::{mean, row};
use super::{Clip, Pair, Row, Study, draw, number};
use crate::adapt::AdaptError;
use crate::adapt::measure::image_tail;
use crate::adapt::tuning::{Origin, Plan};
use crate::synthetic::Random;
use std::collections::BTreeSet;
use tailtune::tune::MethodId;

/// What words are added to, and which.
#[derive(Debug, Clone, Copy)]
pub struct AddWords<'c> {
    /// Clips of the image's words, to be measured; those of other words are left out.
    pub old: &'c [Clip],
    /// Other clips of the image's words, learned again beside the new ones.
    pub replay: &'c [Clip],
    /// Clips of new words; two of them are added at a time.
    pub new: &'c [Clip],
    /// Clips a new word that are learned from.
    pub shots: usize,
    /// Whether they are of one speaker, drawn by the seed, whose others are measured; else of any.
    pub one_speaker: bool,
}

/// One sample in this many is held back: from the old words' it is told how far the new ones go down.
const HOLD_BACK: u32 = 4;
/// The share of those of the old words that may be lost to new ones: one of 75. None at all would hang on a
/// single clip.
const LOST: f32 = 0.02;

/// The plan: every word counts alike, few shots or many; steps are small, for the old words' head is good.
fn plan(method: MethodId) -> Plan {
    let mut plan = Plan::new(method);
    plan.schedule.epochs = 20;
    plan.schedule.learning_rate = 0.001;
    plan.schedule.weight_decay = 0.0;
    plan.schedule.class_balance = true;
    plan.schedule.hold_back = HOLD_BACK;
    plan.keep_old = Some(LOST);
    plan
}

impl Study<'_> {
    /// The image's own head and two words more: a run adds one pair of words. Accuracies are of the
    /// old words; that of the new ones stands beside them.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn add_words(&self, data: &AddWords<'_>) -> Result<Vec<Row>, AdaptError> {
        let image = self.int8.image();
        let known: Vec<String> = image.labels().iter().map(str::to_owned).collect();
        let mut new = data.new.to_vec();
        // Another language's word is another word, though it may be spelled alike.
        for clip in new.iter_mut().filter(|c| known.contains(&c.word)) {
            clip.word += " (new)";
        }
        let words = number(&mut new);
        let (old, replay) = (labelled(data.old, &known), labelled(data.replay, &known));
        let old: Vec<&Clip> = old.iter().collect();
        // The image's head holds no sums for ncm and ridge to go on from.
        let sums = |m: &MethodId| matches!(m, MethodId::Ncm | MethodId::Ridge);
        let methods: Vec<MethodId> = self.methods.iter().copied().filter(|m| !sums(m)).collect();
        let study = Study {
            methods: &methods,
            ..*self
        };
        let before = self.measure(&image_tail(self.int8)?, &old)?;
        let pairs: Vec<(u64, &[String])> = (0..).zip(words.chunks_exact(2)).collect();
        let runs = study.each(&pairs, |&(place, pair), seed| {
            let names = [&known[..], pair].concat();
            let new = labelled(&new, &names);
            let of_pair: Vec<&Clip> = new.iter().filter(|c| pair.contains(&c.word)).collect();
            let own = match data.one_speaker {
                true => one_speaker(&of_pair, seed * pairs.len() as u64 + place),
                false => of_pair,
            };
            let (mut train, test) = draw(&own, names.len(), data.shots, seed);
            train.extend(&replay);
            study.each_method(|method| {
                let tail = study.tail(Origin::Image, pair, &train, &plan(method))?;
                Ok((study.measure(&tail, &old)?, study.measure(&tail, &test)?))
            })
        })?;
        let whose = match data.one_speaker {
            true => "of one speaker",
            false => "of any speaker",
        };
        let what = format!("2 words, {} shots {whose}", data.shots);
        let rows = methods.iter().enumerate().map(|(index, &method)| {
            let of_method = runs.iter().map(|run| run[index]);
            let olds: Vec<Pair> = of_method.clone().map(|r| (Some(before), r.0)).collect();
            let added: Vec<f64> = of_method.map(|r| r.1).collect();
            Row {
                added_words: Some(mean(&added)),
                ..row("add-words", &what, method, &olds)
            }
        });
        Ok(rows.collect())
    }
}

/// Returns the clips of the named words, labelled by their places.
fn labelled(clips: &[Clip], names: &[String]) -> Vec<Clip> {
    let place = |clip: &Clip| names.iter().position(|n| *n == clip.word);
    let known = clips.iter().filter_map(|c| place(c).map(|p| (c, p)));
    known
        .map(|(clip, place)| {
            let mut clip = clip.clone();
            clip.sample.label = place as u16;
            clip
        })
        .collect()
}

/// Returns the clips of a speaker that the seed draws.
fn one_speaker<'c>(clips: &[&'c Clip], seed: u64) -> Vec<&'c Clip> {
    let speakers: BTreeSet<&str> = clips.iter().map(|c| c.speaker.as_str()).collect();
    let drawn = Random::new(seed).below(speakers.len() as u32) as usize;
    let speaker = speakers.into_iter().nth(drawn);
    let own = clips.iter().filter(|c| Some(c.speaker.as_str()) == speaker);
    own.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tuning::Labelled;

    #[test]
    fn labels_are_places_and_a_drawn_speaker_is_one() {
        let clip = |word: &str, speaker: &str| Clip {
            word: word.into(),
            speaker: speaker.into(),
            sample: Labelled {
                feature: Vec::new(),
                latent: Vec::new(),
                label: 0,
            },
        };
        let clips = [
            clip("no", "ann"),
            clip("mid", "bo"),
            clip("yes", "bo"),
            clip("yes", "ann"),
        ];
        let found = labelled(&clips, &["yes".into(), "no".into()]);
        let labels: Vec<u16> = found.iter().map(|c| c.sample.label).collect();
        assert_eq!(labels, [1, 0, 0]);
        let all: Vec<&Clip> = found.iter().collect();
        let drawn = (1..20).map(|seed| one_speaker(&all, seed));
        let sizes: BTreeSet<usize> = drawn
            .map(|own| {
                assert!(own.iter().all(|c| c.speaker == own[0].speaker));
                own.len()
            })
            .collect();
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
