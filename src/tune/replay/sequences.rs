//! The positions of kept sequences as samples.
//!
//! A replay keeps [sequence latents](crate::model::decoder::SequenceLatent), one a sequence, since positions
//! share most of what a decoder's last block reads. A fit learns position by position: [`Positions`] lends each
//! as a sample of its own, labelled by the token after it.
//!
//! RAM beside the replay: one latent, and 6 bytes a position.

use super::Samples;
use crate::image::ModelConfig;
use crate::model::Features;
use crate::model::decoder::{SequenceLatent, decoder_latent_bytes, set_position};
use crate::tune::softmax::enough;
use crate::tune::{Buffer, TuneError};

/// Where a position lies, and its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    sequence: u16,
    position: u16,
    label: u16,
}

/// The positions of the sequences of a replay.
pub struct Positions<'m, S: ?Sized> {
    sequences: &'m mut S,
    latent: &'m mut [i8],
    places: &'m [Place],
}

impl<'m, S: Samples + ?Sized> Positions<'m, S> {
    /// Returns the positions of `sequences`, whose own labels do not count. `latent` has
    /// [`decoder_latent_bytes`], `places` one for every position.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`]; [`TuneError::SampleMissing`] for what cannot be read or is no sequence of
    /// this model.
    pub fn new(
        sequences: &'m mut S,
        config: &ModelConfig,
        latent: &'m mut [i8],
        places: &'m mut [Place],
    ) -> Result<Self, TuneError> {
        let width = decoder_latent_bytes(config);
        enough(Buffer::Features, latent.len(), width)?;
        let mut len = 0usize;
        for index in 0..sequences.len() {
            let missing = TuneError::SampleMissing { index };
            let sequence = u16::try_from(index).map_err(|_| missing)?;
            let (features, _) = sequences.get(index).ok_or(missing)?;
            let parsed = SequenceLatent::parse(features.values, config).ok_or(missing)?;
            for position in 0..parsed.len() {
                let label = parsed.label(position).ok_or(missing)?;
                if let Some(place) = places.get_mut(len) {
                    *place = Place {
                        sequence,
                        // A sequence has at most `MAX_SEQ_LEN` tokens.
                        position: position as u16,
                        label,
                    };
                }
                len = len.saturating_add(1);
            }
        }
        enough(Buffer::Labels, places.len(), len)?;
        Ok(Self {
            sequences,
            latent: latent.get_mut(..width).unwrap_or_default(),
            places: places.get(..len).unwrap_or_default(),
        })
    }
}

impl<S: Samples + ?Sized> Samples for Positions<'_, S> {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)> {
        let place = *self.places.get(index)?;
        let (features, _) = self.sequences.get(place.sequence.into())?;
        let (scale, zero_point) = (features.scale, features.zero_point);
        if features.values.len() != self.latent.len() {
            return None;
        }
        for (to, from) in self.latent.iter_mut().zip(features.values) {
            *to = *from;
        }
        set_position(self.latent, place.position);
        let features = Features {
            values: self.latent,
            scale,
            zero_point,
        };
        Some((features, place.label))
    }

    fn label(&mut self, index: usize) -> Option<u16> {
        self.places.get(index).map(|place| place.label)
    }
}
