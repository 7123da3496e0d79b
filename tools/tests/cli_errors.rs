//! The binary on broken input: exit code 1, no panic, and a message that names the file, what was
//! found and what was expected.

mod common;

use common::{Tensor, TinyModel, json, run, write_tones, write_wav};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs `args`, which must fail; every one of `says` must be in the message.
fn fails(dir: &Path, args: &[&str], says: &[&str]) {
    let (_, err) = run(dir, args, 1);
    for word in says {
        assert!(err.contains(word), "{args:?}: {word:?} is not in: {err}");
    }
}

#[test]
fn broken_models_are_named() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    type Break = fn(&mut TinyModel);
    let cases: [(Break, &[&str]); 11] = [
        (
            |m| drop(m.tensors.remove("head.bias")),
            &["model.safetensors", "head.bias", "missing"],
        ),
        (
            |m| {
                let t = m.tensors.get_mut("head.weight").unwrap();
                t.shape.reverse();
            },
            &["model.safetensors", "head.weight", "[16, 3]", "[3, 16]"],
        ),
        (
            |m| {
                drop(
                    m.tensors
                        .insert("head.bias".into(), Tensor::i32(&[3], &[0; 3])),
                )
            },
            &["head.bias", "I32", "F32"],
        ),
        (
            |m| {
                let nan = Tensor::f32(&[3], &[0.0, f32::NAN, 0.0]);
                m.tensors.insert("head.bias".into(), nan);
            },
            &["head.bias", "NaN", "element 1"],
        ),
        (
            |m| {
                let inf = Tensor::f32(&[3], &[f32::INFINITY, 0.0, 0.0]);
                m.tensors.insert("head.bias".into(), inf);
            },
            &["head.bias", "inf", "element 0"],
        ),
        (
            |m| m.config["model_type"] = "squeezenet".into(),
            &["config.json", "model_type", "squeezenet", "kws_transformer"],
        ),
        (
            |m| m.config["num_heads"] = 3.into(),
            &["config.json", "heads"],
        ),
        (
            |m| m.config["d_model"] = (-4).into(),
            &["config.json", "d_model", "-4"],
        ),
        (
            |m| m.config["labels"] = serde_json::json!(["one"]),
            &["config.json", "labels", "3 names"],
        ),
        (
            |m| m.config["frontend"]["hop_ms"] = 0.into(),
            &["config.json", "frontend"],
        ),
        (
            |m| m.config["frontend"] = Value::Null,
            &["config.json", "frontend"],
        ),
    ];
    for (spoil, says) in cases {
        let mut model = TinyModel::new();
        spoil(&mut model);
        model.write(&dir.join("model"));
        fails(dir, &["plan", "model"], says);
    }
    TinyModel::new().write(&dir.join("model"));
    let weights = fs::read(dir.join("model/model.safetensors")).unwrap();
    fs::write(
        dir.join("model/model.safetensors"),
        &weights[..weights.len() / 2],
    )
    .unwrap();
    fails(dir, &["plan", "model"], &["model.safetensors"]);
    fs::remove_file(dir.join("model/name_map.json")).unwrap();
    fails(dir, &["plan", "model"], &["name_map.json"]);
    fs::write(dir.join("model/config.json"), "{").unwrap();
    fails(dir, &["plan", "model"], &["config.json", "JSON"]);
    fs::remove_dir_all(dir.join("model")).unwrap();
    fails(dir, &["plan", "model"], &["model"]);
}

#[test]
fn broken_data_and_images_are_named() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    TinyModel::new().write(&dir.join("model"));
    write_tones(
        &dir.join("clips"),
        &[("low tone", 200.0), ("up", 2800.0)],
        2,
    );
    let convert = |data: &'static str| {
        let board = "nrf52840-dk";
        [
            "convert",
            "model",
            "--board",
            board,
            "--calibrate",
            data,
            "-o",
            "tiny.bin",
        ]
    };
    json(dir, &convert("clips"));

    fails(dir, &convert("nowhere"), &["nowhere"]);
    fs::create_dir(dir.join("empty")).unwrap();
    fails(dir, &convert("empty"), &["empty", "one sub-folder a class"]);
    fails(dir, &["eval", "tiny.bin", "--data", "empty"], &["empty"]);

    // Of a clip, its first half; no sound at all; a rate that cannot be.
    let wav = fs::read(dir.join("clips/up/0 take.wav")).unwrap();
    let mut slow = wav.clone();
    slow[24..28].copy_from_slice(&1u32.to_le_bytes());
    for (name, bytes) in [
        ("half.wav", &wav[..wav.len() / 2]),
        ("text.wav", b"not a sound"),
        ("none.wav", b""),
        ("slow.wav", &slow),
    ] {
        let path = dir.join("bad/up").join(name);
        write_wav(&path, &[]);
        fs::write(&path, bytes).unwrap();
        fails(dir, &["eval", "tiny.bin", "--data", "bad"], &[name]);
        fs::remove_file(&path).unwrap();
    }
    fs::write(dir.join("a.csv"), "path,label\nclips/up/9.wav,up\n").unwrap();
    fails(
        dir,
        &["eval", "tiny.bin", "--data", "a.csv"],
        &["a.csv", "line 2", "9.wav"],
    );
    fs::write(
        dir.join("a.csv"),
        "path,label,speaker\nclips/up/0 take.wav,up,ann\n",
    )
    .unwrap();
    fails(
        dir,
        &["eval", "tiny.bin", "--data", "a.csv", "--speaker", "bob"],
        &["bob", "ann"],
    );
    let shots = ["--train", "clips", "--test", "clips", "--shots", "9"];
    let adapt = [&["adapt", "tiny.bin"][..], &shots].concat();
    fails(dir, &adapt, &["low tone", "2 samples", "9 shots"]);

    let image = fs::read(dir.join("tiny.bin")).unwrap();
    let mut flipped = image.clone();
    flipped[image.len() / 2] ^= 1;
    for bytes in [&image[..image.len() - 1], &flipped, b"", &wav] {
        fs::write(dir.join("bad.bin"), bytes).unwrap();
        fails(dir, &["inspect", "bad.bin"], &["bad.bin"]);
        fails(dir, &["eval", "bad.bin", "--data", "clips"], &["bad.bin"]);
    }
    fails(dir, &["inspect", "clips"], &["clips"]);
    fails(dir, &["inspect", "nothing.bin"], &["nothing.bin"]);
    let other = dir.join("other");
    let mut model = TinyModel::new();
    model.config["labels"] = serde_json::json!(["a", "b", "c"]);
    model.write(&other);
    fails(
        dir,
        &[
            "eval",
            "tiny.bin",
            "--data",
            "clips",
            "--reference",
            "other",
        ],
        &["other", "labels"],
    );
    // What cannot be written leaves nothing.
    let missing = [
        "convert",
        "model",
        "--board",
        "nrf52840-dk",
        "--calibrate",
        "clips",
        "-o",
        "no/dir/a.bin",
    ];
    fails(dir, &missing, &["no/dir/a.bin"]);
}
