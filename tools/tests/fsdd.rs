//! Tuning the head of KWT-1 to one speaker's digits, 5 recordings of each: the accuracy that the
//! README states, and the same parameters on host and emulated board.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tailtune_tools::testing::shared;

/// Writes a manifest of the digits, whose files are named DIGIT_SPEAKER_TAKE.wav; returns it and the
/// speakers.
fn manifest(dir: &Path, recordings: &Path) -> (PathBuf, Vec<String>) {
    let recordings = std::fs::canonicalize(recordings).unwrap();
    let (mut text, mut speakers) = ("path,label,speaker\n".to_owned(), BTreeSet::new());
    let mut names: Vec<String> = std::fs::read_dir(&recordings)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in names {
        let mut parts = name.split('_');
        let (digit, speaker) = (parts.next().unwrap(), parts.next().unwrap());
        let path = recordings.join(&name);
        writeln!(text, "{},{digit},{speaker}", path.display()).unwrap();
        speakers.insert(speaker.to_owned());
    }
    let path = dir.join("digits.csv");
    std::fs::write(&path, text).unwrap();
    (path, speakers.into_iter().collect())
}

fn tailtune(args: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_tailtune"))
        .args(args)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Converts KWT-1 and writes the manifest; none where the shared data is missing.
fn workplace() -> Option<(tempfile::TempDir, String, String, Vec<String>)> {
    let (model, sample) = (
        shared("models/kwt1")?,
        shared("data/speech_commands_v0.01_sample")?,
    );
    let recordings = shared("data/fsdd/recordings")?;
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("kwt1.bin").display().to_string();
    let (model, sample) = (model.display().to_string(), sample.display().to_string());
    let convert = [
        "convert",
        &model,
        "--board",
        "nrf52840-dk",
        "--calibrate",
        &sample,
        "-o",
        &image,
        "--json",
    ];
    tailtune(&convert);
    let (csv, speakers) = manifest(dir.path(), &recordings);
    let csv = csv.display().to_string();
    Some((dir, image, csv, speakers))
}

#[test]
fn five_shots_a_digit_reach_ninety_percent() {
    let Some((_dir, image, csv, speakers)) = workplace() else {
        return;
    };
    assert_eq!(speakers.len(), 6);
    let mut sum = 0.0;
    for speaker in &speakers {
        let found = tailtune(&[
            "adapt",
            &image,
            "--train",
            &csv,
            "--test",
            &csv,
            "--speaker",
            speaker,
            "--shots",
            "5",
            "--json",
        ]);
        let (before, after) = (
            found["accuracy_before"].as_f64().unwrap(),
            found["accuracy_after"].as_f64().unwrap(),
        );
        println!(
            "{speaker}: {before:.4} → {after:.4} of {} recordings",
            found["n_test"]
        );
        assert_eq!(before, 0.0, "the image knows no digit");
        assert_eq!(found["n_train"], 50);
        sum += after;
    }
    println!("mean {:.4}", sum / 6.0);
    assert!(sum / 6.0 >= 0.90, "mean accuracy {}", sum / 6.0);
}

/// One speaker's training set on the emulated board: the tail is the host's, bit by bit.
#[test]
#[ignore = "needs the thumbv7em target and qemu-system-arm"]
fn the_emulated_board_learns_what_the_host_learns() {
    let Some((dir, image, csv, speakers)) = workplace() else {
        return;
    };
    // Few recordings to measure on: the training set is what counts, and inference takes its time.
    let text = std::fs::read_to_string(&csv).unwrap();
    let few: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with("path") || l.contains("_10.wav") || l.contains("_11.wav"))
        .collect();
    let test = dir.path().join("few.csv");
    std::fs::write(&test, few.join("\n")).unwrap();
    let test = test.display().to_string();
    let (a, b) = (dir.path().join("host.tail"), dir.path().join("board.tail"));
    let (host, board) = (a.display().to_string(), b.display().to_string());
    let args = [
        "adapt",
        &image,
        "--train",
        &csv,
        "--test",
        &test,
        "--speaker",
        &speakers[0],
        "--shots",
        "5",
        "--json",
        "--tail",
    ];
    let by_host = tailtune(&[&args[..], &[&host]].concat());
    let by_board = tailtune(&[&args[..], &[&board, "--board", "qemu-mps2-an386"]].concat());
    for key in [
        "accuracy_before",
        "accuracy_after",
        "steps",
        "tail_bytes",
        "tail_crc32",
        "n_train",
        "n_test",
    ] {
        assert_eq!(by_host[key], by_board[key], "{key}");
    }
    assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
}
