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

use realfft::{RealFftPlanner, RealToComplex};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// memory than a front end has reason to.
    pub fn is_sound(&self) -> bool {
        const MAX_CLIP: usize = 1 << 24;
        const MAX_FFT: usize = 1 << 16;
        const MAX_BANDS: usize = 1 << 12;
        let nyquist = f64::from(self.sample_rate) / 2.0;
        self.window_len > 0
            && self.hop_len > 0
            && self.window_len <= self.clip_len
            && self.clip_len <= MAX_CLIP
            && self.window_len <= self.fft_len
            && (2..=MAX_FFT).contains(&self.fft_len)
            && (1..=MAX_BANDS).contains(&self.mel_bins)
            && (1..=self.mel_bins).contains(&self.n_features)
            && (self.kind == FrontEndKind::Mfcc || self.n_features == self.mel_bins)
            && 0.0 <= self.mel_lower
            && self.mel_lower < self.mel_upper
            && self.mel_upper <= nyquist
            && self.floor > 0.0
    }
}

/// A band's weights from its first bin on.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// A front end with its tables.
pub struct FrontEnd {
    config: FrontEndConfig,
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    bands: Vec<Band>,
    /// `[n_features, mel_bins]`.
    dct: Vec<f32>,
}

impl FrontEnd {
    /// Returns the front end of a configuration.
    pub fn new(config: &FrontEndConfig) -> Self {
        let pi = std::f64::consts::PI;
        let (n, bins) = (config.window_len as f64, config.mel_bins as f64);
        let hann = |i: usize| 0.5 - 0.5 * libm::cos(2.0 * pi * i as f64 / n);
        let dct = |i: usize| {
            let (row, column) = ((i / config.mel_bins) as f64, (i % config.mel_bins) as f64);
            libm::sqrt(2.0 / bins) * libm::cos(pi * row * (2.0 * column + 1.0) / (2.0 * bins))
        };
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(config.fft_len),
            window: (0..config.window_len).map(|i| hann(i) as f32).collect(),
            bands: bands(config),
            dct: (0..config.n_features * config.mel_bins)
                .map(|i| dct(i) as f32)
                .collect(),
            config: config.clone(),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &FrontEndConfig {
        &self.config
    }

    /// Returns the features f32 `[n_frames, n_features]` of a clip of `clip_len` samples in −1 to 1;
    /// a shorter clip counts as followed by silence.
    pub fn features(&self, samples: &[f32]) -> Vec<f32> {
        let c = &self.config;
        let mut frame = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut log_mel = vec![0f32; c.mel_bins];
        let mut features = Vec::with_capacity(c.n_frames() * c.n_features);
        for start in (0..c.n_frames()).map(|i| i * c.hop_len) {
            frame.fill(0.0);
            let part = samples.get(start..).unwrap_or(&[]);
            for ((x, &sample), w) in frame.iter_mut().zip(part).zip(&self.window) {
                *x = sample * w;
            }
            // The lengths are the plan's own, so this cannot fail.
            let _ = self.fft.process(&mut frame, &mut spectrum);
            for (mel, band) in log_mel.iter_mut().zip(&self.bands) {
                let bins = spectrum.iter().skip(band.first).zip(&band.weights);
                let sum: f32 = bins.map(|(x, w)| libm::hypotf(x.re, x.im) * w).sum();
                *mel = libm::logf(sum.max(c.floor));
            }
            match c.kind {
                FrontEndKind::LogMel => features.extend(&log_mel),
                FrontEndKind::Mfcc => {
                    let rows = self.dct.chunks_exact(c.mel_bins);
                    let dot = |row: &[f32]| row.iter().zip(&log_mel).map(|(a, b)| a * b).sum();
                    features.extend(rows.map(dot).collect::<Vec<f32>>());
                }
            }
        }
        features
    }

    /// Returns the features of a clip of zeros.
    pub fn silence(&self) -> Vec<f32> {
        self.features(&[])
    }
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
        let front_end = FrontEnd::new(&config());
        let tone = |i: usize| libm::sinf(i as f32 * 1000.0 / 16000.0 * std::f32::consts::TAU);
        let samples: Vec<f32> = (0..16000).map(tone).collect();
        let features = front_end.features(&samples);
        assert_eq!(features.len(), 98 * 40);
        // Undo the cosine transform: the largest band holds 1000 Hz.
        let band = |b: usize| -> f32 {
            (0..40)
                .map(|k| {
                    features[40 * 50 + k]
                        * front_end.dct[k * 80 + b]
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
        let silence = FrontEnd::new(&config()).silence();
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
