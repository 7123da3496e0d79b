//! A board's own firmware, as built for silicon, on the emulated chip: flashed from its ELF by
//! probe-rs, started through its HAL, its clock, its LED and its log at work.

mod common;
#[allow(dead_code)]
#[path = "../../src/toolchain.rs"]
mod toolchain;

use std::path::{Path, PathBuf};

use common::{machine, serve_chip};
use probe_rs::flashing::DownloadOptions;
use toolchain::Toolchain;
use vboard::chip::Pin;
use vboard::machine::{Options, Stop};
use vboard::{flash::Faults, rtt};

/// Builds a board's firmware as `cargo verify` does and returns its ELF.
fn build(board: &str, target: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = root.join("boards").join(board);
    let status = Toolchain::find(target)
        .unwrap_or_else(|e| panic!("{e}"))
        .cargo(&dir)
        .args(["build", "--release"])
        .status()
        .expect("cargo");
    assert!(status.success(), "{board} does not build");
    root.join("target/boards")
        .join(target)
        .join("release")
        .join(board)
}

/// What an ELF puts into flash: load address and bytes of each segment.
fn segments(elf: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let headers = word(28)? as usize;
    let count = usize::from(u16::from_le_bytes(elf.get(44..46)?.try_into().ok()?));
    let mut found = Vec::new();
    for at in (0..count).map(|i| headers + 32 * i) {
        let (offset, len) = (word(at + 4)? as usize, word(at + 16)? as usize);
        // PT_LOAD.
        if word(at)? == 1 && len > 0 {
            found.push((word(at + 12)?, elf.get(offset..offset + len)?.to_vec()));
        }
    }
    Some(found)
}

#[test]
fn the_nrf52840_dk_firmware_boots_logs_and_blinks() {
    let elf = build("nrf52840-dk", "thumbv7em-none-eabihf");
    let served = serve_chip("nrf52840", Options::default(), None);
    let mut session = served.attach("nRF52840_xxAA");
    let mut loader = session.target().flash_loader();
    let segments = segments(&std::fs::read(&elf).expect("the ELF")).expect("an ELF of 32 bits");
    assert_eq!(segments[0].0, 0, "the vectors");
    for (addr, bytes) in &segments {
        loader.add_data(u64::from(*addr), bytes).expect("it fits");
    }
    let mut options = DownloadOptions::new();
    options.verify = true;
    loader
        .commit(&mut session, options)
        .expect("flashed and verified");
    drop(session);
    let image = served.end().image;

    let mut m = machine("nrf52840", &Options::default());
    m.board_mut().flash.keep_ops();
    m.board_mut().flash.load(&image).expect("its length");
    m.power_cycle(Faults::default());
    // Three seconds, by the chip's own 32 kHz clock.
    let (mut log, mut block) = (Vec::new(), None);
    let mut levels = Vec::new();
    for _ in 0..300 {
        assert_eq!(m.run(640_000), Stop::Budget);
        log.extend(rtt::take(m.board_mut(), &mut block));
        levels.push(m.board().chip.pin(0, 13).expect("the LED"));
    }
    assert_eq!(m.take_faults(), []);
    // The HAL programs the reset pin into UICR at the first boot, and resets.
    let ops = m.board_mut().flash.take_ops();
    assert_eq!(ops.len(), 2, "{ops:?}");
    assert_eq!(m.resets(), 1);
    // One defmt frame: no job in flash.
    assert!(!log.is_empty(), "nothing in RTT");
    let on = levels.iter().filter(|l| {
        **l == Pin {
            output: true,
            high: false,
        }
    });
    let on = on.count();
    assert!(
        (27..=33).contains(&on),
        "on for 100 ms of each second: {on} of 300"
    );
    // Time passed in sleep, not in a loop.
    let b = m.board();
    assert!(
        b.instructions * 100 < b.now,
        "{} of {}",
        b.instructions,
        b.now
    );
}
