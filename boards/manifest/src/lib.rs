//! `board.toml`: the one source of what is known of a board.
//!
//! ```text
//! error    what is wrong with a board.toml: which key, what was found, what is allowed
//! check    the regions against flash and RAM, and against each other
//! link     memory.x, and what a build script does with it
//! ```
//!
//! Everything is in bytes and hertz, addresses are as the core sees them. A value that nobody knows
//! yet is written as `"todo"`, and refused by its name.

mod check;
mod error;
mod link;

pub use error::BoardError;
pub use link::{build, link_args, memory_x, script};

use serde::Deserialize;
use std::ops::Range;

/// One board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The folder under `boards/`.
    pub name: String,
    /// The microcontroller, as its maker calls it.
    pub mcu: String,
    /// The chip, by its probe-rs name (or QEMU's machine).
    pub chip: String,
    /// The core.
    pub core: String,
    /// The compiler's target triple.
    pub target: String,
    /// Features of the `tailtune` crate that the core asks for.
    #[serde(default)]
    pub features: Vec<String>,
    /// The core's clock as the firmware sets it, hertz.
    pub clock_hz: u32,
    /// Room for the stack. It lies below everything else in RAM, so an overflow faults.
    pub stack_bytes: u32,
    /// The family of UF2 boot loaders for this chip.
    pub uf2_family: Option<u32>,
    /// Flash memories; the first holds the code.
    pub flash: Vec<Flash>,
    /// RAM; the first holds statics and the stack.
    pub ram: Vec<Ram>,
    /// What lies where in flash.
    pub regions: Regions,
    /// A boot loader before the code.
    pub boot: Option<Boot>,
    /// Of emulated boards.
    pub emulator: Option<Emulator>,
    /// How far the project's own checks go with it.
    #[serde(default)]
    pub status: Status,
}

/// How far the project's own checks go with a board of silicon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not at all.
    #[default]
    Unchecked,
    /// Its firmware is built and linked.
    Built,
    /// Its firmware is flashed into a model of its chip, and runs there.
    EmulatedChip,
}

/// A flash memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flash {
    /// What regions call it.
    pub name: String,
    /// Where it is mapped; 0 where it is not.
    pub address: u32,
    /// Its erase blocks, in order.
    pub sectors: Vec<Sectors>,
    /// The smallest write.
    pub write_bytes: u32,
    /// What an erased byte holds.
    #[serde(default = "ones")]
    pub erased: u8,
    /// Whether it corrects errors: a torn word then faults when it is read.
    #[serde(default)]
    pub ecc: bool,
    /// The longest that erasing one sector stops the core, milliseconds.
    pub erase_stall_ms: u32,
}

fn ones() -> u8 {
    0xff
}

/// So many erase blocks of so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sectors {
    /// How many.
    pub count: u32,
    /// Bytes of each.
    pub bytes: u32,
}

/// A RAM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ram {
    /// What the linker script calls it; the first is `RAM` there.
    pub name: String,
    /// Where it starts.
    pub address: u32,
    /// How much there is.
    pub bytes: u32,
    /// Whether the section `.arena` lies here; in the first RAM, with the other statics, if in none.
    #[serde(default)]
    pub arena: bool,
}

/// Part of a flash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Which; the first, if it is not said.
    pub flash: Option<String>,
    /// Where it starts.
    pub address: u32,
    /// How long it is.
    pub bytes: u32,
}

impl Region {
    /// Returns its addresses.
    pub fn range(&self) -> Range<u32> {
        self.address..self.address.saturating_add(self.bytes)
    }
}

/// What lies where in flash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regions {
    /// The vector table, where it does not lie before the code.
    pub vectors: Option<Region>,
    /// The firmware.
    pub code: Region,
    /// The model image.
    pub model: Region,
    /// Where the firmware looks for a job; none where jobs come another way.
    pub job: Option<Region>,
    /// The two slots of the tails.
    pub tails: [Region; 2],
    /// Latents, while the last block is tuned; none where only heads are tuned.
    pub replay: Option<Region>,
}

impl Regions {
    /// Returns all of them with their keys.
    pub fn named(&self) -> Vec<(&'static str, &Region)> {
        let [first, second] = &self.tails;
        [
            ("vectors", self.vectors.as_ref()),
            ("code", Some(&self.code)),
            ("model", Some(&self.model)),
            ("job", self.job.as_ref()),
            ("tails[0]", Some(first)),
            ("tails[1]", Some(second)),
            ("replay", self.replay.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, region)| region.map(|region| (name, region)))
        .collect()
    }
}

/// A boot loader before the code.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Which.
    pub kind: BootKind,
    /// What it takes, from the start of the flash.
    pub bytes: u32,
    /// Bytes between the start of the code region and the vector table: an image header.
    #[serde(default)]
    pub header_bytes: u32,
}

impl Boot {
    /// Returns whether it is linked into the firmware, and needs no room of its own.
    pub fn is_in_firmware(&self) -> bool {
        matches!(self.kind, BootKind::SecondStage | BootKind::ImageDefinition)
    }
}

/// Boot loaders that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootKind {
    /// A second stage that the chip's ROM starts and that starts the code at once (RP2040). It is part of
    /// the firmware, at the start of the code region: the section `.boot2`.
    SecondStage,
    /// A block that the chip's ROM looks for in the first 4 KiB and that says what the firmware is
    /// (RP2350). It is part of the firmware, after the vectors: the section `.start_block`.
    ImageDefinition,
    /// Takes UF2 files over USB.
    Uf2,
    /// <https://docs.mcuboot.com>.
    Mcuboot,
    /// <https://docs.embassy.dev/embassy-boot>.
    EmbassyBoot,
    /// ESP-IDF's second stage and partition table. It maps the firmware by its own segments, so the HAL
    /// brings the linker script, and flash is not seen at its own addresses.
    EspIdf,
}

/// What an emulated board needs besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulator {
    /// An instruction takes 2 to this power nanoseconds of the emulator's time; none where nothing is counted.
    pub icount_shift: Option<u32>,
    /// The timer that counts instructions, a CMSDK timer or SysTick.
    #[serde(default)]
    pub counter_address: u32,
    /// So many of its ticks …
    #[serde(default)]
    pub counter_ticks: u32,
    /// … are so many instructions.
    #[serde(default)]
    pub counter_instructions: u32,
}

impl Board {
    /// Reads and checks the text of a `board.toml`; `place` names it in errors.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn parse(place: &str, text: &str) -> Result<Self, BoardError> {
        error::no_todo(place, text)?;
        let board: Self = toml::from_str(text).map_err(|e| BoardError::toml(place, &e))?;
        check::check(place, &board)?;
        Ok(board)
    }

    /// Returns the flash that a region lies in.
    pub fn flash_of(&self, region: &Region) -> Option<&Flash> {
        match &region.flash {
            Some(name) => self.flash.iter().find(|flash| flash.name == *name),
            None => self.flash.first(),
        }
    }

    /// Returns whether the core sees a flash at its address: only the first may be mapped at 0.
    pub fn is_mapped(&self, flash: &Flash) -> bool {
        flash.address != 0 || self.flash.first() == Some(flash)
    }

    /// Returns the bytes of all flash that the core sees.
    pub fn flash_bytes(&self) -> u32 {
        self.flash_where(true)
    }

    /// Returns the bytes of all flash that only a driver reaches.
    pub fn unmapped_bytes(&self) -> u32 {
        self.flash_where(false)
    }

    fn flash_where(&self, mapped: bool) -> u32 {
        let flash = self.flash.iter().filter(|f| self.is_mapped(f) == mapped);
        flash.fold(0, |sum, flash| sum.saturating_add(flash.bytes()))
    }

    /// Returns whether its firmware tunes heads only, in the encoder's arena once that has given the features.
    pub const fn is_heads_only(&self) -> bool {
        self.regions.replay.is_none()
    }

    /// Returns the bytes of all RAM.
    pub fn ram_bytes(&self) -> u32 {
        self.ram.iter().map(|ram| ram.bytes).sum()
    }

    /// Returns whether it runs in QEMU.
    pub const fn is_emulated(&self) -> bool {
        self.emulator.is_some()
    }

    /// Returns the bytes of the smaller slot of the tails.
    pub fn slot_bytes(&self) -> u32 {
        let [first, second] = &self.regions.tails;
        first.bytes.min(second.bytes)
    }
}

impl Flash {
    /// Returns its size.
    pub fn bytes(&self) -> u32 {
        let sizes = self.sectors.iter();
        sizes.fold(0, |sum, s| {
            sum.saturating_add(s.count.saturating_mul(s.bytes))
        })
    }

    /// Returns the address and the size of every erase block, in order.
    pub fn blocks(&self) -> impl Iterator<Item = Range<u32>> {
        let sizes = self.sectors.iter();
        let sizes = sizes.flat_map(|s| std::iter::repeat_n(s.bytes, s.count as usize));
        sizes.scan(self.address, |at, bytes| {
            let start = *at;
            *at = start.saturating_add(bytes);
            Some(start..*at)
        })
    }

    /// Returns whether an erase block starts at an address, or the flash ends there.
    pub fn is_boundary(&self, address: u32) -> bool {
        address == self.address.saturating_add(self.bytes())
            || self.blocks().any(|block| block.start == address)
    }
}
