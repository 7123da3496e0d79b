//! The wire protocol of Serial Wire Debug, bit by bit, from the target's side.
//!
//! The probe's firmware hides turnaround cycles: after a request the first bit read is the first of
//! the acknowledge. The switch sequence from JTAG is seen as a broken request, which the line reset
//! after it clears.

use crate::dap::{Dap, Port};
use crate::machine::Machine;

const OK: u64 = 0b001;
const FAULT: u64 = 0b100;
/// Bits high in a row that reset the line.
const RESET: u32 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waiting for the start bit of a request.
    Idle,
    /// Bits of a request, first bit lowest.
    Request { bits: u8, count: u8 },
    /// An answer is read: bits, how many.
    Answer { bits: u64, count: u8 },
    /// The acknowledge of a write is read, then its data come.
    Acknowledge {
        addr: u8,
        port: Port,
        bits: u64,
        count: u8,
    },
    /// Data of a write.
    Data {
        addr: u8,
        port: Port,
        bits: u64,
        count: u8,
    },
    /// Out of step: only a line reset helps.
    Lost,
}

/// The target's end of the wire.
#[derive(Clone, Debug)]
pub struct Swd {
    state: State,
    ones: u32,
}

impl Default for Swd {
    fn default() -> Self {
        Self {
            state: State::Lost,
            ones: 0,
        }
    }
}

impl Swd {
    /// The probe drives `count` bits, lowest first.
    pub fn write(&mut self, dap: &mut Dap, m: &mut Machine, bits: u64, count: u32) {
        for i in 0..count {
            self.write_bit(dap, m, bits >> i & 1 == 1);
        }
    }

    fn write_bit(&mut self, dap: &mut Dap, m: &mut Machine, bit: bool) {
        self.ones = if bit { self.ones + 1 } else { 0 };
        if self.ones >= RESET {
            self.state = State::Idle;
            return;
        }
        self.state = match self.state {
            State::Idle | State::Answer { .. } if self.ones < RESET => match bit {
                true => State::Request { bits: 1, count: 1 },
                false => State::Idle,
            },
            State::Request { bits, count } => {
                let bits = bits | u8::from(bit) << count;
                match count {
                    7 => request(dap, m, bits),
                    _ => State::Request {
                        bits,
                        count: count + 1,
                    },
                }
            }
            State::Acknowledge { addr, port, .. } => State::Data {
                addr,
                port,
                bits: u64::from(bit),
                count: 1,
            },
            State::Data {
                addr,
                port,
                bits,
                count,
            } => {
                let bits = bits | u64::from(bit) << count;
                if count == 32 {
                    let value = bits as u32;
                    // Even parity over data and parity bit.
                    if bits.count_ones() % 2 == 0 {
                        // A failed write shows in CTRL/STAT.
                        let _ = dap.write(m, port, addr, value);
                    }
                    State::Idle
                } else {
                    State::Data {
                        addr,
                        port,
                        bits,
                        count: count + 1,
                    }
                }
            }
            other => other,
        };
    }

    /// The probe reads `count` bits, lowest first. Where nobody drives the wire it is high.
    pub fn read(&mut self, count: u32) -> u64 {
        self.ones = 0;
        (0..count).fold(0, |value, i| value | u64::from(self.read_bit()) << i)
    }

    fn read_bit(&mut self) -> bool {
        match &mut self.state {
            State::Answer { bits, count } | State::Acknowledge { bits, count, .. }
                if *count > 0 =>
            {
                let bit = *bits & 1 == 1;
                *bits >>= 1;
                *count -= 1;
                bit
            }
            State::Answer { .. } | State::Acknowledge { .. } => false,
            _ => true,
        }
    }
}

/// Answers a request: start, APnDP, RnW, A2, A3, parity, stop, park.
fn request(dap: &mut Dap, m: &mut Machine, bits: u8) -> State {
    let parity_even = (bits >> 1 & 0x1f).count_ones().is_multiple_of(2);
    let framed = bits & 0b1100_0001 == 0b1000_0001;
    if !framed || !parity_even || !m.board().flash.powered() {
        return State::Lost;
    }
    let port = if bits & 2 != 0 {
        Port::Access
    } else {
        Port::Debug
    };
    let addr = bits >> 1 & 0xc;
    if bits & 4 == 0 {
        return State::Acknowledge {
            addr,
            port,
            bits: OK,
            count: 3,
        };
    }
    match dap.read(m, port, addr) {
        Ok(value) => {
            let parity = u64::from(value.count_ones() % 2);
            State::Answer {
                bits: OK | u64::from(value) << 3 | parity << 35,
                count: 36,
            }
        }
        Err(_) => State::Answer {
            bits: FAULT,
            count: 3,
        },
    }
}
