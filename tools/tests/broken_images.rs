//! Broken images, exhaustively on a small one: every prefix, every byte flipped, and every byte set
//! to hostile values with the checksum made right again. A typed error each, or a forward that
//! completes.

use rayon::prelude::*;
use tailtune::audio::Stream;
use tailtune::image::{
    Activation, CRC_OFFSET, Image, ImageError, InputKind, ModelConfig, NormOrder, Pooling, checksum,
};
use tailtune::model::{Encoder, Head, Input, arena_bytes};
use tailtune_tools::audio::{FrontEnd, FrontEndConfig, FrontEndKind};
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::synthetic;
use zerocopy::IntoBytes;

const CONFIG: ModelConfig = ModelConfig {
    n_layers: 1,
    d_model: 8,
    n_heads: 2,
    d_ff: 12,
    seq_len: 5,
    n_classes: 3,
    input: InputKind::Frames {
        n_frames: 4,
        n_features: 6,
    },
    class_token: true,
    norm: NormOrder::Post,
    activation: Activation::Gelu,
    pooling: Pooling::ClassToken,
    embed_norm: false,
    final_norm: false,
    embedding_rank: 0,
    pooler: false,
    decoder: None,
};

fn images() -> Vec<AlignedBytes> {
    let tokens = ModelConfig {
        input: InputKind::Tokens {
            vocab_size: 9,
            n_segments: 2,
        },
        class_token: false,
        norm: NormOrder::Pre,
        final_norm: true,
        embed_norm: true,
        pooling: Pooling::Mean,
        activation: Activation::Relu,
        ..CONFIG
    };
    let write = |config: &ModelConfig| {
        let model = synthetic::model(config, 1);
        let mut quantized = synthetic::quantized(&model, 8, 2).expect("quantizes");
        quantized.writer.provenance("source", "synthetic");
        quantized.writer.finish().expect("writes")
    };
    // Two models of sound, one of each kind of front end.
    let front_end = FrontEndConfig {
        kind: FrontEndKind::LogMel,
        sample_rate: 1000,
        clip_len: 150,
        window_len: 60,
        hop_len: 30,
        fft_len: 64,
        mel_bins: 6,
        mel_lower: 10.0,
        mel_upper: 500.0,
        n_features: 6,
        floor: 1e-3,
    };
    let cepstral = FrontEndConfig {
        kind: FrontEndKind::Mfcc,
        mel_bins: 8,
        ..front_end.clone()
    };
    let hears = |front_end: &FrontEndConfig| {
        let model = synthetic::model(&CONFIG, 1);
        let mut quantized = synthetic::quantized(&model, 8, 2).expect("quantizes");
        let front_end = FrontEnd::new(front_end).expect("has tables");
        quantized.writer.front_end(front_end.section());
        quantized.writer.finish().expect("writes")
    };
    let patches = ModelConfig {
        input: InputKind::Patches {
            height: 4,
            width: 4,
            channels: 1,
            patch: 2,
        },
        ..CONFIG
    };
    // A pooler and a factorised table, one row pooled.
    let bert = ModelConfig {
        norm: NormOrder::Post,
        final_norm: false,
        pooling: Pooling::First,
        embedding_rank: 2,
        pooler: true,
        ..tokens
    };
    let images = vec![
        write(&CONFIG),
        write(&tokens),
        write(&bert),
        write(&patches),
        hears(&front_end),
        hears(&cepstral),
    ];
    for image in &images {
        assert!(
            image.len() <= 8 * 1024,
            "the exhaustive image is small: {} bytes",
            image.len()
        );
    }
    images
}

/// Parses; if that works, runs the encoder and the head on whatever the image now says.
fn use_image(bytes: &[u8]) -> Result<(), ImageError> {
    let image = Image::parse(bytes)?;
    let config = *image.config();
    let needed = arena_bytes(&config);
    let mut arena = vec![0u64; needed.div_ceil(8)];
    let Ok(mut encoder) = Encoder::new(&image, &mut arena.as_mut_bytes()[..needed]) else {
        return Ok(());
    };
    let len = config.max_input_len().min(5);
    let features = match config.input {
        InputKind::Frames { n_features, .. } => {
            let frames: Vec<i8> = (0..len * usize::from(n_features))
                .map(|i| (i * 37) as i8)
                .collect();
            encoder
                .forward(Input::Frames(&frames))
                .expect("the input fits the configuration")
        }
        InputKind::Patches {
            height,
            width,
            channels,
            ..
        } => {
            let picture =
                vec![77u8; usize::from(height) * usize::from(width) * usize::from(channels)];
            encoder
                .forward(Input::Patches(&picture))
                .expect("the picture fits the configuration")
        }
        InputKind::Tokens {
            vocab_size,
            n_segments,
        } => {
            let ids: Vec<u32> = (0..len as u32).map(|i| i % vocab_size).collect();
            let segments = if n_segments > 0 { vec![0; len] } else { vec![] };
            encoder
                .forward(Input::Tokens {
                    ids: &ids,
                    segments: &segments,
                })
                .expect("the input fits the configuration")
        }
    };
    assert_eq!(features.values.len(), usize::from(config.d_model));
    if let Ok(head) = Head::new(&image) {
        let mut logits = vec![0i16; head.n_classes()];
        head.logits(&features, &mut logits);
        let _ = (head.weight(0, 0), head.bias(0));
    }
    if let Some(tables) = image.front_end()
        && let Ok(mut stream) = Stream::<64, 8>::new(tables)
    {
        let samples: Vec<i16> = (0..400).map(|i| (i * 331) as i16).collect();
        stream.push(&samples, |frame| {
            assert_eq!(frame.len(), tables.n_features())
        });
    }
    for class in 0..image.labels().len() {
        assert!(image.labels().get(class).is_some());
    }
    Ok(())
}

#[test]
fn the_whole_image_works() {
    for image in images() {
        use_image(&image).expect("the unbroken image parses");
    }
}

#[test]
fn every_prefix_is_an_error() {
    for image in images() {
        for len in 0..image.len() {
            let cut = AlignedBytes::new(&image[..len]);
            assert!(
                matches!(use_image(&cut), Err(ImageError::TooShort { .. })),
                "prefix of {len}"
            );
        }
    }
}

#[test]
fn every_flipped_byte_is_an_error() {
    for image in images() {
        (0..image.len()).into_par_iter().for_each(|at| {
            for flip in [0xff, 0x01, 0x80] {
                let mut broken = image.clone();
                broken[at] ^= flip;
                assert!(
                    use_image(&broken).is_err(),
                    "byte {at} flipped by {flip:#x}"
                );
            }
        });
    }
}

/// Values that the checksum vouches for may be hostile: an error or a forward that completes.
#[test]
fn every_hostile_byte_is_an_error_or_completes() {
    for image in images() {
        let refused: usize = (0..image.len())
            .into_par_iter()
            .map(|at| {
                let mut refused = 0;
                for value in [0, 0x7f, 0x80, 0xff] {
                    let mut broken = image.clone();
                    broken[at] = value;
                    let crc = checksum(&broken).to_le_bytes();
                    broken[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc);
                    refused += usize::from(use_image(&broken).is_err());
                }
                refused
            })
            .sum();
        // Header and directory are checked value by value: most changes there are refused.
        assert!(refused > 1000, "only {refused} changes were refused");
    }
}

#[test]
fn a_misaligned_image_is_an_error() {
    let image = &images()[0];
    let mut shifted = AlignedBytes::new(&[&[0; 1][..], image].concat());
    assert_eq!(use_image(&shifted[1..]), Err(ImageError::Misaligned));
    // At the next multiple of four it parses again.
    shifted = AlignedBytes::new(&[&[0; 4][..], image].concat());
    assert_eq!(use_image(&shifted[4..]), Ok(()));
}

#[test]
fn bytes_after_the_image_do_not_matter() {
    let image = &images()[0];
    let longer = AlignedBytes::new(&[&image[..], &[0xff; 100]].concat());
    assert_eq!(use_image(&longer), Ok(()));
    assert_eq!(
        Image::parse(&longer).map(|i| i.bytes().len()),
        Ok(image.len())
    );
}

/// Bytes that were never an image.
#[test]
fn arbitrary_bytes_are_an_error() {
    let r = &mut synthetic::Random::new(9);
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..r.below(400)).map(|_| r.bits() as u8).collect();
        assert!(use_image(&AlignedBytes::new(&bytes)).is_err());
    }
}
