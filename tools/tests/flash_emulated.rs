//! `tailtune flash` and `tailtune tail` through the unmodified probe-rs into an emulated nRF52840, whose own
//! flash controller does what probe-rs's flash algorithm asks for.
//!
//! Needs the chip server of tools/vboard, which is a program of its own and takes minutes to build:
//!
//! ```text
//! VBOARD=tools/vboard/target/release/vboard cargo test -p tailtune-tools --test flash_emulated -- --ignored
//! ```
#![cfg(feature = "flash")]

#[allow(dead_code)]
mod common;
#[path = "common/served.rs"]
mod served;

use common::{TinyModel, json, run, write_tones};
use served::Served;
use std::path::Path;
use tailtune::store::Record;
use tailtune::store::export::parse;
use tailtune::store::record::checksum;
use tailtune::tune::tail::emit_head;
use tailtune::tune::{ClassName, FromScratch, HeadBuffers, LinearHead, Math, MethodId};
use tailtune_tools::int8::Int8Model;

/// Where the model goes, and both slots.
const MODEL: usize = 0x24000;
const SLOTS: [usize; 2] = [0xe2000, 0xf1000];
/// Main flash, and where UICR.APPROTECT lies behind it in the server's file.
const FLASH: usize = 0x10_0000;
const APPROTECT: usize = FLASH + 0x208;

fn chip(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("chip.bin")).unwrap()
}

fn workplace() -> (tempfile::TempDir, Vec<u8>) {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    TinyModel::new().write(&dir.join("model"));
    write_tones(&dir.join("clips"), &[("low tone", 200.0)], 4);
    let args = ["convert", "model", "--calibrate", "clips", "-o", "tiny.hex"];
    json(dir, &[&args[..], &["--board", "nrf52840-dk"]].concat());
    let image = Int8Model::read(&dir.join("tiny.hex")).unwrap();
    let bytes = image.bytes().to_vec();
    (work, bytes)
}

/// A tail of the model of these many classes, exported.
fn export(image: &[u8], classes: usize) -> Vec<u8> {
    let int8 = Int8Model::new(tailtune_tools::image_writer::AlignedBytes::new(image)).unwrap();
    let d_model = usize::from(int8.config().d_model);
    let (mut weights, mut bias) = (vec![0.25; classes * d_model], vec![0.0; classes]);
    let mut names = vec![ClassName::EMPTY; classes];
    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut names,
    };
    let scratch = FromScratch { d_model };
    let mut head = LinearHead::new(buffers, &scratch).unwrap();
    for class in 0..classes {
        head.add_class(&format!("class {class}")).unwrap();
    }
    let mut payload = vec![0; 40_000];
    let len = emit_head(&head, MethodId::Softmax, Math::Exact, &mut payload).unwrap();
    payload.truncate(len);
    let record = Record {
        sequence: 0,
        len: len as u32,
        model_id: int8.image().model_id().0,
        erases: 1,
        other_erases: 0,
        payload_crc: checksum(&payload),
    };
    [&record.emit()[..], &payload].concat()
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn an_image_and_tails_go_in_and_come_out() {
    let (work, image) = workplace();
    let dir = work.path();
    let served = Served::start(dir, "nrf52840", &[]);
    let said = json(dir, &served.args(&["flash", "tiny.hex"]));
    assert_eq!(said["verified"], true);
    let flashed = chip(dir);
    assert_eq!(flashed[MODEL..MODEL + image.len()], image);
    assert!(flashed[..MODEL].iter().all(|b| *b == 0xff));
    let end = (MODEL + image.len()).next_multiple_of(4096);
    assert!(flashed[end..].iter().all(|b| *b == 0xff));

    // Tails of one sector and of several, in turns.
    for (n, classes) in [3, 200, 5].into_iter().enumerate() {
        let bytes = export(&image, classes);
        std::fs::write(dir.join("in.tail"), &bytes).unwrap();
        let said = json(dir, &served.args(&["tail", "write", "in.tail"]));
        assert_eq!(
            (said["slot"].as_u64(), said["sequence"].as_u64()),
            (Some(n as u64 % 2), Some(n as u64))
        );
        let said = json(dir, &served.args(&["tail", "read", "-o", "out.tail"]));
        assert_eq!(said["recovery"], "newest");
        let out = std::fs::read(dir.join("out.tail")).unwrap();
        assert_eq!(parse(&out).unwrap().payload, parse(&bytes).unwrap().payload);
    }
    // The image is not touched by tails, nor tails by the image.
    let before = chip(dir);
    assert_eq!(before[MODEL..MODEL + image.len()], image);
    json(dir, &served.args(&["flash", "tiny.hex"]));
    assert!(chip(dir) == before);
    json(dir, &served.args(&["tail", "erase"]));
    let (_, err) = run(dir, &served.args(&["tail", "read", "-o", "no.tail"]), 1);
    assert!(err.contains("nothing was saved"), "{err}");
    assert!(!dir.join("no.tail").exists());
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn a_cut_anywhere_is_an_error_and_the_same_call_repairs_it() {
    let (work, image) = workplace();
    let dir = work.path();
    for cut in [0, 1, 3, 40, 1500] {
        let _ = std::fs::remove_file(dir.join("chip.bin"));
        {
            let cut = cut.to_string();
            let served = Served::start(dir, "nrf52840", &["--cut-after", &cut, "--torn", "7"]);
            let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
            assert!(err.contains("run the same command again"), "{err}");
        }
        let served = Served::start(dir, "nrf52840", &[]);
        json(dir, &served.args(&["flash", "tiny.hex"]));
        drop(served);
        assert_eq!(chip(dir)[MODEL..MODEL + image.len()], image, "{cut}");
    }
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn a_cut_while_a_tail_is_written_loses_none() {
    let (work, image) = workplace();
    let dir = work.path();
    let (old, new) = (export(&image, 3), export(&image, 200));
    std::fs::write(dir.join("old.tail"), &old).unwrap();
    std::fs::write(dir.join("new.tail"), &new).unwrap();
    {
        let served = Served::start(dir, "nrf52840", &[]);
        json(dir, &served.args(&["flash", "tiny.hex"]));
        json(dir, &served.args(&["tail", "write", "old.tail"]));
    }
    let before = chip(dir);
    for cut in [0, 1, 2, 3, 5, 900, 2500] {
        std::fs::write(dir.join("chip.bin"), &before).unwrap();
        {
            let cut = cut.to_string();
            let served = Served::start(dir, "nrf52840", &["--cut-after", &cut, "--torn", "3"]);
            let (_, err) = run(dir, &served.args(&["tail", "write", "new.tail"]), 1);
            assert!(err.contains("run the same command again"), "{err}");
        }
        let served = Served::start(dir, "nrf52840", &[]);
        json(dir, &served.args(&["tail", "read", "-o", "out.tail"]));
        let out = std::fs::read(dir.join("out.tail")).unwrap();
        assert_eq!(
            parse(&out).unwrap().payload,
            parse(&old).unwrap().payload,
            "{cut}"
        );
        json(dir, &served.args(&["tail", "write", "new.tail"]));
        json(dir, &served.args(&["tail", "read", "-o", "out.tail"]));
        let out = std::fs::read(dir.join("out.tail")).unwrap();
        assert_eq!(
            parse(&out).unwrap().payload,
            parse(&new).unwrap().payload,
            "{cut}"
        );
    }
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn other_chips_protected_ones_and_broken_flash_are_named() {
    let (work, image) = workplace();
    let dir = work.path();
    for other in ["stm32f411", "nrf51822"] {
        let _ = std::fs::remove_file(dir.join("chip.bin"));
        let served = Served::start(dir, other, &[]);
        let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
        assert!(
            err.contains("board nrf52840-dk has nRF52840_xxAA"),
            "{other}: {err}"
        );
        drop(served);
        assert!(chip(dir).iter().all(|b| *b == 0xff), "{other}");
    }
    let _ = std::fs::remove_file(dir.join("chip.bin"));
    {
        let served = Served::start(dir, "nrf52840", &["--stuck", "0x24100"]);
        let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
        assert!(err.contains("was read back at 0x241"), "{err}");
        assert!(err.contains("worn out"), "{err}");
    }
    let mut protected = chip(dir);
    protected[APPROTECT] = 0;
    protected[SLOTS[0]] = 0x55;
    std::fs::write(dir.join("chip.bin"), &protected).unwrap();
    let served = Served::start(dir, "nrf52840", &[]);
    let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
    assert!(
        err.contains("is protected") && err.contains("--chip-erase --erase-tails"),
        "{err}"
    );
    assert!(chip(dir) == protected, "nothing is erased unasked");
    let args = ["flash", "tiny.hex", "--chip-erase", "--erase-tails"];
    json(dir, &served.args(&args));
    let after = chip(dir);
    assert_eq!(after[MODEL..MODEL + image.len()], image);
    assert!(SLOTS.iter().all(|slot| after[*slot] == 0xff));
}
