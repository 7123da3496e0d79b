//! The boards whose chips are emulated: their firmware as built for silicon, their regions by their
//! board.toml, their log by defmt.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use defmt_decoder::{DecodeError, StreamDecoder, Table};
use tailtune_board::Board;
use vboard::chip::Pin;
use vboard::flash::Faults;
use vboard::machine::{Machine, Options, Stop};
use vboard::rtt;

use crate::common::machine;
use crate::toolchain::Toolchain;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A board's firmware, what its board.toml says, and the strings of its log.
pub struct Firmware {
    pub board: Board,
    /// The chip's name here.
    pub chip: &'static str,
    /// The button, which is low while it is held.
    pub button: (u8, u8),
    pub led: (u8, u8),
    /// The ELF.
    pub path: PathBuf,
    pub segments: Vec<(u32, Vec<u8>)>,
    table: Table,
}

impl Firmware {
    pub fn nrf52840_dk() -> &'static Self {
        static FIRMWARE: OnceLock<Firmware> = OnceLock::new();
        FIRMWARE.get_or_init(|| Self::build("nrf52840-dk", "nrf52840", (0, 11), (0, 13)))
    }

    pub fn stm32f411_nucleo() -> &'static Self {
        static FIRMWARE: OnceLock<Firmware> = OnceLock::new();
        FIRMWARE.get_or_init(|| Self::build("stm32f411-nucleo", "stm32f411", (2, 13), (0, 5)))
    }

    pub fn microbit_v1() -> &'static Self {
        static FIRMWARE: OnceLock<Firmware> = OnceLock::new();
        FIRMWARE.get_or_init(|| Self::build("microbit-v1", "nrf51822", (0, 17), (0, 13)))
    }

    /// All of them.
    pub fn all() -> [&'static Self; 3] {
        [
            Self::nrf52840_dk(),
            Self::stm32f411_nucleo(),
            Self::microbit_v1(),
        ]
    }

    /// Builds the firmware as `cargo verify` does. The path of the result comes from the repository's own
    /// target directory, which every board shares.
    fn build(name: &str, chip: &'static str, button: (u8, u8), led: (u8, u8)) -> Self {
        let dir = root().join("boards").join(name);
        let toml = dir.join("board.toml");
        let text = std::fs::read_to_string(&toml).expect("board.toml");
        let board =
            Board::parse(&toml.display().to_string(), &text).unwrap_or_else(|e| panic!("{e}"));
        let status = Toolchain::find(&board.target)
            .unwrap_or_else(|e| panic!("{e}"))
            .cargo(&dir)
            .args(["build", "--release"])
            .status()
            .expect("cargo");
        assert!(status.success(), "{name} does not build");
        let release = root().join("target/boards").join(&board.target);
        let path = release.join("release").join(name);
        let elf = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let table = Table::parse(&elf).expect("defmt's symbols");
        Self {
            board,
            chip,
            button,
            led,
            path,
            segments: segments(&elf).expect("an ELF of 32 bits"),
            table: table.expect("a log by defmt"),
        }
    }

    /// The tail slots, from the first byte of the first to the last of the second.
    pub fn tails(&self) -> std::ops::Range<u32> {
        let [a, b] = &self.board.regions.tails;
        assert_eq!(a.range().end, b.address, "one slot after the other");
        a.address..b.range().end
    }

    /// Where jobs go.
    pub fn job(&self) -> u32 {
        self.board
            .regions
            .job
            .as_ref()
            .expect("a job region")
            .address
    }

    /// Reads a log from its beginning.
    pub fn log(&'static self) -> Log {
        Log(self.table.new_stream_decoder())
    }
}

/// A log as its bytes come.
pub struct Log(Box<dyn StreamDecoder + 'static>);

impl Log {
    /// The lines that end in these bytes.
    pub fn lines(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.received(bytes);
        let mut lines = Vec::new();
        loop {
            match self.0.decode() {
                Ok(frame) => lines.push(frame.display_message().to_string()),
                Err(DecodeError::UnexpectedEof) => return lines,
                // A frame that a reset cut off.
                Err(DecodeError::Malformed) => {}
            }
        }
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
pub struct Device {
    pub m: Machine,
    firmware: &'static Firmware,
    log: Log,
    block: Option<u32>,
}

impl Device {
    /// A board whose flash holds the firmware and nothing else.
    pub fn new(firmware: &'static Firmware) -> Self {
        let mut m = machine(firmware.chip, &Options::default());
        m.board_mut().flash.keep_ops();
        let device = Self {
            m,
            firmware,
            log: firmware.log(),
            block: None,
        };
        for (addr, bytes) in &firmware.segments {
            device.put(*addr, bytes);
        }
        device
    }

    /// Puts bytes into flash, past the controller: they count from the next boot.
    pub fn put(&self, addr: u32, bytes: &[u8]) {
        let (region, at) = self.m.board().map.find(addr, bytes.len()).expect("flash");
        assert!(region.mem.write(at, bytes));
    }

    /// Puts an image into its region.
    pub fn put_model(&self, image: &[u8]) {
        self.put(self.firmware.board.regions.model.address, image);
    }

    /// Puts a job into its region.
    pub fn put_job(&self, job: &[u8]) {
        self.put(self.firmware.job(), job);
    }

    /// Both tail slots.
    pub fn tails(&self) -> Vec<u8> {
        let range = self.firmware.tails();
        let mut bytes = vec![0; range.len()];
        assert!(self.m.board().map.read(range.start, &mut bytes));
        bytes
    }

    /// Powers the board on, with its button held or not.
    pub fn power_on(&mut self, button: bool) {
        let (port, pin) = self.firmware.button;
        let level = button.then_some(false);
        self.m.board_mut().chip.drive(port, pin, level);
        self.m.power_cycle(Faults::default());
        self.log = self.firmware.log();
        self.block = None;
    }

    /// The LED's pin.
    pub fn led(&self) -> Pin {
        let (port, pin) = self.firmware.led;
        self.m.board().chip.pin(port, pin).expect("the LED")
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
            let bytes = rtt::take(self.m.board_mut(), &mut self.block);
            lines.extend(self.log.lines(&bytes));
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

/// The logits in a log, in order: of each sample those of the whole forward, then those of the one in steps.
pub fn logits(log: &[String]) -> Vec<Vec<i16>> {
    let lines = log.iter().filter_map(|line| line.strip_prefix("logits ["));
    let numbers = lines.map(|line| {
        let numbers = line.trim_end_matches(']').split(", ");
        numbers
            .map(|n| n.parse().unwrap_or_else(|e| panic!("{n}: {e} in {line}")))
            .collect()
    });
    numbers.collect()
}
