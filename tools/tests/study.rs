//! `tailtune adapt --study`: every protocol on tones that three speakers give, at a pitch of their own.

#[allow(dead_code)] // Some of it is for other tests.
mod common;

use common::{TinyModel, json, run, write_tones};
use serde_json::Value;
use std::path::Path;

const WORDS: [(&str, f32); 2] = [("low", 350.0), ("high", 2600.0)];
const SPEAKERS: [(&str, f32); 3] = [("ann", 1.0), ("bo", 1.1), ("cy", 0.9)];
/// More than self-label takes: 3 shots and 20 unlabelled.
const TAKES: usize = 26;

/// A model, what it knows, and words that it does not: WORD/SPEAKER_TAKE.wav.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    TinyModel::new().write(&path.join("model"));
    write_tones(
        &path.join("clips"),
        &[("low tone", 200.0), ("up", 2800.0)],
        6,
    );
    for (speaker, pitch) in SPEAKERS {
        let words = WORDS.map(|(word, frequency)| (word, pitch * frequency));
        let spoken = path.join(speaker);
        write_tones(&spoken, &words, TAKES);
        for (word, _) in WORDS {
            std::fs::create_dir_all(path.join("words").join(word)).unwrap();
            for take in 0..TAKES {
                let from = spoken.join(word).join(format!("{take} take.wav"));
                let to = format!("words/{word}/{speaker}_{take:02}.wav");
                std::fs::rename(from, path.join(to)).unwrap();
            }
        }
    }
    let board = ["--board", "qemu-mps2-an386", "--calibrate", "clips"];
    let convert = [&["convert", "model"][..], &board, &["-o", "tiny.bin"]];
    json(path, &convert.concat());
    dir
}

const DATA: [&str; 8] = [
    "--digits", "words", "--words", "words", "--known", "clips", "--replay", "clips",
];

fn rows<'v>(found: &'v Value, study: &str) -> Vec<&'v Value> {
    let rows = found["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["study"] == study).collect()
}

fn study(dir: &Path, protocol: &str) -> Value {
    let study = ["adapt", "tiny.bin", "--study", protocol, "--seeds", "1"];
    let plot = ["--plot", "study.svg"];
    json(dir, &[&study[..], &DATA, &plot].concat())
}

#[test]
fn every_protocol_runs_and_says_the_same_again() {
    let work = workplace();
    let found = study(work.path(), "all");
    assert_eq!(found["seeds"], 1);
    for (protocol, lines, runs) in [
        ("new-speaker", 6, 3),
        ("few-shots", 18, 3),
        ("other-speakers", 6, 1),
        ("noise", 6, 1),
        ("add-words", 8, 1),
        ("self-label", 3, 3),
    ] {
        let rows = rows(&found, protocol);
        assert_eq!(rows.len(), lines, "{protocol}");
        for row in rows {
            let (after, worst) = (
                row["after"].as_f64().unwrap(),
                row["worst"].as_f64().unwrap(),
            );
            assert!(
                (0.0..=1.0).contains(&worst) && worst <= after + 1e-12,
                "{row}"
            );
            assert_eq!(row["runs"], runs, "{row}");
            let starts = !["few-shots", "other-speakers"].contains(&protocol);
            assert_eq!(row["before"].is_f64(), starts, "{row}");
        }
    }
    // Tones far apart: what was learned is known again, by every method.
    for row in rows(&found, "few-shots") {
        if row["what"] == "3 shots" {
            assert!(row["after"].as_f64().unwrap() > 0.9, "{row}");
        }
    }
    for row in rows(&found, "add-words") {
        assert!((0.0..=1.0).contains(&row["added_words"].as_f64().unwrap()));
    }
    for row in rows(&found, "self-label") {
        let pseudo = &row["pseudo"];
        assert!(pseudo["taken"].as_f64().unwrap() > 0.5, "{row}");
        assert_eq!(pseudo["wrong"], 0.0, "{row}");
    }
    let svg = std::fs::read_to_string(work.path().join("study.svg")).unwrap();
    for part in ["self-label", "last-block", "new words"] {
        assert!(svg.contains(part), "{part}");
    }
    let again = study(work.path(), "self-label");
    assert_eq!(rows(&again, "self-label"), rows(&found, "self-label"));
}

#[test]
fn missing_data_is_named() {
    let work = workplace();
    let dir = work.path();
    let call = ["adapt", "tiny.bin", "--study", "noise"];
    let (_, err) = run(dir, &call, 2);
    assert!(err.contains("--words"), "{err}");
    let (_, err) = run(
        dir,
        &[&call[..], &["--words", "words", "--only", "mid"]].concat(),
        2,
    );
    assert!(err.contains("no clip of mid"), "{err}");
    let (_, err) = run(dir, &[&call[..], &["--words", "clips"]].concat(), 1);
    assert!(
        err.contains("no clip is left") || err.contains("tuning failed"),
        "{err}"
    );
    // Three shots and twenty unlabelled clips leave nothing of so few.
    for take in 20..TAKES {
        for (word, _) in WORDS {
            for (speaker, _) in SPEAKERS {
                let path = format!("words/{word}/{speaker}_{take:02}.wav");
                std::fs::remove_file(dir.join(path)).unwrap();
            }
        }
    }
    let call = [
        "adapt",
        "tiny.bin",
        "--study",
        "self-label",
        "--digits",
        "words",
    ];
    let (_, err) = run(dir, &call, 1);
    assert!(err.contains("no clip is left to measure"), "{err}");
}
