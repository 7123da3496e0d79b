//! A chip behind a probe in a thread of the test, and a small firmware for it.

#![allow(dead_code)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use probe_rs::flashing::{DownloadOptions, FlashError};
use probe_rs::probe::list::Lister;
use probe_rs::probe::{DebugProbeSelector, Probe, WireProtocol};
use probe_rs::{Core, MemoryInterface, Permissions, Session};
use vboard::chip;
use vboard::flash::Faults;
use vboard::machine::{Machine, Options};
use vboard::server::serve;

/// What a chip holds when its server ends.
pub struct Left {
    pub image: Vec<u8>,
    pub powered: bool,
    pub operations: u64,
}

/// A served chip.
pub struct Served {
    pub port: u16,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Left>,
}

/// Serves a chip whose flash holds `image`, or is erased.
pub fn serve_chip(name: &'static str, options: Options, image: Option<Vec<u8>>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut m = machine(name, &options);
        if let Some(image) = image {
            m.board_mut()
                .flash
                .load(&image)
                .expect("an image of this chip");
            m.power_cycle(options.faults.clone());
        }
        serve(&mut m, &listener, |_| !seen.load(Ordering::Relaxed)).expect("the port works");
        Left {
            image: m.board().flash.image(),
            powered: m.board().flash.powered(),
            operations: m.board().flash.operations(),
        }
    });
    Served { port, stop, thread }
}

/// What names the probe on a port, for probe-rs and for `tailtune`.
pub fn selector(port: u16) -> String {
    format!("1d50:6018:127.0.0.1:{port}")
}

/// Opens the probe on a port.
pub fn open(port: u16) -> Probe {
    let selector: DebugProbeSelector = selector(port).parse().expect("a selector");
    Lister::new().open(selector).expect("the probe answers")
}

/// Attaches to the chip behind the probe on a port.
pub fn attach(port: u16, target: &str) -> Session {
    let mut probe = open(port);
    // This probe names no protocol of its own.
    probe.select_protocol(WireProtocol::Swd).expect("SWD");
    probe
        .attach(target, Permissions::default())
        .expect("the chip answers")
}

/// Flashes bytes with verification.
pub fn flash(session: &mut Session, at: u32, bytes: &[u8]) -> Result<(), FlashError> {
    let mut loader = session.target().flash_loader();
    loader.add_data(u64::from(at), bytes).expect("it fits");
    let mut options = DownloadOptions::new();
    options.verify = true;
    loader.commit(session, options)
}

/// A directory of a test's own, empty.
pub fn fresh(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

impl Served {
    /// Opens the probe.
    pub fn probe(&self) -> Probe {
        open(self.port)
    }

    /// Attaches to the chip.
    pub fn attach(&self, target: &str) -> Session {
        attach(self.port, target)
    }

    /// Ends the server.
    pub fn end(self) -> Left {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the server ends")
    }
}

/// A chip of this name.
pub fn machine(name: &str, options: &Options) -> Machine {
    Machine::new(chip::by_name(name).expect("a chip"), options).expect("the emulator starts")
}

/// A chip whose flash fails this way.
pub fn faulty(faults: Faults) -> Options {
    Options {
        faults,
        ..Options::default()
    }
}

/// The target of probe-rs, where flash and RAM begin, and RAM's end.
pub struct Target {
    pub chip: &'static str,
    pub probe_rs: &'static str,
    pub flash: u32,
    pub ram_end: u32,
}

/// All chips.
pub const TARGETS: [Target; 3] = [
    Target {
        chip: "nrf52840",
        probe_rs: "nRF52840_xxAA",
        flash: 0,
        ram_end: 0x2004_0000,
    },
    Target {
        chip: "nrf51822",
        probe_rs: "nRF51822_xxAA",
        flash: 0,
        ram_end: 0x2000_4000,
    },
    Target {
        chip: "stm32f411",
        probe_rs: "STM32F411RETx",
        flash: 0x0800_0000,
        ram_end: 0x2002_0000,
    },
];

/// A firmware that stores each value to each address and then stays in a loop. It begins with its
/// vectors, whose faults all lead to `BKPT`.
pub fn firmware(base: u32, sp: u32, stores: &[(u32, u32)]) -> Vec<u8> {
    let code = 0xc0;
    let mut text: Vec<u16> = Vec::new();
    for (i, _) in stores.iter().enumerate() {
        // LDR r0, [pc, …]; LDR r1, [pc, …]; STR r1, [r0]. Literals lie behind the code.
        let literal = |n: usize, at: usize| {
            let pool = (3 * stores.len() + 1).next_multiple_of(2) * 2;
            let pc = (2 * at + 4) & !3;
            ((pool + 4 * n - pc) / 4) as u16
        };
        let at = 3 * i;
        text.push(0x4800 | literal(2 * i, at));
        text.push(0x4900 | literal(2 * i + 1, at + 1));
        text.push(0x6001);
    }
    // B .
    text.push(0xe7fe);
    if text.len() % 2 == 1 {
        text.push(0xbf00);
    }
    let end = base + code + 2 * text.len() as u32 + 8 * stores.len() as u32;
    let mut image = Vec::new();
    image.extend(sp.to_le_bytes());
    image.extend((base + code + 1).to_le_bytes());
    for _ in 2..code / 4 {
        image.extend((end + 1).to_le_bytes());
    }
    for half in &text {
        image.extend(half.to_le_bytes());
    }
    for (addr, value) in stores {
        image.extend(addr.to_le_bytes());
        image.extend(value.to_le_bytes());
    }
    // The fault handler: BKPT 0; B .
    image.extend(0xbe00u16.to_le_bytes());
    image.extend(0xe7feu16.to_le_bytes());
    image
}

/// Reads a word of the running chip until it has a value; gives up after some seconds.
pub fn wait_for(core: &mut Core, addr: u32, value: u32) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(10) {
        if core
            .read_word_32(u64::from(addr))
            .expect("RAM while running")
            == value
        {
            return true;
        }
    }
    false
}
