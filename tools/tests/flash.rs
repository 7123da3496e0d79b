//! `tailtune flash`, `tail`, `merge` and `probes` from outside, without a probe.

#[allow(dead_code)]
mod common;

use common::{TinyModel, json, run, write_tones};
use serde_json::Value;
use std::path::Path;
use tailtune::store::Record;
use tailtune::store::record::checksum;
use tailtune::tune::tail::emit_head;
use tailtune::tune::{ClassName, HeadBuffers, LinearHead, Math, MethodId};
use tailtune_tools::int8::Int8Model;

const BOARD: [&str; 2] = ["--board", "nrf52840-dk"];

/// A small model's image for a real board.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    TinyModel::new().write(&dir.path().join("model"));
    write_tones(&dir.path().join("clips"), &[("low tone", 200.0)], 4);
    let args = ["convert", "model", "--calibrate", "clips", "-o", "tiny.hex"];
    json(dir.path(), &[&args[..], &BOARD].concat());
    dir
}

/// The tail that adds a class to an image, as `tail read` writes it.
fn export(dir: &Path, image: &str) -> Vec<u8> {
    let int8 = Int8Model::read(&dir.join(image)).unwrap();
    let image = int8.image();
    let head = tailtune::model::Head::new(&image).unwrap();
    let (n, d) = (head.n_classes() + 1, head.n_features());
    let (mut weights, mut bias) = (vec![0.0; n * d], vec![0.0; n]);
    let mut names = vec![ClassName::EMPTY; 1];
    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut names,
    };
    let mut head = LinearHead::new(buffers, &head).unwrap();
    head.add_class("mine").unwrap();
    let mut payload = vec![0; 4096];
    let len = emit_head(&head, MethodId::Softmax, Math::Exact, &mut payload).unwrap();
    payload.truncate(len);
    let record = Record {
        sequence: 2,
        len: len as u32,
        model_id: image.model_id().0,
        erases: 2,
        other_erases: 1,
        payload_crc: checksum(&payload),
    };
    [&record.emit()[..], &payload].concat()
}

fn fails(dir: &Path, args: &[&str], code: i32, says: &[&str]) {
    let (_, err) = run(dir, args, code);
    for word in says {
        assert!(err.contains(word), "{args:?}: {word:?} is not in: {err}");
    }
}

#[test]
fn a_dry_run_says_what_would_be_erased_and_written() {
    let work = workplace();
    let dir = work.path();
    let image = Int8Model::read(&dir.join("tiny.hex")).unwrap();
    let len = image.bytes().len();
    let args = [&["flash", "tiny.hex", "--dry-run"][..], &BOARD].concat();
    let said = json(dir, &args);
    assert_eq!(said["content"], "image");
    assert_eq!(
        (said["bytes"].as_u64(), &said["verified"]),
        (Some(len as u64), &Value::Bool(false))
    );
    let sectors = said["sectors"].as_array().unwrap();
    assert_eq!(sectors.len(), len.div_ceil(4096));
    assert_eq!(sectors[0]["address"], 0x28000);
    let (out, err) = run(dir, &args, 0);
    assert!(
        out.contains("model") && out.contains("0x00028000.."),
        "{out}"
    );
    assert!(
        out.contains("sectors of 4096 bytes") && err.is_empty(),
        "{out}{err}"
    );
    let (out, _) = run(dir, &[&args[..], &["--erase-tails"]].concat(), 0);
    assert!(
        out.contains("tails erased: 0x000e2000..0x00100000 (30 sectors"),
        "{out}"
    );
}

#[test]
fn wrong_calls_and_wrong_files_are_told_apart() {
    let work = workplace();
    let dir = work.path();
    let flash = |board| ["flash", "tiny.hex", "--board", board];
    fails(dir, &flash("qemu-mps2-an386"), 2, &["is emulated"]);
    fails(dir, &flash("nowhere"), 2, &["nrf52840-dk"]);
    let chip = [&flash("nrf52840-dk")[..], &["--chip-erase"]].concat();
    fails(dir, &chip, 2, &["--erase-tails", "tail read"]);
    std::fs::write(dir.join("raw.bin"), [7; 64]).unwrap();
    let raw = ["flash", "raw.bin", "--board", "nrf52840-dk"];
    fails(dir, &raw, 1, &["raw.bin", "give a firmware as ELF"]);
    let read = ["tail", "read", "-o", "t", "--board", "qemu-mps2-an386"];
    fails(dir, &read, 2, &["is emulated"]);
    assert!(!dir.join("t").exists());
    fails(
        dir,
        &["tail", "show", "raw.bin"],
        1,
        &["raw.bin", "not an exported tail"],
    );
    fails(
        dir,
        &["merge", "tiny.hex", "raw.bin", "-o", "n.bin"],
        1,
        &["raw.bin"],
    );
}

#[cfg(feature = "flash")]
#[test]
fn without_a_probe_the_next_step_is_named() {
    let work = workplace();
    let dir = work.path();
    // A selector that no probe answers to, so that the test does not flash what is plugged in here.
    let args = [
        &["flash", "tiny.hex", "--probe", "1d50:6018:127.0.0.1:1"][..],
        &BOARD,
    ]
    .concat();
    fails(
        dir,
        &args,
        1,
        &["1d50:6018:127.0.0.1:1 was not found", "--probe"],
    );
    let args = [&["flash", "tiny.hex", "--probe", "mine"][..], &BOARD].concat();
    fails(dir, &args, 2, &["\"mine\"", "VID:PID"]);
    let said = json(dir, &["probes"]);
    assert!(said["probes"].is_array());
}

#[test]
fn a_tail_is_shown_and_merged() {
    let work = workplace();
    let dir = work.path();
    std::fs::write(dir.join("t.tail"), export(dir, "tiny.hex")).unwrap();
    let said = json(dir, &["tail", "show", "t.tail"]);
    assert_eq!(
        (&said["method"], &said["added"][0]),
        (&"softmax".into(), &"mine".into())
    );
    assert_eq!(
        (said["classes"].as_u64(), said["model_classes"].as_u64()),
        (Some(4), Some(3))
    );
    let (out, _) = run(dir, &["tail", "show", "t.tail"], 0);
    assert!(out.contains("mine") && out.contains("softmax"), "{out}");

    for new in ["n.bin", "n.hex", "n.uf2", "n.elf"] {
        let said = json(dir, &["merge", "tiny.hex", "t.tail", "-o", new]);
        assert_eq!(said["labels"][3], "mine");
        assert_eq!(said["same_model"], false);
        // It goes where the old one went.
        let args = [&["flash", new, "--dry-run"][..], &BOARD].concat();
        assert_eq!(json(dir, &args)["pieces"][0]["address"], 0x28000);
    }
    let said = json(dir, &["inspect", "n.hex"]);
    assert_eq!(said["labels"][3], "mine");
    let origin = said["provenance"].as_str().unwrap();
    assert!(
        origin.contains("board=nrf52840-dk\n") && origin.contains("merged=tail 2 of"),
        "{origin}"
    );
    // The tail is none of the new image.
    fails(
        dir,
        &["merge", "n.bin", "t.tail", "-o", "m.bin"],
        1,
        &["t.tail", "belongs to the model"],
    );
    assert!(!dir.join("m.bin").exists());

    let args = [
        "merge",
        "tiny.hex",
        "t.tail",
        "-o",
        "head",
        "--format",
        "safetensors",
    ];
    let said = json(dir, &args);
    assert_eq!(said["tensors"][0]["name"], "head.weight");
    let bytes = std::fs::read(dir.join("head/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("head.weight").unwrap().shape(), [4, 16]);
    assert!(dir.join("head/config.json").exists());
}
