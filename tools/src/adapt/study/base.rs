//! Heads that many speakers taught, and what brings one to a new speaker.

use super::{Clip, Study, draw, many};
use crate::adapt::AdaptError;
use crate::adapt::tuning::{Origin, Plan};
use crate::image_writer::AlignedBytes;
use tailtune::tune::MethodId;

/// Clips of each class that are learned again beside new ones.
const REPLAY_PER_CLASS: usize = 10;
/// How often a new speaker's shot counts beside the sums of the others.
const EMPHASIS: f32 = 50.0;
/// Passes over shots and replayed clips.
const EPOCHS: u32 = 30;

/// What a device is shipped with: heads, and some of what they were made of.
pub(super) struct Base<'c> {
    ncm: AlignedBytes,
    ridge: AlignedBytes,
    softmax: AlignedBytes,
    replay: Vec<&'c Clip>,
}

impl<'c> Base<'c> {
    /// Learns heads from scratch.
    pub(super) fn learn(
        study: &Study<'_>,
        words: &[String],
        clips: &[&'c Clip],
        seed: u64,
    ) -> Result<Self, AdaptError> {
        let head = |method| study.tail(Origin::Scratch, words, clips, &many(method));
        Ok(Self {
            ncm: head(MethodId::Ncm)?,
            ridge: head(MethodId::Ridge)?,
            softmax: head(MethodId::Softmax)?,
            replay: draw(clips, words.len(), REPLAY_PER_CLASS, seed).0,
        })
    }

    /// Returns the head that a method starts from.
    fn start(&self, method: MethodId) -> &[u8] {
        match method {
            MethodId::Ncm => &self.ncm,
            MethodId::Ridge => &self.ridge,
            _ => &self.softmax,
        }
    }

    /// Goes on with a new speaker's shots; returns the accuracies on `test` before and after.
    pub(super) fn adapt(
        &self,
        study: &Study<'_>,
        method: MethodId,
        shots: &[&Clip],
        test: &[&Clip],
    ) -> Result<super::Pair, AdaptError> {
        let start = self.start(method);
        let mut plan = Plan::new(method);
        let mut train = shots.to_vec();
        if matches!(method, MethodId::Ncm | MethodId::Ridge) {
            // The tail holds the others' sums: the shots must outweigh them.
            plan.schedule.emphasis = EMPHASIS;
        } else {
            train.extend_from_slice(&self.replay);
            plan.schedule.epochs = EPOCHS;
        }
        let tail = study.tail(Origin::Tail(start), &[], &train, &plan)?;
        let before = study.measure(start, test)?;
        Ok((Some(before), study.measure(&tail, test)?))
    }
}
