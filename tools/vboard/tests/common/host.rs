//! What a developer has on the host: `tailtune`, clips, a model, and jobs made of them.

#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tailtune::image::Image;
use tailtune::model::{Arena, Encoder, Head, Input};
use vboard::flash::scatter;

use crate::common::fresh;
use crate::device::{Firmware, root};

/// Builds `tailtune` and returns its path.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = Command::new(cargo)
            .current_dir(root())
            .args([
                "build",
                "--release",
                "-p",
                "tailtune-tools",
                "--bin",
                "tailtune",
            ])
            .arg("--message-format=json")
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo");
        assert!(out.status.success(), "tailtune does not build");
        let built = String::from_utf8_lossy(&out.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .next_back();
        built.expect("an executable")
    })
}

/// Runs `tailtune` and returns what it printed.
pub fn tailtune(args: &[&str]) -> String {
    try_tailtune(args).unwrap_or_else(|said| panic!("tailtune {args:?}: {said}"))
}

/// Runs `tailtune` and returns what it printed, or what it said when it failed.
pub fn try_tailtune(args: &[&str]) -> Result<String, String> {
    let out = Command::new(program())
        .args(args)
        .output()
        .expect("tailtune");
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    Ok(String::from_utf8(out.stdout).expect("text"))
}

/// So many recordings of each of three words, one of which no model knows.
fn clips(dir: &Path, each: usize) -> PathBuf {
    let data = dir.join("clips");
    for (from, word) in [("known", "yes"), ("known", "stop"), ("new", "zero (ar)")] {
        let from = root().join("tools/models/clips").join(from).join(word);
        let to = data.join(word);
        fs::create_dir_all(&to).expect("a directory");
        let mut paths: Vec<PathBuf> = fs::read_dir(&from)
            .unwrap_or_else(|e| panic!("{}: {e}", from.display()))
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|e| e == "wav"))
            .collect();
        paths.sort();
        assert!(paths.len() >= each, "{}", from.display());
        for path in &paths[..each] {
            fs::copy(path, to.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    data
}

/// A model as an image for a board.
pub struct Model {
    board: &'static str,
    dir: PathBuf,
    data: PathBuf,
    pub path: PathBuf,
    pub image: Vec<u8>,
}

/// A job for the board, and what the host makes of the same data.
pub struct Job {
    pub bytes: Vec<u8>,
    /// The same, with one test sample.
    pub short: Vec<u8>,
    pub tail: Vec<u8>,
    pub crc: String,
    pub test: u32,
    pub before: u32,
    pub after: u32,
    pub steps: u32,
}

impl Job {
    /// The same samples, of which only the logits are asked: kind 0 of a job.
    pub fn infer(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[6..8].fill(0);
        bytes
    }

    /// The host's logits of the test samples, each twice as the device gives them: whole and in steps.
    pub fn logits(&self, image: &[u8]) -> Vec<Vec<i16>> {
        let word = |at: usize| {
            let bytes = self.bytes[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes) as usize
        };
        let (train, test, sample, names) = (word(8), word(12), word(16), word(20));
        // As in flash, it begins at a multiple of 16.
        let mut bytes = vec![0; image.len() + 15];
        let at = bytes.as_ptr().align_offset(16);
        let bytes = &mut bytes[at..at + image.len()];
        bytes.copy_from_slice(image);
        let image = Image::parse(bytes).expect("the image");
        let mut arena = Arena::<{ 64 * 1024 }>::new();
        let mut encoder = Encoder::new(&image, arena.as_mut_slice()).expect("room");
        let head = Head::new(&image).expect("a head");
        let first = self.bytes.len() - test * (2 + sample);
        assert_eq!(first, 88 + names + train * (2 + sample));
        let samples = self.bytes[first..].chunks_exact(2 + sample);
        let one = samples.flat_map(|sample| {
            let frames: Vec<i8> = sample[2..].iter().map(|b| b.cast_signed()).collect();
            let features = encoder.forward(Input::Frames(&frames)).expect("frames");
            let mut logits = vec![0; head.n_classes()];
            head.logits(&features, &mut logits);
            [logits.clone(), logits]
        });
        one.collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

impl Model {
    /// Converts the model in a directory, for jobs of `each` clips of a word.
    fn new(name: &str, model: &Path, firmware: &'static Firmware, each: usize) -> Self {
        let (dir, board) = (fresh(name), firmware.board.name.as_str());
        let (data, path) = (clips(&dir, each), dir.join("model.bin"));
        let known = root().join("tools/models/clips/known");
        tailtune(&[
            "convert",
            text(model),
            "--board",
            board,
            "--calibrate",
            text(&known),
            "-o",
            text(&path),
        ]);
        let image = fs::read(&path).expect("the image");
        Self {
            board,
            dir,
            data,
            path,
            image,
        }
    }

    /// The smallest of the shipped models.
    pub fn shipped(name: &str, firmware: &'static Firmware) -> Self {
        Self::new(
            name,
            &root().join("tools/models/keywords-micro"),
            firmware,
            3,
        )
    }

    /// KWT-1's shape with so many of its 12 layers, and weights by a generator, for the nRF52840 DK.
    pub fn kwt1_shaped(name: &str, layers: usize) -> Self {
        let dir = fresh(&format!("{name}-float"));
        write_kwt1(&dir, layers);
        Self::new(name, &dir, Firmware::nrf52840_dk(), 2)
    }

    /// Makes a job: one sample of each class to learn from, the others to measure on.
    pub fn job(&self, method: &str, epochs: u32, seed: u32) -> Job {
        let (epochs, seed) = (epochs.to_string(), seed.to_string());
        let data = text(&self.data);
        let common = [
            "adapt",
            text(&self.path),
            "--train",
            data,
            "--test",
            data,
            "--shots",
            "1",
            "--method",
            method,
            "--epochs",
            &epochs,
            "--seed",
            &seed,
        ];
        let (job, tail) = (self.dir.join("job.bin"), self.dir.join("tail.bin"));
        let write = |more: &[&str]| {
            let args = ["--board", self.board, "--job", text(&job)];
            tailtune(&[&common[..], &args, more].concat());
            fs::read(&job).expect("the job")
        };
        let (bytes, short) = (write(&[]), write(&["--max-test", "1"]));
        let printed = tailtune(&[&common[..], &["--json", "--tail", text(&tail)]].concat());
        let said: Value = serde_json::from_str(&printed).expect("JSON");
        let number = |key: &str| {
            said[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key} in {said}"))
        };
        let test = number("n_test") as u32;
        let right = |key: &str| {
            let share = said[key]
                .as_f64()
                .unwrap_or_else(|| panic!("{key} in {said}"));
            (share * f64::from(test)).round() as u32
        };
        let tail = fs::read(&tail).expect("the tail");
        assert_eq!(tail.len() as u64, number("tail_bytes"));
        Job {
            bytes,
            short,
            tail,
            crc: said["tail_crc32"].as_str().expect("a CRC").to_owned(),
            test,
            before: right("accuracy_before"),
            after: right("accuracy_after"),
            steps: number("steps") as u32,
        }
    }
}

/// Writes a model directory of KWT-1's shape: 98 frames of 40 features, 64 channels, one head of
/// attention, 256 hidden units, norms behind, 12 classes.
fn write_kwt1(dir: &Path, layers: usize) {
    let labels = [
        "_silence_",
        "_unknown_",
        "yes",
        "no",
        "up",
        "down",
        "left",
        "right",
        "on",
        "off",
        "stop",
        "go",
    ];
    let config = json!({
        "model_type": "tailtune_encoder", "name": "kwt1-shaped",
        "n_layers": layers, "d_model": 64, "n_heads": 1, "d_ff": 256, "seq_len": 99,
        "input": { "kind": "frames", "n_frames": 98, "n_features": 40 },
        "class_token": true, "pooling": "class_token", "norm": "post", "activation": "gelu",
        "embed_norm": false, "final_norm": false, "layer_norm_eps": 1e-6, "labels": labels,
        "frontend": {
            "kind": "log_mel", "sample_rate": 16000, "clip_len": 16000, "window_len": 480,
            "hop_len": 160, "fft_len": 512, "mel_bins": 40, "mel_lower": 20.0,
            "mel_upper": 7600.0, "n_features": 40, "floor": 0.001,
        },
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("config.json");

    let mut weights = Weights::default();
    weights.put("embeddings.class_token", &[64], 0.0, 0.5);
    weights.put("embeddings.positions.weight", &[99, 64], 0.0, 0.3);
    weights.put("embeddings.projection.weight", &[64, 40], 0.0, 0.2);
    weights.put("embeddings.projection.bias", &[64], 0.0, 0.1);
    for l in 0..layers {
        let mut dense = |name: &str, out: usize, inputs: usize, scale: f32| {
            weights.put(
                &format!("layers.{l}.{name}.weight"),
                &[out, inputs],
                0.0,
                scale,
            );
            weights.put(&format!("layers.{l}.{name}.bias"), &[out], 0.0, 0.1);
        };
        for name in ["q", "k", "v", "o"] {
            dense(&format!("attention.{name}"), 64, 64, 0.15);
        }
        dense("ff1", 256, 64, 0.15);
        dense("ff2", 64, 256, 0.08);
        for norm in ["norm1", "norm2"] {
            weights.put(&format!("layers.{l}.{norm}.weight"), &[64], 1.0, 0.1);
            weights.put(&format!("layers.{l}.{norm}.bias"), &[64], 0.0, 0.1);
        }
    }
    weights.put("head.weight", &[labels.len(), 64], 0.0, 0.2);
    weights.put("head.bias", &[labels.len()], 0.0, 0.1);
    weights.write(&dir.join("model.safetensors"));
}

/// Tensors of a safetensors file.
#[derive(Default)]
struct Weights {
    header: serde_json::Map<String, Value>,
    bytes: Vec<u8>,
    drawn: u32,
}

impl Weights {
    /// A tensor of numbers that are even within `scale` of `center`.
    fn put(&mut self, name: &str, shape: &[usize], center: f32, scale: f32) {
        let begin = self.bytes.len();
        for _ in 0..shape.iter().product::<usize>() {
            let unit = (scatter(1, self.drawn) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            self.drawn += 1;
            self.bytes.extend((center + scale * unit).to_le_bytes());
        }
        let offsets = [begin, self.bytes.len()];
        let tensor = json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets });
        self.header.insert(name.to_owned(), tensor);
    }

    fn write(self, path: &Path) {
        let mut header = Value::Object(self.header).to_string();
        // The data begins at a multiple of eight.
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.extend(self.bytes);
        fs::write(path, file).expect("model.safetensors");
    }
}
