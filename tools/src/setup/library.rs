//! What the emulated chips' emulator is built with: a program and a library of the system.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Something of the system that a build needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildTool {
    /// The program cmake.
    Cmake,
    /// The library libclang, by which bindings are made.
    LibClang,
}

impl BuildTool {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cmake, Self::LibClang];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cmake => "cmake",
            Self::LibClang => "libclang",
        }
    }

    /// The package that has it, in Debian, Fedora, Arch and Homebrew.
    pub(super) fn packages(self) -> [&'static str; 4] {
        match self {
            Self::Cmake => ["cmake"; 4],
            Self::LibClang => ["libclang-dev", "clang-devel", "clang", "llvm"],
        }
    }

    /// None when it is there.
    pub(super) fn problem(self) -> Option<String> {
        match self {
            Self::Cmake => match Command::new("cmake").arg("--version").output() {
                Ok(output) if output.status.success() => None,
                Ok(output) => Some(format!("cmake ends with {}", output.status)),
                Err(error) => Some(format!("cmake does not run: {error}")),
            },
            Self::LibClang => {
                let named = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
                let found = named
                    .into_iter()
                    .chain(places())
                    .any(|dir| holds_libclang(&dir));
                (!found).then(|| "no libclang where systems keep it, nor in LIBCLANG_PATH".into())
            }
        }
    }
}

/// Where systems keep libclang.
fn places() -> impl Iterator<Item = PathBuf> {
    let fixed = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/opt/homebrew/opt/llvm/lib",
        "/usr/local/opt/llvm/lib",
        "/Library/Developer/CommandLineTools/usr/lib",
        "/Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib",
    ];
    let versions = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    let versions = versions.map(|entry| entry.path()).flat_map(|dir| {
        // Debian: llvm-14/lib; the library itself also in x86_64-linux-gnu.
        [dir.join("lib"), dir]
    });
    fixed.into_iter().map(PathBuf::from).chain(versions)
}

fn holds_libclang(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Not libclang-cpp, which is another library.
        let rest = name.strip_prefix("libclang");
        rest.is_some_and(|rest| {
            let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
            rest.starts_with(".so")
                || rest.starts_with(".dylib")
                || rest.starts_with(".dll")
                || rest.strip_prefix('-').is_some_and(numbered)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libclang_is_known_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!holds_libclang(dir.path()));
        for name in ["libclang-cpp.so.14", "libclang.a", "libclangAST.so"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert!(!holds_libclang(dir.path()));
        for name in ["libclang.so.1", "libclang-14.so.1", "libclang.dylib"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name), "").unwrap();
            assert!(holds_libclang(dir.path()), "{name}");
        }
    }
}
