//! Any bytes, with the checksum made right: a typed error, or a forward that completes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailtune::image::{CRC_OFFSET, Image, InputKind, checksum};
use tailtune::model::{Encoder, Head, Input, arena_bytes};

fuzz_target!(|data: &[u8]| {
    // At an aligned address, as on a board.
    let mut words = vec![0u64; data.len().div_ceil(8)];
    for (word, chunk) in words.iter_mut().zip(data.chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_ne_bytes(bytes);
    }
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    bytes.truncate(data.len());
    if bytes.len() >= CRC_OFFSET + 4 {
        let crc = checksum(&bytes).to_le_bytes();
        bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc);
    }
    let Ok(image) = Image::parse(&bytes) else {
        return;
    };
    let config = *image.config();
    // Large but legal models take their time: the small ones show as much.
    if arena_bytes(&config) > 1 << 20 {
        return;
    }
    let mut arena = vec![0u8; arena_bytes(&config) + 8];
    let start = arena.as_ptr().align_offset(8);
    let Ok(mut encoder) = Encoder::new(&image, &mut arena[start..]) else {
        return;
    };
    let len = config.max_input_len().min(3);
    let features = match config.input {
        InputKind::Frames { n_features, .. } => {
            let frames = vec![3i8; len * usize::from(n_features)];
            encoder
                .forward(Input::Frames(&frames))
                .expect("it fits")
                .values
                .len()
        }
        InputKind::Patches {
            height,
            width,
            channels,
            ..
        } => {
            let len = usize::from(height) * usize::from(width) * usize::from(channels);
            let picture = vec![77; len];
            let input = Input::Patches(&picture);
            encoder.forward(input).expect("it fits").values.len()
        }
        InputKind::Tokens { n_segments, .. } => {
            let segments = vec![0; if n_segments > 0 { len } else { 0 }];
            let input = Input::Tokens {
                ids: &vec![0; len],
                segments: &segments,
            };
            encoder.forward(input).expect("it fits").values.len()
        }
    };
    assert_eq!(features, usize::from(config.d_model));
    let _ = Head::new(&image).map(|h| (h.weight(0, 0), h.bias(0)));
});
