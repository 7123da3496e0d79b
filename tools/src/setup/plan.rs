//! What to do next about what is missing: a decision on plain values, without looking at the
//! machine.

use super::Need;

/// How far one way of installing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Installer {
    /// Not on this machine, or not allowed for this user.
    Absent,
    /// There, not tried yet.
    Ready,
    /// Tried, and something is missing still.
    Tried,
}

/// Which system this is, as far as its package manager matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    /// Debian, Ubuntu and what derives from them: apt-get.
    Debian,
    /// Fedora and what derives from it: dnf.
    Fedora,
    /// Arch Linux and what derives from it: pacman.
    Arch,
    /// macOS: Homebrew.
    MacOs,
    /// Windows: winget.
    Windows,
    /// Anything else.
    Other,
}

/// What was found on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub system: System,
    pub rustup: Installer,
    /// Ready only on Debian's kin, for root.
    pub apt: Installer,
}

/// The next action.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing is missing.
    Done,
    /// `rustup target add` with these targets.
    Rustup(Vec<String>),
    /// `apt-get install` with these packages.
    Apt(Vec<&'static str>),
    /// The user has to do it: the exact commands.
    Manual(Vec<String>),
}

/// Decides what to do next about `missing`.
pub(super) fn next(missing: &[Need], found: Found) -> Action {
    if missing.is_empty() {
        return Action::Done;
    }
    let targets = targets(missing);
    if !targets.is_empty() && found.rustup == Installer::Ready {
        return Action::Rustup(targets);
    }
    if found.apt == Installer::Ready {
        return Action::Apt(packages(missing));
    }
    Action::Manual(commands(missing, found))
}

/// The commands that would install what is missing, for the user to run.
pub(super) fn commands(missing: &[Need], found: Found) -> Vec<String> {
    let mut commands = Vec::new();
    let targets = targets(missing);
    let by_rustup = found.rustup != Installer::Tried || found.system != System::Debian;
    if !targets.is_empty() && by_rustup {
        if found.rustup == Installer::Absent {
            commands.push("install rustup from https://rustup.rs".to_owned());
        }
        commands.push(format!("rustup target add {}", targets.join(" ")));
    }
    let packages: Vec<&str> = match by_rustup {
        true => programs(missing, 0),
        false => packages(missing),
    };
    if packages.is_empty() {
        return commands;
    }
    commands.extend(match found.system {
        System::Debian => vec![
            "sudo apt-get update".to_owned(),
            format!(
                "sudo apt-get install -y --no-install-recommends {}",
                packages.join(" ")
            ),
        ],
        System::Fedora => {
            let packages = programs(missing, 1).join(" ");
            vec![format!("sudo dnf install {packages}")]
        }
        System::Arch => {
            let packages = programs(missing, 2).join(" ");
            vec![format!("sudo pacman -S {packages}")]
        }
        System::MacOs => vec![format!("brew install {}", programs(missing, 3).join(" "))],
        System::Windows => vec![
            "winget install SoftwareFreedomConservancy.QEMU".to_owned(),
            "add its directory to PATH".to_owned(),
        ],
        System::Other => vec![
            "install QEMU 7.2 or newer with qemu-system-arm and qemu-system-riscv32: \
             https://www.qemu.org/download/"
                .to_owned(),
        ],
    });
    commands
}

/// The packages of the programs that are missing, in Debian (0), Fedora (1), Arch (2) or Homebrew (3).
fn programs(missing: &[Need], system: usize) -> Vec<&'static str> {
    let package = |need: &Need| match need {
        Need::Target(_) => None,
        Need::Emulator(qemu) => qemu.packages().get(system).copied(),
        Need::Tool(tool) => tool.packages().get(system).copied(),
    };
    missing.iter().filter_map(package).collect()
}

/// Debian's packages for what is missing.
fn packages(missing: &[Need]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if !targets(missing).is_empty() {
        packages.extend(["rustc-web", "rust-web-src"]);
    }
    packages.extend(programs(missing, 0));
    packages
}

fn targets(missing: &[Need]) -> Vec<String> {
    missing
        .iter()
        .filter_map(|need| match need {
            Need::Target(target) => Some(target.clone()),
            Need::Emulator(_) | Need::Tool(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::BuildTool;
    use super::*;
    use crate::qemu::Qemu;

    const DEBIAN_ROOT: Found = Found {
        system: System::Debian,
        rustup: Installer::Ready,
        apt: Installer::Ready,
    };

    fn both() -> Vec<Need> {
        vec![
            Need::target("thumbv7em-none-eabihf"),
            Need::Emulator(Qemu::Arm),
        ]
    }

    fn manual(missing: &[Need], found: Found) -> Vec<String> {
        match next(missing, found) {
            Action::Manual(commands) => commands,
            other => panic!("expected commands for the user, found {other:?}"),
        }
    }

    #[test]
    fn nothing_missing_is_nothing_to_do() {
        assert_eq!(next(&[], DEBIAN_ROOT), Action::Done);
    }

    #[test]
    fn rustup_comes_first_then_apt_then_the_user() {
        let target = || vec!["thumbv7em-none-eabihf".to_owned()];
        let mut found = DEBIAN_ROOT;
        assert_eq!(next(&both(), found), Action::Rustup(target()));
        found.rustup = Installer::Tried;
        assert_eq!(
            next(&both(), found),
            Action::Apt(vec!["rustc-web", "rust-web-src", "qemu-system-arm"])
        );
        found.apt = Installer::Tried;
        assert_eq!(
            manual(&both(), found).last().map(String::as_str),
            Some(
                "sudo apt-get install -y --no-install-recommends \
                 rustc-web rust-web-src qemu-system-arm"
            )
        );
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let found = DEBIAN_ROOT;
        assert_eq!(
            next(&[Need::Tool(BuildTool::LibClang)], found),
            Action::Apt(vec!["libclang-dev"])
        );
        assert_eq!(
            next(&[Need::Emulator(Qemu::Arm)], found),
            Action::Apt(vec!["qemu-system-arm"])
        );
        assert_eq!(
            next(&[Need::Emulator(Qemu::RiscV)], found),
            Action::Apt(vec!["qemu-system-misc"])
        );
        let found = Found {
            rustup: Installer::Tried,
            ..found
        };
        assert_eq!(
            next(&[Need::target("thumbv6m-none-eabi")], found),
            Action::Apt(vec!["rustc-web", "rust-web-src"])
        );
    }

    #[test]
    fn nobody_but_root_gets_packages_and_sudo_is_only_ever_printed() {
        let found = Found {
            rustup: Installer::Tried,
            apt: Installer::Absent,
            ..DEBIAN_ROOT
        };
        let commands = manual(&both(), found);
        assert_eq!(commands.len(), 2);
        assert!(
            commands
                .iter()
                .all(|command| command.starts_with("sudo apt-get "))
        );
    }

    #[test]
    fn debian_without_rustup_still_builds() {
        let found = Found {
            rustup: Installer::Absent,
            ..DEBIAN_ROOT
        };
        assert!(matches!(next(&both(), found), Action::Apt(packages) if packages.len() == 3));
    }

    #[test]
    fn every_other_system_gets_exact_commands() {
        let systems = [
            (System::Fedora, "sudo dnf install "),
            (System::Arch, "sudo pacman -S "),
            (System::MacOs, "brew install "),
            (System::Windows, "winget install "),
            (System::Other, "install QEMU "),
        ];
        for (system, command) in systems {
            let found = Found {
                system,
                rustup: Installer::Tried,
                apt: Installer::Absent,
            };
            let commands = manual(&both(), found);
            assert_eq!(commands[0], "rustup target add thumbv7em-none-eabihf");
            assert!(commands[1].starts_with(command), "{system:?}: {commands:?}");
        }
    }
}
