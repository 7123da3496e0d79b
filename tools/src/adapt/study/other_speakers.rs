//! A head from scratch on some speakers, measured on others.

use super::{Clip, Row, Study, many, number, of_speakers, split_speakers};
use crate::adapt::AdaptError;
use crate::adapt::tuning::Origin;

impl Study<'_> {
    /// A head from scratch on two thirds of the speakers; the others measured.
    ///
    /// # Errors
    /// [`AdaptError`].
    pub fn other_speakers(&self, clips: &[Clip]) -> Result<Vec<Row>, AdaptError> {
        let mut clips = clips.to_vec();
        let words = number(&mut clips);
        let runs = self.each(&[()], |(), seed| {
            let (learn, other) = split_speakers(&clips, seed);
            let (train, test) = (of_speakers(&clips, &learn), of_speakers(&clips, &other));
            self.each_method(|method| {
                let tail = self.tail(Origin::Scratch, &words, &train, &many(method))?;
                Ok((None, self.measure(&tail, &test)?))
            })
        })?;
        Ok(self.rows("other-speakers", "all clips", &runs))
    }
}
