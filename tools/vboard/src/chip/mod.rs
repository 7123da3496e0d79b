//! What a chip is made of: its memory map, its flash controller and the peripherals that a HAL
//! touches. One file a chip; what the Nordic parts share is in [`nrf`].

pub mod nrf;
pub mod nrf51822;
pub mod nrf52840;
pub mod nvmc;
pub mod stm32_flash;
pub mod stm32_rcc;
pub mod stm32_timer;
pub mod stm32f411;

use crate::flash::Flash;
use crate::mem::{Kind, Map};
use crate::scs::CoreKind;
use crate::uart::Uart;

/// A region of the memory map.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// First address.
    pub base: u32,
    /// Length in bytes.
    pub len: u32,
    /// RAM, flash or read-only.
    pub kind: Kind,
    /// Shows the bytes of the region at this address instead of bytes of its own.
    pub alias_of: Option<u32>,
}

impl Part {
    /// RAM.
    pub const fn ram(base: u32, len: u32) -> Self {
        Self {
            base,
            len,
            kind: Kind::Ram,
            alias_of: None,
        }
    }

    /// Non-volatile memory behind the flash controller.
    pub const fn flash(base: u32, len: u32) -> Self {
        Self {
            base,
            len,
            kind: Kind::Flash,
            alias_of: None,
        }
    }

    /// Read-only memory.
    pub const fn rom(base: u32, len: u32) -> Self {
        Self {
            base,
            len,
            kind: Kind::Rom,
            alias_of: None,
        }
    }

    /// The same bytes at another address.
    pub const fn alias(self, base: u32) -> Self {
        Self {
            base,
            alias_of: Some(self.base),
            ..self
        }
    }
}

/// The facts of a chip.
#[derive(Debug)]
pub struct Spec {
    /// Name on the command line.
    pub name: &'static str,
    /// Name in probe-rs.
    pub probe_rs_name: &'static str,
    /// The core.
    pub core: CoreKind,
    /// Memory.
    pub parts: &'static [Part],
    /// Ranges of registers: first address, bytes.
    pub registers: &'static [(u32, u32)],
    /// DPIDR.
    pub dpidr: u32,
    /// IDR of AP 0.
    pub ap_idr: u32,
    /// BASE of AP 0.
    pub ap_base: u32,
    /// AP 1 is Nordic's CTRL-AP.
    pub ctrl_ap: bool,
}

/// What a chip's registers may use while one of them is accessed.
pub struct Bus<'a> {
    /// Core cycles since power on.
    pub now: u64,
    /// The flash array.
    pub flash: &'a mut Flash,
    /// Memory.
    pub map: &'a Map,
    /// The serial line.
    pub uart: &'a mut Uart,
    /// Cycles for which the core stands still after the access.
    pub stall: &'a mut u64,
}

/// What became of a store to flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Programmed, or ignored as the part does.
    Taken,
    /// A bus fault.
    Fault,
}

/// A pin as the world sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// True if the chip drives it.
    pub output: bool,
    /// Its level.
    pub high: bool,
}

/// A chip: registers behind a bus, interrupt lines, and time.
pub trait Chip {
    /// The facts.
    fn spec(&self) -> &'static Spec;
    /// Fills read-only memory, once.
    fn fill_rom(&self, map: &Map);
    /// The external flash on the board's serial bus: first address within it and bytes of each part.
    fn external(&self) -> &'static [(u32, u32)] {
        &[]
    }
    /// Power on; [`Self::reset`] follows.
    fn power_on(&mut self) {}
    /// A system reset.
    fn reset(&mut self, map: &Map);
    /// Reads the word at an aligned address.
    fn read(&mut self, addr: u32, bus: &mut Bus) -> u32;
    /// Writes a word, or the 1 or 2 bytes of `size`.
    fn write(&mut self, addr: u32, size: u8, value: u32, bus: &mut Bus);
    /// A store to flash by the core or the debugger.
    fn store(&mut self, addr: u32, size: u8, value: u64, bus: &mut Bus) -> Stored;
    /// The levels of all interrupt lines at a moment.
    fn lines(&mut self, bus: &mut Bus) -> u128;
    /// The next moment at which a line may change by itself.
    fn next_event(&self) -> Option<u64>;
    /// A pin, by its port and number.
    fn pin(&self, port: u8, pin: u8) -> Option<Pin>;
    /// Drives a pin from outside, or lets go of it.
    fn drive(&mut self, port: u8, pin: u8, level: Option<bool>);
    /// Access port protection of the debug port, as latched at reset.
    fn protected(&self) -> bool {
        false
    }
    /// Erases all by the debug port's own means. False if the chip has none.
    fn erase_all(&mut self, _bus: &mut Bus) -> bool {
        false
    }
}

/// The chips, by their command-line name.
pub fn by_name(name: &str) -> Option<Box<dyn Chip>> {
    Some(match name {
        "nrf52840" => Box::new(nrf52840::new()),
        "nrf51822" => Box::new(nrf51822::new()),
        "stm32f411" => Box::new(stm32f411::Stm32f411::new()),
        _ => return None,
    })
}

/// Their names.
pub const NAMES: [&str; 3] = ["nrf52840", "nrf51822", "stm32f411"];
