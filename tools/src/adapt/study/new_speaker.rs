//! A head learned from all speakers but one, then some shots of that one.

use super::base::Base;
use super::{Clip, Row, Study, draw, number, speakers};
use crate::adapt::AdaptError;

impl Study<'_> {
    /// A head learned from all speakers but one, then `shots` a class of that one and some of what the head
    /// was learned from.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn new_speaker(&self, clips: &[Clip], shots: usize) -> Result<Vec<Row>, AdaptError> {
        let mut clips = clips.to_vec();
        let words = number(&mut clips);
        let what = format!("{shots} shots");
        let runs = self.each(&speakers(&clips), |speaker, seed| {
            let (own, others): (Vec<&Clip>, Vec<&Clip>) =
                clips.iter().partition(|c| c.speaker == **speaker);
            let (shots, test) = draw(&own, words.len(), shots, seed);
            let base = Base::learn(self, &words, &others, seed)?;
            self.each_method(|method| base.adapt(self, method, &shots, &test))
        })?;
        Ok(self.rows("new-speaker", &what, &runs))
    }
}
