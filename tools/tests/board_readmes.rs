//! The README of every board of silicon says what its board.toml says.

use std::path::PathBuf;
use tailtune_tools::board::{self, Board};

/// Its regions in order of address, as the README has them.
fn regions(board: &Board) -> String {
    let mut table = String::from("| region | flash | address | size |\n|-|-|-|-|\n");
    let mut named = board.regions.named();
    let flash = |name: &Option<String>| match name {
        Some(name) => name.clone(),
        None => board.flash[0].name.clone(),
    };
    named.sort_by_key(|(_, region)| (region.flash.clone(), region.address));
    for (name, region) in named {
        let kib = f64::from(region.bytes) / 1024.0;
        let flash = flash(&region.flash);
        table += &format!(
            "| {name} | {flash} | {:#010x} | {kib} KiB |\n",
            region.address
        );
    }
    table
}

#[test]
fn readmes_have_the_regions_the_chip_and_the_commands() {
    let boards = board::all().unwrap();
    let silicon: Vec<&Board> = boards.iter().filter(|b| !b.is_emulated()).collect();
    assert!(silicon.len() >= 3, "{}", silicon.len());
    for board in silicon {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../boards")
            .join(&board.name);
        let read = |file: &str| {
            let path = dir.join(file);
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let readme = read("README.md");
        let table = regions(board);
        assert!(readme.contains(&table), "{}: expected\n{table}", board.name);
        let convert = format!("--board {}", board.name);
        assert!(readme.contains(&convert), "{}: no {convert}", board.name);
        let run = format!("probe-rs run --chip {}\"", board.chip);
        let target = format!("target = \"{}\"\n", board.target);
        let config = read(".cargo/config.toml");
        assert!(
            config.contains(&run) && config.contains(&target),
            "{config}"
        );
        let chip = format!("chip = \"{}\"\n", board.chip);
        assert!(read("Embed.toml").contains(&chip), "{}: {chip}", board.name);
    }
}
