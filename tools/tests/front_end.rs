//! The front end against its formula in f64, streaming against whole clips, and an image's own
//! tables against the ones that made it.

use proptest::prelude::*;
use tailtune::audio::{AudioError, Ring, Stream};
use tailtune::image::{Activation, Image, ImageError, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune_tools::audio::{FrontEnd, FrontEndConfig, FrontEndKind};
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::synthetic::{self, Random};

fn config(kind: FrontEndKind) -> FrontEndConfig {
    FrontEndConfig {
        kind,
        sample_rate: 16000,
        clip_len: 4000,
        window_len: 400,
        hop_len: 160,
        fft_len: 512,
        mel_bins: 20,
        mel_lower: 60.0,
        mel_upper: 7600.0,
        n_features: if kind == FrontEndKind::Mfcc { 13 } else { 20 },
        floor: 1e-3,
    }
}

fn samples(n: usize, seed: u64) -> Vec<i16> {
    let r = &mut Random::new(seed);
    let tone = |i: usize| 0.4 * libm::sinf(i as f32 * 0.37) + 0.2 * libm::sinf(i as f32 * 1.9);
    (0..n)
        .map(|i| ((tone(i) + 0.1 * r.unit()) * 32767.0) as i16)
        .collect()
}

fn float(samples: &[i16]) -> Vec<f32> {
    samples.iter().map(|&x| f32::from(x) / 32768.0).collect()
}

/// The features from the formulas, in f64 and by the plain sum of the Fourier transform.
fn reference(c: &FrontEndConfig, samples: &[f32]) -> Vec<f64> {
    let pi = std::f64::consts::PI;
    let mel = |f: f64| 1127.0 * libm::log(1.0 + f / 700.0);
    let (low, high) = (mel(c.mel_lower), mel(c.mel_upper));
    let step = (high - low) / (c.mel_bins + 1) as f64;
    let mut features = Vec::new();
    for start in (0..c.n_frames()).map(|i| i * c.hop_len) {
        let windowed: Vec<f64> = (0..c.window_len)
            .map(|i| {
                let hann = 0.5 - 0.5 * libm::cos(2.0 * pi * i as f64 / c.window_len as f64);
                f64::from(samples.get(start + i).copied().unwrap_or(0.0)) * hann
            })
            .collect();
        let magnitude = |bin: usize| {
            let angle = |i: usize| -2.0 * pi * (bin * i) as f64 / c.fft_len as f64;
            let sum = |f: fn(f64) -> f64| -> f64 {
                windowed
                    .iter()
                    .enumerate()
                    .map(|(i, x)| x * f(angle(i)))
                    .sum()
            };
            libm::hypot(sum(libm::cos), sum(libm::sin))
        };
        let spectrum: Vec<f64> = (0..=c.fft_len / 2).map(magnitude).collect();
        let log_mel: Vec<f64> = (0..c.mel_bins)
            .map(|band| {
                let weight = |bin: usize| {
                    let f = bin as f64 * f64::from(c.sample_rate) / c.fft_len as f64;
                    let x = (mel(f) - low) / step - band as f64;
                    x.min(2.0 - x).max(0.0)
                };
                let sum: f64 = spectrum
                    .iter()
                    .enumerate()
                    .map(|(b, m)| m * weight(b))
                    .sum();
                libm::log(sum.max(f64::from(c.floor)))
            })
            .collect();
        match c.kind {
            FrontEndKind::LogMel => features.extend(&log_mel),
            FrontEndKind::Mfcc => features.extend((0..c.n_features).map(|k| {
                let n = c.mel_bins as f64;
                let term = |(b, m): (usize, &f64)| {
                    m * libm::cos(pi * k as f64 * (2.0 * b as f64 + 1.0) / (2.0 * n))
                };
                libm::sqrt(2.0 / n) * log_mel.iter().enumerate().map(term).sum::<f64>()
            })),
        }
    }
    features
}

/// Single precision gives a relative error of some 1e-6 in the mel sums, so about that in their
/// logarithms; quiet bands beside loud ones lose more.
#[test]
fn features_are_the_formulas() {
    for kind in [FrontEndKind::Mfcc, FrontEndKind::LogMel] {
        let config = config(kind);
        let samples = float(&samples(config.clip_len, 1));
        let found = FrontEnd::new(&config).unwrap().features(&samples);
        let want = reference(&config, &samples);
        assert_eq!(found.len(), want.len());
        for (found, want) in found.iter().zip(&want) {
            assert!(
                (f64::from(*found) - want).abs() < 2e-4,
                "{kind:?}: {found} {want}"
            );
        }
    }
}

proptest! {
    /// Blocks of any length give the whole clip's frames, bit by bit, with hops longer than the
    /// window too.
    #[test]
    fn streaming_is_the_whole_clip(
        seed in 0u64..1000,
        hop in 1usize..700,
        blocks in proptest::collection::vec(1usize..900, 1..12),
    ) {
        let config = FrontEndConfig { hop_len: hop, ..config(FrontEndKind::Mfcc) };
        let front_end = FrontEnd::new(&config).unwrap();
        let samples = samples(config.clip_len, seed);
        let whole = front_end.features(&float(&samples));
        let mut stream = Stream::<512, 20>::new(front_end.tables()).unwrap();
        let (mut found, mut rest, mut sizes) = (Vec::new(), &samples[..], blocks.iter().cycle());
        while !rest.is_empty() {
            let (block, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            stream.push(block, |frame| found.extend_from_slice(frame));
            rest = after;
        }
        prop_assert_eq!(found.len(), whole.len());
        prop_assert!(found.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

const MODEL: ModelConfig = ModelConfig {
    n_layers: 1,
    d_model: 8,
    n_heads: 2,
    d_ff: 8,
    seq_len: 23,
    n_classes: 2,
    input: InputKind::Frames {
        n_frames: 23,
        n_features: 20,
    },
    class_token: false,
    norm: NormOrder::Pre,
    activation: Activation::Gelu,
    pooling: Pooling::Mean,
    embed_norm: false,
    final_norm: true,
    embedding_rank: 0,
    pooler: false,
    decoder: None,
};

fn image(model: &ModelConfig, front_end: &FrontEnd) -> Result<AlignedBytes, String> {
    let float = synthetic::model(model, 1);
    let mut quantized = synthetic::quantized(&float, 8, 2).unwrap();
    quantized.writer.front_end(front_end.section());
    quantized.writer.finish().map_err(|e| e.to_string())
}

#[test]
fn an_image_carries_its_front_end() {
    let front_end = FrontEnd::new(&config(FrontEndKind::LogMel)).unwrap();
    let bytes = image(&MODEL, &front_end).unwrap();
    let parsed = Image::parse(&bytes).unwrap();
    let again = FrontEnd::of(&parsed).unwrap();
    let sound = float(&samples(4000, 3));
    assert_eq!(again.features(&sound), front_end.features(&sound));
    let other = ModelConfig {
        seq_len: 24,
        input: InputKind::Frames {
            n_frames: 24,
            n_features: 20,
        },
        ..MODEL
    };
    assert!(image(&other, &front_end).unwrap_err().contains("n_frames"));
}

/// The ring holds the last frames as one call quantizes them.
#[test]
fn the_ring_is_the_input() {
    let front_end = FrontEnd::new(&config(FrontEndKind::LogMel)).unwrap();
    let bytes = image(&MODEL, &front_end).unwrap();
    let parsed = Image::parse(&bytes).unwrap();
    let mut stream = Stream::<512, 32>::new(parsed.front_end().unwrap()).unwrap();
    let mut buffer = [0i8; 23 * 20];
    let mut ring = Ring::new(&parsed, &mut buffer).unwrap();
    // Three hops more than a clip: the first three frames have gone.
    let samples = samples(4000 + 3 * 160, 4);
    stream.push(&samples, |frame| ring.push(frame));
    assert!(ring.is_full());
    let mut want = [0i8; 23 * 20];
    let features = front_end.features(&float(&samples[3 * 160..]));
    tailtune::model::quantize_frames(&parsed, &features, &mut want).unwrap();
    assert_eq!(ring.frames(), want);
    let mut short = [0i8; 20];
    let refused = Ring::new(&parsed, &mut short).err();
    assert_eq!(
        refused,
        Some(AudioError::RingLen {
            needed: 460,
            found: 20
        })
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let front_end = FrontEnd::new(&config(FrontEndKind::LogMel)).unwrap();
    let tables = front_end.tables();
    let refused = Stream::<1024, 20>::new(tables).err();
    assert_eq!(
        refused,
        Some(AudioError::FftLen {
            needed: 512,
            found: 1024
        })
    );
    let refused = Stream::<512, 19>::new(tables).err();
    assert_eq!(
        refused,
        Some(AudioError::MelBins {
            needed: 20,
            found: 19
        })
    );
    let odd = FrontEndConfig {
        fft_len: 500,
        ..config(FrontEndKind::LogMel)
    };
    assert!(!odd.is_sound());
    assert!(
        FrontEnd::new(&odd)
            .err()
            .unwrap()
            .to_string()
            .contains("fft_len")
    );
    let cut = AlignedBytes::new(&front_end.section()[..front_end.section().len() - 4]);
    let error = tailtune::image::FrontEndTables::parse(&cut).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::FrontEnd {
                field: "weights",
                ..
            }
        ),
        "{error}"
    );
}
