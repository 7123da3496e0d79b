//! The log of flash operations: one line each, and a way to apply them again.
//!
//! ```text
//! P 0x00026000 4 0x20040000 0xffffffff      program: address, bytes, value, what was there
//! E 0x000f0000 4096                         erase: address, bytes
//! XP 0x00001000 4 0x00c0ffee 0xffffffff     the same of the external flash; addresses are its own
//! XE 0x00001000 4096
//! ```

use std::fmt;
use std::str::FromStr;

/// Which array an address is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Array {
    /// The chip's own.
    #[default]
    Internal,
    /// The part on the board's serial bus.
    External,
}

/// One operation of a flash array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Programs `size` bytes of `value` over `old`.
    Program {
        /// Which array.
        array: Array,
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
        /// Which array.
        array: Array,
        /// First address.
        addr: u32,
        /// Length in bytes.
        len: u32,
    },
}

impl Op {
    /// Which array it is of.
    pub fn array(&self) -> Array {
        match *self {
            Op::Program { array, .. } | Op::Erase { array, .. } => array,
        }
    }

    /// Its first address and its length in bytes.
    pub fn range(&self) -> (u32, u32) {
        match *self {
            Op::Program { addr, size, .. } => (addr, u32::from(size.min(8))),
            Op::Erase { addr, len, .. } => (addr, len),
        }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Array::Internal => "",
            Array::External => "X",
        })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Program {
                array,
                addr,
                size,
                value,
                old,
            } => write!(f, "{array}P {addr:#010x} {size} {value:#010x} {old:#010x}"),
            Op::Erase { array, addr, len } => write!(f, "{array}E {addr:#010x} {len}"),
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
        let array = |kind: &str| match kind.starts_with('X') {
            true => Array::External,
            false => Array::Internal,
        };
        let parse = || {
            Some(match *fields.as_slice() {
                [kind @ ("P" | "XP"), addr, size, value, old] => Op::Program {
                    array: array(kind),
                    addr: number(addr)?.try_into().ok()?,
                    size: number(size)?.try_into().ok()?,
                    value: number(value)?,
                    old: number(old)?,
                },
                [kind @ ("E" | "XE"), addr, len] => Op::Erase {
                    array: array(kind),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_operations_and_back() {
        let text = "P 0x00026000 4 0x20040000 0xffffffff\nE 0x000f0000 4096\n\
                    XP 0x00001000 4 0x00c0ffee 0xffffffff\nXE 0x00001000 4096";
        let ops = parse(text).expect("operations");
        let lines: Vec<String> = ops.iter().map(Op::to_string).collect();
        assert_eq!(lines.join("\n"), text);
        let arrays: Vec<Array> = ops.iter().map(Op::array).collect();
        assert_eq!(
            arrays,
            [
                Array::Internal,
                Array::Internal,
                Array::External,
                Array::External
            ]
        );
        assert_eq!(ops[3].range(), (0x1000, 4096));
        for bad in ["X 0x00001000 4096", "YE 0 4096", "XE 0x1000"] {
            assert!(bad.parse::<Op>().is_err(), "{bad}");
        }
    }
}
