//! Mel-frequency cepstral coefficients as the Keyword Transformer's front end computes them, and
//! the logarithms of the mel bands alone.
//!
//! ```text
//! frames       window_len samples every hop_len, times a periodic Hann window
//! spectrum     |DFT| of fft_len points (zero-padded), bins below mel_upper
//! mel          mel_bins triangles, even in mel = 1127 ln(1 + f / 700) from mel_lower to mel_upper,
//!              linear in mel between their corners
//! cepstrum     ln(max(mel, floor)), then DCT-II scaled by √(2 / mel_bins)
//! ```
//!
//! All tables follow from the configuration; for KWT-1 they equal the published tensors to 3e-8
//! (tested).

use crate::image_writer::AlignedBytes;
use serde::{Deserialize, Serialize};
use tailtune::audio::frame;
use tailtune::image::front_end::{FrontEndRecord, MAX_FFT, MAX_MEL, MIN_FFT};
use tailtune::image::{self, FrontEndTables, Image, ImageError};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{F32, U16, U32};

/// What a front end computes. An image's provenance carries it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrontEndConfig {
    /// `mfcc` or `log_mel`.
    pub kind: FrontEndKind,
    /// Samples per second.
    pub sample_rate: u32,
    /// Samples of one clip.
    pub clip_len: usize,
    /// Samples of one frame.
    pub window_len: usize,
    /// Samples from one frame to the next.
    pub hop_len: usize,
    /// Points of the Fourier transform.
    pub fft_len: usize,
    /// Mel bands.
    pub mel_bins: usize,
    /// Lowest frequency, Hz.
    pub mel_lower: f64,
    /// Highest frequency, Hz.
    pub mel_upper: f64,
    /// Cepstral coefficients.
    pub n_features: usize,
    /// Least value that is taken the logarithm of.
    pub floor: f32,
}

/// The kinds of front ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrontEndKind {
    /// Mel-frequency cepstral coefficients.
    Mfcc,
    /// The logarithms of the mel bands as they are: `n_features` equals `mel_bins`.
    LogMel,
}

impl FrontEndConfig {
    /// Returns the frames of one clip.
    pub fn n_frames(&self) -> usize {
        (self.clip_len - self.window_len) / self.hop_len + 1
    }

    /// Returns whether every number makes sense together with the others, and none asks for more
    /// memory than the device's tables may take.
    pub fn is_sound(&self) -> bool {
        const MAX_CLIP: usize = 1 << 24;
        const MAX_RATE: u32 = 384_000;
        let (max_fft, max_bands) = (usize::from(MAX_FFT), usize::from(MAX_MEL));
        let nyquist = f64::from(self.sample_rate) / 2.0;
        self.window_len > 0
            && (1..=usize::from(u16::MAX)).contains(&self.hop_len)
            && (1..=MAX_RATE).contains(&self.sample_rate)
            && self.window_len <= self.clip_len
            && self.clip_len <= MAX_CLIP
            && self.window_len <= self.fft_len
            && self.fft_len.is_power_of_two()
            && (usize::from(MIN_FFT)..=max_fft).contains(&self.fft_len)
            && (1..=max_bands).contains(&self.mel_bins)
            && (1..=self.mel_bins).contains(&self.n_features)
            && (self.kind == FrontEndKind::Mfcc || self.n_features == self.mel_bins)
            && 0.0 <= self.mel_lower
            && self.mel_lower < self.mel_upper
            && self.mel_upper <= nyquist
            && self.floor > 0.0
    }
}

/// Why a front end has no tables: a number that the image's format has no room for.
#[derive(Debug, thiserror::Error)]
#[error("front end: {0}; fft_len is a power of two from 64 to 2048, mel_bins at most 1024")]
pub struct TableError(ImageError);

/// A front end with its tables: the device's own code over the very bytes that an image carries.
pub struct FrontEnd {
    config: FrontEndConfig,
    section: AlignedBytes,
}

impl FrontEnd {
    /// Returns the front end of a configuration.
    ///
    /// # Errors
    /// [`TableError`] names what the device has no room for.
    pub fn new(config: &FrontEndConfig) -> Result<Self, TableError> {
        let section = AlignedBytes::new(&section(config));
        FrontEndTables::parse(&section).map_err(TableError)?;
        Ok(Self {
            config: config.clone(),
            section,
        })
    }

    /// Returns the front end that an image carries; none if it is not one of sound.
    pub fn of(image: &Image<'_>) -> Option<Self> {
        let tables = image.front_end()?;
        let config = FrontEndConfig {
            kind: match tables.kind() {
                image::FrontEndKind::Mfcc => FrontEndKind::Mfcc,
                image::FrontEndKind::LogMel => FrontEndKind::LogMel,
            },
            sample_rate: tables.sample_rate(),
            clip_len: tables.clip_len(),
            window_len: tables.window_len(),
            hop_len: tables.hop_len(),
            fft_len: tables.fft_len(),
            mel_bins: tables.mel_bins(),
            // The tables hold what these two made, not the two themselves.
            mel_lower: 0.0,
            mel_upper: f64::from(tables.sample_rate()) / 2.0,
            n_features: tables.n_features(),
            floor: tables.floor(),
        };
        let section = AlignedBytes::new(tables.bytes());
        Some(Self { config, section })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &FrontEndConfig {
        &self.config
    }

    /// Returns the section that an image carries.
    pub fn section(&self) -> &[u8] {
        &self.section
    }

    /// Returns the tables.
    ///
    /// # Panics
    /// Never: the section was checked when it was made.
    pub fn tables(&self) -> FrontEndTables<'_> {
        FrontEndTables::parse(&self.section).expect("checked when it was made")
    }

    /// Returns the features f32 `[n_frames, n_features]` of a clip of `clip_len` samples in −1 to 1;
    /// a shorter clip counts as followed by silence.
    pub fn features(&self, samples: &[f32]) -> Vec<f32> {
        let tables = self.tables();
        let mut spectrum = vec![0.0; tables.fft_len()];
        let mut mel = vec![0.0; tables.mel_bins()];
        let mut features = vec![0.0; tables.n_frames() * tables.n_features()];
        let starts = (0..).step_by(tables.hop_len());
        for (out, start) in features.chunks_exact_mut(tables.n_features()).zip(starts) {
            spectrum.fill(0.0);
            let part = samples.get(start..).unwrap_or(&[]);
            for (x, &sample) in spectrum
                .iter_mut()
                .zip(part.iter().take(tables.window_len()))
            {
                *x = sample;
            }
            frame(&tables, &mut spectrum, &mut mel, out);
        }
        features
    }

    /// Returns the features of a clip of zeros.
    pub fn silence(&self) -> Vec<f32> {
        self.features(&[])
    }
}

/// Returns the bytes of an image's front end: see [`tailtune::image::front_end`].
fn section(config: &FrontEndConfig) -> Vec<u8> {
    let pi = std::f64::consts::PI;
    let (n, mels) = (config.window_len as f64, config.mel_bins as f64);
    let hann = |i: usize| 0.5 - 0.5 * libm::cos(2.0 * pi * i as f64 / n);
    let dct = |i: usize| {
        let (row, column) = ((i / config.mel_bins) as f64, (i % config.mel_bins) as f64);
        libm::sqrt(2.0 / mels) * libm::cos(pi * row * (2.0 * column + 1.0) / (2.0 * mels))
    };
    let bands = bands(config);
    let n_weights: usize = bands.iter().map(|b| b.weights.len()).sum();
    // What does not fit becomes a value that the checks refuse.
    let narrow = |x: usize| U16::new(u16::try_from(x).unwrap_or(u16::MAX));
    let wide = |x: usize| U32::new(u32::try_from(x).unwrap_or(u32::MAX));
    let record = FrontEndRecord {
        kind: u8::from(config.kind == FrontEndKind::LogMel),
        reserved: [0; 3],
        sample_rate: U32::new(config.sample_rate),
        clip_len: wide(config.clip_len),
        window_len: narrow(config.window_len),
        hop_len: narrow(config.hop_len),
        fft_len: narrow(config.fft_len),
        mel_bins: narrow(config.mel_bins),
        n_features: narrow(config.n_features),
        reserved_2: U16::ZERO,
        floor: F32::new(config.floor),
        n_weights: wide(n_weights),
    };
    let mut bytes = record.as_bytes().to_vec();
    let mut put = |x: f64| bytes.extend((x as f32).to_le_bytes());
    (0..config.window_len).for_each(|i| put(hann(i)));
    for band in &bands {
        bytes.extend(narrow(band.first).as_bytes());
        bytes.extend(narrow(band.weights.len()).as_bytes());
    }
    for weight in bands.iter().flat_map(|b| &b.weights) {
        bytes.extend(weight.to_le_bytes());
    }
    if config.kind == FrontEndKind::Mfcc {
        let n = config.n_features * config.mel_bins;
        bytes.extend((0..n).flat_map(|i| (dct(i) as f32).to_le_bytes()));
    }
    bytes
}

/// A band's weights from its first bin on.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

fn bands(config: &FrontEndConfig) -> Vec<Band> {
    let mel = |f: f64| 1127.0 * libm::log1p(f / 700.0);
    let (low, high) = (mel(config.mel_lower), mel(config.mel_upper));
    let step = (high - low) / (config.mel_bins + 1) as f64;
    let bin_mel =
        |bin: usize| mel(bin as f64 * f64::from(config.sample_rate) / config.fft_len as f64);
    let band = |index: usize| {
        let left = low + step * index as f64;
        let weight = |bin: usize| {
            let x = (bin_mel(bin) - left) / step;
            x.min(2.0 - x).max(0.0) as f32
        };
        let bins = config.fft_len / 2 + 1;
        let first = (0..bins).find(|&b| weight(b) > 0.0).unwrap_or(0);
        let weights = (first..bins).map(weight).take_while(|w| *w > 0.0).collect();
        Band { first, weights }
    };
    (0..config.mel_bins).map(band).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> FrontEndConfig {
        FrontEndConfig {
            kind: FrontEndKind::Mfcc,
            sample_rate: 16000,
            clip_len: 16000,
            window_len: 480,
            hop_len: 160,
            fft_len: 512,
            mel_bins: 80,
            mel_lower: 20.0,
            mel_upper: 7600.0,
            n_features: 40,
            floor: 1e-12,
        }
    }

    /// A tone lands in the band around its frequency.
    #[test]
    fn a_tone_lands_in_its_band() {
        let front_end = FrontEnd::new(&config()).unwrap();
        let tone = |i: usize| libm::sinf(i as f32 * 1000.0 / 16000.0 * std::f32::consts::TAU);
        let samples: Vec<f32> = (0..16000).map(tone).collect();
        let features = front_end.features(&samples);
        assert_eq!(features.len(), 98 * 40);
        // Undo the cosine transform: the largest band holds 1000 Hz.
        let band = |b: usize| -> f32 {
            (0..40)
                .map(|k| {
                    features[40 * 50 + k]
                        * front_end.tables().dct()[k * 80 + b].get()
                        * if k == 0 { 0.5 } else { 1.0 }
                })
                .sum()
        };
        let largest = (0..80)
            .max_by(|&a, &b| band(a).total_cmp(&band(b)))
            .unwrap();
        let mel = |f: f64| 1127.0 * libm::log1p(f / 700.0);
        let want = (mel(1000.0) - mel(20.0)) / (mel(7600.0) - mel(20.0)) * 81.0 - 1.0;
        assert!((largest as f64 - want).abs() < 2.0, "{largest} {want}");
    }

    /// Silence is the floor everywhere: only coefficient 0 is not zero.
    #[test]
    fn silence_is_the_floor() {
        let silence = FrontEnd::new(&config()).unwrap().silence();
        let want = libm::logf(1e-12) * 80.0 * libm::sqrtf(2.0 / 80.0);
        for frame in silence.chunks(40) {
            assert!((frame[0] - want).abs() < 1e-2);
            assert!(frame[1..].iter().all(|x| x.abs() < 1e-3));
        }
    }

    #[test]
    fn unsound_configurations_are_seen() {
        assert!(config().is_sound());
        assert!(
            !FrontEndConfig {
                hop_len: 0,
                ..config()
            }
            .is_sound()
        );
        assert!(
            !FrontEndConfig {
                mel_upper: 9000.0,
                ..config()
            }
            .is_sound()
        );
        assert!(
            !FrontEndConfig {
                window_len: 600,
                ..config()
            }
            .is_sound()
        );
    }
}
