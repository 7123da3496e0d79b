//! Samples in blocks of any length → a frame every hop.

use super::frame;
use crate::image::FrontEndTables;
use core::fmt;

/// Why a stream could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AudioError {
    /// The stream's buffers are made for another Fourier transform.
    FftLen {
        /// The image's `fft_len`.
        needed: usize,
        /// The stream's `FFT`.
        found: usize,
    },
    /// The image has more mel bands than the stream has room for.
    MelBins {
        /// The image's `mel_bins`.
        needed: usize,
        /// The stream's `MEL`.
        found: usize,
    },
    /// A ring's buffer has not the length of one input.
    RingLen {
        /// `n_frames · n_features`.
        needed: usize,
        /// The buffer's length.
        found: usize,
    },
}

impl fmt::Display for AudioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, needed, found) = match *self {
            Self::FftLen { needed, found } => ("fft_len", needed, found),
            Self::MelBins { needed, found } => ("mel_bins", needed, found),
            Self::RingLen { needed, found } => ("ring bytes", needed, found),
        };
        write!(f, "{what}: the image needs {needed}, there are {found}")
    }
}

impl core::error::Error for AudioError {}

/// A front end that listens: `FFT` is the image's `fft_len`, `MEL` at least its `mel_bins`.
///
/// It holds `6 · FFT + 8 · MEL` bytes and a few more; nothing in it grows. Give it what the microphone
/// gives, in blocks of any length:
///
/// ```
/// # use tailtune::audio::{AudioError, FrontEndTables, Stream};
/// # fn listen(tables: FrontEndTables<'_>, block: &[i16]) -> Result<(), AudioError> {
/// let mut stream = Stream::<512, 40>::new(tables)?;
/// stream.push(block, |features| { /* one frame, f32 [n_features] */ });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Stream<'a, const FFT: usize, const MEL: usize> {
    tables: FrontEndTables<'a>,
    /// The last samples, oldest first.
    history: [i16; FFT],
    /// How many of them are there.
    len: usize,
    /// Samples to pass over before the next one counts, where frames do not overlap.
    skip: usize,
    spectrum: [f32; FFT],
    mel: [f32; MEL],
    features: [f32; MEL],
}

impl<'a, const FFT: usize, const MEL: usize> Stream<'a, FFT, MEL> {
    /// Starts before the first sample.
    ///
    /// # Errors
    /// [`AudioError`] where the buffers do not fit the tables.
    pub fn new(tables: FrontEndTables<'a>) -> Result<Self, AudioError> {
        let (needed, found) = (tables.fft_len(), FFT);
        if needed != found {
            return Err(AudioError::FftLen { needed, found });
        }
        let (needed, found) = (tables.mel_bins(), MEL);
        if needed > found {
            return Err(AudioError::MelBins { needed, found });
        }
        Ok(Self {
            tables,
            history: [0; FFT],
            len: 0,
            skip: 0,
            spectrum: [0.0; FFT],
            mel: [0.0; MEL],
            features: [0.0; MEL],
        })
    }

    /// Forgets what was heard.
    pub const fn reset(&mut self) {
        (self.len, self.skip) = (0, 0);
    }

    /// Takes samples and calls `on_frame` with the features of each frame that they complete: the first
    /// after `window_len` samples, then one every `hop_len`.
    pub fn push(&mut self, samples: &[i16], mut on_frame: impl FnMut(&[f32])) {
        let window = self.tables.window_len();
        for &sample in samples {
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            if let Some(place) = self.history.get_mut(self.len) {
                *place = sample;
                self.len += 1;
            }
            if self.len == window {
                self.emit(&mut on_frame);
                self.advance();
            }
        }
    }

    fn emit(&mut self, on_frame: &mut impl FnMut(&[f32])) {
        for (x, &sample) in self.spectrum.iter_mut().zip(&self.history) {
            *x = f32::from(sample) * (1.0 / 32768.0);
        }
        let n = self.tables.mel_bins();
        let mel = self.mel.get_mut(..n).unwrap_or_default();
        let n = self.tables.n_features();
        let features = self.features.get_mut(..n).unwrap_or_default();
        frame(&self.tables, &mut self.spectrum, mel, features);
        on_frame(features);
    }

    /// Drops the samples that the next frame does not read.
    fn advance(&mut self) {
        let hop = self.tables.hop_len();
        self.skip = hop.saturating_sub(self.len);
        let start = hop.min(self.len);
        self.history.copy_within(start..self.len, 0);
        self.len -= start;
    }
}
