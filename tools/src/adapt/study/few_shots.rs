//! Few shots of one speaker, and nothing else.

use super::{Clip, Row, Study, draw, number, of_speakers, speakers};
use crate::adapt::AdaptError;
use crate::adapt::tuning::{Origin, Plan};

impl Study<'_> {
    /// A head from scratch: `shots` a word of one speaker, that speaker's other clips measured.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn few_shots(&self, clips: &[Clip], shots: usize) -> Result<Vec<Row>, AdaptError> {
        let mut clips = clips.to_vec();
        let words = number(&mut clips);
        let what = format!("{shots} shots");
        let runs = self.each(&speakers(&clips), |speaker, seed| {
            let own = of_speakers(&clips, &[speaker]);
            let (shots, test) = draw(&own, words.len(), shots, seed);
            self.each_method(|method| {
                let tail = self.tail(Origin::Scratch, &words, &shots, &Plan::new(method))?;
                Ok((None, self.measure(&tail, &test)?))
            })
        })?;
        Ok(self.rows("few-shots", &what, &runs))
    }
}
