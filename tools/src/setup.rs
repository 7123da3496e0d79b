//! What the build and the emulated board need on this machine, and its installation.
//!
//! [`setup`] checks first, says what is missing and why it is needed, and only then installs: a
//! target by `rustup target add`; where that does not work, and for the emulator, by Debian's
//! packages when it runs as root on a system with apt-get. It never runs `sudo`: in every other
//! case it gives up with the exact commands to run.

mod library;
mod plan;

use crate::qemu::Qemu;
use crate::toolchain::Toolchain;
pub use library::BuildTool;
use plan::{Action, Found, Installer, System};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long `rustup target add` may take: it fetches some MB, and a server behind a firewall that
/// drops packets would keep it waiting.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// Something that must be on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A way to build for a bare-metal target.
    Target(String),
    /// An emulator with the machine of an emulated board.
    Emulator(Qemu),
    /// What the emulator of whole chips is built with.
    Tool(BuildTool),
}

impl Need {
    /// A way to build for `target`.
    #[must_use]
    pub fn target(target: &str) -> Need {
        Need::Target(target.to_owned())
    }

    /// What the demo needs: the target of the emulated Cortex-M4F, and the emulator.
    #[must_use]
    pub fn demo() -> Vec<Need> {
        vec![
            Need::target("thumbv7em-none-eabihf"),
            Need::Emulator(Qemu::Arm),
        ]
    }

    /// What it is and what it is for.
    fn purpose(&self) -> String {
        match self {
            Need::Target(target) => {
                format!("a Rust toolchain for {target}: compiles the firmware")
            }
            Need::Emulator(qemu) => {
                let (program, machine) = (qemu.program(), qemu.machine());
                format!("{program} with the machine {machine}: runs the firmware here")
            }
            Need::Tool(tool) => {
                format!("{}: builds the emulator of whole chips", tool.name())
            }
        }
    }

    /// None when it is there, else what is wrong.
    fn problem(&self) -> Option<String> {
        match self {
            Need::Target(target) => Toolchain::find(target).err().map(|error| error.to_string()),
            Need::Emulator(qemu) => qemu.problem(),
            Need::Tool(tool) => tool.problem(),
        }
    }
}

/// Whether to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Install what is missing.
    Install,
    /// Only check, and fail when something is missing.
    CheckOnly,
}

/// Why the machine is not ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Something is missing that was not, or could not be, installed.
    #[error(
        "missing on this machine:{}\nto install it, run:{}",
        list(missing),
        list(commands)
    )]
    Missing {
        /// What is missing, and what was found instead.
        missing: Vec<String>,
        /// What to run.
        commands: Vec<String>,
    },
}

fn list(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |text, line| {
        text + "\n  " + &line.replace('\n', "\n  ")
    })
}

/// Makes sure that everything in `needs` is on this machine; tells the user on standard error what
/// it does.
///
/// # Errors
/// When something is missing that it may not or cannot install: the error holds the commands that
/// would.
pub fn setup(needs: &[Need], mode: Mode) -> Result<(), SetupError> {
    let mut found = look_around();
    let mut told = false;
    loop {
        let missing: Vec<(Need, String)> = needs
            .iter()
            .filter_map(|need| Some((need.clone(), need.problem()?)))
            .collect();
        let names: Vec<Need> = missing.iter().map(|(need, _)| need.clone()).collect();
        let refuse = |commands| SetupError::Missing {
            missing: missing
                .iter()
                .map(|(need, problem)| format!("{} ({problem})", need.purpose()))
                .collect(),
            commands,
        };
        if mode == Mode::CheckOnly && !missing.is_empty() {
            return Err(refuse(plan::commands(&names, found)));
        }
        if !told && !missing.is_empty() {
            told = true;
            eprintln!("setup: missing on this machine:");
            for need in &names {
                eprintln!("  {}", need.purpose());
            }
        }
        match plan::next(&names, found) {
            Action::Done => return Ok(()),
            Action::Rustup(targets) => {
                found.rustup = Installer::Tried;
                add_targets(&targets);
            }
            Action::Apt(packages) => {
                found.apt = Installer::Tried;
                install_packages(&packages);
            }
            Action::Manual(commands) => return Err(refuse(commands)),
        }
    }
}

fn look_around() -> Found {
    let system = system();
    let ready = |yes: bool| match yes {
        true => Installer::Ready,
        false => Installer::Absent,
    };
    Found {
        system,
        rustup: ready(answers("rustup", "--version").is_some()),
        apt: ready(
            system == System::Debian
                && answers("id", "-u").is_some_and(|uid| uid.trim() == "0")
                && answers("apt-get", "--version").is_some(),
        ),
    }
}

fn system() -> System {
    match std::env::consts::OS {
        "macos" => System::MacOs,
        "windows" => System::Windows,
        "linux" => distribution(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()),
        _ => System::Other,
    }
}

/// The family that os-release names in ID and ID_LIKE.
fn distribution(os_release: &str) -> System {
    let names: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
        .collect();
    let any = |family: &[&str]| names.iter().any(|name| family.contains(name));
    if any(&["debian", "ubuntu"]) {
        System::Debian
    } else if any(&["fedora", "rhel"]) {
        System::Fedora
    } else if any(&["arch"]) {
        System::Arch
    } else {
        System::Other
    }
}

/// What a program prints, if it is there and succeeds.
fn answers(program: &str, arg: &str) -> Option<String> {
    let output = Command::new(program).arg(arg).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn add_targets(targets: &[String]) {
    let mut command = Command::new("rustup");
    command.args(["target", "add"]).args(targets);
    if !announce_and_run(command, Some(RUSTUP_LIMIT)) {
        eprintln!("setup: rustup could not add the target");
    }
}

fn install_packages(packages: &[&str]) {
    let mut update = Command::new("apt-get");
    update.arg("update");
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    // A repository that does not answer makes `update` fail; the packages may be there all the same.
    announce_and_run(update, None);
    if !announce_and_run(install, None) {
        eprintln!("setup: apt-get could not install the packages");
    }
}

/// Runs a command with its output on standard error; false when it fails or outlasts `limit`.
fn announce_and_run(mut command: Command, limit: Option<Duration>) -> bool {
    eprintln!("setup: running `{}`", display(&command));
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    match run_for(command, limit) {
        Ok(Some(status)) => status.success(),
        Ok(None) => {
            let seconds = limit.unwrap_or_default().as_secs();
            eprintln!("setup: no end after {seconds} s, stopped");
            false
        }
        Err(error) => {
            eprintln!("setup: {error}");
            false
        }
    }
}

/// The command line, for the user to read.
fn display(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// The command's status; none when it ran past `limit` and was stopped.
fn run_for(mut command: Command, limit: Option<Duration>) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut child = command.spawn()?;
    let Some(limit) = limit else {
        return child.wait().map(Some);
    };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_known_by_their_family() {
        assert_eq!(distribution("NAME=\"Debian\"\nID=debian\n"), System::Debian);
        assert_eq!(
            distribution("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            System::Debian
        );
        assert_eq!(distribution("ID=\"fedora\"\n"), System::Fedora);
        assert_eq!(
            distribution("ID=rocky\nID_LIKE=\"rhel centos fedora\"\n"),
            System::Fedora
        );
        assert_eq!(distribution("ID=manjaro\nID_LIKE=arch\n"), System::Arch);
        assert_eq!(
            distribution("ID=alpine\nVERSION_ID=debian\n"),
            System::Other
        );
        assert_eq!(distribution(""), System::Other);
    }

    #[test]
    fn no_needs_are_always_met() {
        setup(&[], Mode::CheckOnly).unwrap();
    }

    #[test]
    fn the_refusal_names_what_is_missing_and_what_to_run() {
        let error = SetupError::Missing {
            missing: vec!["qemu-system-arm: runs the firmware here (not found)".to_owned()],
            commands: vec!["brew install qemu".to_owned()],
        };
        assert_eq!(
            error.to_string(),
            "missing on this machine:\n  qemu-system-arm: runs the firmware here (not found)\n\
             to install it, run:\n  brew install qemu"
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_outlasts_its_limit_is_stopped() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let start = Instant::now();
        let ended = run_for(command, Some(Duration::from_millis(100))).unwrap();
        assert!(ended.is_none() && start.elapsed() < Duration::from_secs(30));
        assert!(run_for(Command::new("true"), None).unwrap().is_some());
    }
}
