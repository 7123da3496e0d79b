//! The debug port and its access ports (ADIv5): AP 0 to memory, AP 1 Nordic's CTRL-AP.

use crate::debug::BusError;
use crate::machine::Machine;

/// Why an access to the debug port failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DapError {
    /// The target does not answer: it has no power.
    #[error("no answer from the target")]
    NoAnswer,
    /// The access port is closed.
    #[error("the access port is protected")]
    Protected,
    /// The memory access failed.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// A port: debug or access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The debug port.
    Debug,
    /// The access port that SELECT names.
    Access,
}

const ORUNDETECT: u32 = 1;
const STICKYERR: u32 = 1 << 5;
const POWERUP: u32 = 1 << 28 | 1 << 30;

/// The registers of the debug port.
#[derive(Clone, Debug, Default)]
pub struct Dap {
    select: u32,
    ctrl: u32,
    sticky: bool,
    rdbuff: u32,
    csw: u32,
    tar: u32,
    ctrl_ap_reset: bool,
}

impl Dap {
    /// Reads a register by its address bits 2 and 3.
    ///
    /// # Errors
    /// The target has no power, or the access failed.
    pub fn read(&mut self, m: &mut Machine, port: Port, addr: u8) -> Result<u32, DapError> {
        powered(m)?;
        if port == Port::Access {
            let ap = (self.select >> 24) as u8;
            let register = (self.select & 0xf0) as u8 | addr & 0xc;
            self.rdbuff = self.read_ap(m, ap, register)?;
            return Ok(self.rdbuff);
        }
        Ok(match addr & 0xc {
            0x0 => m.board().chip.spec().dpidr,
            0x4 if self.select & 0xf == 0 => {
                let acknowledged = (self.ctrl & POWERUP) << 1;
                let sticky = if self.sticky { STICKYERR } else { 0 };
                self.ctrl & (POWERUP | 0xf00 | ORUNDETECT) | acknowledged | sticky
            }
            // DLCR: one turnaround cycle.
            0x4 if self.select & 0xf == 1 => 0x40,
            0xc => self.rdbuff,
            _ => 0,
        })
    }

    /// Writes a register.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write(
        &mut self,
        m: &mut Machine,
        port: Port,
        addr: u8,
        value: u32,
    ) -> Result<(), DapError> {
        powered(m)?;
        if port == Port::Access {
            let ap = (self.select >> 24) as u8;
            let register = (self.select & 0xf0) as u8 | addr & 0xc;
            return self.write_ap(m, ap, register, value);
        }
        match addr & 0xc {
            // ABORT: STKERRCLR.
            0x0 if value & 4 != 0 => self.sticky = false,
            0x4 if self.select & 0xf == 0 => self.ctrl = value,
            0x8 => self.select = value,
            _ => {}
        }
        Ok(())
    }

    /// Reads a register of an access port.
    ///
    /// # Errors
    /// The target has no power, or the memory access behind it failed.
    pub fn read_ap(&mut self, m: &mut Machine, ap: u8, register: u8) -> Result<u32, DapError> {
        powered(m)?;
        let spec = m.board().chip.spec();
        match ap {
            0 => Ok(match register {
                // DeviceEn, and the sizes of all increments.
                0x00 => self.csw | 0x40,
                0x04 => self.tar,
                0x0c => {
                    let mut word = [0; 4];
                    self.access(m, |m, at| m.read_memory(at & !3, &mut word))?;
                    u32::from_le_bytes(word)
                }
                0xf8 => spec.ap_base,
                0xfc => spec.ap_idr,
                _ => 0,
            }),
            1 if spec.ctrl_ap => Ok(match register {
                0x00 => u32::from(self.ctrl_ap_reset),
                // ERASEALLSTATUS: always ready.
                0x08 => 0,
                0x0c => u32::from(!m.board().chip.protected()),
                0xfc => 0x0288_0000,
                _ => 0,
            }),
            _ => Ok(0),
        }
    }

    /// Writes a register of an access port.
    ///
    /// # Errors
    /// As [`Self::read_ap`].
    pub fn write_ap(
        &mut self,
        m: &mut Machine,
        ap: u8,
        register: u8,
        value: u32,
    ) -> Result<(), DapError> {
        powered(m)?;
        match (ap, register) {
            (0, 0x00) => self.csw = value & !0x40,
            (0, 0x04) => self.tar = value,
            (0, 0x0c) => {
                self.access(m, |m, at| m.write_memory(at & !3, &value.to_le_bytes(), 4))?
            }
            (1, _) if m.board().chip.spec().ctrl_ap => match register {
                0x00 => {
                    if self.ctrl_ap_reset && value & 1 == 0 {
                        m.reset();
                    }
                    self.ctrl_ap_reset = value & 1 != 0;
                }
                0x04 if value & 1 != 0 => {
                    m.board_mut().with_bus(|chip, bus| chip.erase_all(bus));
                    m.board_mut().code_changed = true;
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// One access of DRW at TAR.
    fn access(
        &mut self,
        m: &mut Machine,
        f: impl FnOnce(&mut Machine, u32) -> Result<(), BusError>,
    ) -> Result<(), DapError> {
        self.open(m)?;
        let done = f(m, self.tar);
        self.sticky |= done.is_err();
        if self.csw >> 4 & 3 == 1 {
            self.tar = self.tar.wrapping_add(4);
        }
        Ok(done?)
    }

    /// Reads memory through AP 0.
    ///
    /// # Errors
    /// As [`Self::read_ap`], or the port is closed.
    pub fn read_memory(
        &mut self,
        m: &mut Machine,
        addr: u32,
        out: &mut [u8],
    ) -> Result<(), DapError> {
        self.open(m)?;
        Ok(m.read_memory(addr, out)?)
    }

    /// Writes memory through AP 0 by units of `size` bytes.
    ///
    /// # Errors
    /// As [`Self::read_memory`].
    pub fn write_memory(
        &mut self,
        m: &mut Machine,
        addr: u32,
        bytes: &[u8],
        size: u8,
    ) -> Result<(), DapError> {
        self.open(m)?;
        Ok(m.write_memory(addr, bytes, size)?)
    }

    fn open(&self, m: &Machine) -> Result<(), DapError> {
        powered(m)?;
        if m.board().chip.protected() {
            return Err(DapError::Protected);
        }
        Ok(())
    }
}

fn powered(m: &Machine) -> Result<(), DapError> {
    if m.board().flash.powered() {
        Ok(())
    } else {
        Err(DapError::NoAnswer)
    }
}
