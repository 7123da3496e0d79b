//! A small model directory, a small dataset, and the binary: what the black-box tests share.

use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use tailtune_tools::synthetic::Random;

const D: usize = 16;
const D_FF: usize = 32;
const LAYERS: usize = 2;
const FRAMES: usize = 4;
const FEATURES: usize = 8;
pub const LABELS: [&str; 3] = ["_silence_", "low tone", "up"];

/// A tensor of a safetensors file.
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    #[allow(dead_code, reason = "not every test binary writes integers")]
    pub fn i32(shape: &[usize], values: &[i32]) -> Self {
        Self {
            dtype: Dtype::I32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let views = tensors.iter().map(|(name, t)| {
        let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A Keyword Transformer of 2 blocks with random weights, in the files that `convert` reads.
pub struct TinyModel {
    pub config: Value,
    pub tensors: BTreeMap<String, Tensor>,
}

impl TinyModel {
    pub fn new() -> Self {
        let r = &mut Random::new(5);
        let mut tensors = BTreeMap::new();
        let mut put = |role: &str, shape: &[usize], center: f32, scale: f32| {
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|_| center + scale * r.normal())
                .collect();
            tensors.insert(role.to_owned(), Tensor::f32(shape, &values));
        };
        put("class_emb", &[1, 1, D], 0.0, 0.5);
        put("pos_emb", &[1, FRAMES + 1, D], 0.0, 0.3);
        put("patch_proj.weight", &[D, FEATURES], 0.0, 0.2);
        put("patch_proj.bias", &[D], 0.0, 0.1);
        for l in 0..LAYERS {
            for part in ["q", "k", "v", "o"] {
                put(&format!("layers.{l}.att.{part}.weight"), &[D, D], 0.0, 0.25);
            }
            put(&format!("layers.{l}.att.o.bias"), &[D], 0.0, 0.1);
            put(&format!("layers.{l}.ffn1.weight"), &[D_FF, D], 0.0, 0.25);
            put(&format!("layers.{l}.ffn1.bias"), &[D_FF], 0.0, 0.1);
            put(&format!("layers.{l}.ffn2.weight"), &[D, D_FF], 0.0, 0.2);
            put(&format!("layers.{l}.ffn2.bias"), &[D], 0.0, 0.1);
            for norm in ["ln1", "ln2"] {
                put(&format!("layers.{l}.{norm}.weight"), &[D], 1.0, 0.1);
                put(&format!("layers.{l}.{norm}.bias"), &[D], 0.0, 0.1);
            }
        }
        put("head.weight", &[LABELS.len(), D], 0.0, 0.3);
        put("head.bias", &[LABELS.len()], 0.0, 0.1);
        // Coefficient 0 is the loudness, of no use to tell tones apart, and ten times the others.
        let projection = tensors.get_mut("patch_proj.weight").unwrap();
        for row in projection.bytes.chunks_exact_mut(4 * FEATURES) {
            row[..4].copy_from_slice(&0.001f32.to_le_bytes());
        }
        let config = json!({
            "model_type": "kws_transformer", "name": "tiny", "num_layers": LAYERS, "d_model": D,
            "num_heads": 2, "mlp_dim": D_FF, "norm": "post", "layer_norm_eps": 1e-6,
            "activation": "gelu", "qkv_bias": false, "attn_out_bias": true,
            "input_shape": [FRAMES, FEATURES], "num_tokens": FRAMES + 1,
            "class_token_first": true, "num_labels": LABELS.len(), "labels": LABELS,
            "frontend": {
                "sample_rate": 8000, "window_ms": 250, "hop_ms": 250, "dft_bins": 1025,
                "feature": "mfcc_tf", "mel_bins": 20, "mel_lower": 20, "mel_upper": 3600,
                "dct": FEATURES, "log_epsilon": 1e-12, "fft_magnitude_squared": false,
                "preemph": 0.0,
            },
        });
        Self { config, tensors }
    }

    pub fn write(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("config.json"), self.config.to_string()).unwrap();
        let map: BTreeMap<&str, &str> = Self::roles(&self.tensors);
        std::fs::write(
            dir.join("name_map.json"),
            serde_json::to_string(&map).unwrap(),
        )
        .unwrap();
        write_tensors(&dir.join("model.safetensors"), &self.tensors);
    }

    /// Every role is its tensor's name; roles whose tensor a test took away stay in the map.
    fn roles(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<&str, &str> {
        let mut map: BTreeMap<&str, &str> = tensors
            .keys()
            .map(|name| (name.as_str(), name.as_str()))
            .collect();
        map.insert("head.bias", "head.bias");
        map
    }
}

/// Writes one folder a class, `n` clips of a tone each; classes and their frequencies in Hz.
pub fn write_tones(dir: &Path, classes: &[(&str, f32)], n: usize) {
    for (label, frequency) in classes {
        for i in 0..n {
            let r = &mut Random::new(i as u64 + 1);
            let frequency = frequency * (1.0 + 0.01 * i as f32);
            let samples: Vec<f32> = (0..8000)
                .map(|t| {
                    let phase = frequency * t as f32 / 8000.0 * std::f32::consts::TAU;
                    0.4 * libm::sinf(phase) + 0.01 * r.normal()
                })
                .collect();
            write_wav(&dir.join(label).join(format!("{i} take.wav")), &samples);
        }
    }
}

pub fn write_wav(path: &Path, samples: &[f32]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for x in samples {
        writer.write_sample((x * 32767.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

/// Runs the command in `dir`.
pub fn tailtune(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tailtune"))
        .current_dir(dir)
        .args(args)
        .output()
        .expect("the binary runs")
}

/// Runs the command, which must end with `code` and no panic; returns standard output and error.
pub fn run(dir: &Path, args: &[&str], code: i32) -> (String, String) {
    let output = tailtune(dir, args);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(code),
        "tailtune {args:?}\nstdout: {out}\nstderr: {err}"
    );
    assert!(!err.contains("panicked"), "tailtune {args:?}: {err}");
    if code != 0 {
        assert_eq!(
            out, "",
            "tailtune {args:?}: nothing goes to standard output"
        );
        assert!(!err.is_empty(), "tailtune {args:?}: says nothing");
    }
    (out, err)
}

/// Runs the command with `--json` and returns its one object.
pub fn json(dir: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let (out, _) = run(dir, &args, 0);
    let value: Value = serde_json::from_str(&out).expect("one JSON object and nothing else");
    assert!(value.is_object());
    value
}
