//! What probe-rs knows of a chip, and the board.toml that comes of it.

use crate::board::is_built_in;
use probe_rs::config::{MemoryRegion, RawFlashAlgorithm, Registry};
use probe_rs::{CoreType, Target};
use std::fmt::Write;
use std::ops::Range;

/// Why no board.toml is made of a chip.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChipError {
    /// No such chip.
    #[error("--chip {wanted}: probe-rs knows no chip of that name; the nearest are {near}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The nearest names.
        near: String,
    },
    /// The name is no folder's.
    #[error("{0:?} is no name of a board: letters, digits and - are, after a letter")]
    Name(String),
    /// A board of that name is built in.
    #[error("board {0} is built in; take another name")]
    BuiltIn(String),
}

/// Returns the algorithm that probe-rs takes for a region of flash: the only one, or the default.
pub fn algorithm<'t>(target: &'t Target, region: &Range<u64>) -> Option<&'t RawFlashAlgorithm> {
    let covers = |a: &&RawFlashAlgorithm| {
        let all = &a.flash_properties.address_range;
        all.start <= region.start && region.end <= all.end
    };
    let all: Vec<_> = target.flash_algorithms.iter().filter(covers).collect();
    match &all[..] {
        [only] => Some(only),
        several => several.iter().copied().find(|a| a.default),
    }
}

/// Returns the sectors of a range, as an algorithm erases them.
pub fn sectors(algorithm: &RawFlashAlgorithm, range: &Range<u64>) -> Vec<Range<u32>> {
    let properties = &algorithm.flash_properties;
    let base = properties.address_range.start;
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end && properties.address_range.contains(&at) {
        let offset = at - base;
        let Some(group) = properties.sectors.iter().rfind(|s| s.address <= offset) else {
            break;
        };
        let size = group.size.max(1);
        let start = base + group.address + (offset - group.address) / size * size;
        found.push(start as u32..(start + size) as u32);
        at = start + size;
    }
    found
}

/// Makes the text of a board.toml: what probe-rs does not know is `"todo"`, with a comment that says what
/// belongs there.
///
/// # Errors
/// [`ChipError`].
pub fn board_toml(name: &str, chip: &str) -> Result<String, ChipError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(sound) {
        return Err(ChipError::Name(name.into()));
    }
    if is_built_in(name) {
        return Err(ChipError::BuiltIn(name.into()));
    }
    let registry = Registry::from_builtin_families();
    let target = registry.get_target_by_name(chip);
    let target = target.map_err(|_| ChipError::Unknown {
        wanted: chip.into(),
        near: nearest(&registry, chip).join(", "),
    })?;
    let mut text = String::new();
    // A String takes whatever is written.
    let _ = head(&mut text, name, &target);
    let _ = flash(&mut text, &target);
    let _ = ram(&mut text, &target);
    text += REGIONS;
    Ok(text)
}

const REGIONS: &str = r#"
# What lies where in flash, each { address = .., bytes = .. } of whole sectors; { flash = "NAME", .. } where it is not
# the first. How large a model is says `tailtune plan`.
[regions]
# The firmware: 70 to 190 KiB. It begins where the chip looks for its vectors (or see `vectors` in
# boards/stm32f411-nucleo, `[boot]` in boards/rpi-pico).
code = "todo"
# The image, at a multiple of 16.
model = "todo"
# Two slots, [{ .. }, { .. }], of one flash; 4 KiB hold a head of 16 classes, 56 KiB KWT-1's last block.
tails = "todo"
# Left out: job (a job in flash), replay (latents: with it the firmware tunes the last block too).
"#;

fn head(text: &mut String, name: &str, target: &Target) -> std::fmt::Result {
    let core = target.cores.first();
    let kind = core.map_or(CoreType::Armv7em, |core| core.core_type);
    let (core_name, triple) = match kind {
        CoreType::Armv6m => ("todo", "thumbv6m-none-eabi"),
        CoreType::Armv7m => ("Cortex-M3", "thumbv7m-none-eabi"),
        _ => ("todo", "todo"),
    };
    let (core_note, triple_note) = match kind {
        CoreType::Armv6m => ("Cortex-M0 or Cortex-M0+", ""),
        CoreType::Armv7m => ("", ""),
        CoreType::Armv7em => (
            "Cortex-M4, Cortex-M4F (with FPU) or Cortex-M7",
            "thumbv7em-none-eabihf with an FPU, else thumbv7em-none-eabi",
        ),
        CoreType::Armv8m => (
            "Cortex-M23, Cortex-M33, Cortex-M55 or Cortex-M85",
            "thumbv8m.main-none-eabihf with an FPU, thumbv8m.main-none-eabi without, thumbv8m.base-none-eabi of a \
             Cortex-M23; add features = [\"dsp\"] or [\"mve\"] where the core has them",
        ),
        _ => (
            "such as RV32IMC: the core's instruction set",
            "as `rustc --print target-list` names it, such as riscv32imc-unknown-none-elf",
        ),
    };
    writeln!(
        text,
        "# {}, as probe-rs describes it. Whatever is \"todo\" it does not know: every command refuses this board by the\n\
         # key until it is filled in.",
        target.name
    )?;
    writeln!(
        text,
        "name = \"{name}\"\nmcu = \"{0}\"\nchip = \"{0}\"",
        target.name
    )?;
    if target.cores.len() > 1 {
        let all = target
            .cores
            .iter()
            .map(|c| format!("{} ({:?})", c.name, c.core_type));
        let all = all.collect::<Vec<_>>().join(", ");
        writeln!(text, "# Its cores: {all}. The first is described.")?;
    }
    if !core_note.is_empty() {
        writeln!(
            text,
            "# {kind:?}. {core_note}: the data sheet's first page."
        )?;
    }
    writeln!(text, "core = \"{core_name}\"")?;
    if !triple_note.is_empty() {
        writeln!(text, "# {triple_note}.")?;
    }
    writeln!(text, "target = \"{triple}\"")?;
    writeln!(
        text,
        "# The core's clock as the firmware sets it, hertz: the data sheet's clock tree says up to what.\nclock_hz = \"todo\""
    )?;
    let first = rams(target).into_iter().next();
    let bytes = first.map_or(0x8000, |(_, range)| range.end - range.start);
    let stack = (bytes / 8).clamp(0x1000, 0x8000) & !7;
    writeln!(
        text,
        "# A start: an eighth of the first RAM. Tuning a head takes about 5 KiB, a block more.\nstack_bytes = {stack:#x}"
    )
}

fn flash(text: &mut String, target: &Target) -> std::fmt::Result {
    let regions = target.memory_map.iter();
    let mut names: Vec<String> = Vec::new();
    for region in regions.filter_map(MemoryRegion::as_nvm_region) {
        let Some(algorithm) = algorithm(target, &region.range).filter(|_| !region.is_alias) else {
            continue;
        };
        let all = sectors(algorithm, &region.range);
        // One sector holds settings or what is written once.
        if all.len() < 2 {
            continue;
        }
        let name = unique(region.name.as_deref(), "internal", &mut names);
        let properties = &algorithm.flash_properties;
        writeln!(text, "\n[[flash]]\nname = \"{name}\"")?;
        writeln!(text, "address = {:#x}", region.range.start)?;
        writeln!(
            text,
            "# If it is a chip of its own on the board: as many sectors as that has."
        )?;
        writeln!(text, "sectors = [{}]", runs(&all))?;
        writeln!(
            text,
            "# The smallest write, bytes: the data sheet's or the reference manual's chapter on flash programming (nRF52 4,\n\
             # STM32F4 4, STM32H7 32, RP2040 1). probe-rs writes pages of {}.\nwrite_bytes = \"todo\"",
            properties.page_size
        )?;
        writeln!(text, "erased = {:#x}", properties.erased_byte_value)?;
        writeln!(
            text,
            "# true where the flash corrects errors (STM32H7, G4, L4, U5), else false: the reference manual's flash chapter.\n\
             ecc = \"todo\""
        )?;
        writeln!(
            text,
            "# The longest that the erase of a sector takes, milliseconds: the data sheet's table of flash characteristics.\n\
             # probe-rs waits for {} ms.\nerase_stall_ms = \"todo\"",
            properties.erase_sector_timeout
        )?;
    }
    Ok(())
}

fn ram(text: &mut String, target: &Target) -> std::fmt::Result {
    let mut names = Vec::new();
    for (i, (name, range)) in rams(target).into_iter().enumerate() {
        let name = match i {
            0 => unique(None, "RAM", &mut names),
            _ => unique(name.as_deref(), "RAM", &mut names),
        };
        if i > 0 {
            text.push_str(
                "\n# To be taken out if it is another view of one above: the data sheet's memory map.",
            );
        }
        writeln!(
            text,
            "\n[[ram]]\nname = \"{name}\"\naddress = {:#x}\nbytes = {:#x}",
            range.start,
            range.end - range.start
        )?;
    }
    let skipped = target
        .memory_map
        .iter()
        .filter_map(MemoryRegion::as_ram_region);
    for region in skipped.filter(|r| !is_plain(target, &r.range) && !r.is_alias) {
        let Range { start, end } = region.range;
        writeln!(
            text,
            "\n# probe-rs also lists RAM at {start:#x}..{end:#x}, below the data region: another view of the above, or memory\n\
             # of its own; the data sheet's memory map says which."
        )?;
    }
    Ok(())
}

/// Returns the RAM that a linker script may use, the first for statics and stack. Of two views of one RAM,
/// probe-rs calls either the alias: that in the data region is taken.
fn rams(target: &Target) -> Vec<(Option<String>, Range<u64>)> {
    let regions = target.memory_map.iter();
    let plain: Vec<_> = regions
        .filter_map(MemoryRegion::as_ram_region)
        .filter(|r| is_plain(target, &r.range))
        .collect();
    let only_aliases = plain.iter().all(|r| r.is_alias);
    let taken = plain.into_iter().filter(|r| only_aliases || !r.is_alias);
    taken.map(|r| (r.name.clone(), r.range.clone())).collect()
}

/// Returns whether a RAM lies in a Cortex-M's data region; of another core, any does.
fn is_plain(target: &Target, range: &Range<u64>) -> bool {
    let cortex_m = target
        .cores
        .first()
        .is_some_and(|c| c.core_type.is_cortex_m());
    !cortex_m || range.start >= 0x2000_0000
}

/// Returns a name that a linker script takes, and that none before has.
fn unique(name: Option<&str>, default: &str, names: &mut Vec<String>) -> String {
    let sound = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let base: String = name.unwrap_or(default).chars().map(sound).collect();
    let numbered = (2..).map(|n| format!("{base}{n}"));
    let mut all = std::iter::once(base.clone()).chain(numbered);
    let free = all.find(|name| !names.contains(name)).unwrap_or(base);
    names.push(free.clone());
    free
}

/// Returns sectors as board.toml has them.
fn runs(all: &[Range<u32>]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for sector in all {
        match runs.last_mut() {
            Some((count, bytes)) if *bytes == sector.len() => *count += 1,
            _ => runs.push((1, sector.len())),
        }
    }
    let words = runs.iter();
    let words = words.map(|(count, bytes)| format!("{{ count = {count}, bytes = {bytes:#x} }}"));
    words.collect::<Vec<_>>().join(", ")
}

/// Returns the five names that differ least; what a name has beyond the wanted one's length counts last.
fn nearest(registry: &Registry, wanted: &str) -> Vec<String> {
    let chips = registry
        .families()
        .iter()
        .flat_map(|family| &family.variants);
    let names = chips.flat_map(|chip| chip.package_variants());
    let lower = wanted.to_ascii_lowercase();
    let mut scored: Vec<(usize, &String)> = names
        .map(|name| {
            let own = name.to_ascii_lowercase();
            let start: String = own.chars().take(lower.len()).collect();
            (distance(&lower, &start), name)
        })
        .collect();
    scored.sort_by_key(|(distance, name)| (*distance, name.len(), *name));
    scored.dedup();
    scored
        .into_iter()
        .take(5)
        .map(|(_, name)| name.clone())
        .collect()
}

/// Returns how many letters are to be added, taken away or changed (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Board, find};

    #[test]
    fn letters_are_counted() {
        for (a, b, n) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
    }

    /// The chip's own numbers are those that the board's board.toml has from its data sheet.
    #[test]
    fn what_probe_rs_knows_is_what_the_data_sheets_say() {
        for name in [
            "nrf52840-dk",
            "stm32f411-nucleo",
            "stm32h743-nucleo",
            "microbit-v1",
        ] {
            let known = find(name).unwrap();
            let text = board_toml("mine", &known.chip).unwrap();
            let text = text.replace("core = \"todo\"", &format!("core = {:?}", known.core));
            let text = text.replace("target = \"todo\"", &format!("target = {:?}", known.target));
            let text = text
                .replace("clock_hz = \"todo\"", "clock_hz = 1")
                .replace("write_bytes = \"todo\"", "write_bytes = 4")
                .replace("ecc = \"todo\"", "ecc = false")
                .replace("erase_stall_ms = \"todo\"", "erase_stall_ms = 1");
            let first = known.flash[0].blocks().next().unwrap();
            let region = |n: u32| {
                let blocks: Vec<_> = known.flash[0].blocks().collect();
                let block = &blocks[n as usize];
                format!("{{ address = {}, bytes = {} }}", block.start, block.len())
            };
            let text = text
                .replace("code = \"todo\"", &format!("code = {}", region(0)))
                .replace("model = \"todo\"", &format!("model = {}", region(1)))
                .replace(
                    "tails = \"todo\"",
                    &format!("tails = [{}, {}]", region(2), region(3)),
                );
            let made = Board::parse("board.toml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(made.flash[0].address, first.start, "{name}");
            let blocks = |b: &Board| b.flash[0].blocks().collect::<Vec<_>>();
            assert_eq!(blocks(&made), blocks(&known), "{name}");
            assert_eq!(made.flash_bytes(), known.flash_bytes(), "{name}");
            let ram = |b: &Board| (b.ram[0].address, b.ram[0].bytes);
            assert_eq!(ram(&made), ram(&known), "{name}\n{text}");
        }
    }
}
