//! `tailtune feed` through the unmodified probe-rs to the nRF52840 DK's own firmware, which runs in the emulated
//! chip: sound goes down by RTT, its front end and its encoder work on it, and what comes up is the host's own run
//! to the bit; so is the tail that it learns.
//!
//! Needs the chip server of tools/vboard and the firmware's target:
//!
//! ```text
//! VBOARD=tools/vboard/target/release/vboard cargo test -p tailtune-tools --test feed_emulated -- --ignored
//! ```
#![cfg(feature = "flash")]

#[allow(dead_code)]
mod common;
#[path = "common/served.rs"]
mod served;

use common::{TinyModel, json, run, write_tones};
use served::Served;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tailtune::store::export::parse;
use tailtune_tools::models::{KEYWORDS_MICRO, KNOWN_WORDS, NEW_WORDS};
use tailtune_tools::toolchain::Toolchain;

const BOARD: &str = "nrf52840-dk";

/// Builds the board's firmware as `cargo verify` does and returns its ELF.
fn firmware() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let toolchain = Toolchain::find("thumbv7em-none-eabihf").unwrap();
    let dir = root.join("boards").join(BOARD);
    let built = toolchain.cargo(&dir).args(["build", "--release"]).status();
    assert!(built.unwrap().success(), "the firmware does not build");
    root.join("target/boards")
        .join(toolchain.target())
        .join("release")
        .join(BOARD)
}

/// Copies so many recordings of a word from those that the project ships, from the `from`th on.
fn copy(word: &Path, to: &Path, from: usize, count: usize) {
    std::fs::create_dir_all(to).unwrap();
    let files = std::fs::read_dir(word).unwrap();
    let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "wav"));
    files.sort();
    for file in &files[from..from + count] {
        std::fs::copy(file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// The model and three words, one of which it does not know: `clips` to learn from, `others` to measure on.
fn workplace() -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    let to = ["--calibrate", KNOWN_WORDS, "--board", BOARD];
    json(
        dir,
        &[&["convert", KEYWORDS_MICRO, "-o", "model.hex"][..], &to].concat(),
    );
    let (known, new) = (Path::new(KNOWN_WORDS), Path::new(NEW_WORDS));
    for (word, name) in [
        (known.join("yes"), "yes"),
        (known.join("stop"), "stop"),
        (new.join("zero (ar)"), "zero"),
    ] {
        copy(&word, &dir.join("clips").join(name), 0, 2);
        copy(&word, &dir.join("others").join(name), 2, 1);
    }
    work
}

fn clip_equal(clip: &serde_json::Value) -> bool {
    clip["equal"] == true && clip["cost"].as_u64().is_some_and(|us| us > 1000)
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn clips_are_answered_and_learned_from_with_the_hosts_bits() {
    let work = workplace();
    let dir = work.path();
    let firmware = firmware();
    let served = Served::start(dir, "nrf52840-dk", "nrf52840", &[]);
    let feed = |more: &[&str]| json(dir, &served.args(&[&["feed", "model.hex"], more].concat()));
    json(dir, &served.args(&["flash", firmware.to_str().unwrap()]));
    json(dir, &served.args(&["flash", "model.hex"]));

    // By the image's own head.
    let said = feed(&["--data", "others"]);
    assert_eq!((&said["n"], &said["different"]), (&3.into(), &0.into()));
    assert_eq!(said["sample_rate"], 16000, "sound, not frames");
    assert!(said["tail_crc32"].is_null() && said["tuned"].is_null());
    let clips = said["clips"].as_array().unwrap();
    assert!(clips.iter().all(clip_equal), "{said}");
    let own: u64 = said["labels"].as_array().unwrap().len() as u64;

    // It learns, and answers by what it learned.
    let args = ["--data", "clips", "--tune", "--test", "others"];
    let said = feed(&[&args[..], &["--epochs", "20"]].concat());
    assert_eq!((&said["n"], &said["different"]), (&6.into(), &0.into()));
    let tuned = &said["tuned"];
    assert_eq!(
        (&tuned["equal"], &tuned["steps"]),
        (&true.into(), &120.into())
    );
    let test = &said["test"];
    assert_eq!((&test["n"], &test["different"]), (&3.into(), &0.into()));
    assert!(test["clips"].as_array().unwrap().iter().all(clip_equal));
    assert!(test["accuracy"].as_f64() > Some(0.5), "{test}");
    assert_eq!(test["labels"].as_array().unwrap().len() as u64, own + 1);
    assert_eq!(test["labels"][own as usize], "zero");

    // The host makes the same tail of the same clips, and it is the one in flash.
    let to = ["--train", "clips", "--test", "others", "--epochs", "20"];
    let adapt = [&["adapt", "model.hex", "--tail", "host.tail"][..], &to].concat();
    let adapted = json(dir, &adapt);
    assert_eq!(adapted["tail_crc32"], tuned["tail_crc32"]);
    json(dir, &served.args(&["tail", "read", "-o", "device.tail"]));
    let device = std::fs::read(dir.join("device.tail")).unwrap();
    let host = std::fs::read(dir.join("host.tail")).unwrap();
    assert!(parse(&device).unwrap().payload == host);

    // Another visit finds it, with the names of its classes, and one label for a folder of files.
    let said = feed(&["--data", "others/zero", "--label", "zero"]);
    assert_eq!(said["tail_crc32"], tuned["tail_crc32"]);
    assert_eq!((&said["n"], &said["different"]), (&1.into(), &0.into()));
    assert_eq!(said["labels"][own as usize], "zero");
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn what_goes_wrong_is_named() {
    let work = workplace();
    let dir = work.path();
    TinyModel::new().write(&dir.join("tiny"));
    write_tones(&dir.join("tones"), &[("low tone", 200.0)], 2);
    let args = ["convert", "tiny", "--calibrate", "tones", "-o", "tiny.hex"];
    json(dir, &[&args[..], &["--board", BOARD]].concat());
    let feed = ["feed", "model.hex", "--data", "others"];
    let refused = |served: &Served, args: &[&str], part: &str| {
        let (_, err) = run(dir, &served.args(args), 1);
        assert!(err.contains(part), "{err}");
    };

    // No server at all, as without a probe.
    let nowhere = ["--board", BOARD, "--probe", "1d50:6018:127.0.0.1:1"];
    let (_, err) = run(dir, &[&feed[..], &nowhere].concat(), 1);
    assert!(err.contains("was not found"), "{err}");

    let served = Served::start(dir, "nrf52840-dk", "nrf52840", &[]);
    // A chip that runs nothing, then firmware without an image, then one of another model.
    refused(&served, &feed, "no RTT control block was found");
    let firmware = firmware();
    json(dir, &served.args(&["flash", firmware.to_str().unwrap()]));
    refused(&served, &feed, "no image in its model region");
    json(dir, &served.args(&["flash", "tiny.hex"]));
    refused(&served, &feed, "flash that image, or give the one");
    // The right one, but to learn in a way that a line does not offer, or from more than it keeps.
    let block = [&feed[..], &["--tune", "--method", "lora"]].concat();
    let (_, err) = run(dir, &served.args(&block), 2);
    assert!(err.contains("tunes heads only"), "{err}");

    // The cable out in the middle.
    json(dir, &served.args(&["flash", "model.hex"]));
    let mut child = Command::new(env!("CARGO_BIN_EXE_tailtune"))
        .args(served.args(&feed))
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert!(first.contains("as the host"), "{first}");
    drop(served);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("the line to the device broke"), "{err}");
}
