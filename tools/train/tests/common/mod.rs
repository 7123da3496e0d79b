//! Sounds to learn from, and the trainer's command line.

use std::path::Path;
use std::process::{Command, Output};
use tailtune_tools::synthetic::Random;

/// Runs the trainer.
pub fn trainer(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_tailtune-train"))
        .args(args)
        .output();
    output.expect("the trainer starts")
}

/// Runs the trainer, which must succeed, and returns what it says on standard error.
pub fn trained(args: &[&str]) -> String {
    let output = trainer(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

/// Writes `n` sounds of each class: tones that rise, fall or stay, at random pitches, in noise.
pub fn sounds(dir: &Path, classes: &[&str], n: usize, seed: u64) {
    let r = &mut Random::new(seed);
    for class in classes {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..n {
            let path = dir.join(class).join(format!("{i}.wav"));
            write(&path, &sound(class, r));
        }
    }
}

fn sound(class: &str, r: &mut Random) -> Vec<i16> {
    let start = 600.0 + 400.0 * r.unit();
    let mut phase = 0.0f32;
    let sample = |i: usize| {
        let t = i as f32 / 16000.0;
        let hz = match class {
            "rise" => start * (1.0 + 1.5 * t),
            "fall" => start * (2.5 - 1.5 * t),
            "up" => start * (1.0 + 0.8 * t),
            "down" => start * (1.8 - 0.8 * t),
            _ => start,
        };
        phase = (phase + hz / 16000.0).fract();
        let tone = libm::sinf(std::f32::consts::TAU * phase);
        ((0.3 * tone + 0.02 * r.unit()) * 32767.0) as i16
    };
    (0..16000).map(sample).collect()
}

fn write(path: &Path, samples: &[i16]) {
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    let mut bytes = Vec::from(*b"RIFF");
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(16000u32.to_le_bytes());
    bytes.extend(32000u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

/// A small configuration of this task.
pub fn config(dir: &Path, task: &str, steps: u32, more: &str) -> String {
    let text = format!(
        r#"
name = "small"
task = "{task}"
seed = 3
hold_out = 0.2

[model]
d_model = 24
n_layers = 2
n_heads = 2
d_ff = 48
pooling = "class_token"
{more}

[frontend]
kind = "log_mel"
sample_rate = 16000
clip_len = 16000
window_len = 512
hop_len = 640
fft_len = 512
mel_bins = 20
mel_lower = 100.0
mel_upper = 4000.0
n_features = 20
floor = 1e-3

[schedule]
steps = {steps}
batch = 16
learning_rate = 5e-3
warmup_steps = 10
report_every = 20

[augment]
shift_ms = 20
gain_db = 6
noise = 0.5
noise_min_snr_db = 20
"#
    );
    let path = dir.join(format!("{task}-{steps}.toml"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
