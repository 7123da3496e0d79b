//! WAV files of any rate, any number of channels and 8 to 32 bits → mono at one rate.

use super::resample::resample;
use std::path::{Path, PathBuf};

/// Why a WAV file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// It cannot be read, or is not a WAV file.
    #[error("{}: {source}; a WAV file of 8 to 32 bits, integer or float, is expected", path.display())]
    Wav {
        /// The file.
        path: PathBuf,
        /// Why.
        source: hound::Error,
    },
    /// It holds no sample.
    #[error("{}: it holds no sound", .0.display())]
    Empty(PathBuf),
    /// A sample rate that no recording has.
    #[error("{}: {found} samples a second; 1000 to 1000000 are expected: is the header damaged?", path.display())]
    Rate {
        /// The file.
        path: PathBuf,
        /// Its rate.
        found: u32,
    },
    /// A float sample is NaN or infinite.
    #[error("{}: sample {index} is not a finite number", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The sample.
        index: usize,
    },
}

/// Reads a file as mono samples in −1 to 1 at `rate`.
///
/// # Errors
/// [`WavError`] names the file.
pub fn read_wav(path: &Path, rate: u32) -> Result<Vec<f32>, WavError> {
    let wav = |source| WavError::Wav {
        path: path.into(),
        source,
    };
    let mut reader = hound::WavReader::open(path).map_err(wav)?;
    let spec = reader.spec();
    if !(1_000..=1_000_000).contains(&spec.sample_rate) {
        return Err(WavError::Rate {
            path: path.into(),
            found: spec.sample_rate,
        });
    }
    let samples: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect(),
        hound::SampleFormat::Int => {
            let full = libm::exp2(f64::from(spec.bits_per_sample) - 1.0);
            let real = |x: i32| (f64::from(x) / full) as f32;
            reader.samples::<i32>().map(|x| x.map(real)).collect()
        }
    };
    let samples = samples.map_err(wav)?;
    if samples.is_empty() {
        return Err(WavError::Empty(path.into()));
    }
    if let Some(index) = samples.iter().position(|x| !x.is_finite()) {
        return Err(WavError::NotFinite {
            path: path.into(),
            index,
        });
    }
    let channels = usize::from(spec.channels.max(1));
    let mono: Vec<f32> = samples
        .chunks(channels)
        .map(|c| c.iter().sum::<f32>() / c.len() as f32)
        .collect();
    Ok(resample(&mono, spec.sample_rate, rate))
}

/// Returns exactly `len` samples: the middle of a longer sound, a shorter one between zeros.
pub fn centre(samples: &[f32], len: usize) -> Vec<f32> {
    if samples.len() >= len {
        let start = (samples.len() - len) / 2;
        return samples[start..start + len].to_vec();
    }
    let mut out = vec![0.0; len];
    let start = (len - samples.len()) / 2;
    out[start..start + samples.len()].copy_from_slice(samples);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{SampleFormat, WavSpec};

    fn tone(rate: u32, seconds: f32) -> impl Iterator<Item = f32> {
        let n = (rate as f32 * seconds) as usize;
        (0..n)
            .map(move |i| 0.5 * libm::sinf(440.0 * std::f32::consts::TAU * i as f32 / rate as f32))
    }

    fn write(path: &Path, bits: u16, format: SampleFormat, rate: u32, channels: u16) {
        let spec = WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: bits,
            sample_format: format,
        };
        let mut w = hound::WavWriter::create(path, spec).unwrap();
        for x in tone(rate, 1.0) {
            for _ in 0..channels {
                match format {
                    SampleFormat::Float => w.write_sample(x).unwrap(),
                    SampleFormat::Int => {
                        let full = libm::exp2(f64::from(bits) - 1.0);
                        w.write_sample((f64::from(x) * full) as i32).unwrap();
                    }
                }
            }
        }
        w.finalize().unwrap();
    }

    /// Every form of the same tone gives the same samples, within its own rounding (and
    /// that of the tone's phase in f32, where rates differ).
    #[test]
    fn every_form_gives_the_tone() {
        let dir = tempfile::tempdir().unwrap();
        let want: Vec<f32> = tone(16000, 1.0).collect();
        let forms = [
            (8, SampleFormat::Int, 16000, 1, 0.01),
            (16, SampleFormat::Int, 16000, 2, 1e-4),
            (24, SampleFormat::Int, 16000, 1, 1e-5),
            (32, SampleFormat::Int, 16000, 1, 1e-5),
            (32, SampleFormat::Float, 16000, 1, 1e-6),
            (16, SampleFormat::Int, 8000, 1, 1e-3),
            (16, SampleFormat::Int, 44100, 2, 1e-3),
            (16, SampleFormat::Int, 48000, 1, 1e-3),
        ];
        for (bits, format, rate, channels, bound) in forms {
            let path = dir.path().join("tone.wav");
            write(&path, bits, format, rate, channels);
            let found = read_wav(&path, 16000).unwrap();
            assert!(
                found.len().abs_diff(16000) <= 1,
                "{bits} bit, {rate} Hz: {}",
                found.len()
            );
            // The ends feel what is not there.
            for i in 500..15500 {
                assert!(
                    (found[i] - want[i]).abs() <= bound,
                    "{bits} bit, {rate} Hz, {i}"
                );
            }
        }
    }

    #[test]
    fn damaged_files_name_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.wav");
        write(&path, 16, SampleFormat::Int, 16000, 1);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..30]).unwrap();
        assert!(
            read_wav(&path, 16000)
                .unwrap_err()
                .to_string()
                .contains("broken.wav")
        );
        std::fs::write(&path, &bytes[..1001]).unwrap();
        assert!(matches!(read_wav(&path, 16000), Err(WavError::Wav { .. })));
        std::fs::write(&path, b"not a wav at all").unwrap();
        assert!(matches!(read_wav(&path, 16000), Err(WavError::Wav { .. })));
        assert!(matches!(
            read_wav(&dir.path().join("no.wav"), 16000),
            Err(WavError::Wav { .. })
        ));
    }

    #[test]
    fn centring_keeps_the_middle() {
        assert_eq!(centre(&[1.0, 2.0], 5), [0.0, 1.0, 2.0, 0.0, 0.0]);
        assert_eq!(centre(&[1.0, 2.0, 3.0, 4.0, 5.0], 3), [2.0, 3.0, 4.0]);
    }
}
