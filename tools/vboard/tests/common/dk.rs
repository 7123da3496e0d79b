//! The nRF52840 DK: its firmware as built for silicon, its regions by its board.toml, its log by defmt.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use defmt_decoder::{DecodeError, StreamDecoder, Table};
use tailtune_board::Board;
use vboard::flash::Faults;
use vboard::machine::{Machine, Options, Stop};
use vboard::rtt;

use crate::common::machine;
use crate::toolchain::Toolchain;

pub const TARGET: &str = "thumbv7em-none-eabihf";

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What board.toml says.
pub fn board() -> &'static Board {
    static BOARD: OnceLock<Board> = OnceLock::new();
    BOARD.get_or_init(|| {
        let path = root().join("boards/nrf52840-dk/board.toml");
        let text = std::fs::read_to_string(&path).expect("board.toml");
        Board::parse("boards/nrf52840-dk/board.toml", &text).unwrap_or_else(|e| panic!("{e}"))
    })
}

/// Builds the firmware in `dir` as `cargo verify` does and returns the bytes of its ELF. The path of
/// the result comes from the repository's own target directory, which every board shares.
pub fn build(dir: &Path, name: &str) -> Vec<u8> {
    let status = Toolchain::find(TARGET)
        .unwrap_or_else(|e| panic!("{e}"))
        .cargo(dir)
        .args(["build", "--release"])
        .status()
        .expect("cargo");
    assert!(status.success(), "{name} does not build");
    let elf = root()
        .join("target/boards")
        .join(TARGET)
        .join("release")
        .join(name);
    std::fs::read(&elf).unwrap_or_else(|e| panic!("{}: {e}", elf.display()))
}

/// A firmware and the strings of its log.
pub struct Firmware {
    pub segments: Vec<(u32, Vec<u8>)>,
    table: Table,
}

impl Firmware {
    pub fn new(elf: &[u8]) -> Self {
        let table = Table::parse(elf).expect("defmt's symbols");
        Self {
            segments: segments(elf).expect("an ELF of 32 bits"),
            table: table.expect("a log by defmt"),
        }
    }

    /// The board's own.
    pub fn own() -> &'static Self {
        static FIRMWARE: OnceLock<Firmware> = OnceLock::new();
        FIRMWARE
            .get_or_init(|| Self::new(&build(&root().join("boards/nrf52840-dk"), "nrf52840-dk")))
    }
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

/// A board with its firmware, and a debugger that takes its log.
pub struct Dk {
    pub m: Machine,
    firmware: &'static Firmware,
    decoder: Box<dyn StreamDecoder + 'static>,
    block: Option<u32>,
}

impl Dk {
    /// A board whose flash holds the firmware and nothing else.
    pub fn new(firmware: &'static Firmware) -> Self {
        let mut m = machine("nrf52840", &Options::default());
        m.board_mut().flash.keep_ops();
        let dk = Self {
            m,
            firmware,
            decoder: firmware.table.new_stream_decoder(),
            block: None,
        };
        for (addr, bytes) in &firmware.segments {
            dk.put(*addr, bytes);
        }
        dk
    }

    /// Puts bytes into flash, past the controller: they count from the next boot.
    pub fn put(&self, addr: u32, bytes: &[u8]) {
        let (region, at) = self.m.board().map.find(addr, bytes.len()).expect("flash");
        assert!(region.mem.write(at, bytes));
    }

    /// Puts a job into its region.
    pub fn put_job(&self, job: &[u8]) {
        self.put(
            board().regions.job.as_ref().expect("a job region").address,
            job,
        );
    }

    /// Both tail slots, from the first byte of the first to the last of the second.
    pub fn tails(&self) -> Vec<u8> {
        let range = tails();
        let mut bytes = vec![0; range.len()];
        assert!(self.m.board().map.read(range.start, &mut bytes));
        bytes
    }

    /// Powers the board on, with button 1 held or not.
    pub fn power_on(&mut self, button: bool) {
        self.m
            .board_mut()
            .chip
            .drive(0, 11, button.then_some(false));
        self.m.power_cycle(Faults::default());
        self.decoder = self.firmware.table.new_stream_decoder();
        self.block = None;
    }

    /// Runs until the log has a line that contains `wanted`, and returns the log up to it.
    pub fn run_until(&mut self, wanted: &str) -> Vec<String> {
        const SLICE: u64 = 500_000;
        // An erase of a sector alone takes 15 million.
        const PATIENCE: u64 = 60_000_000_000;
        let mut lines: Vec<String> = Vec::new();
        loop {
            let stop = self.m.run(SLICE);
            let seen = lines.len();
            self.decoder
                .received(&rtt::take(self.m.board_mut(), &mut self.block));
            loop {
                match self.decoder.decode() {
                    Ok(frame) => lines.push(frame.display_message().to_string()),
                    Err(DecodeError::UnexpectedEof) => break,
                    // A frame that a reset cut off.
                    Err(DecodeError::Malformed) => {}
                }
            }
            let faults = self.m.take_faults();
            assert!(faults.is_empty(), "{faults:x?} after {lines:#?}");
            if lines[seen..].iter().any(|line| line.contains(wanted)) {
                return lines;
            }
            let gone_on = stop == Stop::Budget && self.m.board().now < PATIENCE;
            assert!(gone_on, "{stop:?} without {wanted:?} after {lines:#?}");
        }
    }
}

/// The tail slots.
pub fn tails() -> std::ops::Range<u32> {
    let [a, b] = &board().regions.tails;
    assert_eq!(a.range().end, b.address, "one slot after the other");
    a.address..b.range().end
}

/// What the firmware says of a job that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub test: u32,
    pub before: u32,
    pub after: u32,
    pub steps: u32,
    pub tail_len: usize,
    pub slot: usize,
    pub sequence: u32,
}

/// The numbers of the outcome's line, the last one in a log.
pub fn outcome(log: &[String]) -> Outcome {
    let line = log
        .iter()
        .rfind(|line| line.contains("test samples"))
        .unwrap_or_else(|| panic!("no outcome in {log:#?}"));
    let numbers: Vec<u32> = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    let [test, before, after, steps, tail_len, slot, sequence] = numbers[..] else {
        panic!("an outcome of 7 numbers: {line:?}");
    };
    Outcome {
        test,
        before,
        after,
        steps,
        tail_len: tail_len as usize,
        slot: slot as usize,
        sequence,
    }
}
