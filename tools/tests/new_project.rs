//! `tailtune new`: what it writes and what it refuses; and that two of its projects build, one of which runs.

#[allow(dead_code)]
mod common;

use common::{LABELS, TinyModel, run, write_tones};
use std::path::{Path, PathBuf};
use std::process::Command;
use tailtune_tools::board;
use tailtune_tools::toolchain::Toolchain;

/// A folder with a model, and recordings of a word that it does not know.
fn workplace() -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    TinyModel::new().write(&dir.join("model"));
    let tones: Vec<_> = LABELS.into_iter().zip([300.0, 900.0, 2000.0]).collect();
    write_tones(&dir.join("clips"), &tones, 2);
    write_tones(
        &dir.join("new words"),
        &[("zoom in", 1400.0), ("صفر", 500.0)],
        1,
    );
    work
}

fn convert(dir: &Path, board: &str) {
    let args = ["convert", "model", "--board", board, "--calibrate", "clips"];
    run(dir, &[&args[..], &["-o", "m.bin"]].concat(), 0);
}

/// Writes the project `mine` for a board, over this checkout.
fn new(dir: &Path, board: &str, more: &[&str]) -> PathBuf {
    convert(dir, board);
    let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let args = ["new", "mine", "--board", board, "--image", "m.bin"];
    run(
        dir,
        &[&args[..], &["--tailtune", checkout], more].concat(),
        0,
    );
    dir.join("mine")
}

#[test]
fn every_board_has_a_project_with_its_image_and_its_memory() {
    let work = workplace();
    for board in board::all().unwrap() {
        let project = new(work.path(), &board.name, &[]);
        let read = |file: &str| {
            let path = project.join(file);
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let model = read("src/model.rs");
        let address = format!("{:#x};", board.regions.model.address);
        let labels = format!("LABELS: [&str; {}] = {LABELS:?}", LABELS.len());
        for expected in [&*address, &labels, "NEW_LABELS: [&str; 1] = [\"mine\"]"] {
            assert!(
                model.contains(expected),
                "{}: {expected}\n{model}",
                board.name
            );
        }
        let (name, script) = tailtune_board::script(&board);
        assert_eq!(read(name), script);
        let image = std::fs::read(project.join("model.bin")).unwrap();
        assert_eq!(image, std::fs::read(work.path().join("m.bin")).unwrap());
        assert!(read("README.md").contains(&board.name));
        assert!(!read("README.md").contains('{'), "a field is left open");
        assert_eq!(project.join("Embed.toml").exists(), !board.is_emulated());
        std::fs::remove_dir_all(&project).unwrap();
    }
}

#[test]
fn nothing_is_written_over_or_for_another_board() {
    let work = workplace();
    let dir = work.path();
    convert(dir, "nrf52840-dk");
    let call = |path: &str, board: &str, more: &[&str], code: i32| {
        let args = ["new", path, "--board", board, "--image", "m.bin"];
        run(dir, &[&args[..], more].concat(), code).1
    };
    std::fs::create_dir(dir.join("full")).unwrap();
    std::fs::write(dir.join("full/kept"), "mine").unwrap();
    let err = call("full", "nrf52840-dk", &[], 2);
    assert!(err.contains("there is something already"), "{err}");
    assert_eq!(std::fs::read_dir(dir.join("full")).unwrap().count(), 1);
    let err = call("mine", "rpi-pico", &[], 1);
    assert!(err.contains("made for board nrf52840-dk"), "{err}");
    let err = call("1st", "nrf52840-dk", &[], 2);
    assert!(err.contains("no name of a package"), "{err}");
    let err = call("mine", "nrf52840-dk", &["--tailtune", "nowhere"], 2);
    assert!(err.contains("nowhere"), "{err}");
    assert!(!dir.join("mine").exists());
    std::fs::create_dir(dir.join("empty")).unwrap();
    call("empty", "nrf52840-dk", &[], 0);
    assert!(dir.join("empty/Cargo.toml").is_file());
}

/// Runs cargo in a project as its user would; the boards' target directory has the dependencies.
fn cargo(project: &Path, board: &str, args: &[&str]) -> String {
    let toolchain = Toolchain::find(&board::find(board).unwrap().target).unwrap();
    let mut command: Command = toolchain.cargo(project);
    command.args(args);
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/boards");
    let output = command.env("CARGO_TARGET_DIR", target).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{board}: cargo {args:?}\n{text}");
    // Of this package, that is: a dependency's do not count.
    assert!(!text.contains("generated "), "{board} has warnings\n{text}");
    text
}

#[test]
#[ignore = "needs the thumbv7em target"]
fn a_project_for_silicon_builds_without_an_edit() {
    let work = workplace();
    let project = new(work.path(), "nrf52840-dk", &[]);
    cargo(&project, "nrf52840-dk", &["build", "--release"]);
    cargo(&project, "nrf52840-dk", &["fmt", "--check"]);
}

#[test]
#[ignore = "needs the thumbv7em target and qemu-system-arm"]
fn a_project_for_an_emulated_board_learns_and_says_what_it_has_learned() {
    let work = workplace();
    let board = "qemu-mps2-an386";
    let project = new(work.path(), board, &["--samples", "new words"]);
    let first = cargo(&project, board, &["run", "--release"]);
    assert!(first.contains("learned and saved"), "{first}");
    assert!(!first.contains("zoom in is taken for zoom in"), "{first}");
    // A new process with the same flash is a reset.
    let second = cargo(&project, board, &["run", "--release"]);
    for word in ["zoom in", "صفر"] {
        let expected = format!("{word} is taken for {word}");
        assert!(second.contains(&expected), "{second}");
    }
}
