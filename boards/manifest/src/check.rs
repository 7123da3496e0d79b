//! The regions against flash and RAM, and against each other.

use crate::{Board, BoardError, Flash, Region};

struct Place<'p>(&'p str);

impl Place<'_> {
    fn bad<T>(
        &self,
        key: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Result<T, BoardError> {
        Err(BoardError::Value {
            place: self.0.into(),
            key: key.into(),
            found: found.into(),
            expected: expected.into(),
        })
    }
}

fn hex(n: u32) -> String {
    format!("{n:#x}")
}

/// Checks a board that reads.
pub(crate) fn check(place: &str, board: &Board) -> Result<(), BoardError> {
    let place = Place(place);
    if board.clock_hz == 0 {
        return place.bad("clock_hz", "0", "the core's clock in hertz is expected");
    }
    flashes(&place, board)?;
    rams(&place, board)?;
    regions(&place, board)?;
    boot(&place, board)
}

fn flashes(place: &Place<'_>, board: &Board) -> Result<(), BoardError> {
    if board.flash.is_empty() {
        return place.bad("flash", "[]", "at least one [[flash]] is expected");
    }
    for (i, flash) in board.flash.iter().enumerate() {
        let key = |key: &str| format!("flash[{i}].{key}");
        if board.flash.iter().take(i).any(|f| f.name == flash.name) {
            return place.bad(key("name"), &flash.name, "another flash has that name");
        }
        let total: u64 = flash
            .sectors
            .iter()
            .map(|s| u64::from(s.count) * u64::from(s.bytes))
            .sum();
        if total == 0 || u64::from(flash.address) + total > 1 << 32 {
            return place.bad(
                key("sectors"),
                format!("{total} bytes from {:#x} on", flash.address),
                "sectors that end below 4 GiB are expected",
            );
        }
        let whole =
            |s: &crate::Sectors| flash.write_bytes > 0 && s.bytes.is_multiple_of(flash.write_bytes);
        if !flash.sectors.iter().all(whole) {
            let expected = "a divisor of every sector's bytes is expected";
            return place.bad(key("write_bytes"), flash.write_bytes.to_string(), expected);
        }
        if flash.erased != 0xff && flash.erased != 0 {
            return place.bad(
                key("erased"),
                hex(flash.erased.into()),
                "0xff or 0x00 is expected",
            );
        }
    }
    Ok(())
}

fn rams(place: &Place<'_>, board: &Board) -> Result<(), BoardError> {
    let Some(first) = board.ram.first() else {
        return place.bad("ram", "[]", "at least one [[ram]] is expected");
    };
    if board.stack_bytes == 0
        || !board.stack_bytes.is_multiple_of(8)
        || board.stack_bytes >= first.bytes
    {
        let expected = format!(
            "a multiple of 8 below the {} bytes of the first RAM is expected",
            first.bytes
        );
        return place.bad("stack_bytes", board.stack_bytes.to_string(), expected);
    }
    for (i, ram) in board.ram.iter().enumerate() {
        let end = u64::from(ram.address) + u64::from(ram.bytes);
        let overlaps = |other: &&crate::Ram| {
            ram.address < other.address.saturating_add(other.bytes)
                && u64::from(other.address) < end
        };
        if let Some(other) = board.ram.iter().take(i).find(overlaps) {
            let expected = format!("it overlaps RAM {}", other.name);
            return place.bad(format!("ram[{i}].address"), hex(ram.address), expected);
        }
    }
    if board.ram.iter().filter(|ram| ram.arena).count() > 1 {
        return place.bad("ram", "arena = true twice", "one RAM holds the arena");
    }
    Ok(())
}

fn regions(place: &Place<'_>, board: &Board) -> Result<(), BoardError> {
    let named = board.regions.named();
    for (i, (name, region)) in named.iter().enumerate() {
        let key = |key: &str| format!("regions.{name}.{key}");
        let Some(flash) = board.flash_of(region) else {
            let known: Vec<&str> = board.flash.iter().map(|f| f.name.as_str()).collect();
            let found = region.flash.clone().unwrap_or_default();
            let expected = format!("a flash is expected: {}", known.join(", "));
            return place.bad(key("flash"), found, expected);
        };
        let (start, end) = (
            region.address,
            u64::from(region.address) + u64::from(region.bytes),
        );
        let all = flash.address..flash.address.saturating_add(flash.bytes());
        if region.bytes == 0 || start < all.start || end > u64::from(all.end) {
            let found = format!("{start:#x}, bytes = {:#x}", region.bytes);
            let expected = format!("a part of {:#x}..{:#x} is expected", all.start, all.end);
            return place.bad(key("address"), found, expected);
        }
        aligned(place, name, region, flash)?;
        let overlaps = |(_, other): &&(&str, &Region)| {
            board.flash_of(other) == Some(flash)
                && u64::from(other.address) < end
                && start < other.address.saturating_add(other.bytes)
        };
        if let Some((other, at)) = named.iter().take(i).find(overlaps) {
            let expected = format!(
                "it overlaps regions.{other}, {:#x}..{:#x}",
                at.address,
                at.range().end
            );
            return place.bad(key("address"), hex(start), expected);
        }
    }
    let [first, second] = &board.regions.tails;
    if first.flash != second.flash {
        let found = second.flash.clone().unwrap_or_default();
        return place.bad(
            "regions.tails[1].flash",
            found,
            "the flash of tails[0] is expected",
        );
    }
    if !board.regions.model.address.is_multiple_of(16) {
        let found = hex(board.regions.model.address);
        return place.bad(
            "regions.model.address",
            found,
            "a multiple of 16 is expected",
        );
    }
    Ok(())
}

/// What is erased by itself takes whole sectors; code ends where something else begins.
fn aligned(
    place: &Place<'_>,
    name: &str,
    region: &Region,
    flash: &Flash,
) -> Result<(), BoardError> {
    for (key, at) in [("address", region.address), ("bytes", region.range().end)] {
        if flash.is_boundary(at) {
            continue;
        }
        let before = flash.blocks().take_while(|b| b.start < at).last();
        let block = before.unwrap_or(0..0);
        let expected = format!(
            "it cuts the sector {:#x}..{:#x} of {}: whole sectors are expected",
            block.start, block.end, flash.name
        );
        let found = match key {
            "address" => hex(at),
            _ => format!("{:#x}, which ends at {at:#x}", region.bytes),
        };
        return place.bad(format!("regions.{name}.{key}"), found, expected);
    }
    Ok(())
}

fn boot(place: &Place<'_>, board: &Board) -> Result<(), BoardError> {
    let (Some(boot), Some(flash)) = (&board.boot, board.flash.first()) else {
        return Ok(());
    };
    let end = flash.address.saturating_add(boot.bytes);
    let code = &board.regions.code;
    if boot.is_in_firmware() {
        if boot.bytes >= code.bytes {
            let found = boot.bytes.to_string();
            return place.bad("boot.bytes", found, "less than the code region is expected");
        }
        return Ok(());
    }
    for (name, region) in board.regions.named() {
        if board.flash_of(region) == Some(flash) && region.address < end {
            let expected = format!("the boot loader ends at {end:#x}");
            return place.bad(
                format!("regions.{name}.address"),
                hex(region.address),
                expected,
            );
        }
    }
    if boot.header_bytes >= code.bytes {
        let found = boot.header_bytes.to_string();
        return place.bad(
            "boot.header_bytes",
            found,
            "less than the code region is expected",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "f4"
mcu = "STM32F411RE"
chip = "STM32F411RETx"
core = "Cortex-M4F"
target = "thumbv7em-none-eabihf"
clock_hz = 100_000_000
stack_bytes = 0x2000

[[flash]]
name = "internal"
address = 0x08000000
sectors = [{ count = 4, bytes = 0x4000 }, { count = 1, bytes = 0x10000 }, { count = 3, bytes = 0x20000 }]
write_bytes = 4
erase_stall_ms = 2600

[[ram]]
name = "SRAM"
address = 0x20000000
bytes = 0x20000

[regions]
vectors = { address = 0x08000000, bytes = 0x4000 }
tails = [{ address = 0x08004000, bytes = 0x4000 }, { address = 0x08008000, bytes = 0x4000 }]
code = { address = 0x0800c000, bytes = 0x14000 }
model = { address = 0x08020000, bytes = 0x60000 }
"#;

    fn message(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, to);
        Board::parse("board.toml", &text).unwrap_err().to_string()
    }

    #[test]
    fn a_sound_board_is_taken() {
        let board = Board::parse("board.toml", GOOD).unwrap();
        assert_eq!((board.flash_bytes(), board.slot_bytes()), (0x80000, 0x4000));
        let flash = &board.flash[0];
        assert_eq!(flash.blocks().count(), 8);
        assert_eq!(flash.blocks().last(), Some(0x0806_0000..0x0808_0000));
    }

    #[test]
    fn every_flash_counts_where_the_core_sees_it() {
        let bank = "[[flash]]\nname = \"bank2\"\naddress = 0x08100000\nsectors = [{ count = 2, bytes = 0x20000 }]\n\
            write_bytes = 4\nerase_stall_ms = 1\n\n";
        let qspi = bank.replace("bank2", "qspi").replace("0x08100000", "0x0");
        let text = GOOD.replace("[[ram]]", &format!("{bank}{qspi}[[ram]]"));
        let board = Board::parse("board.toml", &text).unwrap();
        let found = (board.flash_bytes(), board.unmapped_bytes());
        assert_eq!(found, (0x80000 + 0x40000, 0x40000));
    }

    #[test]
    fn refusals_name_key_found_and_allowed() {
        let cases = [
            (
                "clock_hz = 100_000_000",
                "clock_hz = \"todo\"",
                "clock_hz is still \"todo\"",
            ),
            (
                "bytes = 0x20000\n\n",
                "bytes = \"todo\"\n\n",
                "ram[0].bytes is still \"todo\"",
            ),
            ("clock_hz", "clock_mhz", "clock_mhz"),
            (
                "stack_bytes = 0x2000",
                "stack_bytes = \"big\"",
                "stack_bytes",
            ),
            (
                "stack_bytes = 0x2000",
                "stack_bytes = 0x20000",
                "stack_bytes = 131072; a multiple of 8 below the 131072",
            ),
            (
                "write_bytes = 4",
                "write_bytes = 3",
                "flash[0].write_bytes = 3; a divisor",
            ),
            (
                "0x0800c000, bytes = 0x14000",
                "0x0800c000, bytes = 0x18000",
                "which ends at 0x8024000; it cuts the sector 0x8020000..0x8040000",
            ),
            (
                "0x0800c000, bytes = 0x14000",
                "0x0800c000, bytes = 0x34000",
                "regions.model.address = 0x8020000; it overlaps regions.code, 0x800c000..0x8040000",
            ),
            (
                "0x08008000, bytes = 0x4000",
                "0x08004000, bytes = 0x4000",
                "regions.tails[1].address = 0x8004000; it overlaps regions.tails[0]",
            ),
            (
                "0x08020000, bytes = 0x60000",
                "0x08020000, bytes = 0x80000",
                "a part of 0x8000000..0x8080000",
            ),
            (
                "[{ address = 0x08004000",
                "[{ flash = \"nand\", address = 0x08004000",
                "a flash is expected: internal",
            ),
        ];
        for (from, to, expected) in cases {
            let found = message(from, to);
            assert!(
                found.starts_with("board.toml: ") && found.contains(expected),
                "{found}"
            );
        }
        let boot = format!("{GOOD}\n[boot]\nkind = \"mcuboot\"\nbytes = 0x8000\n");
        let found = Board::parse("board.toml", &boot).unwrap_err().to_string();
        assert!(
            found.contains("the boot loader ends at 0x8008000"),
            "{found}"
        );
    }
}
