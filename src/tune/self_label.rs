//! Self-labelling: a stream of unlabelled samples takes pseudo-labels from a user's few recordings.
//!
//! ```text
//! d1, d2   squared distances to the nearest and the second nearest class mean   (Ncm::nearest)
//! accept   where d1 ≤ ratio · d2                                                 else the reject band
//! ```
//!
//! (Prototypes: Snell et al., arXiv 1703.05175; the ratio test: Lowe, IJCV 60, 2004.) What is accepted goes
//! to the replay set with its pseudo-label, and a fit learns from both, guarded by labelled samples that
//! are held back like any other tune: a tune on wrong labels that costs accuracy is taken back.

use super::{Ncm, TuneError};
use crate::model::Features;

/// Which pseudo-labels are trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SelfLabel {
    /// Greatest share of the second distance that the first may be, in `0..=1`.
    pub ratio: f32,
}

impl Default for SelfLabel {
    fn default() -> Self {
        Self { ratio: 0.6 }
    }
}

impl SelfLabel {
    /// Returns the pseudo-label of a sample, or none in the reject band. `means` are of the labelled
    /// samples.
    ///
    /// # Errors
    /// As [`Ncm::nearest`].
    pub fn label(
        &self,
        means: &mut Ncm<'_>,
        features: &Features<'_>,
    ) -> Result<Option<u16>, TuneError> {
        let nearest = means.nearest(features)?;
        let accepted = nearest.filter(|n| n.distance <= self.ratio * n.second);
        Ok(accepted.map(|n| n.class))
    }
}
