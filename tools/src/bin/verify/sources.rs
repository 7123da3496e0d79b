//! Rules on the sources that no lint knows.
//!
//! Code for a device never asks for `target_feature`: stable rustc does not set it for thumb
//! targets, but does when it builds `core` from its sources, so that code would be tested in one
//! form and run in another. And `unsafe` stays within the kernels.

use std::path::{Path, PathBuf};

/// What may be compiled for a device, and the build scripts that decide about it.
const DEVICE: &[&str] = &["src", "boards", "build.rs"];

/// The only place of the root crate with `unsafe`.
const UNSAFE: &str = "src/kernels/";

/// Checks every file; the result is how many there were, or the lines that break a rule.
pub fn check(root: &Path) -> Result<usize, String> {
    let mut files = Vec::new();
    for place in DEVICE {
        collect(&root.join(place), &mut files)?;
    }
    let mut broken = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(file);
        let name = name.to_string_lossy().replace('\\', "/");
        broken.extend(problems(&name, &text));
    }
    match broken.is_empty() {
        true => Ok(files.len()),
        false => Err(broken.join("\n")),
    }
}

/// Rust files under `path`, without build output.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if path.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    } else if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
        let entries =
            std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for entry in entries.flatten() {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

/// The lines of one file that break a rule.
fn problems(name: &str, text: &str) -> Vec<String> {
    let safe = name.starts_with("src/") && !name.starts_with(UNSAFE);
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let place = || format!("{name}:{}", index + 1);
        if code.to_lowercase().contains("target_feature") {
            problems.push(format!(
                "{}: asks for target_feature, which differs between the two ways to build for a \
                 device; use a cfg of the build script or a feature",
                place()
            ));
        }
        if safe && has_word(code, "unsafe") {
            problems.push(format!(
                "{}: `unsafe` outside {UNSAFE}; write it safely or move it there",
                place()
            ));
        }
    }
    problems
}

/// Whether `word` stands in `code` as a word of its own.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_feature_is_found_wherever_a_device_may_see_it() {
        let cfg = "#[cfg(target_feature = \"dsp\")]\nfn f() {}\n";
        assert_eq!(problems("src/kernels/linear.rs", cfg).len(), 1);
        let script = "let dsp = std::env::var(\"CARGO_CFG_TARGET_FEATURE\");\n";
        assert_eq!(problems("build.rs", script).len(), 1);
        assert!(problems("src/lib.rs", "// never ask for target_feature\n").is_empty());
    }

    #[test]
    fn unsafe_stays_in_the_kernels() {
        let code = "let x = unsafe { f() };\n";
        assert_eq!(problems("src/image/mod.rs", code).len(), 1);
        assert!(problems("src/kernels/arm.rs", code).is_empty());
        assert!(problems("boards/x/src/main.rs", code).is_empty());
        assert!(problems("src/lib.rs", "#![deny(unsafe_code)]\n/// unsafe\n").is_empty());
    }
}
