//! `tailtune flash` and `tailtune tail` through the unmodified probe-rs into an emulated nRF52840, STM32F411
//! and nRF51822, whose own flash controllers do what probe-rs's flash algorithms ask for.
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
use std::ops::Range;
use std::path::Path;
use tailtune::store::Record;
use tailtune::store::export::parse;
use tailtune::store::record::checksum;
use tailtune::tune::tail::emit_head;
use tailtune::tune::{ClassName, FromScratch, HeadBuffers, LinearHead, Math, MethodId};
use tailtune_tools::board::{self, Board, Region};
use tailtune_tools::int8::Int8Model;

/// Where UICR.APPROTECT of an nRF52840 lies in the server's file: behind main flash.
const APPROTECT: usize = 0x10_0208;

/// A board, its chip, and how many classes a tail may have that takes most of a slot.
struct Kind {
    board: Board,
    chip: &'static str,
    classes: usize,
}

fn kinds() -> [Kind; 3] {
    let kind = |name, chip, classes| Kind {
        board: board::find(name).unwrap(),
        chip,
        classes,
    };
    [
        kind("nrf52840-dk", "nrf52840", 200),
        kind("stm32f411-nucleo", "stm32f411", 150),
        kind("microbit-v1", "nrf51822", 35),
    ]
}

impl Kind {
    /// Where a region lies in the server's file.
    fn span(&self, region: &Region) -> Range<usize> {
        let range = region.range();
        let start = (range.start - self.board.flash[0].address) as usize;
        start..start + range.len()
    }

    /// Where the image lies in it.
    fn model(&self, image: &[u8]) -> Range<usize> {
        let start = self.span(&self.board.regions.model).start;
        start..start + image.len()
    }
}

fn chip(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("chip.bin")).unwrap()
}

/// A folder with a model's image for this board.
fn workplace(kind: &Kind) -> (tempfile::TempDir, Vec<u8>) {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    TinyModel::new().write(&dir.join("model"));
    write_tones(&dir.join("clips"), &[("low tone", 200.0)], 4);
    let args = ["convert", "model", "--calibrate", "clips", "-o", "tiny.hex"];
    json(dir, &[&args[..], &["--board", &kind.board.name]].concat());
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
    for kind in kinds() {
        in_and_out(&kind);
    }
}

fn in_and_out(kind: &Kind) {
    let name = &kind.board.name;
    let (work, image) = workplace(kind);
    let dir = work.path();
    let served = Served::start(dir, &kind.board.name, kind.chip, &[]);
    let said = json(dir, &served.args(&["flash", "tiny.hex"]));
    assert_eq!(said["verified"], true, "{name}");
    let flashed = chip(dir);
    let model = kind.model(&image);
    assert_eq!(flashed[model.clone()], image, "{name}");
    assert!(flashed[..model.start].iter().all(|b| *b == 0xff), "{name}");
    let end = model.end.next_multiple_of(4096);
    assert!(flashed[end..].iter().all(|b| *b == 0xff), "{name}");

    // Tails of one sector and of several, in turns.
    for (n, classes) in [3, kind.classes, 5].into_iter().enumerate() {
        let bytes = export(&image, classes);
        std::fs::write(dir.join("in.tail"), &bytes).unwrap();
        let said = json(dir, &served.args(&["tail", "write", "in.tail"]));
        assert_eq!(
            (said["slot"].as_u64(), said["sequence"].as_u64()),
            (Some(n as u64 % 2), Some(n as u64)),
            "{name}"
        );
        let said = json(dir, &served.args(&["tail", "read", "-o", "out.tail"]));
        assert_eq!(said["recovery"], "newest", "{name}");
        assert_eq!(read_out(dir), payload(&bytes), "{name}");
    }
    // The image is not touched by tails, nor tails by the image.
    let before = chip(dir);
    assert_eq!(before[model], image, "{name}");
    json(dir, &served.args(&["flash", "tiny.hex"]));
    assert!(chip(dir) == before, "{name}");
    json(dir, &served.args(&["tail", "erase"]));
    let (_, err) = run(dir, &served.args(&["tail", "read", "-o", "no.tail"]), 1);
    assert!(err.contains("nothing was saved"), "{name}: {err}");
    assert!(!dir.join("no.tail").exists(), "{name}");
}

fn payload(export: &[u8]) -> Vec<u8> {
    parse(export).unwrap().payload.to_vec()
}

fn read_out(dir: &Path) -> Vec<u8> {
    payload(&std::fs::read(dir.join("out.tail")).unwrap())
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn a_cut_anywhere_is_an_error_and_the_same_call_repairs_it() {
    for kind in kinds() {
        let (work, image) = workplace(&kind);
        let dir = work.path();
        for cut in [0, 1, 3, 40, 1500] {
            let _ = std::fs::remove_file(dir.join("chip.bin"));
            {
                let cut = cut.to_string();
                let served = Served::start(
                    dir,
                    &kind.board.name,
                    kind.chip,
                    &["--cut-after", &cut, "--torn", "7"],
                );
                let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
                assert!(
                    err.contains("run the same command again"),
                    "{}: {err}",
                    kind.chip
                );
            }
            assert!(
                chip(dir)[kind.model(&image)] != image,
                "{}: {cut}",
                kind.chip
            );
            let served = Served::start(dir, &kind.board.name, kind.chip, &[]);
            json(dir, &served.args(&["flash", "tiny.hex"]));
            drop(served);
            assert_eq!(chip(dir)[kind.model(&image)], image, "{}: {cut}", kind.chip);
        }
    }
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn a_cut_while_a_tail_is_written_loses_none() {
    for kind in kinds() {
        let (work, image) = workplace(&kind);
        let dir = work.path();
        let (old, new) = (export(&image, 3), export(&image, kind.classes));
        std::fs::write(dir.join("old.tail"), &old).unwrap();
        std::fs::write(dir.join("new.tail"), &new).unwrap();
        {
            let served = Served::start(dir, &kind.board.name, kind.chip, &[]);
            json(dir, &served.args(&["flash", "tiny.hex"]));
            json(dir, &served.args(&["tail", "write", "old.tail"]));
        }
        let before = chip(dir);
        // Of all words the last but a few.
        let late = new.len() as u32 / 4 - 40;
        for cut in [0, 1, 2, 3, 5, late / 2, late] {
            let at = format!("{}: {cut}", kind.chip);
            std::fs::write(dir.join("chip.bin"), &before).unwrap();
            {
                let cut = cut.to_string();
                let served = Served::start(
                    dir,
                    &kind.board.name,
                    kind.chip,
                    &["--cut-after", &cut, "--torn", "3"],
                );
                let (_, err) = run(dir, &served.args(&["tail", "write", "new.tail"]), 1);
                assert!(err.contains("run the same command again"), "{at}: {err}");
            }
            let served = Served::start(dir, &kind.board.name, kind.chip, &[]);
            json(dir, &served.args(&["tail", "read", "-o", "out.tail"]));
            assert_eq!(read_out(dir), payload(&old), "{at}");
            json(dir, &served.args(&["tail", "write", "new.tail"]));
            json(dir, &served.args(&["tail", "read", "-o", "out.tail"]));
            assert_eq!(read_out(dir), payload(&new), "{at}");
        }
    }
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn another_chip_than_the_boards_is_named_and_left_alone() {
    let kinds = kinds();
    for (i, kind) in kinds.iter().enumerate() {
        let other = &kinds[(i + 1) % kinds.len()];
        let (work, _) = workplace(kind);
        let dir = work.path();
        let mut served = Served::start(dir, &other.board.name, other.chip, &[]);
        served.board = kind.board.name.clone();
        let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
        let expected = format!("board {} has {}", kind.board.name, kind.board.chip);
        assert!(err.contains(&expected), "{}: {err}", other.chip);
        drop(served);
        assert!(chip(dir).iter().all(|b| *b == 0xff), "{}", other.chip);
    }
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn broken_flash_is_named() {
    for kind in kinds() {
        let (work, image) = workplace(&kind);
        let dir = work.path();
        let stuck = format!("{:#x}", kind.board.regions.model.address + 0x100);
        {
            let served = Served::start(dir, &kind.board.name, kind.chip, &["--stuck", &stuck]);
            let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
            // One of the word's bytes.
            let place = format!("was read back at {}", &stuck[..stuck.len() - 1]);
            assert!(err.contains(&place), "{}: {err}", kind.chip);
            assert!(err.contains("worn out"), "{}: {err}", kind.chip);
        }
        std::fs::remove_file(dir.join("chip.bin")).unwrap();
        {
            let served = Served::start(dir, &kind.board.name, kind.chip, &["--no-write-enable"]);
            let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
            assert!(!err.is_empty(), "{}", kind.chip);
            println!("{}: {err}", kind.chip);
        }
        let after = chip(dir);
        assert!(after[kind.model(&image)].iter().all(|b| *b == 0xff));
    }
}

#[test]
#[ignore = "needs the chip server: VBOARD=PATH, see the top of the file"]
fn a_protected_chip_opens_when_asked_to_erase_all() {
    let [kind, ..] = kinds();
    let (work, image) = workplace(&kind);
    let dir = work.path();
    drop(Served::start(dir, &kind.board.name, kind.chip, &[]));
    let slots = kind.board.regions.tails.each_ref();
    let slots = slots.map(|slot| kind.span(slot).start);
    let mut protected = chip(dir);
    protected[APPROTECT] = 0;
    protected[slots[0]] = 0x55;
    std::fs::write(dir.join("chip.bin"), &protected).unwrap();
    let served = Served::start(dir, &kind.board.name, kind.chip, &[]);
    let (_, err) = run(dir, &served.args(&["flash", "tiny.hex"]), 1);
    assert!(
        err.contains("is protected") && err.contains("--chip-erase --erase-tails"),
        "{err}"
    );
    assert!(chip(dir) == protected, "nothing is erased unasked");
    let args = ["flash", "tiny.hex", "--chip-erase", "--erase-tails"];
    json(dir, &served.args(&args));
    let after = chip(dir);
    assert_eq!(after[kind.model(&image)], image);
    assert!(slots.iter().all(|slot| after[*slot] == 0xff));
}
