//! The program itself, as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub fn vboard(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vboard"));
    command.args(args);
    command
}

/// A served chip that ends with the test.
pub struct Server {
    pub child: Child,
    pub port: u16,
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        let mut child = vboard(args)
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("its first line");
        let port = line.trim().parse().expect("a port");
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
