//! What a user does, by the command line: the firmware and an image of each board through `tailtune flash`
//! onto its chip, which is one process from then on; a job; and `tailtune tail read`, whose tail is the one
//! that `tailtune adapt` makes on the host.

mod common;
#[path = "common/device.rs"]
mod device;
#[path = "common/host.rs"]
mod host;
#[path = "common/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../../src/toolchain.rs"]
mod toolchain;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{attach, flash, fresh, selector};
use device::{Firmware, Outcome, logits, outcome};
use host::{Job, Model, tailtune, try_tailtune};
use process::Server;
use tailtune::store::export;

/// A board on its power supply and its probe. Dropped, it has lost its power; what it keeps lies in `dir`.
struct Bench {
    firmware: &'static Firmware,
    server: Server,
    log: PathBuf,
}

impl Bench {
    fn power_on(firmware: &'static Firmware, dir: &Path) -> Self {
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let (chip, log, external) = (path("chip.bin"), path("rtt.bin"), path("external.bin"));
        let mut args = vec!["--chip", firmware.chip, "--flash", &chip, "--rtt", &log];
        if firmware.board.regions.replay.is_some() {
            args.extend(["--external", &external]);
        }
        Self {
            firmware,
            server: Server::start(&args),
            log: PathBuf::from(log),
        }
    }

    /// `tailtune` with this board and this probe. probe-rs gives a page fractions of a second, by the host's
    /// clock, and a host that is busy may not let the chip run in time: the same command again repairs it, as
    /// the error says.
    fn tailtune(&self, args: &[&str]) -> String {
        let probe = selector(self.server.port);
        let on = [
            "--board",
            self.firmware.board.name.as_str(),
            "--probe",
            &probe,
        ];
        let args = [args, &on].concat();
        match try_tailtune(&args) {
            Err(said) if said.contains("A timeout occurred") => tailtune(&args),
            done => done.unwrap_or_else(|said| panic!("tailtune {args:?}: {said}")),
        }
    }

    /// Flashes a job as `probe-rs download` does, and resets.
    fn flash_job(&self, bytes: &[u8]) {
        let mut session = attach(self.server.port, &self.firmware.board.chip);
        flash(&mut session, self.firmware.job(), bytes).expect("flashed and verified");
        let mut core = session.core(0).expect("the core");
        core.reset().expect("it runs");
    }

    /// Waits until the log says `wanted` behind its first `after` lines, and returns those from there on.
    fn wait_for(&self, wanted: &str, after: usize) -> Vec<String> {
        const PATIENCE: Duration = Duration::from_secs(300);
        let begun = Instant::now();
        loop {
            let log = self.lines();
            let new = log.get(after..).unwrap_or_default();
            if let Some(at) = new.iter().position(|line| line.contains(wanted)) {
                return new[..=at].to_vec();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "no {wanted:?} in {new:#?}, after {after} lines"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// All lines of the log so far.
    fn lines(&self) -> Vec<String> {
        let bytes = std::fs::read(&self.log).expect("the log");
        self.firmware.log().lines(&bytes)
    }
}

/// Holds what a board said of a job against the host's numbers.
fn check(log: &[String], job: &Job, steps: u32) -> Outcome {
    let found = outcome(log);
    let expected = Outcome {
        test: job.test,
        before: job.before,
        after: job.after,
        steps,
        tail_len: job.tail.len(),
        slot: 0,
        sequence: 0,
    };
    assert_eq!(found, expected, "{log:#?}");
    found
}

fn journey(firmware: &'static Firmware) {
    let name = firmware.board.name.as_str();
    let model = Model::shipped(&format!("command-line-{name}"), firmware);
    let job = model.job("softmax", 3, 1);
    let dir = fresh(&format!("bench-{name}"));
    let text = |path: &Path| path.to_str().expect("a path of text").to_owned();

    let bench = Bench::power_on(firmware, &dir);
    bench.tailtune(&["flash", &text(&firmware.path), "--verify"]);
    let log = bench.wait_for("failed: Image", 0);
    let said = bench.tailtune(&["flash", &text(&model.path), "--verify"]);
    assert!(said.contains("read back, reset"), "{said}");
    let boot = bench.wait_for("no job in flash", log.len());
    let seen = log.len() + boot.len();

    // Logits, then the tune, after which it resets itself and finds what it learned.
    bench.flash_job(&job.infer());
    let log = bench.wait_for("done", seen);
    assert_eq!(logits(&log), job.logits(&model.image), "{name}");
    let seen = seen + log.len();
    bench.flash_job(&job.bytes);
    let log = bench.wait_for("resetting", seen);
    check(&log, &job, job.steps);
    let again = bench.wait_for("done", seen + log.len());
    check(&again, &job, 0);

    let file = text(&dir.join("out.tail"));
    let read = |bench: &Bench| {
        bench.tailtune(&["tail", "read", "-o", &file]);
        let bytes = std::fs::read(&file).expect("the tail");
        let payload = export::parse(&bytes).expect("an exported tail").payload;
        assert!(payload == job.tail, "{name}: the host's tail");
    };
    read(&bench);
    drop(bench);

    // The power was gone.
    let bench = Bench::power_on(firmware, &dir);
    let log = bench.wait_for("done", 0);
    check(&log, &job, 0);
    read(&bench);
}

#[test]
fn the_nrf52840_dk_by_the_command_line() {
    journey(Firmware::nrf52840_dk());
}

#[test]
fn the_stm32f411_nucleo_by_the_command_line() {
    journey(Firmware::stm32f411_nucleo());
}

#[test]
fn the_microbit_by_the_command_line() {
    journey(Firmware::microbit_v1());
}
