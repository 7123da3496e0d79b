//! The log of flash operations: one line each, and a way to apply them again.
//!
//! ```text
//! P 0x00026000 4 0x20040000 0xffffffff      program: address, bytes, value, what was there
//! E 0x000f0000 4096                         erase: address, bytes
//! ```

use std::fmt;
use std::str::FromStr;

/// One operation of a flash array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Programs `size` bytes of `value` over `old`.
    Program {
        /// Address.
        addr: u32,
        /// 1, 2, 4 or 8 bytes.
        size: u8,
        /// What was asked for; the array then holds `old & value`.
        value: u64,
        /// What the array held.
        old: u64,
    },
    /// Erases a page, a sector or all.
    Erase {
        /// First address.
        addr: u32,
        /// Length in bytes.
        len: u32,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Program {
                addr,
                size,
                value,
                old,
            } => write!(f, "P {addr:#010x} {size} {value:#010x} {old:#010x}"),
            Op::Erase { addr, len } => write!(f, "E {addr:#010x} {len}"),
        }
    }
}

/// A line of a log that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a flash operation: `{0}`")]
pub struct ParseError(String);

impl FromStr for Op {
    type Err = ParseError;

    fn from_str(line: &str) -> Result<Self, ParseError> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        let fields: Vec<&str> = line.split_whitespace().collect();
        let parse = || {
            Some(match *fields.as_slice() {
                ["P", addr, size, value, old] => Op::Program {
                    addr: number(addr)?.try_into().ok()?,
                    size: number(size)?.try_into().ok()?,
                    value: number(value)?,
                    old: number(old)?,
                },
                ["E", addr, len] => Op::Erase {
                    addr: number(addr)?.try_into().ok()?,
                    len: number(len)?.try_into().ok()?,
                },
                _ => return None,
            })
        };
        parse().ok_or_else(|| ParseError(line.to_owned()))
    }
}

/// Reads a whole log.
///
/// # Errors
/// The first line that is no operation.
pub fn parse(text: &str) -> Result<Vec<Op>, ParseError> {
    text.lines()
        .filter(|l| !l.trim().is_empty())
        .map(str::parse)
        .collect()
}
