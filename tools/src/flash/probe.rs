//! A chip behind a real probe, by the probe-rs library: the only file but `feed::rtt` that knows of it.

use super::chip;
use super::device::{Device, DeviceError, Progress, Step};
use super::file::Piece;
use crate::board::Board;
use probe_rs::architecture::arm::dp::DpAddress;
use probe_rs::architecture::arm::sequences::DefaultArmSequence;
use probe_rs::architecture::arm::{ArmError, FullyQualifiedApAddress};
use probe_rs::config::{MemoryRegion, Registry};
use probe_rs::flashing::{
    DownloadOptions, FlashError, FlashProgress, ProgressEvent, ProgressOperation, erase, erase_all,
};
use probe_rs::probe::list::{Accessibility, Lister};
use probe_rs::probe::{DebugProbeSelector, Probe, WireProtocol};
use probe_rs::{Error, MemoryInterface, Permissions, Session, Target};
use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

/// How long a core may take to halt.
const HALT: Duration = Duration::from_millis(500);

const UDEV: &str = "; this user may not open it: install probe-rs's udev rules (https://probe.rs/docs/getting-started/probe-setup)";

/// A probe that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// VID:PID:SERIAL, as `--probe` takes it.
    pub selector: String,
    /// What it calls itself.
    pub name: String,
    /// Which kind it is.
    pub kind: String,
    /// Whether this user may open it.
    pub accessible: bool,
}

/// Returns the probes that are plugged in.
pub fn list() -> Vec<Found> {
    let items = Lister::new().list_all_with_access().into_iter();
    let found = items.map(|item| Found {
        selector: DebugProbeSelector::from(&item.info).to_string(),
        name: item.info.identifier.clone(),
        kind: item.info.probe_type(),
        accessible: item.accessibility == Accessibility::Accessible,
    });
    found.collect()
}

/// A chip, attached and halted.
pub struct ProbeDevice {
    session: Session,
    chip: String,
}

impl ProbeDevice {
    /// Opens the probe, attaches to the board's chip, checks that it is that chip, and halts it. With
    /// `unlock`, a protected chip may be erased to get in.
    ///
    /// # Errors
    /// [`DeviceError`]; nothing was changed then.
    pub fn attach(
        board: &Board,
        selector: Option<&str>,
        unlock: bool,
    ) -> Result<Self, DeviceError> {
        let chip = board.chip.clone();
        let registry = Registry::from_builtin_families();
        let target = registry.get_target_by_name(&chip);
        let target = target.map_err(|e| DeviceError::UnknownChip {
            board: board.name.clone(),
            chip: chip.clone(),
            reason: chain(&e),
        })?;
        let mut probe = open(selector)?;
        let name = probe.get_name();
        if board.target.starts_with("thumb") {
            let swd = probe.select_protocol(WireProtocol::Swd);
            swd.map_err(|e| DeviceError::Probe {
                probe: name.clone(),
                reason: chain(&e),
                hint: String::new(),
            })?;
        }
        let permissions = if unlock {
            Permissions::new().allow_erase_all()
        } else {
            Permissions::new()
        };
        let attached = probe.attach(target, permissions);
        let session = attached.map_err(|e| refused(board, selector, &e))?;
        let mut device = Self { session, chip };
        device.check_core(board)?;
        device.check_chip(board, &registry)?;
        let halted = device.session.core(0).and_then(|mut c| c.halt(HALT));
        halted.map_err(|e| device.failed("halting the core", &e, false))?;
        Ok(device)
    }

    /// Hands the session over, for what only it can do.
    pub(crate) fn into_session(self) -> Session {
        self.session
    }

    fn word(&mut self, address: u32) -> Option<u32> {
        let mut core = self.session.core(0).ok()?;
        core.read_word_32(address.into()).ok()
    }

    /// Compares the core that answers with the board's, by CPUID.
    fn check_core(&mut self, board: &Board) -> Result<(), DeviceError> {
        const CORES: [(u32, &str); 9] = [
            (0xc20, "Cortex-M0"),
            (0xc60, "Cortex-M0+"),
            (0xc23, "Cortex-M3"),
            (0xc24, "Cortex-M4"),
            (0xc27, "Cortex-M7"),
            (0xd20, "Cortex-M23"),
            (0xd21, "Cortex-M33"),
            (0xd22, "Cortex-M55"),
            (0xd23, "Cortex-M85"),
        ];
        if !board.target.starts_with("thumb") {
            return Ok(());
        }
        let cpuid = self.word(0xe000_ed00);
        let found = cpuid.and_then(|id| CORES.iter().find(|(part, _)| *part == (id >> 4) & 0xfff));
        // "Cortex-M4F" is a Cortex-M4 with a unit that CPUID does not tell.
        let expected = board.core.trim_end_matches('F');
        match found {
            Some((_, found)) if *found != expected => Err(DeviceError::WrongChip {
                board: board.name.clone(),
                found: format!("one with a {found}"),
                expected: format!("{} with a {}", self.chip, board.core),
            }),
            _ => Ok(()),
        }
    }

    /// Compares the chip with the board's, where probe-rs knows how its maker's chips tell their names.
    fn check_chip(&mut self, board: &Board, registry: &Registry) -> Result<(), DeviceError> {
        let nordic = |chip: &str| chip.to_ascii_lowercase().starts_with("nrf");
        if !nordic(&self.chip) {
            return Ok(());
        }
        let mut words: HashMap<u32, Option<u32>> = HashMap::new();
        for family in registry.families() {
            for method in &family.chip_detection {
                let mut word =
                    |address| *words.entry(address).or_insert_with(|| self.word(address));
                let found = if let Some(ficr) = method.as_nordic_ficr() {
                    let part = word(ficr.part_address) == Some(ficr.part);
                    let variant = if part {
                        word(ficr.variant_address)
                    } else {
                        None
                    };
                    variant.and_then(|v| ficr.variants.get(&v))
                } else if let Some(config) = method.as_nordic_configid() {
                    let id = word(config.configid_address);
                    id.and_then(|id| config.hwid.get(&(id & 0xffff)))
                } else {
                    None
                };
                match found {
                    Some(found) if found.eq_ignore_ascii_case(&self.chip) => return Ok(()),
                    Some(found) => {
                        return Err(DeviceError::WrongChip {
                            board: board.name.clone(),
                            found: found.clone(),
                            expected: self.chip.clone(),
                        });
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn failed(
        &self,
        doing: &str,
        error: &(dyn std::error::Error + 'static),
        spoiled: bool,
    ) -> DeviceError {
        DeviceError::Failed {
            doing: format!("{doing} of the {}", self.chip),
            reason: chain(error),
            spoiled,
        }
    }

    fn flash_failed(&self, doing: &str, error: &FlashError) -> DeviceError {
        let spoiled = !matches!(
            error,
            FlashError::NoSuitableNvm { .. } | FlashError::NoFlashLoaderAlgorithmAttached { .. }
        );
        self.failed(doing, error, spoiled)
    }
}

impl Device for ProbeDevice {
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let read = self
            .session
            .core(0)
            .and_then(|mut core| core.read(address.into(), bytes));
        read.map_err(|e| self.failed(&format!("reading {address:#x}"), &e, false))
    }

    fn sectors(&self, range: &Range<u32>) -> Result<Vec<Range<u32>>, DeviceError> {
        sectors(self.session.target(), range)
    }

    fn write(&mut self, pieces: &[Piece], progress: &mut Progress<'_>) -> Result<(), DeviceError> {
        let mut loader = self.session.target().flash_loader();
        for piece in pieces {
            let added = loader.add_data(piece.address.into(), &piece.bytes);
            added.map_err(|e| self.flash_failed(&format!("placing {}", piece.name), &e))?;
        }
        let mut done = HashMap::new();
        let mut options = DownloadOptions::new();
        options.progress = FlashProgress::new(|event| report(&event, &mut done, progress));
        let written = loader.commit(&mut self.session, options);
        written.map_err(|e| self.flash_failed("writing the flash", &e))
    }

    fn erase(&mut self, range: Range<u32>) -> Result<(), DeviceError> {
        let mut silent = FlashProgress::empty();
        let (start, end) = (range.start.into(), range.end.into());
        let erased = erase(&mut self.session, &mut silent, start, end, false);
        erased.map_err(|e| self.flash_failed(&format!("erasing {start:#x}..{end:#x}"), &e))
    }

    fn erase_chip(&mut self) -> Result<(), DeviceError> {
        let mut silent = FlashProgress::empty();
        let erased = erase_all(&mut self.session, &mut silent, false);
        erased.map_err(|e| self.flash_failed("erasing all", &e))
    }

    fn reset(&mut self) -> Result<(), DeviceError> {
        let reset = self.session.core(0).and_then(|mut core| core.reset());
        reset.map_err(|e| self.failed("the reset", &e, true))
    }

    fn resume(&mut self) -> Result<(), DeviceError> {
        let run = self.session.core(0).and_then(|mut core| core.run());
        run.map_err(|e| self.failed("starting the core again", &e, false))
    }
}

/// Returns the sectors that probe-rs erases for these addresses of a chip.
fn sectors(target: &Target, range: &Range<u32>) -> Result<Vec<Range<u32>>, DeviceError> {
    let no_flash = |reason: String| DeviceError::NoFlash {
        address: range.start,
        reason,
    };
    let mut regions = target
        .memory_map
        .iter()
        .filter_map(MemoryRegion::as_nvm_region);
    let region = regions.find(|r| r.range.contains(&range.start.into()));
    let region = region
        .ok_or_else(|| no_flash(format!("the {} has no flash there", target.name)))?
        .range
        .clone();
    let algorithm = chip::algorithm(target, &region).ok_or_else(|| {
        no_flash(format!(
            "probe-rs cannot write the {}'s flash there",
            target.name
        ))
    })?;
    let wide = u64::from(range.start)..u64::from(range.end);
    Ok(chip::sectors(algorithm, &wide))
}

/// Bytes done and in all, by step.
type Done = HashMap<Step, (u64, u64)>;

fn report(event: &ProgressEvent, done: &mut Done, progress: &mut Progress<'_>) {
    let step = |operation: &ProgressOperation| match operation {
        ProgressOperation::Erase => Step::Erase,
        ProgressOperation::Verify => Step::Verify,
        ProgressOperation::Fill | ProgressOperation::Program => Step::Program,
    };
    match event {
        ProgressEvent::AddProgressBar { operation, total } => {
            done.entry(step(operation)).or_default().1 += total.unwrap_or(0);
        }
        ProgressEvent::Progress {
            operation, size, ..
        } => {
            let step = step(operation);
            let entry = done.entry(step).or_default();
            entry.0 += size;
            progress(step, entry.0, entry.1);
        }
        _ => {}
    }
}

/// Returns why a chip did not let itself be attached to.
fn refused(board: &Board, selector: Option<&str>, error: &Error) -> DeviceError {
    let chip = board.chip.clone();
    match error {
        Error::MissingPermissions(_) | Error::Arm(ArmError::MissingPermissions(_)) => {
            // An nRF52 that is protected hides its memory. Of another chip, what probe-rs takes for the state
            // of its protection reads as 0 too.
            if chip.starts_with("nRF52") && memory_answers(selector) {
                return DeviceError::WrongChip {
                    board: board.name.clone(),
                    found: "one whose memory answers where that of a protected nRF52 would not"
                        .into(),
                    expected: chip,
                };
            }
            DeviceError::Protected { chip }
        }
        _ => DeviceError::NoChip {
            chip,
            reason: chain(error),
        },
    }
}

/// Returns whether CPUID can be read through the first access port, without any chip's own sequences.
fn memory_answers(selector: Option<&str>) -> bool {
    let read = || -> Option<u32> {
        let mut probe = open(selector).ok()?;
        probe.select_protocol(WireProtocol::Swd).ok()?;
        probe.attach_to_unspecified().ok()?;
        let interface = probe.try_into_arm_debug_interface(DefaultArmSequence::create());
        let mut interface = interface.ok()?;
        interface.select_debug_port(DpAddress::Default).ok()?;
        let port = FullyQualifiedApAddress::v1_with_default_dp(0);
        let mut memory = interface.memory_interface(&port).ok()?;
        memory.read_word_32(0xe000_ed00).ok()
    };
    // An Arm core of one of Arm's own designs.
    read().is_some_and(|cpuid| cpuid >> 24 == 0x41)
}

fn open(selector: Option<&str>) -> Result<Probe, DeviceError> {
    let lister = Lister::new();
    let found = list();
    let selectors =
        |found: &[Found]| -> Vec<String> { found.iter().map(|f| f.selector.clone()).collect() };
    if let Some(wanted) = selector {
        let parsed: DebugProbeSelector = wanted.parse().map_err(|e| DeviceError::Selector {
            found: wanted.into(),
            reason: chain(&e),
        })?;
        return lister.open(parsed).map_err(|e| {
            if let Some(there) = found.iter().find(|f| f.selector.starts_with(wanted)) {
                return cannot_open(there, chain(&e));
            }
            let found = selectors(&found);
            DeviceError::ProbeNotFound {
                wanted: wanted.into(),
                reason: chain(&e),
                found: if found.is_empty() {
                    "none".into()
                } else {
                    found.join(", ")
                },
            }
        });
    }
    match &found[..] {
        [] => Err(DeviceError::NoProbe {
            hint: String::new(),
        }),
        [only] => {
            let parsed = only.selector.parse::<DebugProbeSelector>();
            let opened = parsed.map_err(|e| chain(&e));
            opened
                .and_then(|selector| lister.open(selector).map_err(|e| chain(&e)))
                .map_err(|reason| cannot_open(only, reason))
        }
        several => Err(DeviceError::SeveralProbes {
            found: selectors(several),
        }),
    }
}

fn cannot_open(probe: &Found, reason: String) -> DeviceError {
    DeviceError::Probe {
        probe: format!("{} ({})", probe.selector, probe.name),
        reason,
        hint: if probe.accessible { "" } else { UDEV }.into(),
    }
}

/// Returns an error and its causes, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string().trim_end_matches('.').to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(said.trim_end_matches('.')) {
            text = format!("{text}: {}", said.trim_end_matches('.'));
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::plan::{mapped, sectors_of};

    #[test]
    fn every_real_board_names_a_chip_whose_sectors_are_its_own() {
        let registry = Registry::from_builtin_families();
        let mut checked = 0;
        for board in crate::board::all().unwrap() {
            // probe-rs as a library brings no chip of Espressif's: `flash` refuses it by its name.
            let espressif = board.chip.starts_with("esp32");
            assert_eq!(espressif, board.name.starts_with("esp32"));
            if board.is_emulated() || espressif {
                continue;
            }
            let target = registry.get_target_by_name(&board.chip);
            let target = target.unwrap_or_else(|e| panic!("{}: {}", board.name, chain(&e)));
            for (name, region) in board.regions.named() {
                if mapped(&board, name, region).is_err() {
                    continue;
                }
                let found = sectors(&target, &region.range());
                let found = found.unwrap_or_else(|e| panic!("{}: {name}: {e}", board.name));
                let own = sectors_of(&board, region, &region.range());
                assert_eq!(found, own, "{}: regions.{name}", board.name);
                checked += 1;
            }
        }
        assert!(checked >= 5, "{checked} regions");
    }

    #[test]
    fn sectors_of_several_sizes_are_found() {
        let registry = Registry::from_builtin_families();
        let target = registry.get_target_by_name("STM32F411RETx").unwrap();
        let found = sectors(&target, &(0x0800_8004..0x0804_0001)).unwrap();
        let starts: Vec<u32> = found.iter().map(|s| s.start).collect();
        let expected = [
            0x0800_8000,
            0x0800_c000,
            0x0801_0000,
            0x0802_0000,
            0x0804_0000,
        ];
        assert_eq!(starts, expected);
        assert_eq!(found.last().map(ExactSizeIterator::len), Some(0x20000));
        let nowhere = sectors(&target, &(0x0900_0000..0x0900_0010)).unwrap_err();
        assert!(
            nowhere.to_string().contains("has no flash there"),
            "{nowhere}"
        );
    }
}
