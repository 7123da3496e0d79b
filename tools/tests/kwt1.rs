//! KWT-1 as published: the float reference against the logits of its TensorFlow Lite model.

use safetensors::SafeTensors;
use tailtune_tools::import::read_model;
use tailtune_tools::reference::{FloatInput, forward};
use tailtune_tools::testing::shared;

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn the_reference_gives_the_published_logits() {
    let Some(dir) = shared("models/kwt1") else {
        return;
    };
    let model = read_model(&dir).expect("KWT-1 reads");
    let bytes = std::fs::read(dir.join("parity_48.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let features = floats(file.tensor("features").unwrap().data());
    let logits = floats(file.tensor("logits_tflite").unwrap().data());
    let mut worst = 0f32;
    for (frames, want) in features.chunks_exact(98 * 40).zip(logits.chunks_exact(12)) {
        let found = forward(&model, FloatInput::Frames(frames), &mut ()).logits;
        worst = found
            .iter()
            .zip(want)
            .fold(worst, |m, (a, b)| m.max((a - b).abs()));
    }
    println!("largest difference of a logit over 48 clips: {worst:.2e}");
    assert!(
        worst <= 1e-3,
        "the reference differs from the published model by {worst}"
    );
}
