//! `tailtune feed` over a serial line: the firmware's own session at the other end of a pseudo terminal, which loses
//! bytes and changes bits. And a device that answers something else, which must be noticed.
#![cfg(all(feature = "flash", unix))]

#[allow(dead_code)]
mod common;
#[path = "../../tests/common/mock_flash.rs"]
#[allow(dead_code)]
mod mock_flash;

use common::{TinyModel, json, tailtune, write_tones};
use mock_flash::MockFlash;
use serialport::{SerialPort, TTYPort};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tailtune::store::Store;
use tailtune_app::Memory;
use tailtune_app::feed::frame::{Frame, MAX_FRAME, Receiver};
use tailtune_app::feed::message::{Answer, Reply};
use tailtune_app::feed::{Line, LineFailed};
use tailtune_tools::int8::Int8Model;

const BLOCK: usize = 4096;

/// What a line does to what goes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Sound,
    /// Loses a byte, changes a bit, now and then.
    Noisy,
    /// Answers with one logit that is one more.
    Lying,
}

struct Pty {
    port: TTYPort,
    nature: Nature,
    /// Calls that had something to do.
    calls: u32,
    /// What was lost or changed: of reads, of writes.
    faults: Arc<[AtomicU32; 2]>,
}

impl Line for Pty {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LineFailed> {
        let Ok(mut n) = self.port.read(buffer) else {
            return Ok(0);
        };
        self.calls += 1;
        if self.nature == Nature::Noisy && self.calls.is_multiple_of(11) {
            self.faults[0].fetch_add(1, Ordering::Relaxed);
            n -= 1;
        }
        Ok(n)
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), LineFailed> {
        self.calls += 1;
        let mut bytes = frame.to_vec();
        match self.nature {
            Nature::Noisy if self.calls.is_multiple_of(13) => {
                self.faults[1].fetch_add(1, Ordering::Relaxed);
                bytes[3] ^= 4;
            }
            Nature::Lying => bytes = lie(frame),
            _ => {}
        }
        self.port.write_all(&bytes).map_err(|_| LineFailed)
    }

    fn wait(&mut self) -> bool {
        std::thread::sleep(Duration::from_micros(100));
        true
    }
}

/// Returns an answer with its first logit one more, and anything else as it is.
fn lie(bytes: &[u8]) -> Vec<u8> {
    let mut receiver = Receiver::new();
    receiver.room()[..bytes.len()].copy_from_slice(bytes);
    receiver.filled(bytes.len());
    let frame = receiver.next().expect("a frame");
    let Some(Reply::Answer(answer)) = Reply::parse(&frame) else {
        return bytes.to_vec();
    };
    let mut own: Vec<i16> = answer.own.iter().map(|l| l.get()).collect();
    own[0] += 1;
    let mut payload = [0; 256];
    let n = Answer::emit(&mut payload, answer.class, answer.cost, &own, &[]).unwrap();
    let payload = &payload[..n];
    let mut buffer = [0; MAX_FRAME];
    let n = Frame { payload, ..frame }.emit(&mut buffer).unwrap();
    buffer[..n].to_vec()
}

/// Returns the device's end of a pseudo terminal and the path of the host's, which is closed until somebody opens it.
fn pty() -> (TTYPort, String) {
    let (mut port, mut host) = TTYPort::pair().unwrap();
    host.set_exclusive(false).unwrap();
    port.set_timeout(Duration::from_millis(1)).unwrap();
    let path = host.name().unwrap();
    (port, path)
}

/// Serves every visit on a pseudo terminal; returns its path.
fn serve(dir: &Path, nature: Nature, faults: &Arc<[AtomicU32; 2]>) -> String {
    let faults = faults.clone();
    let (port, path) = pty();
    let image = Int8Model::read(&dir.join("tiny.bin")).unwrap();
    std::thread::spawn(move || {
        let flash = MockFlash::<4, 4, BLOCK>::new(4);
        let slots = [0..2 * BLOCK as u32, 2 * BLOCK as u32..4 * BLOCK as u32];
        let mut store = Store::with_slots(flash, slots).unwrap();
        let mut memory = Box::new(Memory::<16384, 256, 4, 16, 8192>::new());
        let mut pty = Pty {
            port,
            nature,
            calls: 0,
            faults,
        };
        loop {
            memory.feed(&mut pty, image.bytes(), &mut store).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    path
}

fn workplace() -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    TinyModel::new().write(&dir.join("tiny"));
    write_tones(
        &dir.join("clips"),
        &[("low tone", 200.0), ("beep", 900.0)],
        3,
    );
    let args = ["convert", "tiny", "--calibrate", "clips", "-o", "tiny.bin"];
    json(dir, &[&args[..], &["--board", "nrf52840-dk"]].concat());
    work
}

#[test]
fn a_line_that_loses_bytes_changes_nothing() {
    let work = workplace();
    let dir = work.path();
    let mut said = Vec::new();
    let faults = Arc::default();
    for nature in [Nature::Sound, Nature::Noisy] {
        let port = serve(dir, nature, &faults);
        let feed = ["feed", "tiny.bin", "--data", "clips", "--serial", &port];
        let tune = ["--tune", "--test", "clips", "--epochs", "5"];
        let first = json(dir, &feed);
        assert_eq!((&first["n"], &first["different"]), (&6.into(), &0.into()));
        // Its Fourier transform is longer than the firmware's: frames were sent.
        assert_eq!(first["sample_rate"], 0);
        let tuned = json(dir, &[&feed[..], &tune].concat());
        assert_eq!(tuned["tuned"]["equal"], true, "{tuned}");
        said.push((first["clips"].clone(), tuned["tuned"].clone()));
    }
    assert_eq!(said[0], said[1]);
    let [reads, writes] = &*faults;
    let faults = [reads, writes].map(|n| n.load(Ordering::Relaxed));
    assert!(faults.iter().all(|n| *n > 0), "{faults:?}");
}

#[test]
fn answers_that_are_not_the_hosts_are_noticed() {
    let work = workplace();
    let dir = work.path();
    let port = serve(dir, Nature::Lying, &Arc::default());
    let feed = ["feed", "tiny.bin", "--data", "clips", "--serial", &port];
    let output = tailtune(dir, &feed);
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        err.contains("6 of 6 answers are not those of the host"),
        "{err}"
    );
    assert!(out.contains("NOT AS THE HOST"), "{out}");
    let output = tailtune(dir, &[&feed[..], &["--compare=false"]].concat());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn silence_and_missing_ports_are_named() {
    let work = workplace();
    let dir = work.path();
    let (_nobody, port) = pty();
    let feed = |port: &str| {
        let args = ["feed", "tiny.bin", "--data", "clips", "--timeout", "1"];
        common::run(dir, &[&args[..], &["--serial", port]].concat(), 1).1
    };
    let err = feed(&port);
    assert!(err.contains("the device is silent"), "{err}");
    let err = feed("/dev/no-such-port");
    assert!(err.contains("--serial /dev/no-such-port"), "{err}");
}
