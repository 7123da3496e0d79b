//! Whether a firmware is of the board's core: by its ELF's machine and build attributes, and by its
//! vector table.

use super::file::{Contents, Piece};
use crate::board::Board;
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, elf};

/// Returns what the firmware is for and what the board wants, where the two differ.
pub fn mismatch(contents: &Contents, board: &Board) -> Option<(String, String)> {
    if let Some(bytes) = &contents.elf {
        let expected = board.target.clone();
        match target_of(bytes) {
            Some(found) if !found.suits(&board.target) => {
                return Some((found.to_string(), expected));
            }
            _ => {}
        }
    }
    if board.target.starts_with("thumb") {
        vectors(&contents.pieces, board)
    } else {
        None
    }
}

/// What an ELF says of its core.
#[derive(Debug, PartialEq, Eq)]
struct Core {
    machine: u16,
    /// `Tag_CPU_arch` of the Arm EABI; none where it is not said.
    arch: Option<u64>,
    /// Whether numbers are passed in registers of the FPU.
    hard_float: Option<bool>,
}

/// `Tag_CPU_arch` (Addenda to the ABI for the Arm architecture, 3.3.5.2) of each target.
const ARCHITECTURES: [(&str, &[u64], &str); 6] = [
    ("thumbv6m-", &[11, 12], "ARMv6-M"),
    ("thumbv7m-", &[10], "ARMv7-M"),
    ("thumbv7em-", &[13], "ARMv7E-M"),
    ("thumbv8m.base-", &[16], "ARMv8-M Baseline"),
    ("thumbv8m.main-", &[17, 21], "ARMv8-M Mainline"),
    ("arm", &[], "ARM"),
];

impl Core {
    fn suits(&self, target: &str) -> bool {
        if target.starts_with("riscv") {
            return self.machine == elf::EM_RISCV;
        }
        let known = ARCHITECTURES.iter().find(|(t, ..)| target.starts_with(t));
        let arch = match (self.arch, known) {
            (Some(found), Some((_, archs, _))) => archs.contains(&found),
            _ => true,
        };
        let float = self
            .hard_float
            .is_none_or(|hard| hard == target.ends_with("hf"));
        self.machine == elf::EM_ARM && arch && float
    }
}

impl std::fmt::Display for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.machine {
            elf::EM_RISCV => return write!(f, "RISC-V"),
            elf::EM_ARM => {}
            other => return write!(f, "machine {other} of ELF"),
        }
        let known = ARCHITECTURES
            .iter()
            .find(|(_, archs, _)| self.arch.is_some_and(|arch| archs.contains(&arch)));
        match (known, self.arch) {
            (Some((.., name)), _) => write!(f, "{name}")?,
            (None, Some(arch)) => write!(f, "ARM, Tag_CPU_arch {arch}")?,
            (None, None) => write!(f, "ARM")?,
        }
        match self.hard_float {
            Some(true) => write!(f, ", hard float"),
            Some(false) => write!(f, ", soft float"),
            None => Ok(()),
        }
    }
}

fn target_of(bytes: &[u8]) -> Option<Core> {
    let header = elf::FileHeader32::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let machine = header.e_machine(endian);
    let mut core = Core {
        machine,
        arch: None,
        hard_float: None,
    };
    if machine != elf::EM_ARM {
        return Some(core);
    }
    let sections = header.sections(endian, bytes).ok()?;
    let mut attributes = sections
        .iter()
        .filter(|s| s.sh_type(endian) == elf::SHT_ARM_ATTRIBUTES);
    if let Some(section) = attributes.next() {
        let data = section.data(endian, bytes).ok()?;
        let read = attributes_of(data);
        core.arch = read.iter().find(|(tag, _)| *tag == 6).map(|(_, v)| *v);
        // Tag_ABI_VFP_args: 1 in registers; 3 where no function takes a number.
        let args = read.iter().find(|(tag, _)| *tag == 28).map(|(_, v)| *v);
        core.hard_float = match args {
            Some(1) => Some(true),
            Some(3) => None,
            _ => Some(false).filter(|_| !read.is_empty()),
        };
    }
    Some(core)
}

/// Returns the numbers among the file's attributes of vendor `aeabi`, by tag; what does not read ends them.
fn attributes_of(data: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let body = data
        .strip_prefix(b"A")
        .and_then(|d| d.get(4..))
        .and_then(|d| d.strip_prefix(b"aeabi\0"))
        // Tag_File and its size.
        .and_then(|d| d.strip_prefix(&[1]))
        .and_then(|d| d.get(4..));
    let Some(mut rest) = body else {
        return found;
    };
    while let Some(tag) = uleb(&mut rest) {
        let text = matches!(tag, 4 | 5) || (tag >= 32 && tag % 2 == 1);
        if tag != 32 && text {
            let Some(end) = rest.iter().position(|&b| b == 0) else {
                break;
            };
            rest = rest.get(end + 1..).unwrap_or(&[]);
            continue;
        }
        let Some(value) = uleb(&mut rest) else {
            break;
        };
        found.push((tag, value));
        if tag == 32 {
            let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
            rest = rest.get(end + 1..).unwrap_or(&[]);
        }
    }
    found
}

fn uleb(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Checks the first two vectors: a stack in the board's RAM and a reset handler in its code.
fn vectors(pieces: &[Piece], board: &Board) -> Option<(String, String)> {
    let regions = &board.regions;
    let header = board.boot.as_ref().map_or(0, |boot| boot.header_bytes);
    let table = match &regions.vectors {
        Some(vectors) => vectors.address,
        None => regions.code.address.saturating_add(header),
    };
    let word = |at: u32| -> Option<u32> {
        let piece = pieces.iter().find(|p| p.range().contains(&at))?;
        let offset = (at - piece.address) as usize;
        let bytes = piece.bytes.get(offset..offset + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (Some(stack), Some(reset)) = (word(table), word(table.saturating_add(4))) else {
        let found = format!("no vector table at {table:#x}");
        let expected = "a stack pointer and a reset handler there".to_owned();
        return Some((found, expected));
    };
    let in_ram =
        |r: &crate::board::Ram| r.address < stack && stack <= r.address.saturating_add(r.bytes);
    if !board.ram.iter().any(in_ram) {
        let rams: Vec<String> = board
            .ram
            .iter()
            .map(|r| format!("{:#x}..{:#x}", r.address, r.address.saturating_add(r.bytes)))
            .collect();
        let found = format!("an initial stack pointer of {stack:#x}");
        return Some((
            found,
            format!("one in the RAM of {}, {}", board.name, rams.join(", ")),
        ));
    }
    if reset & 1 == 0 || !regions.code.range().contains(&(reset & !1)) {
        let code = regions.code.range();
        let found = format!("a reset handler at {reset:#x}");
        let expected = format!(
            "Thumb code in regions.code, {:#x}..{:#x}",
            code.start, code.end
        );
        return Some((found, expected));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As lld writes it for a Cortex-M4F, shortened.
    const ATTRIBUTES: &[u8] = &[
        b'A', 0, 0, 0, 0, b'a', b'e', b'a', b'b', b'i', 0, 1, 0, 0, 0, 0, //
        67, b'2', b'.', b'0', b'9', 0, 6, 13, 7, 77, 9, 2, 28, 1, 34, 1,
    ];

    #[test]
    fn attributes_are_read_past_texts() {
        let read = attributes_of(ATTRIBUTES);
        assert_eq!(read, [(6, 13), (7, 77), (9, 2), (28, 1), (34, 1)]);
        for end in 0..ATTRIBUTES.len() {
            attributes_of(&ATTRIBUTES[..end]);
        }
    }

    #[test]
    fn a_core_suits_its_own_target_only() {
        let core = |machine, arch, hard_float| Core {
            machine,
            arch,
            hard_float,
        };
        let m4f = core(elf::EM_ARM, Some(13), Some(true));
        assert!(m4f.suits("thumbv7em-none-eabihf"));
        for other in [
            "thumbv7em-none-eabi",
            "thumbv7m-none-eabi",
            "thumbv6m-none-eabi",
            "riscv32imc-unknown-none-elf",
        ] {
            assert!(!m4f.suits(other), "{other}");
        }
        assert_eq!(m4f.to_string(), "ARMv7E-M, hard float");
        assert!(core(elf::EM_RISCV, None, None).suits("riscv32imc-unknown-none-elf"));
        assert!(core(elf::EM_ARM, Some(12), Some(false)).suits("thumbv6m-none-eabi"));
    }
}
