//! The flash array: what survives a power cycle, and everything that can go wrong with it.
//!
//! A chip's controller decides whether an operation is allowed and then calls [`Flash::program`] or
//! [`Flash::erase`]. Both go to the log, to the file (written through at each operation, so the end of
//! the process at any moment is a power cut), and past the fault controls.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use crate::mem::HostMem;
use crate::oplog::{Array, Op};

/// One contiguous part of the non-volatile memory: main flash, UICR, …
#[derive(Debug, Clone)]
pub struct Bank {
    /// The array that it is part of.
    pub array: Array,
    /// First address.
    pub base: u32,
    /// Length in bytes.
    pub len: u32,
    /// The bytes.
    pub mem: Rc<HostMem>,
}

/// When the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Operations that complete before.
    pub after: u64,
    /// The operation under way then is left half done, which bits made it following from this seed.
    /// `None`: it has not begun.
    pub torn: Option<u64>,
}

/// What the array does wrong on purpose.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Words of the chip's own array, by their address, that keep the value they have.
    pub stuck: Vec<u32>,
    /// The controllers' write enable never sticks: nothing is programmed or erased.
    pub write_enable_off: bool,
    /// A power cut.
    pub cut: Option<Cut>,
}

/// The array, its file and its log.
#[derive(Debug)]
pub struct Flash {
    banks: Vec<Bank>,
    /// The file of each array.
    files: [Option<File>; 2],
    log: Option<BufWriter<File>>,
    ops: Vec<Op>,
    keep: bool,
    done: u64,
    own: u64,
    faults: Faults,
    powered: bool,
    io_error: Option<io::Error>,
}

impl Flash {
    /// An erased array of these banks.
    pub fn new(banks: Vec<Bank>) -> Self {
        for b in &banks {
            b.mem.fill(0, b.len as usize, 0xff);
        }
        Self {
            banks,
            files: [None, None],
            log: None,
            ops: Vec::new(),
            keep: false,
            done: 0,
            own: 0,
            faults: Faults::default(),
            powered: true,
            io_error: None,
        }
    }

    /// Length of an array's file, which holds its banks one after the other, in bytes.
    pub fn len_of(&self, array: Array) -> usize {
        self.of(array).map(|b| b.len as usize).sum()
    }

    /// An array's banks, one after the other.
    pub fn image_of(&self, array: Array) -> Vec<u8> {
        let mut image = vec![0; self.len_of(array)];
        let mut at = 0;
        for b in self.of(array) {
            let end = at + b.len as usize;
            b.mem.read(0, &mut image[at..end]);
            at = end;
        }
        image
    }

    /// The chip's own array.
    pub fn image(&self) -> Vec<u8> {
        self.image_of(Array::Internal)
    }

    /// Replaces the contents of an array, as if they had been programmed elsewhere.
    ///
    /// # Errors
    /// The length is not [`Self::len_of`] that array.
    pub fn load_of(&mut self, array: Array, image: &[u8]) -> Result<(), WrongLength> {
        let expected = self.len_of(array);
        if image.len() != expected {
            return Err(WrongLength {
                array,
                found: image.len(),
                expected,
            });
        }
        let mut at = 0;
        for b in self.of(array) {
            b.mem.write(0, &image[at..at + b.len as usize]);
            at += b.len as usize;
        }
        if let Some(file) = &self.files[array as usize] {
            self.io_error = file.write_all_at(image, 0).err();
        }
        Ok(())
    }

    /// Replaces the contents of the chip's own array.
    ///
    /// # Errors
    /// As [`Self::load_of`].
    pub fn load(&mut self, image: &[u8]) -> Result<(), WrongLength> {
        self.load_of(Array::Internal, image)
    }

    /// Keeps an array's contents in a file. One that exists is loaded, else it is made, erased.
    ///
    /// # Errors
    /// The file cannot be read or written, or is of another length; the chip has no such array.
    pub fn attach_file(&mut self, array: Array, path: &Path) -> io::Result<()> {
        if self.len_of(array) == 0 {
            let reason = "this chip has no external flash; leave the option out";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let len = file.metadata()?.len();
        if len == 0 {
            file.write_all_at(&self.image_of(array), 0)?;
        } else {
            let mut image = vec![0; self.len_of(array)];
            if len != image.len() as u64 {
                let e = WrongLength {
                    array,
                    found: len as usize,
                    expected: image.len(),
                };
                return Err(io::Error::new(io::ErrorKind::InvalidData, e));
            }
            file.read_exact_at(&mut image, 0)?;
            self.load_of(array, &image).map_err(io::Error::other)?;
        }
        self.files[array as usize] = Some(file);
        Ok(())
    }

    fn of(&self, array: Array) -> impl Iterator<Item = &Bank> {
        self.banks.iter().filter(move |b| b.array == array)
    }

    /// Writes one line for every operation to a file, which is made anew.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn attach_log(&mut self, path: &Path) -> io::Result<()> {
        self.log = Some(BufWriter::new(File::create(path)?));
        Ok(())
    }

    /// Keeps the operations in memory too, for [`Self::take_ops`].
    pub fn keep_ops(&mut self) {
        self.keep = true;
    }

    /// The operations since the last call.
    pub fn take_ops(&mut self) -> Vec<Op> {
        std::mem::take(&mut self.ops)
    }

    /// Operations begun so far.
    pub fn operations(&self) -> u64 {
        self.done
    }

    /// Those of them that were on the chip's own array, since power on of the model.
    pub fn own_operations(&self) -> u64 {
        self.own
    }

    /// Sets the fault controls. Counting for the power cut begins here.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.done = 0;
        self.powered = true;
    }

    /// The fault controls.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// False once the power has failed.
    pub fn powered(&self) -> bool {
        self.powered
    }

    /// The first error of the file or the log, if any: what is on disk may not be what the chip holds.
    pub fn take_io_error(&mut self) -> Option<io::Error> {
        self.io_error.take()
    }

    /// The word at an address.
    pub fn word(&self, addr: u32) -> Option<u32> {
        let mut b = [0; 4];
        self.read(Array::Internal, addr, &mut b)
            .then(|| u32::from_le_bytes(b))
    }

    /// Copies bytes of an array; false where no bank holds all of them.
    pub fn read(&self, array: Array, addr: u32, out: &mut [u8]) -> bool {
        let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        self.find(array, addr, len)
            .is_some_and(|(bank, offset)| bank.mem.read(offset, out))
    }

    /// Programs `size` (1, 2, 4 or 8) bytes: bits go from one to zero, never back.
    pub fn program(&mut self, array: Array, addr: u32, size: u8, value: u64) {
        let mut bytes = [0; 8];
        if !self.read(array, addr, &mut bytes[..usize::from(size)]) {
            return;
        }
        let old = u64::from_le_bytes(bytes);
        self.operate(Op::Program {
            array,
            addr,
            size,
            value,
            old,
        });
    }

    /// Erases: all bits become one.
    pub fn erase(&mut self, array: Array, addr: u32, len: u32) {
        if self.find(array, addr, len).is_some() {
            self.operate(Op::Erase { array, addr, len });
        }
    }

    fn operate(&mut self, op: Op) {
        match self.begin(op) {
            Progress::None => {}
            Progress::Whole => self.apply(&op, None),
            Progress::Torn(seed) => self.apply(&op, Some(seed)),
        }
    }

    /// Does an operation of a log to the array, past log and power cut; half of it if `torn` gives the
    /// seed of a power cut. Where no bank is, nothing happens.
    pub fn apply(&mut self, op: &Op, torn: Option<u64>) {
        let (array, (addr, len)) = (op.array(), op.range());
        let mut old = vec![0; len as usize];
        if !self.read(array, addr, &mut old) {
            return;
        }
        let mut new: Vec<u8> = match *op {
            Op::Program { value, .. } => {
                // A cell that was not reached keeps its one.
                let value = value | torn.map_or(0, |seed| scatter(seed, addr));
                let pairs = old.iter().zip(value.to_le_bytes());
                pairs.map(|(o, v)| o & v).collect()
            }
            Op::Erase { .. } => match torn {
                None => vec![0xff; len as usize],
                // Of an erase, some cells have got to one.
                Some(seed) => {
                    let bits = (0..len.div_ceil(8))
                        .flat_map(|i| scatter(seed, addr + 8 * i).to_le_bytes());
                    old.iter().zip(bits).map(|(o, b)| o | b).collect()
                }
            },
        };
        if array == Array::Internal {
            self.keep_stuck(addr, &old, &mut new);
        }
        self.store(array, addr, &new);
    }

    fn find(&self, array: Array, addr: u32, len: u32) -> Option<(&Bank, usize)> {
        self.of(array).find_map(|b| {
            let offset = addr.checked_sub(b.base)?;
            (u64::from(offset) + u64::from(len) <= u64::from(b.len)).then_some((b, offset as usize))
        })
    }

    /// Counts and logs an operation, and says how much of it happens.
    fn begin(&mut self, op: Op) -> Progress {
        if !self.powered {
            return Progress::None;
        }
        let progress = match self.faults.cut {
            Some(cut) if cut.after == self.done => {
                self.powered = false;
                cut.torn.map_or(Progress::None, Progress::Torn)
            }
            _ => Progress::Whole,
        };
        if progress == Progress::Whole {
            self.done += 1;
            self.own += u64::from(op.array() == Array::Internal);
            if let Some(log) = &mut self.log {
                // Flushed at once: the process may end at any moment.
                let written = writeln!(log, "{op}").and_then(|()| log.flush());
                self.io_error = self.io_error.take().or(written.err());
            }
            if self.keep {
                self.ops.push(op);
            }
        }
        progress
    }

    fn keep_stuck(&self, addr: u32, old: &[u8], new: &mut [u8]) {
        for word in &self.faults.stuck {
            for byte in *word..word.saturating_add(4) {
                let at = byte.wrapping_sub(addr) as usize;
                if let (Some(n), Some(o)) = (new.get_mut(at), old.get(at)) {
                    *n = *o;
                }
            }
        }
    }

    fn store(&mut self, array: Array, addr: u32, bytes: &[u8]) {
        let mut at = 0u64;
        for b in self.banks.iter().filter(|b| b.array == array) {
            if let Some(offset) = addr.checked_sub(b.base)
                && b.mem.write(offset as usize, bytes)
            {
                if let Some(file) = &self.files[array as usize] {
                    let written = file.write_all_at(bytes, at + u64::from(offset));
                    self.io_error = self.io_error.take().or(written.err());
                }
                return;
            }
            at += u64::from(b.len);
        }
    }
}

/// A flash image is not as long as the array that it is for.
#[derive(Debug, thiserror::Error)]
#[error("the flash image has {found} bytes, {} {expected}", match array {
    Array::Internal => "this chip's non-volatile memory",
    Array::External => "the external flash with its status register",
})]
pub struct WrongLength {
    /// Which array.
    pub array: Array,
    /// Bytes found.
    pub found: usize,
    /// Bytes expected.
    pub expected: usize,
}

#[derive(PartialEq, Clone, Copy)]
enum Progress {
    None,
    Whole,
    Torn(u64),
}

/// 64 bits that follow from a seed and an address: which cells made it before the power was gone.
pub fn scatter(seed: u64, addr: u32) -> u64 {
    // The finalizer of SplitMix64.
    let mut z = seed
        .wrapping_add(u64::from(addr))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
