//! Rate conversion by a windowed sinc (Smith, "Digital Audio Resampling", Stanford CCRMA): each
//! output sample is the input under a low-pass centred exactly on its time, so nothing is delayed.

use std::sync::OnceLock;

/// Zero crossings of the sinc on each side.
const CROSSINGS: usize = 64;
/// Points of the table between two zero crossings; between points it is interpolated linearly, which
/// is exact to 4e-7.
const STEPS: usize = 1024;
/// Shape of the Kaiser window: side lobes 100 dB down.
const BETA: f64 = 10.0;
/// Half-power point of the low-pass, as a share of the lower rate's Nyquist frequency; the stop band
/// starts at 1.
const ROLL_OFF: f64 = 0.95;

/// Phases that are computed once; rates with more (44101 to 16000 has 16000) take each as it comes.
const MAX_PHASES: u32 = 1024;

/// Returns `samples` at `to` samples a second, aligned with the input and as long as it in time.
pub fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    if from == to || from == 0 || to == 0 || samples.is_empty() {
        return samples.to_vec();
    }
    let unit = gcd(from, to);
    let phases = to / unit;
    let known: Vec<Vec<f32>> = if phases <= MAX_PHASES {
        (0..phases).map(|p| weights(p * unit, from, to)).collect()
    } else {
        Vec::new()
    };
    let output = |i: u64| {
        let time = i * u64::from(from);
        let (base, rest) = (
            (time / u64::from(to)) as usize,
            (time % u64::from(to)) as u32,
        );
        let dot = |weights: &[f32]| {
            // The weights start `before` samples before `base`: what is not there is silence.
            let before = weights.len() / 2 - 1;
            let skipped = before.saturating_sub(base);
            let near = samples.get((base + skipped).saturating_sub(before)..);
            let near = near.unwrap_or(&[]).iter();
            near.zip(weights.iter().skip(skipped))
                .map(|(x, w)| x * w)
                .sum()
        };
        match known.get((rest / unit) as usize) {
            Some(weights) => dot(weights),
            None => dot(&weights(rest, from, to)),
        }
    };
    let len = (samples.len() as u64 * u64::from(to)).div_ceil(from.into());
    (0..len).map(output).collect()
}

/// Returns the kernel's values at the input samples around a time `rest / to` after one of them:
/// `n` before it, itself, and `n + 1` after it.
fn weights(rest: u32, from: u32, to: u32) -> Vec<f32> {
    let table = kernel();
    // Crossings of the kernel in one input sample, which is its gain, too.
    let cutoff = ROLL_OFF * (f64::from(to) / f64::from(from)).min(1.0);
    let n = (CROSSINGS as f64 / cutoff) as i32;
    let weight = |j: i32| {
        let distance = (f64::from(j) - f64::from(rest) / f64::from(to)).abs();
        let place = distance * cutoff * STEPS as f64;
        match table.get(place as usize..place as usize + 2) {
            Some([a, b]) => ((a + (b - a) * place.fract()) * cutoff) as f32,
            _ => 0.0,
        }
    };
    (-n..=n + 1).map(weight).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Returns the right half of the kernel: `sinc(u) · kaiser(u / CROSSINGS)` at `u = i / STEPS`.
fn kernel() -> &'static [f64] {
    static TABLE: OnceLock<Vec<f64>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let point = |i: usize| {
            let u = i as f64 / STEPS as f64;
            let edge = u / CROSSINGS as f64;
            let window = bessel(BETA * libm::sqrt(1.0 - edge * edge)) / bessel(BETA);
            let angle = std::f64::consts::PI * u;
            let sinc = if i == 0 {
                1.0
            } else {
                libm::sin(angle) / angle
            };
            sinc * window
        };
        (0..=CROSSINGS * STEPS).map(point).collect()
    })
}

/// The modified Bessel function of the first kind, order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > 1e-12 * sum {
        term *= (x / (2.0 * k)) * (x / (2.0 * k));
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f64, rate: u32) -> Vec<f32> {
        let angle = |i: u32| std::f64::consts::TAU * frequency * f64::from(i) / f64::from(rate);
        (0..rate).map(|i| libm::sin(angle(i)) as f32).collect()
    }

    /// Tones below 0.9 of the lower Nyquist frequency pass as they are, in their places; the side
    /// lobes (100 dB) and the table bound the error. The ends feel what is not there.
    #[test]
    fn tones_pass() {
        for from in [8000, 11025, 22050, 32000, 44100, 48000, 96000, 16001] {
            for frequency in [50.0, 440.0, 3000.0, 7000.0] {
                if frequency > 0.45 * f64::from(from) {
                    continue;
                }
                let found = resample(&tone(frequency, from), from, 16000);
                let want = tone(frequency, 16000);
                assert_eq!(found.len(), 16000);
                for i in 300..15700 {
                    let error = (found[i] - want[i]).abs();
                    assert!(error < 5e-5, "{from} Hz, tone {frequency}, {i}: {error}");
                }
            }
        }
    }

    /// What the lower rate cannot hold does not come back as another tone.
    #[test]
    fn nothing_folds_back() {
        for (from, frequency) in [(48000, 9000.0), (44100, 12000.0), (96000, 30000.0)] {
            let found = resample(&tone(frequency, from), from, 16000);
            let most = found[300..15700].iter().fold(0f32, |m, x| m.max(x.abs()));
            assert!(most < 5e-5, "{from} Hz, tone {frequency}: {most}");
        }
    }

    #[test]
    fn lengths_follow_time() {
        assert_eq!(resample(&[0.0; 3], 8000, 16000).len(), 6);
        assert_eq!(resample(&[0.0; 1], 1_000_000, 16000).len(), 1);
        assert_eq!(resample(&[], 8000, 16000).len(), 0);
        assert_eq!(resample(&[0.5, 1.0], 16000, 16000), [0.5, 1.0]);
    }
}
