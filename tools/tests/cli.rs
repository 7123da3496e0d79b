//! The binary from outside: the journey of a small model, exit codes, JSON keys.

mod common;

use common::{LABELS, Tensor, TinyModel, json, run, write_tensors, write_tones};
use std::collections::BTreeMap;
use std::path::Path;

const NEW: [(&str, f32); 3] = [("zoom in", 300.0), ("صفر", 1000.0), ("up", 2800.0)];

/// A model, data, and the image made of them.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    TinyModel::new().write(&dir.path().join("model"));
    write_tones(
        &dir.path().join("clips"),
        &[("low tone", 200.0), ("up", 2800.0)],
        6,
    );
    write_tones(&dir.path().join("new words"), &NEW, 12);
    convert(dir.path(), "tiny.bin");
    dir
}

fn convert(dir: &Path, image: &str) -> serde_json::Value {
    let board = "qemu-mps2-an386";
    json(
        dir,
        &[
            "convert",
            "model",
            "--board",
            board,
            "--calibrate",
            "clips",
            "-o",
            image,
        ],
    )
}

fn number(value: &serde_json::Value, key: &str) -> f64 {
    let number = value[key].as_f64();
    number.unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

/// What `plan` says before is what `convert` writes, and the same input gives the same bytes.
#[test]
fn plan_foretells_what_convert_writes() {
    let work = workplace();
    let dir = work.path();
    let image = std::fs::read(dir.join("tiny.bin")).unwrap();
    let said = convert(dir, "again.bin");
    assert_eq!(number(&said, "image_bytes") as usize, image.len());
    assert!(image == std::fs::read(dir.join("again.bin")).unwrap());
    for model in ["model", "tiny.bin"] {
        let plan = json(dir, &["plan", model, "--board", "qemu-mps2-an386"]);
        assert_eq!(
            number(&plan, "image_bytes") as usize,
            image.len(),
            "{model}"
        );
        assert_eq!(plan["fits"], true);
        let sum: f64 = ["flash", "ram"]
            .iter()
            .flat_map(|k| plan[k].as_array().unwrap())
            .map(|part| number(part, "bytes"))
            .sum();
        assert_eq!(
            sum,
            number(&plan, "flash_bytes") + number(&plan, "ram_bytes")
        );
        assert!(number(&plan, "arena_bytes") < number(&plan, "ram_bytes"));
    }
    run(dir, &["plan", "model"], 0);
}

#[test]
fn every_form_evaluates_alike() {
    let work = workplace();
    let dir = work.path();
    let want = json(
        dir,
        &[
            "eval",
            "tiny.bin",
            "--data",
            "clips",
            "--reference",
            "model",
        ],
    );
    assert_eq!(want["n"], 12);
    assert_eq!(want["labels"], serde_json::json!(LABELS));
    for key in ["float_top1", "int8_top1", "agreement"] {
        assert!((0.0..=1.0).contains(&number(&want, key)), "{key}");
    }
    let counts = want["confusion"].as_array().unwrap();
    let sum = |row: &serde_json::Value| -> u64 {
        row.as_array()
            .unwrap()
            .iter()
            .filter_map(|c| c.as_u64())
            .sum()
    };
    assert_eq!(counts.iter().map(sum).collect::<Vec<_>>(), [0, 6, 6]);
    for image in ["tiny.hex", "tiny.elf"] {
        convert(dir, image);
        let found = json(dir, &["eval", image, "--data", "clips"]);
        assert_eq!(found["confusion"], want["confusion"], "{image}");
        assert!(found["float_top1"].is_null() && found["agreement"].is_null());
    }
    let (text, _) = run(dir, &["eval", "tiny.bin", "--data", "clips"], 0);
    assert!(text.contains("| int8 ") && text.contains("low tone"));
}

/// A model directory: float alone, and with calibration data the columns of the image made so.
#[test]
fn a_model_directory_evaluates_as_its_image_does() {
    let work = workplace();
    let dir = work.path();
    let (text, _) = run(dir, &["eval", "model", "--data", "clips"], 0);
    assert!(text.contains("--calibrate") && text.contains("| float "));
    let float = json(dir, &["eval", "model", "--data", "clips"]);
    assert!(float["int8_top1"].is_null() && float["agreement"].is_null());
    let whole = ["eval", "model", "--data", "clips", "--calibrate", "clips"];
    let found = json(dir, &[&whole[..], &["--html", "report.html"]].concat());
    let image = [
        "eval",
        "tiny.bin",
        "--data",
        "clips",
        "--reference",
        "model",
    ];
    assert_eq!(found, json(dir, &image));
    let columns = found["columns"].as_array().unwrap();
    let names: Vec<&str> = columns.iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["float", "fake_quantized", "int8"]);
    assert_eq!(columns[0]["confusion"], float["confusion"]);
    assert_eq!(found["agreements"].as_array().unwrap().len(), 3);
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 9);
    for wrong in [
        &[&whole[..4], &["--reference", "model"]].concat()[..],
        &[
            "eval",
            "tiny.bin",
            "--data",
            "clips",
            "--calibrate",
            "clips",
        ],
    ] {
        run(dir, wrong, 2);
    }
}

/// Class numbers in a safetensors file are the model's classes.
#[test]
fn features_with_class_numbers_evaluate() {
    let work = workplace();
    let dir = work.path();
    let rows: Vec<f32> = (0..2 * 32).map(|i| (i % 7) as f32).collect();
    let mut data = BTreeMap::from([
        ("features".to_owned(), Tensor::f32(&[2, 4, 8], &rows)),
        ("labels".to_owned(), Tensor::i32(&[2], &[2, 0])),
    ]);
    write_tensors(&dir.join("d.safetensors"), &data);
    let found = json(dir, &["eval", "tiny.bin", "--data", "d.safetensors"]);
    let n: Vec<f64> = found["per_class"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| number(c, "n"))
        .collect();
    assert_eq!(n, [1.0, 0.0, 1.0]);
    // Shorter inputs are padded; longer ones and ragged ones are refused by name.
    for (shape, code, says) in [
        ([2, 3, 8], 0, ""),
        ([2, 5, 8], 1, "40 numbers"),
        ([2, 4, 7], 1, "28 numbers"),
    ] {
        let len = shape.iter().product::<usize>();
        let features = Tensor::f32(&shape, &vec![0.5; len]);
        data.insert("features".to_owned(), features);
        write_tensors(&dir.join("d.safetensors"), &data);
        let convert = [
            "convert",
            "model",
            "--board",
            "qemu-mps2-an386",
            "--calibrate",
            "d.safetensors",
            "-o",
            "short.bin",
        ];
        let (_, err) = run(dir, &convert, code);
        assert!(err.contains(says), "{err}");
        let (_, err) = run(dir, &["eval", "tiny.bin", "--data", "d.safetensors"], code);
        assert!(err.contains(says), "{err}");
    }
}

#[test]
fn new_words_are_learned() {
    let work = workplace();
    let dir = work.path();
    let call = |shots: &'static str, seed: &'static str| {
        let args = [
            "adapt",
            "tiny.bin",
            "--train",
            "new words",
            "--test",
            "new words",
            "--shots",
            shots,
            "--seed",
            seed,
            "--tail",
            "tail.bin",
        ];
        json(dir, &args)
    };
    let found = call("5", "7");
    assert_eq!(
        (&found["n_train"], &found["n_test"], &found["seed"]),
        (&15.into(), &21.into(), &7.into())
    );
    assert_eq!(found["method"], "softmax");
    assert!(number(&found, "steps") > 0.0);
    // Two of three classes are new: wrong before.
    assert!(number(&found, "accuracy_before") <= 1.0 / 3.0);
    assert!(number(&found, "accuracy_after") >= 0.9, "{found}");
    let classes = serde_json::json!([LABELS[0], LABELS[1], LABELS[2], "zoom in", "صفر"]);
    assert_eq!(found["classes"], classes);
    let tail = std::fs::read(dir.join("tail.bin")).unwrap();
    assert_eq!(number(&found, "tail_bytes") as usize, tail.len());
    assert_eq!(found, call("5", "7"));
    assert_ne!(found["tail_crc32"], call("5", "8")["tail_crc32"]);
    run(
        dir,
        &["adapt", "tiny.bin", "--train", "clips", "--test", "clips"],
        1,
    );
}

#[test]
fn every_method_learns_new_words() {
    let work = workplace();
    for method in ["ncm", "ridge", "softmax", "norm-bias", "lora", "last-block"] {
        let args = [
            "adapt",
            "tiny.bin",
            "--train",
            "new words",
            "--test",
            "new words",
            "--shots",
            "5",
            "--method",
            method,
        ];
        let found = json(work.path(), &args);
        assert_eq!(found["method"], method);
        assert!(number(&found, "accuracy_after") >= 0.8, "{found}");
        assert_eq!(found, json(work.path(), &args), "the same again");
        // What a job cannot carry is refused before anything is built.
        let more = ["--board", "qemu-mps2-an386", "--keep-old", "0.1"];
        run(work.path(), &[&args[..], &more].concat(), 2);
    }
}

#[test]
fn boards_and_inspect_have_their_keys() {
    let work = workplace();
    let boards = json(work.path(), &["boards"]);
    for board in boards["boards"].as_array().unwrap() {
        for key in ["name", "chip", "core", "target"] {
            assert!(board[key].is_string(), "{key}");
        }
        for key in [
            "clock_hz",
            "flash_bytes",
            "unmapped_bytes",
            "ram_bytes",
            "slot_bytes",
            "replay_bytes",
        ] {
            assert!(board[key].is_u64(), "{key}");
        }
    }
    let image = json(work.path(), &["inspect", "tiny.bin"]);
    assert_eq!(image["labels"], serde_json::json!(LABELS));
    for key in [
        "format",
        "crc32",
        "model_id",
        "config",
        "arena_bytes",
        "provenance",
        "tensors",
    ] {
        assert!(!image[key].is_null(), "{key}");
    }
    run(work.path(), &["inspect", "tiny.bin"], 0);
    run(work.path(), &["boards"], 0);
}

#[test]
fn wrong_calls_exit_with_2() {
    let work = workplace();
    let adapt = ["adapt", "tiny.bin", "--train", "clips", "--test", "clips"];
    let convert = ["convert", "model", "--calibrate", "clips"];
    let with = |base: &[&'static str], more: &[&'static str]| [base, more].concat();
    for args in [
        vec![],
        vec!["fly"],
        vec!["eval"],
        vec!["eval", "tiny.bin", "--data", "clips", "--silence", "loud"],
        vec!["plan", "model", "--board", "arduino"],
        vec!["boards", "--colour"],
        with(&convert, &["--board", "arduino", "-o", "a.bin"]),
        with(&convert, &["--board", "nrf52840-dk", "-o", "a.txt"]),
        with(&convert, &["--board", "nrf52840-dk"]),
        with(&adapt, &["--shots", "0"]),
        with(&adapt, &["--method", "magic"]),
        with(&adapt, &["--board", "arduino"]),
        with(&adapt, &["--epochs", "0"]),
        with(&adapt, &["--learning-rate", "nan"]),
    ] {
        run(work.path(), &args, 2);
    }
    assert!(!work.path().join("a.bin").exists());
    run(work.path(), &["--help"], 0);
    run(work.path(), &["--version"], 0);
    run(work.path(), &["adapt", "--help"], 0);
}
