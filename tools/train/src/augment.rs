//! What is done to a sample each time it is seen: sound is shifted, played faster or slower, heard
//! in a room, through a narrow band, louder or softer and in noise; frames are masked
//! (SpecAugment, Park et al., arXiv 1904.08779).

use serde::{Deserialize, Serialize};
use tailtune_tools::synthetic::Random;

/// The `[augment]` of a configuration; without it nothing is done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Largest shift in time, milliseconds.
    pub shift_ms: f32,
    /// Largest change of speed and pitch together, as a share: 0.1 plays at 0.9 to 1.1.
    pub speed: f32,
    /// Largest change of loudness, decibels.
    pub gain_db: f32,
    /// Share of the sounds that get noise, and the least signal-to-noise ratio in decibels (the
    /// greatest is 30 more).
    pub noise: f32,
    /// See `noise`.
    pub noise_min_snr_db: f32,
    /// Share of the sounds that are heard in a room.
    pub room: f32,
    /// Share of the sounds that pass a low-pass filter of 2 to 4 kHz.
    pub narrow_band: f32,
    /// Masks over time, and the frames of the longest.
    pub time_masks: u32,
    /// See `time_masks`.
    pub time_mask_frames: u32,
    /// Masks over features, and the features of the widest.
    pub feature_masks: u32,
    /// See `feature_masks`.
    pub feature_mask_width: u32,
}

impl Augment {
    /// Returns what is wrong with the numbers, if anything.
    pub fn fault(&self) -> Option<String> {
        let shares = [
            ("noise", self.noise),
            ("room", self.room),
            ("narrow_band", self.narrow_band),
        ];
        if let Some((key, found)) = shares.iter().find(|(_, x)| !(0.0..=1.0).contains(x)) {
            return Some(format!("augment.{key} is {found}, expected 0 to 1"));
        }
        if !(0.0..0.5).contains(&self.speed) {
            return Some(format!(
                "augment.speed is {}, expected 0 to below 0.5",
                self.speed
            ));
        }
        if !(self.shift_ms >= 0.0 && self.gain_db >= 0.0) {
            return Some("augment.shift_ms or augment.gain_db is below 0".into());
        }
        None
    }

    /// Returns an augmented sound of the same length.
    pub fn sound(&self, samples: &[f32], rate: u32, r: &mut Random) -> Vec<f32> {
        let shift = self.shift_ms * rate as f32 / 1000.0 * r.unit();
        let speed = 1.0 + self.speed * r.unit();
        let mut sound = warp(samples, shift, speed);
        if chance(self.room, r) {
            sound = room(&sound, rate, r);
        }
        if chance(self.narrow_band, r) {
            let cutoff = 2000.0 + 2000.0 * share(r);
            low_pass(&mut sound, cutoff / rate as f32);
        }
        let gain = libm::powf(10.0, self.gain_db * r.unit() / 20.0);
        for x in &mut sound {
            *x *= gain;
        }
        if chance(self.noise, r) {
            let snr = self.noise_min_snr_db + 30.0 * share(r);
            noise(&mut sound, snr, r);
        }
        sound
    }

    /// Sets masked frames and features to zero, which is the mean of standardised features.
    pub fn frames(&self, frames: &mut [f32], n_features: usize, r: &mut Random) {
        let n_frames = frames.len() / n_features;
        for _ in 0..self.time_masks {
            let (start, end) = span(n_frames, self.time_mask_frames, r);
            frames[start * n_features..end * n_features].fill(0.0);
        }
        for _ in 0..self.feature_masks {
            let (start, end) = span(n_features, self.feature_mask_width, r);
            for frame in frames.chunks_exact_mut(n_features) {
                frame[start..end].fill(0.0);
            }
        }
    }
}

/// A number from 0 to 1.
fn share(r: &mut Random) -> f32 {
    0.5 * (r.unit() + 1.0)
}

fn chance(p: f32, r: &mut Random) -> bool {
    share(r) < p
}

/// A span of up to `longest` places of `n`.
fn span(n: usize, longest: u32, r: &mut Random) -> (usize, usize) {
    let len = (r.below(longest + 1) as usize).min(n);
    let start = r.below((n - len + 1) as u32) as usize;
    (start, start + len)
}

/// Plays `speed` times faster about the middle, `shift` samples later, by linear interpolation.
fn warp(samples: &[f32], shift: f32, speed: f32) -> Vec<f32> {
    let middle = samples.len() as f32 / 2.0;
    let at = |i: usize| {
        let position = (i as f32 - middle - shift) * speed + middle;
        let floor = libm::floorf(position);
        let fraction = position - floor;
        let sample = |k: i64| {
            let place = usize::try_from(floor as i64 + k).ok();
            place.and_then(|p| samples.get(p)).copied().unwrap_or(0.0)
        };
        sample(0) * (1.0 - fraction) + sample(1) * fraction
    };
    (0..samples.len()).map(at).collect()
}

/// A room: the direct sound and sparse reflections that decay by 60 dB in 0.1 to 0.5 s (a sparse form of
/// Moorer, "About This Reverberation Business", 1979).
fn room(samples: &[f32], rate: u32, r: &mut Random) -> Vec<f32> {
    const REFLECTIONS: usize = 24;
    let decay_s = 0.1 + 0.4 * share(r);
    let mut out = samples.to_vec();
    for _ in 0..REFLECTIONS {
        let delay_s = 0.002 + (decay_s - 0.002) * share(r) * share(r);
        let gain = 0.5 * r.unit() * libm::powf(10.0, -3.0 * delay_s / decay_s);
        let delay = (delay_s * rate as f32) as usize;
        for (x, y) in out.iter_mut().skip(delay).zip(samples) {
            *x += gain * y;
        }
    }
    out
}

/// A Butterworth low-pass of second order, run twice; `cutoff` in cycles a sample.
fn low_pass(samples: &mut [f32], cutoff: f32) {
    let k = libm::tanf(std::f32::consts::PI * cutoff);
    let norm = 1.0 / (1.0 + std::f32::consts::SQRT_2 * k + k * k);
    let (b0, a1) = (k * k * norm, 2.0 * (k * k - 1.0) * norm);
    let a2 = (1.0 - std::f32::consts::SQRT_2 * k + k * k) * norm;
    for _ in 0..2 {
        let (mut x1, mut x2, mut y1, mut y2) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for x in samples.iter_mut() {
            let y = b0 * (*x + 2.0 * x1 + x2) - a1 * y1 - a2 * y2;
            (x2, x1, y2, y1) = (x1, *x, y1, y);
            *x = y;
        }
    }
}

/// Adds noise between white and brown at `snr_db` below the sound's power.
fn noise(samples: &mut [f32], snr_db: f32, r: &mut Random) {
    let power = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>() / x.len().max(1) as f32;
    let colour = 0.95 * share(r);
    let mut last = 0.0;
    let noise: Vec<f32> = samples
        .iter()
        .map(|_| {
            last = colour * last + r.unit();
            last
        })
        .collect();
    let (signal, level) = (power(samples).max(1e-8), power(&noise).max(1e-12));
    let gain = libm::sqrtf(signal / level) * libm::powf(10.0, -snr_db / 20.0);
    for (x, n) in samples.iter_mut().zip(&noise) {
        *x += gain * n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32) -> Vec<f32> {
        let step = std::f32::consts::TAU * hz / 16000.0;
        (0..16000).map(|i| libm::sinf(i as f32 * step)).collect()
    }

    fn power(x: &[f32]) -> f32 {
        x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32
    }

    #[test]
    fn nothing_asked_for_is_nothing_done() {
        let sound = tone(440.0);
        let out = Augment::default().sound(&sound, 16000, &mut Random::new(1));
        assert!(sound.iter().zip(&out).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn the_same_seed_gives_the_same_sound() {
        let augment = Augment {
            shift_ms: 100.0,
            speed: 0.1,
            gain_db: 6.0,
            noise: 1.0,
            noise_min_snr_db: 10.0,
            room: 1.0,
            narrow_band: 1.0,
            ..Augment::default()
        };
        let out = |seed| augment.sound(&tone(440.0), 16000, &mut Random::new(seed));
        assert_eq!(out(3), out(3));
        assert_ne!(out(3), out(4));
        assert!(out(5).iter().all(|x| x.is_finite()));
    }

    #[test]
    fn the_low_pass_keeps_low_tones_and_drops_high_ones() {
        let (mut low, mut high) = (tone(500.0), tone(6000.0));
        low_pass(&mut low, 3000.0 / 16000.0);
        low_pass(&mut high, 3000.0 / 16000.0);
        assert!(power(&low[1000..]) > 0.49 && power(&high[1000..]) < 1e-3);
    }

    #[test]
    fn noise_has_the_ratio_asked_for() {
        let clean = tone(440.0);
        let mut noisy = clean.clone();
        noise(&mut noisy, 10.0, &mut Random::new(2));
        let added: Vec<f32> = noisy.iter().zip(&clean).map(|(a, b)| a - b).collect();
        assert!((power(&clean) / power(&added) - 10.0).abs() < 0.01);
    }

    #[test]
    fn a_faster_sound_is_shorter_and_a_shift_moves_it() {
        let mut click = vec![0.0; 100];
        click[60] = 1.0;
        assert_eq!(warp(&click, 10.0, 1.0)[70], 1.0);
        assert_eq!(warp(&click, 0.0, 2.0)[55], 1.0);
    }

    #[test]
    fn masks_are_zero_and_no_longer_than_asked() {
        let augment = Augment {
            time_masks: 1,
            time_mask_frames: 3,
            ..Augment::default()
        };
        for seed in 0..50 {
            let mut frames = vec![1.0; 20 * 4];
            augment.frames(&mut frames, 4, &mut Random::new(seed));
            let masked = frames
                .chunks(4)
                .filter(|f| f.iter().all(|x| *x == 0.0))
                .count();
            assert!(masked <= 3 && frames.iter().filter(|x| **x == 0.0).count() == 4 * masked);
        }
    }
}
