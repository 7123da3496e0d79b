//! Running cargo with its output shown as it comes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tailtune_tools::toolchain::cargo_program;

/// What cargo sets for us and what would mislead the builds that we start.
const FROM_OUR_CARGO: &[&str] = &["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];

/// Cargo for the host, in `root`.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(cargo_program());
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if FROM_OUR_CARGO.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end, its output going where ours goes.
pub fn run(mut command: Command) -> Result<(), String> {
    announce(&command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| failure(&command, &error.to_string()))?;
    match status.success() {
        true => Ok(()),
        false => Err(failure(&command, &status.to_string())),
    }
}

/// Runs a command to its end and hands on every line of its standard output as it comes; `line`
/// says what of it to show. The result is whether the command succeeded.
pub fn run_lines(
    mut command: Command,
    mut line: impl FnMut(&str) -> Option<String>,
) -> Result<bool, String> {
    announce(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failure(&command, &error.to_string()))?;
    if let Some(output) = child.stdout.take() {
        let mut reader = BufReader::new(output);
        let mut bytes = Vec::new();
        // Bytes, since a test may print what is no UTF-8.
        while reader
            .read_until(b'\n', &mut bytes)
            .map_err(|error| failure(&command, &error.to_string()))?
            > 0
        {
            let text = String::from_utf8_lossy(&bytes);
            if let Some(shown) = line(text.trim_end_matches(['\n', '\r'])) {
                let mut out = std::io::stdout().lock();
                // A closed pipe must not stop the checks.
                let _ = writeln!(out, "{shown}").and_then(|()| out.flush());
            }
            bytes.clear();
        }
    }
    let status = child
        .wait()
        .map_err(|error| failure(&command, &error.to_string()))?;
    Ok(status.success())
}

fn announce(command: &Command) {
    let dir = command.get_current_dir().unwrap_or(Path::new("."));
    eprintln!("$ {}   (in {})", display(command), dir.display());
}

/// The command line, for the user to read.
pub fn display(command: &Command) -> String {
    let mut line = "cargo".to_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

fn failure(command: &Command, reason: &str) -> String {
    format!("`{}`: {reason}", display(command))
}
