//! A head that many speakers taught in quiet, then a new speaker in noise.

use super::base::Base;
use super::{Clip, Row, Study, draw, number, of_speakers, split_speakers};
use crate::adapt::AdaptError;

impl Study<'_> {
    /// A head from scratch on two thirds of the speakers, then `shots` a word of each other speaker; all that
    /// the others say is taken from `noisy`, the same clips in noise.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn noise(
        &self,
        clips: &[Clip],
        noisy: &[Clip],
        shots: usize,
    ) -> Result<Vec<Row>, AdaptError> {
        let (mut clips, mut noisy) = (clips.to_vec(), noisy.to_vec());
        let words = number(&mut clips);
        number(&mut noisy);
        let what = format!("{shots} shots in noise");
        let of_seed = self.each(&[()], |(), seed| {
            let (learn, other) = split_speakers(&clips, seed);
            let base = Base::learn(self, &words, &of_speakers(&clips, &learn), seed)?;
            let of_speaker = |speaker: &&str| {
                let own = of_speakers(&noisy, &[speaker]);
                let (shots, test) = draw(&own, words.len(), shots, seed);
                self.each_method(|method| base.adapt(self, method, &shots, &test))
            };
            let runs: Result<Vec<_>, AdaptError> = other.iter().map(of_speaker).collect();
            runs
        })?;
        Ok(self.rows("noise", &what, &of_seed.concat()))
    }
}
