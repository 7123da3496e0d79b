//! The README's two tables of boards are what `tailtune boards --markdown` prints.

#[allow(dead_code)] // Its recordings are for other tests.
mod common;

use common::run;
use std::path::Path;

#[test]
fn the_readme_has_both_tables() {
    let work = tempfile::tempdir().unwrap();
    let (text, _) = run(work.path(), &["boards", "--markdown"], 0);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let tables: Vec<&str> = text.trim_end().split("\n\n").collect();
    assert_eq!(tables.len(), 2, "{text}");
    for table in tables {
        assert!(table.lines().count() > 10, "{table}");
        let found = format!("\n\n{table}\n\n");
        assert!(readme.contains(&found), "the README lacks\n{table}");
    }
}

/// Every value that probe-rs does not know is refused by its key until all are filled in.
#[cfg(feature = "flash")]
#[test]
fn a_board_made_from_a_chip_is_refused_until_it_is_filled_in() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    run(dir, &["boards", "new", "mine", "--chip", "STM32F407VG"], 0);
    let path = dir.join("boards/mine/board.toml");
    let filled = [
        ("core", "\"Cortex-M4F\""),
        ("target", "\"thumbv7em-none-eabihf\""),
        ("clock_hz", "168_000_000"),
        ("write_bytes", "4"),
        ("ecc", "false"),
        ("erase_stall_ms", "4000"),
        ("code", "{ address = 0x08010000, bytes = 0x30000 }"),
        ("model", "{ address = 0x08040000, bytes = 0x40000 }"),
        (
            "tails",
            "[{ address = 0x08004000, bytes = 0x4000 }, { address = 0x08008000, bytes = 0x4000 }]",
        ),
    ];
    let micro = tailtune_tools::models::KEYWORDS_MICRO;
    for n in 0..filled.len() {
        let (_, err) = run(dir, &["plan", micro, "--board", "mine"], 2);
        let (key, value) = filled
            .iter()
            .find(|(key, _)| err.contains(&format!("{key} is still \"todo\"")))
            .unwrap_or_else(|| panic!("after {n}: {err}"));
        let text = std::fs::read_to_string(&path).unwrap();
        let open = format!("\n{key} = \"todo\"");
        assert_eq!(text.matches(&open).count(), 1, "{key}\n{text}");
        std::fs::write(&path, text.replace(&open, &format!("\n{key} = {value}"))).unwrap();
    }
    let (text, _) = run(dir, &["plan", micro, "--board", "mine"], 0);
    assert!(text.contains("mine: fits"), "{text}");
    let made = std::fs::read(&path).unwrap();
    let again = ["boards", "new", "mine", "--chip", "STM32F407VG"];
    let (_, err) = run(dir, &again, 2);
    assert!(err.contains("exists already"), "{err}");
    assert_eq!(
        std::fs::read(&path).unwrap(),
        made,
        "nothing was overwritten"
    );
}

#[cfg(feature = "flash")]
#[test]
fn no_board_is_made_of_what_is_not_known() {
    let work = tempfile::tempdir().unwrap();
    let call = |name: &str, chip: &str| {
        let (_, err) = run(work.path(), &["boards", "new", name, "--chip", chip], 2);
        err
    };
    let err = call("mine", "nRF52841_xxAA");
    assert!(err.contains("nRF52840_xxAA"), "{err}");
    let err = call("nrf52840-dk", "nRF52840_xxAA");
    assert!(err.contains("built in"), "{err}");
    let err = call("../mine", "nRF52840_xxAA");
    assert!(err.contains("no name"), "{err}");
    assert!(!work.path().join("boards").exists());
}
