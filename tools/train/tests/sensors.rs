//! Models of images and of sensor windows: pretrained on files made here, then quantized and run by
//! the runtime itself.

#[allow(dead_code)] // The sounds are for other tests.
mod common;

use common::trained;
use std::fmt::Write;
use std::path::Path;
use tailtune_tools::data::Dataset;
use tailtune_tools::import::read_model;
use tailtune_tools::int8::{Int8Model, argmax};
use tailtune_tools::quantize::{calibrate::Calibration, quantize};
use tailtune_tools::reference::{FloatInput, forward};
use tailtune_tools::synthetic::Random;

const SCHEDULE: &str = "
[schedule]
steps = 150
batch = 16
learning_rate = 5e-3
warmup_steps = 10
report_every = 50
";

/// Trains, quantizes on the training data, and returns the share of the test data that the int8
/// runtime gets right.
fn int8_accuracy(dir: &Path, config: &str) -> f64 {
    let text = |name: &str| dir.join(name).display().to_string();
    std::fs::write(dir.join("config.toml"), format!("{config}{SCHEDULE}")).unwrap();
    let args = [
        "--config",
        &text("config.toml"),
        "--data",
        &text("train"),
        "-o",
        &text("model"),
    ];
    trained(&[&["pretrain"][..], &args].concat());
    let model = read_model(&dir.join("model")).unwrap();
    let read = |name: &str| {
        let data = Dataset::open(&dir.join(name))
            .unwrap()
            .cut(&model.config.input)
            .unwrap();
        (data.features(None).unwrap(), data)
    };
    let mut calibration = Calibration::default();
    for input in read("train").0 {
        forward(&model, FloatInput::Frames(&input), &mut calibration);
    }
    let image = quantize(&model, &calibration)
        .unwrap()
        .writer
        .finish()
        .unwrap();
    let int8 = Int8Model::new(image).unwrap();
    let (inputs, data) = read("test");
    let outputs = int8.run(&int8.quantize(&inputs).unwrap(), &|| ()).unwrap();
    let right = outputs
        .iter()
        .zip(&data.samples)
        .filter(|(output, sample)| {
            argmax(&output.logits).map(|c| &model.labels[c]) == Some(&sample.label)
        });
    right.count() as f64 / outputs.len() as f64
}

/// Stripes that lie, stand or lean, 12 × 12 pixels in patches of 4 × 4.
#[test]
fn images_in_patches() {
    let dir = tempfile::tempdir().unwrap();
    let r = &mut Random::new(6);
    for (part, n) in [("train", 60), ("test", 30)] {
        for (class, dx, dy) in [
            ("lying", 0.0, 1.0),
            ("standing", 1.0, 0.0),
            ("leaning", 0.7, 0.7),
        ] {
            let folder = dir.path().join(part).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for i in 0..n {
                let (phase, step) = (3.0 * r.unit(), 1.3 + 0.3 * r.unit());
                let pixel = |x: u32, y: u32, r: &mut Random| {
                    let wave = libm::sinf((x as f32 * dx + y as f32 * dy) * step + phase);
                    (128.0 + 90.0 * wave + 30.0 * r.unit()) as u8
                };
                let picture =
                    image::GrayImage::from_fn(12, 12, |x, y| image::Luma([pixel(x, y, r)]));
                picture.save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    let reached = int8_accuracy(
        dir.path(),
        r#"
name = "stripes"
task = "supervised"
[model]
d_model = 24
n_layers = 2
n_heads = 2
d_ff = 48
pooling = "class_token"
image = { height = 12, width = 12, channels = 1, patch = 4 }
"#,
    );
    assert!(reached >= 0.95, "{reached}");
}

/// Three axes of a sensor: still, shaken, turned; columns of very different size.
#[test]
fn windows_of_a_sensor() {
    let dir = tempfile::tempdir().unwrap();
    let r = &mut Random::new(7);
    for (part, n) in [("train", 60), ("test", 30)] {
        for class in ["still", "shaken", "turned"] {
            let folder = dir.path().join(part).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for i in 0..n {
                let (phase, tempo) = (3.0 * r.unit(), 0.8 + 0.3 * r.unit());
                let mut text = String::from("ax,ay,gyro\n");
                for t in 0..25 {
                    let t = t as f32;
                    let shake = if class == "shaken" {
                        libm::sinf(t * tempo * 2.0 + phase)
                    } else {
                        0.0
                    };
                    let turn = if class == "turned" { 1.0 } else { 0.0 };
                    let (x, y) = (shake + 0.2 * r.unit(), 1.0 - 0.3 * turn + 0.2 * r.unit());
                    writeln!(text, "{x},{y},{}", 300.0 * turn + 80.0 * r.unit()).unwrap();
                }
                std::fs::write(folder.join(format!("{i}.csv")), text).unwrap();
            }
        }
    }
    let reached = int8_accuracy(
        dir.path(),
        r#"
name = "motions"
task = "supervised"
[model]
d_model = 16
n_layers = 1
n_heads = 2
d_ff = 32
n_frames = 25
n_features = 3
"#,
    );
    assert!(reached >= 0.95, "{reached}");
}
