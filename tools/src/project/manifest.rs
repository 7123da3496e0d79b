//! A project's Cargo.toml and .cargo/config.toml, from those of its board.

use super::sources::Source;
use crate::board::Board;

/// Where a project takes the crate `tailtune` from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tailtune {
    /// A checkout.
    Path(String),
    /// A git repository.
    Git(String),
    /// The registry.
    Version(String),
}

impl Tailtune {
    fn key(&self) -> String {
        let (key, value) = match self {
            Self::Path(path) => ("path", path),
            Self::Git(url) => ("git", url),
            Self::Version(version) => ("version", version),
        };
        format!("{key} = {}", toml::Value::from(value.as_str()))
    }
}

/// Dependencies of a board's own application, which a project does not have.
const NOT_TAKEN: [&str; 5] = [
    "tailtune-app",
    "embassy-embedded-hal",
    "embassy-executor",
    "embassy-sync",
    "static_cell",
];

/// Returns the Cargo.toml of a project.
pub fn cargo_toml(name: &str, source: &Source, tailtune: &Tailtune) -> String {
    let mut text = String::new();
    let package = section(source.manifest, "package");
    let rust = package.iter().find(|line| line.starts_with("rust-version"));
    text += &format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    text += &format!("{}\npublish = false\n\n", rust.unwrap_or(&""));
    text += "[workspace]\n\n[dependencies]\n";
    let key = |line: &str| line.split(['=', ' ']).next().unwrap_or_default().to_owned();
    let mut wanted: Vec<String> = Vec::new();
    for line in section(source.manifest, "dependencies") {
        if !NOT_TAKEN.contains(&key(line).as_str()) {
            wanted.push(line.replace("path = \"../..\"", &tailtune.key()));
        }
    }
    for (name, line) in [
        (
            "embedded-storage",
            "embedded-storage = \"0.3.1\"".to_owned(),
        ),
        ("tailtune", format!("tailtune = {{ {} }}", tailtune.key())),
    ] {
        if !wanted.iter().any(|line| key(line) == name) {
            wanted.push(line);
        }
    }
    text += &(wanted.join("\n") + "\n");
    for profile in [
        "profile.release",
        "profile.release.package.libm",
        "profile.dev",
    ] {
        let lines = section(source.manifest, profile);
        if !lines.is_empty() {
            text += &format!("\n[{profile}]\n{}\n", lines.join("\n"));
        }
    }
    text
}

/// Returns the lines of a section, without empty ones.
fn section<'t>(manifest: &'t str, name: &str) -> Vec<&'t str> {
    let lines = manifest.lines();
    let header = format!("[{name}]");
    let inside = lines.skip_while(|line| *line != header).skip(1);
    inside
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty())
        .collect()
}

/// Returns the .cargo/config.toml of a project: that of its board with a target directory of its own; an
/// emulator also gets the model.
pub fn config(source: &Source, board: &Board) -> String {
    let lines = source.config.lines();
    let own = lines.filter(|line| !line.starts_with("target-dir"));
    let text = own.collect::<Vec<_>>().join("\n") + "\n";
    let loader = format!(
        " -device loader,file=model.bin,addr={:#x},force-raw=on -kernel\"",
        board.regions.model.address
    );
    text.replace(" -kernel\"", &loader)
}

#[cfg(test)]
mod tests {
    use super::super::sources::SOURCES;
    use super::*;
    use crate::board;

    #[test]
    fn every_board_gives_a_manifest_that_depends_on_tailtune_alone() {
        for source in SOURCES {
            let tailtune = Tailtune::Path("/a \"b\"".into());
            let text = cargo_toml("mine", source, &tailtune);
            let table: toml::Table =
                toml::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let own = table["dependencies"].as_table().unwrap();
            assert_eq!(own["tailtune"]["path"].as_str(), Some("/a \"b\""));
            let paths = own.values().filter(|d| d.get("path").is_some()).count();
            assert_eq!(paths, 1, "{text}");
            let release = &table["profile"]["release"];
            assert_eq!(release["panic"].as_str(), Some("abort"), "{text}");

            let board = board::find(source.board).unwrap();
            let config = config(source, &board);
            let table: toml::Table = toml::from_str(&config).unwrap();
            assert_eq!(table["build"]["target"].as_str(), Some(&*board.target));
            assert!(table["build"].get("target-dir").is_none());
            // A triple with a dot is no key of one table: its line is looked at.
            let runner = config.lines().find(|line| line.starts_with("runner"));
            let runner = runner.unwrap();
            let expected = match board.is_emulated() {
                true => format!("addr={:#x}", board.regions.model.address),
                false => format!("probe-rs run --chip {}", board.chip),
            };
            assert!(runner.contains(&expected), "{runner}");
        }
    }

    #[test]
    fn the_crate_comes_from_where_it_is_said() {
        let source = SOURCES.iter().find(|s| s.board == "rpi-pico2").unwrap();
        let text = |tailtune| cargo_toml("mine", source, &tailtune);
        let dsp = "features = [\"defmt\", \"dsp\"]";
        let git = text(Tailtune::Git("https://example.org/t".into()));
        assert!(git.contains(&format!("git = \"https://example.org/t\", {dsp}")));
        let version = text(Tailtune::Version("0.1.0".into()));
        assert!(version.contains(&format!("version = \"0.1.0\", {dsp}")));
    }
}
