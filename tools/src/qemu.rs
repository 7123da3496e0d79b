//! The emulators of the boards whose name starts with `qemu-`.

use std::process::Command;

/// A system emulator, by what its cores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qemu {
    /// Arm's Cortex-M.
    Arm,
    /// 32-bit RISC-V.
    RiscV,
}

impl Qemu {
    /// The one that runs code for `target`.
    #[must_use]
    pub fn of(target: &str) -> Self {
        match target.starts_with("riscv") {
            true => Qemu::RiscV,
            false => Qemu::Arm,
        }
    }

    /// Its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Qemu::Arm => "qemu-system-arm",
            Qemu::RiscV => "qemu-system-riscv32",
        }
    }

    /// Options that its machines want: RISC-V's would look for a BIOS.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Qemu::Arm => &[],
            Qemu::RiscV => &["-bios", "none"],
        }
    }

    /// A machine that it must know.
    pub(crate) fn machine(self) -> &'static str {
        match self {
            Qemu::Arm => "mps2-an386",
            Qemu::RiscV => "virt",
        }
    }

    /// The package that has it, in Debian, Fedora, Arch and Homebrew.
    pub(crate) fn packages(self) -> [&'static str; 4] {
        match self {
            Qemu::Arm => [
                "qemu-system-arm",
                "qemu-system-arm",
                "qemu-system-arm",
                "qemu",
            ],
            Qemu::RiscV => [
                "qemu-system-misc",
                "qemu-system-riscv",
                "qemu-system-riscv",
                "qemu",
            ],
        }
    }

    /// None when it is there and knows the machine.
    pub(crate) fn problem(self) -> Option<String> {
        let (program, machine) = (self.program(), self.machine());
        let output = match Command::new(program).args(["-machine", "help"]).output() {
            Err(error) => return Some(format!("{program} does not run: {error}")),
            Ok(output) => output,
        };
        let machines = String::from_utf8_lossy(&output.stdout);
        let known = machines
            .lines()
            .any(|line| line.split_whitespace().next() == Some(machine));
        (!known).then(|| format!("the {program} here has no {machine}; expected QEMU 7.2 or newer"))
    }
}
