//! Unlabelled clips of a speaker who labelled a few, guarded by those few.

use super::row::{Pseudo, mean, row};
use super::{Clip, Pair, Row, Study, draw, number, of_speakers, samples, speakers};
use crate::adapt::AdaptError;
use crate::adapt::measure::{score, with_means};
use crate::adapt::tuning::{Labelled, Origin, Plan, tune};
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use tailtune::tune::{MethodId, Score, SelfLabel, Verdict};

/// Labelled shots a class.
const SHOTS: usize = 3;

/// What one method made of a stream.
struct Run {
    accuracies: Pair,
    rolled_back: bool,
}

impl Study<'_> {
    /// 3 labelled shots a class of one speaker, then `unlabelled` clips a class without their labels; the rest
    /// measured. The guard holds one shot a class back, each in its turn, and tunes on the others with and
    /// without the stream: where the stream costs a held-back shot more than it gains, the tune on the shots alone stays.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn self_label(&self, clips: &[Clip], unlabelled: usize) -> Result<Vec<Row>, AdaptError> {
        let mut clips = clips.to_vec();
        let words = number(&mut clips);
        let head = |m: &MethodId| !m.below_the_block();
        let heads: Vec<MethodId> = self.methods.iter().copied().filter(head).collect();
        let study = Study {
            methods: &heads,
            ..*self
        };
        let runs = study.each(&speakers(&clips), |speaker, seed| {
            let own = of_speakers(&clips, &[speaker]);
            let (shots, rest) = draw(&own, words.len(), SHOTS, seed);
            let (stream, test) = draw(&rest, words.len(), unlabelled, seed + 1000);
            let (shots, stream) = (samples(&shots), samples(&stream));
            let user = User {
                int8: self.int8,
                words: &words,
                stream: &stream,
            };
            let pseudo = user.pseudo(&shots)?;
            let wrong = pseudo.iter().filter(|p| p.wrong).count();
            let shares = [
                pseudo.len() as f64 / stream.len().max(1) as f64,
                wrong as f64 / pseudo.len().max(1) as f64,
            ];
            let of_methods = study.each_method(|method| {
                let alone = user.tail(method, &shots, &[])?;
                let with = user.tail(method, &shots, &pseudo)?;
                let rolled_back = !user.verdict(method, &shots)?.kept();
                let kept = if rolled_back { &alone } else { &with };
                let before = study.measure(&alone, &test)?;
                let after = study.measure(kept, &test)?;
                Ok(Run {
                    accuracies: (Some(before), after),
                    rolled_back,
                })
            })?;
            Ok((of_methods, shares))
        })?;
        let share = |i: usize| mean(&runs.iter().map(|(_, s)| s[i]).collect::<Vec<_>>());
        let what = format!("{SHOTS} shots, {unlabelled} unlabelled");
        let rows = heads.iter().enumerate().map(|(index, &method)| {
            let of_method = || runs.iter().map(|(of_methods, _)| &of_methods[index]);
            let pairs: Vec<Pair> = of_method().map(|run| run.accuracies).collect();
            let back: Vec<f64> = of_method().map(|r| f64::from(r.rolled_back)).collect();
            let pseudo = Pseudo {
                taken: share(0),
                wrong: share(1),
                rolled_back: mean(&back),
            };
            Row {
                pseudo: Some(pseudo),
                ..row("self-label", &what, method, &pairs)
            }
        });
        Ok(rows.collect())
    }
}

/// An unlabelled clip that took a label.
struct PseudoLabelled {
    sample: Labelled,
    wrong: bool,
}

/// A user's stream, and what learns from it.
struct User<'u> {
    int8: &'u Int8Model,
    words: &'u [String],
    stream: &'u [&'u Labelled],
}

impl User<'_> {
    /// Labels the stream by the class means of labelled shots.
    fn pseudo(&self, shots: &[&Labelled]) -> Result<Vec<PseudoLabelled>, AdaptError> {
        let means = self.tail(MethodId::Ncm, shots, &[])?;
        let rule = SelfLabel::default();
        let mut pseudo = Vec::new();
        with_means(self.int8, &means, |ncm, features_of| {
            for sample in self.stream {
                if let Some(label) = rule.label(ncm, &features_of(&sample.feature))? {
                    let wrong = label != sample.label;
                    let mut sample = (*sample).clone();
                    sample.label = label;
                    pseudo.push(PseudoLabelled { sample, wrong });
                }
            }
            Ok(())
        })?;
        Ok(pseudo)
    }

    /// Tunes from scratch on shots and what took a label.
    fn tail(
        &self,
        method: MethodId,
        shots: &[&Labelled],
        pseudo: &[PseudoLabelled],
    ) -> Result<AlignedBytes, AdaptError> {
        let mut train = shots.to_vec();
        train.extend(pseudo.iter().map(|p| &p.sample));
        let mut plan = Plan::new(method);
        // Some classes' clips pass more easily than others'.
        plan.schedule.class_balance = true;
        Ok(tune(self.int8, Origin::Scratch, self.words, &train, &plan)?.tail)
    }

    /// Returns what the shots say, each scored by tunes that have not seen it. The shots of a class stand
    /// together.
    fn verdict(&self, method: MethodId, shots: &[&Labelled]) -> Result<Verdict, AdaptError> {
        let (mut before, mut after) = (Score::default(), Score::default());
        for turn in 0..SHOTS {
            let mut seen = vec![0usize; self.words.len()];
            let (held, others): (Vec<&Labelled>, Vec<&Labelled>) = shots.iter().partition(|s| {
                let place = &mut seen[usize::from(s.label)];
                *place += 1;
                *place - 1 == turn
            });
            let pseudo = self.pseudo(&others)?;
            let alone = self.tail(method, &others, &[])?;
            let with = self.tail(method, &others, &pseudo)?;
            for (tail, sum) in [(alone, &mut before), (with, &mut after)] {
                let score = score(self.int8, &tail, &held)?;
                sum.right += score.right;
                sum.total += score.total;
            }
        }
        Ok(Verdict { before, after })
    }
}
