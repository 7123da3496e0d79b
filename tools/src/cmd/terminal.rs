//! What the commands print: tables, JSON, progress.

use super::CommandError;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};

/// Writes one line (or a block of lines) to standard output. A reader that has gone away is no error.
///
/// # Errors
/// Any other failure to write, such as a full disk.
pub fn print(text: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// Writes one JSON object to standard output.
///
/// # Errors
/// As [`print()`].
pub fn print_json<T: serde::Serialize>(value: &T) -> Result<(), CommandError> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Returns a table with this header.
pub fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::ASCII_MARKDOWN)
        .set_header(header);
    table
}

/// Returns a progress bar of `n` steps on standard error; on anything but a terminal it prints one
/// line now.
pub fn progress(what: &str, n: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        eprintln!("{what} ({n})");
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:28} [{bar:30}] {pos}/{len}, {eta} left");
    let bar = ProgressBar::new(n as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar
}

/// Returns bytes as KiB (1 KiB = 1024 bytes).
pub fn kib(bytes: usize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

/// Returns a share in percent.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
