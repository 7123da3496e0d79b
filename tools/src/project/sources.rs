//! What a project is made of: the boards' own files, and those of `boards/project`.

use crate::board::Board;

macro_rules! file {
    ($path:expr) => {
        include_str!(concat!("../../../boards/", $path))
    };
}

/// The program's entry and report, on silicon and on an emulated board.
pub const MAIN: &str = file!("project/src/main.rs");
pub const EMULATED: &str = file!("project/src/emulated.rs");
/// What both share: a name and its text.
pub const SHARED: [File; 2] = [
    ("src/firmware.rs", file!("project/src/firmware.rs")),
    ("src/failure.rs", file!("project/src/failure.rs")),
];
pub const BUILD: &str = file!("project/build.rs");
pub const README: &str = file!("project/README.md");

/// A file of a project: where it lies there, and its text.
pub type File = (&'static str, &'static str);

/// What comes from a board.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The board's name.
    pub board: &'static str,
    /// Its Cargo.toml.
    pub manifest: &'static str,
    /// Its Cargo.lock: the versions that it is tested with.
    pub lock: &'static str,
    /// Its .cargo/config.toml.
    pub config: &'static str,
    /// Files that are taken as they are.
    pub files: &'static [File],
}

macro_rules! silicon {
    ($board:literal $(, $module:literal)*) => {
        source!($board, [
            ("Embed.toml", file!(concat!($board, "/Embed.toml"))),
            ("src/hal.rs", file!(concat!($board, "/src/hal.rs"))),
            $((concat!("src/", $module), file!(concat!($board, "/src/", $module)))),*
        ])
    };
}

macro_rules! emulated {
    ($board:literal, $host:literal) => {
        source!(
            $board,
            [
                ("src/host.rs", file!(concat!($host, "/src/host.rs"))),
                ("src/file.rs", file!(concat!($host, "/src/file.rs"))),
                ("src/flash.rs", file!("qemu-mps2-an386/src/flash.rs")),
                ("src/panic.rs", file!("qemu-mps2-an386/src/panic.rs")),
            ]
        )
    };
}

macro_rules! source {
    ($board:literal, [$($file:expr),* $(,)?]) => {
        Source {
            board: $board,
            manifest: file!(concat!($board, "/Cargo.toml")),
            lock: file!(concat!($board, "/Cargo.lock")),
            config: file!(concat!($board, "/.cargo/config.toml")),
            files: &[$($file),*],
        }
    };
}

/// Every board that projects are written for.
pub const SOURCES: &[Source] = &[
    silicon!("esp32c3", "map.rs"),
    silicon!("microbit-v1", "nvmc.rs"),
    silicon!("nrf52840-dk"),
    silicon!("rpi-pico"),
    silicon!("rpi-pico2"),
    silicon!("stm32f411-nucleo"),
    silicon!("stm32h743-nucleo", "torn.rs"),
    emulated!("qemu-microbit", "qemu-mps2-an386"),
    emulated!("qemu-mps2-an385", "qemu-mps2-an386"),
    emulated!("qemu-mps2-an385-v6m", "qemu-mps2-an386"),
    emulated!("qemu-mps2-an386", "qemu-mps2-an386"),
    emulated!("qemu-mps2-an505", "qemu-mps2-an386"),
    emulated!("qemu-mps3-an547", "qemu-mps2-an386"),
    emulated!("qemu-virt-rv32", "qemu-virt-rv32"),
];

impl Source {
    /// Returns what a board's project is made of: the board's own files, or those of a board with the same chip.
    pub fn of(board: &Board) -> Option<&'static Self> {
        let named = SOURCES.iter().find(|source| source.board == board.name);
        named.or_else(|| {
            SOURCES.iter().find(|source| {
                let known = crate::board::find(source.board);
                known.is_ok_and(|known| known.chip == board.chip && !board.is_emulated())
            })
        })
    }

    /// Returns the modules of its own, beside those that every project has.
    pub fn modules(&self) -> impl Iterator<Item = &'static str> {
        let stems = self.files.iter().filter_map(|(path, _)| {
            let name = path.strip_prefix("src/")?;
            name.strip_suffix(".rs")
        });
        stems.filter(|name| *name != "hal")
    }
}
