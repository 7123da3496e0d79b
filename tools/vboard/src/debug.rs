//! What a debugger does to a chip through the memory access port: memory, registers, core registers.

use unicorn_engine::RegisterARM;

use crate::chip::Stored;
use crate::cpu::{self, Engine};
use crate::machine::Machine;
use crate::mem::Kind;

/// An access of the debugger that the bus refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory or register answers at {addr:#010x}")]
pub struct BusError {
    /// Where.
    pub addr: u32,
}

impl Machine {
    /// Reads memory or registers, running or not. Registers are read by words where aligned.
    ///
    /// # Errors
    /// Nothing is there, or the chip has no power.
    pub fn read_memory(&mut self, addr: u32, out: &mut [u8]) -> Result<(), BusError> {
        let mut at = 0;
        while at < out.len() {
            let here = addr.wrapping_add(at as u32);
            if !self.board().flash.powered() {
                return Err(BusError { addr: here });
            }
            if self.board().is_register(here) {
                let size = access_size(here, out.len() - at);
                let exception = cpu::exception(self.engine());
                let value = self.board_mut().read_register(here, size, exception);
                let end = at + usize::from(size);
                out[at..end].copy_from_slice(&value.to_le_bytes()[..usize::from(size)]);
                at = end;
                continue;
            }
            let Some((region, offset)) = self.board().map.find(here, 1) else {
                return Err(BusError { addr: here });
            };
            let len = (out.len() - at).min(region.len as usize - offset);
            region.mem.read(offset, &mut out[at..at + len]);
            at += len;
        }
        Ok(())
    }

    /// Writes memory or registers by units of `size` bytes: 1, 2 or 4. Stores to flash go to its
    /// controller, as the core's do.
    ///
    /// # Errors
    /// Nothing is there or it is read-only, or the chip has no power.
    pub fn write_memory(&mut self, addr: u32, bytes: &[u8], size: u8) -> Result<(), BusError> {
        let size = usize::from(size.clamp(1, 4));
        let mut wrote_ram = false;
        for (i, unit) in bytes.chunks(size).enumerate() {
            let here = addr.wrapping_add((i * size) as u32);
            if !self.board().flash.powered() {
                return Err(BusError { addr: here });
            }
            let mut word = [0; 4];
            word[..unit.len()].copy_from_slice(unit);
            let value = u32::from_le_bytes(word);
            if self.board().is_register(here) {
                let request = self
                    .board_mut()
                    .write_register(here, unit.len() as u8, value);
                if let Some(request) = request {
                    self.request(request);
                }
                if self.board().scs.reset_request {
                    self.reset();
                }
                continue;
            }
            let kind = self.board().map.find(here, unit.len()).map(|(r, _)| r.kind);
            let done = match kind {
                Some(Kind::Ram) => {
                    wrote_ram = true;
                    self.board().map.write_ram(here, unit)
                }
                Some(Kind::Flash) => {
                    let stored = self
                        .board_mut()
                        .store(here, unit.len() as u8, u64::from(value));
                    stored == Stored::Taken
                }
                _ => false,
            };
            if !done {
                return Err(BusError { addr: here });
            }
        }
        if wrote_ram {
            // It may be code.
            self.board_mut().code_changed = true;
        }
        Ok(())
    }
}

/// The widest access from `addr` on within `left` bytes.
fn access_size(addr: u32, left: usize) -> u8 {
    if addr.is_multiple_of(4) && left >= 4 {
        4
    } else if addr.is_multiple_of(2) && left >= 2 {
        2
    } else {
        1
    }
}

/// Reads a core register by its DCRSR number.
pub fn read_register(uc: &Engine, n: u32) -> u32 {
    match n {
        0..=14 => cpu::r(uc, n as usize),
        15 => cpu::pc(uc),
        16 => cpu::xpsr(uc),
        17 => cpu::get(uc, RegisterARM::MSP),
        18 => cpu::get(uc, RegisterARM::PSP),
        20 => {
            let m = cpu::masks(uc);
            cpu::get(uc, RegisterARM::CONTROL) << 24
                | u32::from(m.faultmask) << 16
                | u32::from(m.basepri) << 8
                | u32::from(m.primask)
        }
        33 => cpu::get(uc, RegisterARM::FPSCR),
        64..=95 => cpu::s(uc, n - 64),
        _ => 0,
    }
}

/// Writes a core register by its DCRSR number.
pub fn write_register(uc: &mut Engine, n: u32, value: u32) {
    let v6m = uc.get_data().chip.spec().core.v6m;
    match n {
        13 => cpu::set_r(uc, 13, value & !3),
        0..=14 => cpu::set_r(uc, n as usize, value),
        15 => cpu::set_pc(uc, value),
        16 => cpu::set_xpsr(uc, value),
        17 => cpu::set(uc, RegisterARM::MSP, value & !3),
        18 => cpu::set(uc, RegisterARM::PSP, value & !3),
        20 => {
            cpu::set(uc, RegisterARM::PRIMASK, value & 1);
            if !v6m {
                cpu::set(uc, RegisterARM::BASEPRI, value >> 8 & 0xff);
                cpu::set(uc, RegisterARM::FAULTMASK, value >> 16 & 1);
            }
            cpu::set(uc, RegisterARM::CONTROL, value >> 24);
        }
        33 => cpu::set(uc, RegisterARM::FPSCR, value),
        64..=95 => cpu::set_s(uc, n - 64, value),
        _ => {}
    }
}
