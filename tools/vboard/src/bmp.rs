//! The remote protocol of the Black Magic Probe, version 1, from the probe's side.
//!
//! A packet is `!`, two letters, hexadecimal fields, `#`; an answer is `&`, a letter, a value, `#`:
//! `K` done, `E` failed, `P` bad fields, `N` unknown.

use crate::dap::{Dap, DapError};
use crate::machine::Machine;
use crate::swd::Swd;

/// The longest packet, as in the probe's firmware.
pub const LONGEST: usize = 1024;

/// The probe: the state that a connection leaves behind.
#[derive(Default)]
pub struct Probe {
    dap: Dap,
    swd: Swd,
}

enum Answer {
    Value(u64),
    Bytes(String),
    Failed(u8),
    BadFields,
    Unknown,
}

impl From<Result<u64, DapError>> for Answer {
    fn from(result: Result<u64, DapError>) -> Self {
        match result {
            Ok(value) => Answer::Value(value),
            // Error numbers as the firmware sends them: wait, fault, no response.
            Err(DapError::Bus(_) | DapError::Protected) => Answer::Failed(4),
            Err(DapError::NoAnswer) => Answer::Failed(7),
        }
    }
}

/// Takes fixed-width hexadecimal fields off the front of a packet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take(&mut self, digits: usize) -> Option<u32> {
        let (field, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let text = std::str::from_utf8(field).ok()?;
        u32::from_str_radix(text, 16).ok()
    }

    fn rest(&mut self) -> Option<u32> {
        self.take(self.0.len())
    }

    fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        (0..count).map(|_| self.take(2).map(|b| b as u8)).collect()
    }
}

impl Probe {
    /// Answers a packet, given without its `!` and `#`.
    pub fn answer(&mut self, m: &mut Machine, packet: &[u8]) -> String {
        let answer = packet
            .split_at_checked(2)
            .map_or(Answer::Unknown, |(name, fields)| {
                self.run(m, name, &mut Fields(fields))
                    .unwrap_or(Answer::BadFields)
            });
        match answer {
            Answer::Value(v) => format!("&K{v:x}#"),
            Answer::Bytes(text) => format!("&K{text}#"),
            Answer::Failed(code) => format!("&E{code:x}#"),
            Answer::BadFields => "&P0#".to_owned(),
            Answer::Unknown => "&N0#".to_owned(),
        }
    }

    fn run(&mut self, m: &mut Machine, name: &[u8], f: &mut Fields) -> Option<Answer> {
        Some(match name {
            b"GA" => Answer::Bytes("Black Magic Probe (emulated) v1".to_owned()),
            b"GV" => Answer::Bytes("3.3V".to_owned()),
            b"GP" | b"GF" | b"GE" => Answer::Value(0),
            b"Gf" => Answer::Value(4000),
            b"GZ" => {
                m.reset_line(f.0 == b"1");
                Answer::Value(0)
            }
            // High-level protocol, version 1.
            b"HC" => Answer::Value(1),
            b"SS" => {
                self.swd = Swd::default();
                Answer::Value(0)
            }
            b"Si" | b"SI" => {
                let count = f.take(2)?;
                Answer::Value(self.swd.read(count.min(64)))
            }
            b"So" | b"SO" => {
                let (count, bits) = (f.take(2)?, f.rest()?);
                self.swd
                    .write(&mut self.dap, m, u64::from(bits), count.min(32));
                Answer::Value(0)
            }
            b"Hd" | b"HL" | b"Ha" | b"HA" => self.port(m, name, f)?,
            b"HM" => self.read_memory(m, f)?,
            b"Hm" => self.write_memory(m, f)?,
            _ => Answer::Unknown,
        })
    }

    /// Registers of the debug port and the access ports. Values that are read come as the hexadecimal
    /// digits of little-endian bytes.
    fn port(&mut self, m: &mut Machine, name: &[u8], f: &mut Fields) -> Option<Answer> {
        use crate::dap::Port;
        let _device = f.take(2)?;
        let read = |value: u32| u64::from(value.swap_bytes());
        Some(match name {
            b"Hd" => {
                let (_, addr) = (f.take(2)?, f.take(4)?);
                self.dap.read(m, Port::Debug, addr as u8).map(read).into()
            }
            b"HL" => {
                let (is_read, addr, value) = (f.take(2)?, f.take(4)?, f.take(8)?);
                let port = if addr & 0x100 != 0 {
                    Port::Access
                } else {
                    Port::Debug
                };
                if is_read != 0 {
                    self.dap.read(m, port, addr as u8).map(read).into()
                } else {
                    self.dap
                        .write(m, port, addr as u8, value)
                        .map(|()| 0)
                        .into()
                }
            }
            b"Ha" => {
                let (ap, addr) = (f.take(2)?, f.take(4)?);
                self.dap.read_ap(m, ap as u8, addr as u8).map(read).into()
            }
            _ => {
                let (ap, addr, value) = (f.take(2)?, f.take(4)?, f.take(8)?);
                self.dap
                    .write_ap(m, ap as u8, addr as u8, value)
                    .map(|()| 0)
                    .into()
            }
        })
    }

    fn read_memory(&mut self, m: &mut Machine, f: &mut Fields) -> Option<Answer> {
        let (_device, _ap, _csw) = (f.take(2)?, f.take(2)?, f.take(8)?);
        let (addr, len) = (f.take(8)?, f.take(8)? as usize);
        if len > LONGEST / 2 {
            return None;
        }
        let mut bytes = vec![0; len];
        Some(match self.dap.read_memory(m, addr, &mut bytes) {
            Ok(()) => Answer::Bytes(bytes.iter().map(|b| format!("{b:02x}")).collect()),
            Err(e) => Err(e).into(),
        })
    }

    fn write_memory(&mut self, m: &mut Machine, f: &mut Fields) -> Option<Answer> {
        let (_device, _ap, _csw) = (f.take(2)?, f.take(2)?, f.take(8)?);
        let (align, addr, len) = (f.take(2)?, f.take(8)?, f.take(8)? as usize);
        if len > LONGEST / 2 {
            return None;
        }
        let bytes = f.bytes(len)?;
        // 64-bit units go as words.
        let size = 1 << align.min(2);
        let written = self.dap.write_memory(m, addr, &bytes, size);
        Some(written.map(|()| 0).into())
    }
}
