//! `vboard`: an emulated microcontroller, behind a probe on a TCP port or run by itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Parser};
use vboard::chip;
use vboard::flash::{Cut, Faults};
use vboard::machine::{Machine, Options, Stop};
use vboard::oplog::Array;
use vboard::{rtt, server};

/// An emulated nRF52840, nRF51822 or STM32F411, with its flash in a file.
///
/// With --port it is served as a Black Magic Probe: the port is the first line of standard output, and
/// probe-rs takes `1d50:6018:127.0.0.1:PORT`. With --run-for it boots what its flash holds. Exit
/// status: 0 done, 1 not reached or locked up, 2 an error, 3 the power was cut.
#[derive(Parser)]
#[command(version, group = ArgGroup::new("mode").required(true).args(["port", "run_for"]))]
struct Cli {
    /// nrf52840, nrf51822 or stm32f411.
    #[arg(long, value_parser = chip::NAMES)]
    chip: String,
    /// Serve the probe on this port of 127.0.0.1; 0 picks a free one.
    #[arg(long)]
    port: Option<u16>,
    /// Run for this many core cycles: one an instruction, and those that sleep and flash take.
    #[arg(long, value_name = "CYCLES")]
    run_for: Option<u64>,
    /// Keep non-volatile memory in this file; made, erased, if it does not exist. Without it flash is
    /// erased at the start and lost at the end.
    #[arg(long, value_name = "FILE")]
    flash: Option<PathBuf>,
    /// Keep the external flash of an nRF52840 DK, an MX25R6435F, in this file, its status register
    /// behind its 8 MiB.
    #[arg(long, value_name = "FILE")]
    external: Option<PathBuf>,
    /// Write every flash operation to this file, one a line.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Cut the power after this many flash operations.
    #[arg(long, value_name = "N")]
    cut_after: Option<u64>,
    /// With --cut-after: leave the operation under way half done, by this seed. Without it the
    /// operation has not begun.
    #[arg(long, value_name = "SEED", requires = "cut_after")]
    torn: Option<u64>,
    /// A flash word, by its address, that never changes. May be given several times.
    #[arg(long, value_name = "ADDRESS", value_parser = number)]
    stuck: Vec<u32>,
    /// The flash controller's write enable does not work.
    #[arg(long)]
    no_write_enable: bool,
    /// Another size of RAM in bytes, a multiple of 1024.
    #[arg(long, value_name = "BYTES", value_parser = number)]
    ram: Option<u32>,
    /// Write what the chip sends on its serial line to this file, or to standard output (-).
    #[arg(long, value_name = "FILE")]
    uart: Option<PathBuf>,
    /// What the chip receives on its serial line.
    #[arg(long, value_name = "FILE")]
    uart_in: Option<PathBuf>,
    /// Take RTT up channel 0, as a debugger would, and write its bytes to this file.
    #[arg(long, value_name = "FILE")]
    rtt: Option<PathBuf>,
    /// Drive a pin from outside, as in `P0.11=0` or `PC13=1`. May be given several times.
    #[arg(long, value_name = "PIN=LEVEL", value_parser = pin)]
    pin: Vec<(u8, u8, bool)>,
    /// Stop, with status 0, when the word at an address has a value, as in `0x20000000=1`; with
    /// status 1 if that does not come.
    #[arg(long, value_name = "ADDRESS=VALUE", value_parser = word, requires = "run_for")]
    until: Option<(u32, u32)>,
    /// Stop, with status 0, when this text came over the serial line; with status 1 if it does not.
    #[arg(long, value_name = "TEXT", requires = "run_for")]
    until_uart: Option<String>,
}

fn number(text: &str) -> Result<u32, String> {
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => digits.parse(),
    }
    .map_err(|_| format!("`{text}` is no number of 32 bits; write it as 4096 or 0x1000"))
}

fn word(text: &str) -> Result<(u32, u32), String> {
    let (addr, value) = text
        .split_once('=')
        .ok_or("expected ADDRESS=VALUE, as in 0x20000000=1")?;
    Ok((number(addr)?, number(value)?))
}

/// `P0.11=0` on Nordic parts, `PC13=1` on STM32.
fn pin(text: &str) -> Result<(u8, u8, bool), String> {
    let parse = || {
        let (name, level) = text.split_once('=')?;
        let name = name.strip_prefix(['P', 'p'])?;
        let (port, pin) = match name.split_once('.') {
            Some((port, pin)) => (port.parse().ok()?, pin.parse().ok()?),
            None => {
                let letter = name.bytes().next()?.to_ascii_uppercase();
                (letter.checked_sub(b'A')?, name.get(1..)?.parse().ok()?)
            }
        };
        let high = match level {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        Some((port, pin, high))
    };
    parse().ok_or_else(|| format!("`{text}` is no pin and level; write P0.11=0 or PC13=1"))
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("vboard: {e}");
            ExitCode::from(2)
        }
    }
}

type Error = Box<dyn std::error::Error>;

/// Names the file in an error.
fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|e| format!("{}: {e}", path.display()).into())
}

fn run(cli: &Cli) -> Result<ExitCode, Error> {
    let faults = Faults {
        stuck: cli.stuck.clone(),
        write_enable_off: cli.no_write_enable,
        cut: cli.cut_after.map(|after| Cut {
            after,
            torn: cli.torn,
        }),
    };
    let chip = chip::by_name(&cli.chip).ok_or("no such chip")?;
    let options = Options {
        ram: cli.ram,
        faults,
    };
    let mut m = Machine::new(chip, &options)?;
    if let Some(path) = &cli.log {
        at(path, m.board_mut().flash.attach_log(path))?;
    }
    if let Some(path) = &cli.flash {
        at(path, m.attach_flash_file(Array::Internal, path))?;
    }
    if let Some(path) = &cli.external {
        at(path, m.attach_flash_file(Array::External, path))?;
    }
    if let Some(path) = &cli.uart {
        let sink: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(at(path, File::create(path))?)
        };
        m.board_mut().uart.set_sink(sink);
    }
    if let Some(path) = &cli.uart_in {
        let bytes = at(path, fs::read(path))?;
        m.board_mut().uart.feed(&bytes);
    }
    for &(port, pin, high) in &cli.pin {
        m.board_mut().chip.drive(port, pin, Some(high));
    }
    let mut rtt = match &cli.rtt {
        Some(path) => Some(Rtt {
            file: at(path, File::create(path))?,
            block: None,
        }),
        None => None,
    };
    match (cli.port, cli.run_for) {
        (Some(port), _) => {
            let listener = TcpListener::bind(("127.0.0.1", port))
                .map_err(|e| format!("port {port} of 127.0.0.1: {e}"))?;
            println!("{}", listener.local_addr()?.port());
            io::stdout().flush()?;
            let mut failed = None;
            server::serve(&mut m, &listener, |m| {
                failed = tend(m, &mut rtt).err();
                failed.is_none()
            })?;
            failed.map_or(Ok(()), Err)?;
            Ok(ExitCode::from(3))
        }
        (None, Some(cycles)) => boot(cli, &mut m, cycles, &mut rtt),
        (None, None) => Err("give --port or --run-for".into()),
    }
}

struct Rtt {
    file: File,
    block: Option<u32>,
}

/// Moves what has gathered to its files, and sees that flash got to its own.
fn tend(m: &mut Machine, rtt: &mut Option<Rtt>) -> Result<(), Error> {
    if let Some(Rtt { file, block }) = rtt {
        let bytes = rtt::take(m.board_mut(), block);
        file.write_all(&bytes)?;
    }
    match m.board_mut().flash.take_io_error() {
        Some(e) => Err(format!("the flash file or log: {e}").into()),
        None => Ok(()),
    }
}

/// Boots and runs until the end condition, idleness or the last cycle.
fn boot(cli: &Cli, m: &mut Machine, cycles: u64, rtt: &mut Option<Rtt>) -> Result<ExitCode, Error> {
    const SLICE: u64 = 200_000;
    let waits = cli.until.is_some() || cli.until_uart.is_some();
    let (code, why) = loop {
        let left = cycles.saturating_sub(m.board().now);
        let stop = m.run(left.min(SLICE));
        tend(m, rtt)?;
        if reached(cli, m) {
            break (0, "reached");
        }
        match stop {
            Stop::Budget if left > SLICE => {}
            Stop::Budget if waits => break (1, "not reached in time"),
            Stop::Budget => break (0, "out of cycles"),
            Stop::Idle if waits => break (1, "asleep for ever, not reached"),
            Stop::Idle => break (0, "asleep for ever"),
            Stop::Lockup => break (1, "locked up"),
            Stop::Halted => break (1, "halted"),
            Stop::PowerCut => break (3, "power cut"),
        }
    };
    let b = m.board();
    eprintln!(
        "vboard: {why}; {} cycles, {} instructions, {} flash operations, {} resets",
        b.now,
        b.instructions,
        b.flash.operations(),
        m.resets()
    );
    for f in m.take_faults() {
        eprintln!("vboard: fault at {:#010x}: {:x?}", f.pc, f.fault);
    }
    Ok(ExitCode::from(code))
}

fn reached(cli: &Cli, m: &Machine) -> bool {
    let word = cli
        .until
        .is_some_and(|(addr, value)| m.board().map.word(addr) == Some(value));
    let text = cli.until_uart.as_ref().is_some_and(|text| {
        let sent = m.board().uart.sent();
        sent.windows(text.len().max(1))
            .any(|w| w == text.as_bytes())
    });
    word || text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
        assert_eq!(pin("P0.11=0"), Ok((0, 11, false)));
        assert_eq!(pin("PC13=1"), Ok((2, 13, true)));
        assert!(pin("P0.11").is_err());
        assert_eq!(number("0x2_0000"), Ok(0x2_0000));
        assert!(word("1").is_err());
    }
}
