//! The chip server of tools/vboard, as a process.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server with the chip's flash in `chip.bin`.
pub struct Served {
    child: Child,
    /// What --probe takes.
    pub probe: String,
    /// What --board takes.
    pub board: String,
}

impl Served {
    /// Starts one in `dir`, of the chip of a board.
    pub fn start(dir: &Path, board: &str, chip: &str, more: &[&str]) -> Self {
        let program = std::env::var_os("VBOARD").map(PathBuf::from);
        let program = program.expect("VBOARD names the program of tools/vboard");
        let mut child = Command::new(program)
            .args(["--chip", chip, "--flash", "chip.bin", "--port", "0"])
            .args(more)
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("vboard starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        let read = std::io::BufReader::new(out).read_line(&mut line);
        assert!(read.expect("its port") > 0, "vboard ended at once");
        let port = line.trim();
        let probe = format!("1d50:6018:127.0.0.1:{port}");
        Self {
            child,
            probe,
            board: board.to_owned(),
        }
    }

    /// Returns the arguments with the board and the probe behind them.
    pub fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let on = ["--board", &self.board, "--probe", &self.probe];
        [args, &on].concat()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended with the power.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
