//! How to build for a bare-metal target on this machine.
//!
//! Two ways are known. A toolchain that has the target's `core` (after `rustup target add`) builds
//! like any other; where it has not, Debian's `rustc-web` with the sources of `rust-web-src` builds
//! `core` itself. Every caller builds boards through [`Toolchain::cargo`], so that all of them use
//! the same flags and share what has been built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian's compiler lies.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// The oldest compiler that builds the firmware (the `rust-version` of the board crates).
const OLDEST_MINOR: u32 = 88;

/// What cargo and rustup set for their children, or a user for the host alone. A build for a board
/// takes its target, flags and target directory from the board's own `.cargo/config.toml`.
const HOST_ONLY: &[&str] = &[
    "LD_LIBRARY_PATH",
    "OUT_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "CARGO_CRATE_NAME",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_DIR",
    "CARGO_TARGET_TMPDIR",
];

/// Families of such variables.
const HOST_ONLY_PREFIXES: &[&str] = &[
    "CARGO_BIN_",
    "CARGO_BUILD_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_UNSTABLE_",
];

/// Why nothing on this machine builds for a target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolchainError {
    /// The compiler does not run or does not answer.
    #[error(
        "`{command}`: {reason}; expected a Rust toolchain on PATH: install one from https://rustup.rs"
    )]
    Rustc {
        /// What was run.
        command: String,
        /// Why it failed.
        reason: String,
    },
    /// No toolchain here builds for the target.
    #[error(
        "nothing here builds for {target}: the toolchain in {} has no such target, and {SYSTEM_RUSTC} {system}; \
         run `rustup target add {target}`, or on Debian `apt-get install rustc-web rust-web-src`, \
         or let `cargo demo` or `cargo verify` do it", sysroot.display()
    )]
    NoTarget {
        /// The target.
        target: String,
        /// The toolchain that was asked.
        sysroot: PathBuf,
        /// Why the system's compiler does not serve.
        system: String,
    },
    /// The system's compiler would serve, but there is nothing to link with.
    #[error(
        "no rust-lld to link for {target}: looked in {} and on PATH; \
         a toolchain from https://rustup.rs brings it along", looked.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoLinker {
        /// The target.
        target: String,
        /// The directories without it.
        looked: Vec<PathBuf>,
    },
}

/// A way to build for one bare-metal target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    target: String,
    way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// The toolchain on PATH has the target.
    Installed,
    /// The system's compiler builds `core` from its sources; `linker_dir` holds rust-lld, or is
    /// none where PATH has it.
    System { linker_dir: Option<PathBuf> },
}

impl Toolchain {
    /// Looks for a way to build for `target`.
    ///
    /// # Errors
    /// When the compiler does not answer, or neither way serves: the error says what to install.
    pub fn find(target: &str) -> Result<Toolchain, ToolchainError> {
        let sysroot = sysroot("rustc")?;
        let found = |way| Toolchain {
            target: target.to_owned(),
            way,
        };
        if has_target(&sysroot, target) {
            return Ok(found(Way::Installed));
        }
        let system_sysroot =
            system_compiler(target).map_err(|system| ToolchainError::NoTarget {
                target: target.to_owned(),
                sysroot: sysroot.clone(),
                system,
            })?;
        let linker_dir = linker_dir(target, &[&sysroot, &system_sysroot])?;
        Ok(found(Way::System { linker_dir }))
    }

    /// The target it builds for.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether the toolchain itself has the target: then its clippy can lint firmware too.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.way == Way::Installed
    }

    /// The compiler and how it gets `core`: instruction counts of other compilers differ.
    ///
    /// # Errors
    /// When the compiler does not answer.
    pub fn compiler(&self) -> Result<String, ToolchainError> {
        let (rustc, core) = match self.way {
            Way::Installed => ("rustc", ""),
            Way::System { .. } => (SYSTEM_RUSTC, ", core from its sources"),
        };
        Ok(format!("{}{core}", ask(rustc, &["--version"])?))
    }

    /// One line for the user: what builds.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.way {
            Way::Installed => format!("{} by the installed toolchain", self.target),
            Way::System { .. } => format!(
                "{} by {SYSTEM_RUSTC}, which builds `core` from its sources",
                self.target
            ),
        }
    }

    /// Cargo in `dir`, a board's package, ready for a subcommand and its arguments.
    ///
    /// The board's own `.cargo/config.toml` gives the target and the target directory; what cargo
    /// or the user set for host builds does not reach it.
    #[must_use]
    pub fn cargo(&self, dir: &Path) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(dir);
        for name in host_only(std::env::vars_os().map(|(name, _)| name)) {
            command.env_remove(name);
        }
        if let Way::System { linker_dir } = &self.way {
            command
                .env("RUSTC", SYSTEM_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .arg("-Zbuild-std=core");
            if let Some(path) = linker_dir.as_deref().and_then(path_with) {
                command.env("PATH", path);
            }
        }
        command
    }
}

/// The cargo that runs us, or the one on PATH.
#[must_use]
pub fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// PATH with `dir` at its end.
fn path_with(dir: &Path) -> Option<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).filter(|entry| !entry.as_os_str().is_empty());
    std::env::join_paths(dirs.chain([dir.to_owned()])).ok()
}

/// Those of `names` that must not reach a build for a board.
fn host_only(names: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    names.filter(|name| {
        let name = name.to_string_lossy();
        HOST_ONLY.contains(&&*name)
            || HOST_ONLY_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
            || (name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS"))
    })
}

fn has_target(sysroot: &Path, target: &str) -> bool {
    let lib = sysroot.join("lib/rustlib").join(target).join("lib");
    std::fs::read_dir(lib).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("libcore-") && name.ends_with(".rlib")
            })
        })
    })
}

/// The sysroot of the system's compiler, or why it does not serve, as the end of a sentence.
fn system_compiler(target: &str) -> Result<PathBuf, String> {
    let path = Path::new(SYSTEM_RUSTC);
    let real = path
        .canonicalize()
        .map_err(|_| "does not exist".to_owned())?;
    if real.file_stem().is_some_and(|stem| stem == "rustup") {
        return Err("is rustup's, not the system's own".to_owned());
    }
    let version = ask(SYSTEM_RUSTC, &["--version"]).map_err(|_| "does not run".to_owned())?;
    if minor_version(&version).is_none_or(|minor| minor < OLDEST_MINOR) {
        return Err(format!(
            "is {version:?}, expected 1.{OLDEST_MINOR} or newer"
        ));
    }
    let known = ask(SYSTEM_RUSTC, &["--print", "target-list"]).unwrap_or_default();
    if !known.lines().any(|line| line == target) {
        return Err("does not know it either".to_owned());
    }
    let sysroot = sysroot(SYSTEM_RUSTC).map_err(|_| "names no sysroot".to_owned())?;
    let sources = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !sources.is_file() {
        return Err(format!("comes without {}", sources.display()));
    }
    Ok(sysroot)
}

/// The minor version in `rustc 1.95.0 (…)`.
fn minor_version(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(1)?;
    let mut parts = number.split('.');
    (parts.next()? == "1").then(|| parts.next()?.parse().ok())?
}

/// Where rust-lld lies; none where PATH has it already.
fn linker_dir(target: &str, sysroots: &[&Path]) -> Result<Option<PathBuf>, ToolchainError> {
    let name = format!("rust-lld{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(&name).is_file()) {
        return Ok(None);
    }
    let host = host_triple()?;
    let looked: Vec<PathBuf> = sysroots
        .iter()
        .map(|sysroot| sysroot.join("lib/rustlib").join(&host).join("bin"))
        .collect();
    match looked.iter().find(|dir| dir.join(&name).is_file()) {
        Some(dir) => Ok(Some(dir.clone())),
        None => Err(ToolchainError::NoLinker {
            target: target.to_owned(),
            looked,
        }),
    }
}

fn sysroot(rustc: &str) -> Result<PathBuf, ToolchainError> {
    ask(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

fn host_triple() -> Result<String, ToolchainError> {
    let version = ask("rustc", &["-vV"])?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| ToolchainError::Rustc {
            command: "rustc -vV".to_owned(),
            reason: format!("printed {version:?}, which names no host"),
        })
}

/// What a compiler prints, without the end of line.
fn ask(rustc: &str, args: &[&str]) -> Result<String, ToolchainError> {
    let error = |reason: String| ToolchainError::Rustc {
        command: format!("{rustc} {}", args.join(" ")),
        reason,
    };
    // Cargo puts its own toolchain's libraries in LD_LIBRARY_PATH; another compiler must not see them.
    let output = Command::new(rustc)
        .args(args)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .map_err(|source| error(source.to_string()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(error(format!("{}: {}", output.status, stderr.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_the_host_is_taken_away() {
        let names = [
            "PATH",
            "HOME",
            "CARGO",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_TERM_COLOR",
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_THUMBV7EM_NONE_EABIHF_RUSTFLAGS",
            "CARGO_TARGET_THUMBV7EM_NONE_EABIHF_RUNNER",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_BUILD_TARGET",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "RUSTUP_HOME",
        ];
        let taken: Vec<OsString> = host_only(names.iter().map(OsString::from)).collect();
        let expected = [
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_THUMBV7EM_NONE_EABIHF_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_BUILD_TARGET",
            "RUSTFLAGS",
        ];
        assert_eq!(taken, expected);
    }

    #[test]
    fn versions_are_read_from_the_compilers_own_line() {
        assert_eq!(
            minor_version("rustc 1.96.0 (ac68faa20 2026-05-25)"),
            Some(96)
        );
        assert_eq!(minor_version("rustc 1.63.0"), Some(63));
        assert_eq!(minor_version("rustc 2.0.0"), None);
        assert_eq!(minor_version("rustc"), None);
        assert_eq!(minor_version(""), None);
    }

    #[test]
    fn a_directory_without_core_is_no_target() {
        assert!(!has_target(
            Path::new("/nonexistent"),
            "thumbv7em-none-eabihf"
        ));
    }

    #[test]
    fn an_unknown_target_is_refused_with_what_to_do() {
        let error = Toolchain::find("no-such-target").unwrap_err();
        assert!(matches!(error, ToolchainError::NoTarget { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("rustup target add no-such-target"),
            "{error}"
        );
    }
}
