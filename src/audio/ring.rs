//! The last frames, quantized, as the encoder reads them.

use super::AudioError;
use crate::image::{Image, InputKind};
use crate::model::quantize_frames;

/// The last `n_frames` frames, int8, oldest first, in a buffer of the caller's.
#[derive(Debug)]
pub struct Ring<'a, 'b> {
    image: Image<'a>,
    frames: &'b mut [i8],
    n_features: usize,
    filled: usize,
}

impl<'a, 'b> Ring<'a, 'b> {
    /// Takes a buffer of `n_frames · n_features` bytes.
    ///
    /// # Errors
    /// [`AudioError::RingLen`] where it has another length, or the model reads no frames.
    pub fn new(image: &Image<'a>, frames: &'b mut [i8]) -> Result<Self, AudioError> {
        let (n_frames, n_features) = match image.config().input {
            InputKind::Frames {
                n_frames,
                n_features,
            } => (usize::from(n_frames), usize::from(n_features)),
            _ => (0, 0),
        };
        let (needed, found) = (n_frames * n_features, frames.len());
        if needed != found || needed == 0 {
            return Err(AudioError::RingLen { needed, found });
        }
        Ok(Self {
            image: *image,
            frames,
            n_features,
            filled: 0,
        })
    }

    /// Takes one frame of features; the oldest goes. A frame of another length is passed over.
    pub fn push(&mut self, features: &[f32]) {
        let n = self.n_features;
        if features.len() != n {
            return;
        }
        self.frames.copy_within(n.., 0);
        let last = self.frames.len() - n;
        let place = self.frames.get_mut(last..).unwrap_or_default();
        // Only lengths can be wrong, and they are right; features that are no numbers become 0.
        if quantize_frames(&self.image, features, place).is_err() {
            place.fill(0);
        }
        self.filled = (self.filled + n).min(self.frames.len());
    }

    /// Returns whether as many frames have come as one input has.
    pub const fn is_full(&self) -> bool {
        self.filled == self.frames.len()
    }

    /// Returns one input, for `Input::Frames`; before the ring is full, the frames that have come.
    pub fn frames(&self) -> &[i8] {
        self.frames
            .get(self.frames.len() - self.filled..)
            .unwrap_or_default()
    }
}
