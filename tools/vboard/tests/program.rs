//! The program itself: its port, its flash file across restarts, its log, its exit status.

mod common;

#[path = "common/process.rs"]
mod process;

use std::process::Stdio;

use common::{TARGETS, attach, firmware, flash, fresh, machine};
use process::{Server, vboard};
use vboard::machine::Options;
use vboard::oplog;

#[test]
fn flash_outlives_the_process_and_the_log_tells_it_all() {
    for t in &TARGETS {
        let dir = fresh(&format!("outlives-{}", t.chip));
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let (image, log) = (path("flash.bin"), path("ops.log"));
        let until = format!("{:#x}=0x600dc0de", t.ram_end - 4);
        let marker = (t.ram_end - 4, 0x600d_c0de);
        let mut bytes = firmware(t.flash, t.ram_end - 16, &[marker]);
        bytes.extend((0..6000u32).map(|i| i as u8));
        let boot = |image: &str| {
            vboard(&[
                "--chip",
                t.chip,
                "--flash",
                image,
                "--run-for",
                "10000",
                "--until",
                &until,
            ])
            .stderr(Stdio::null())
            .status()
            .expect("the program")
            .code()
        };
        assert_eq!(boot(&image), Some(1), "{}: an erased chip", t.chip);

        let server = Server::start(&["--chip", t.chip, "--flash", &image, "--log", &log]);
        let mut session = attach(server.port, t.probe_rs);
        flash(&mut session, t.flash, &bytes).unwrap_or_else(|e| panic!("{}: {e:?}", t.chip));
        drop(session);
        // No farewell: the process is killed.
        drop(server);
        assert_eq!(boot(&image), Some(0), "{}", t.chip);

        // The log, applied to an erased chip, gives the file.
        let ops =
            oplog::parse(&std::fs::read_to_string(&log).expect("the log")).expect("operations");
        let held = std::fs::read(&image).expect("the flash file");
        let mut m = machine(t.chip, &Options::default());
        for op in &ops {
            m.board_mut().flash.apply(op, None);
        }
        assert!(
            m.board().flash.image() == held,
            "{}: the log is whole",
            t.chip
        );

        // A cut at an operation gives what its prefix gives, torn or not.
        let after = ops.len() * 2 / 3;
        for torn in [None, Some(7u64)] {
            let image = path("cut.bin");
            let _ = std::fs::remove_file(&image);
            let (n, seed) = (after.to_string(), torn.map(|s| s.to_string()));
            let mut args = vec!["--chip", t.chip, "--flash", &image, "--cut-after", &n];
            if let Some(seed) = &seed {
                args.extend(["--torn", seed]);
            }
            let mut server = Server::start(&args);
            let mut session = attach(server.port, t.probe_rs);
            assert!(flash(&mut session, t.flash, &bytes).is_err(), "{}", t.chip);
            drop(session);
            let status = server.child.wait().expect("it ends with its client");
            assert_eq!(status.code(), Some(3), "{}: the power is gone", t.chip);
            let held = std::fs::read(&image).expect("the flash file");
            let mut m = machine(t.chip, &Options::default());
            for op in &ops[..after] {
                m.board_mut().flash.apply(op, None);
            }
            let clean = m.board().flash.image() == held;
            if torn.is_some() {
                assert!(!clean, "{}: the torn word shows", t.chip);
                m.board_mut().flash.apply(&ops[after], torn);
            }
            assert!(m.board().flash.image() == held, "{}: {torn:?}", t.chip);
        }
    }
}

#[test]
fn serial_output_reaches_its_file_and_ends_the_run() {
    let dir = fresh("serial");
    let image = dir.join("flash.bin");
    let mut bytes = include_bytes!("programs/nvmc.bin").to_vec();
    bytes.resize(256 * 1024 + 1024, 0xff);
    std::fs::write(&image, bytes).expect("a file");
    let uart = dir.join("uart.txt");
    let status = vboard(&["--chip", "nrf51822", "--run-for", "10000000"])
        .arg("--flash")
        .arg(&image)
        .arg("--uart")
        .arg(&uart)
        .args(["--until-uart", "600dcafe\n"])
        .status()
        .expect("the program");
    assert_eq!(status.code(), Some(0));
    let text = std::fs::read_to_string(uart).expect("its output");
    assert!(text.starts_with("ffffffff\nff00ff3c\n"), "{text}");
}

#[test]
fn a_power_cut_ends_a_run() {
    let dir = fresh("cut");
    let image = dir.join("flash.bin");
    let mut bytes = include_bytes!("programs/nvmc.bin").to_vec();
    bytes.resize(256 * 1024 + 1024, 0xff);
    std::fs::write(&image, bytes).expect("a file");
    let status = vboard(&[
        "--chip",
        "nrf51822",
        "--run-for",
        "10000000",
        "--cut-after",
        "2",
    ])
    .arg("--flash")
    .arg(&image)
    .status()
    .expect("the program");
    assert_eq!(status.code(), Some(3));
    let held = std::fs::read(&image).expect("the file");
    assert_eq!(held[0x8000..0x8004], 0x0f00_ff30u32.to_le_bytes());
    assert_eq!(held[0x8400..0x8404], [0xff; 4], "the third operation");
}

#[test]
fn a_flash_file_of_another_chip_is_refused_by_name() {
    let dir = fresh("other");
    let image = dir.join("small.bin");
    std::fs::write(&image, [0xff; 100]).expect("a file");
    let out = vboard(&["--chip", "nrf52840", "--run-for", "1", "--flash"])
        .arg(&image)
        .output()
        .expect("the program");
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        text.contains("small.bin") && text.contains("100 bytes") && text.contains("1052672"),
        "{text}"
    );
}

#[test]
fn an_external_flash_is_for_chips_that_have_one() {
    let dir = fresh("external");
    let file = dir.join("external.bin");
    let run = |chip: &str| {
        vboard(&["--chip", chip, "--run-for", "1", "--external"])
            .arg(&file)
            .output()
            .expect("the program")
    };
    let out = run("stm32f411");
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(text.contains("no external flash"), "{text}");
    assert!(!file.exists());
    // Erased, it locks up at once; the file is there.
    assert_eq!(run("nrf52840").status.code(), Some(1));
    let held = std::fs::read(&file).expect("the file");
    assert!(held.len() == 0x80_0004 && held.iter().all(|b| *b == 0xff));
}
