//! The models and recordings that the project ships: they convert, they fit the boards that they are
//! for, int8 says what float says, ten new words are learned from five recordings each, and the
//! emulated board does all that with the host's bits. Nothing here needs a file from outside.

#[allow(dead_code)] // Its small model is for other tests.
mod common;

use std::path::{Path, PathBuf};
use std::process::Output;
use tailtune_tools::import::read_model;
use tailtune_tools::models::{KEYWORDS, KEYWORDS_MICRO, KNOWN_WORDS, NEW_WORDS};
use tempfile::TempDir;

fn run(args: &[&str]) -> Output {
    common::tailtune(Path::new("."), args)
}

fn json(args: &[&str]) -> serde_json::Value {
    let output: Output = run(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("one JSON object on standard output")
}

fn converted(model: &str, board: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("model.bin").display().to_string();
    let to = ["--calibrate", KNOWN_WORDS, "-o", &image];
    let output = run(&[&["convert", model, "--board", board][..], &to].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    (dir, image)
}

fn bytes(value: &serde_json::Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Sizes that the model cards state.
#[test]
fn sizes_are_what_the_cards_say() {
    for (dir, parameters, image, arena) in [
        (KEYWORDS, 250_000, 256 * 1024, 16 * 1024),
        (KEYWORDS_MICRO, 100_000, 100 * 1024, 9 * 1024),
    ] {
        let model = read_model(Path::new(dir)).unwrap();
        assert!(model.parameters() <= parameters, "{}", model.parameters());
        let weights = std::fs::metadata(PathBuf::from(dir).join("model.safetensors")).unwrap();
        assert!(weights.len() <= 1_000_000, "{} bytes", weights.len());
        let card = std::fs::read_to_string(PathBuf::from(dir).join("README.md")).unwrap();
        for word in ["CC BY 4.0", "seed", "FSDD", &model.parameters().to_string()] {
            assert!(card.contains(word), "{dir}/README.md does not say {word:?}");
        }
        let plan = json(&["plan", dir, "--board", "nrf52840-dk", "--json"]);
        assert!(bytes(&plan, "image_bytes") <= image, "{plan}");
        assert!(bytes(&plan, "arena_bytes") <= arena, "{plan}");
        assert_eq!(plan["fits"], true);
    }
}

#[test]
fn int8_says_what_float_says() {
    for dir in [KEYWORDS, KEYWORDS_MICRO] {
        let (_keep, image) = converted(dir, "nrf52840-dk");
        let report = json(&[
            "eval",
            &image,
            "--data",
            KNOWN_WORDS,
            "--reference",
            dir,
            "--json",
        ]);
        assert_eq!(report["n"], 30);
        assert!(report["agreement"].as_f64().unwrap() >= 0.96, "{report}");
    }
}

#[test]
fn ten_new_words_are_learned_from_five_recordings_each() {
    for (dir, least) in [(KEYWORDS, 0.85), (KEYWORDS_MICRO, 0.75)] {
        let (_keep, image) = converted(dir, "nrf52840-dk");
        let args = [
            "adapt", &image, "--train", NEW_WORDS, "--test", NEW_WORDS, "--shots", "5", "--json",
        ];
        let report = json(&args);
        assert_eq!(
            (&report["n_train"], &report["n_test"]),
            (&50.into(), &50.into())
        );
        assert_eq!(report["accuracy_before"], 0.0);
        let after = report["accuracy_after"].as_f64().unwrap();
        println!("{dir}: {after:.2} of 50");
        assert!(after >= least, "{report}");
    }
}

/// The default model on the emulated board: the tail and every answer are the host's.
#[test]
#[ignore = "needs the thumbv7em target and qemu-system-arm"]
fn the_emulated_board_learns_what_the_host_learns() {
    for dir in [KEYWORDS, KEYWORDS_MICRO] {
        let (keep, image) = converted(dir, "qemu-mps2-an386");
        let tail = |name: &str| keep.path().join(name).display().to_string();
        let (host, board) = (tail("host.tail"), tail("board.tail"));
        let args = [
            "adapt", &image, "--train", NEW_WORDS, "--test", NEW_WORDS, "--shots", "5",
        ];
        let args = [&args[..], &["--json", "--tail"]].concat();
        let by_host = json(&[&args[..], &[&host]].concat());
        let by_board = json(&[&args[..], &[&board, "--board", "qemu-mps2-an386"]].concat());
        for key in [
            "accuracy_before",
            "accuracy_after",
            "steps",
            "tail_bytes",
            "tail_crc32",
        ] {
            assert_eq!(by_host[key], by_board[key], "{key}");
        }
        assert_eq!(std::fs::read(host).unwrap(), std::fs::read(board).unwrap());
    }
}
