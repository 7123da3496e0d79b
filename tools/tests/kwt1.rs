//! KWT-1 as published: the float reference against the logits of its TensorFlow Lite model.

use safetensors::SafeTensors;
use tailtune_tools::audio::FrontEnd;
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

/// The tables follow from the configuration: the features equal the published ones but for the
/// order of f32 sums (coefficient 0 reaches −350, where one step of f32 is 3e-5).
#[test]
fn the_front_end_gives_the_published_features() {
    let Some(dir) = shared("models/kwt1") else {
        return;
    };
    let Some(data) = shared("data/speech_commands_v2_12_dev") else {
        return;
    };
    let front_end = FrontEnd::new(&read_model(&dir).unwrap().front_end.expect("KWT-1 hears"));
    let bytes = std::fs::read(dir.join("parity_48.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let features = floats(file.tensor("features").unwrap().data());
    let text = std::fs::read_to_string(dir.join("parity_48.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut worst = 0f32;
    let mut checked = 0;
    for (name, want) in index["files"]
        .as_array()
        .unwrap()
        .iter()
        .zip(features.chunks_exact(98 * 40))
    {
        let wav = std::fs::read(data.join(name.as_str().unwrap())).unwrap();
        let samples: Vec<f32> = wav[44..]
            .chunks_exact(2)
            .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0)
            .collect();
        let found = front_end.features(&samples);
        let difference = found
            .iter()
            .zip(want)
            .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        println!("{name} {} {difference:.2e}", samples.len());
        worst = worst.max(difference);
        checked += 1;
    }
    println!("largest difference of a feature over {checked} clips: {worst:.2e}");
    assert_eq!(checked, 48);
    assert!(
        worst <= 2e-3,
        "the front end differs from the published features by {worst}"
    );
}
