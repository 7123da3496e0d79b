//! Host memory that the guest and the model both use.
//!
//! The emulator reads and writes these bytes through a raw pointer, so no Rust reference into them
//! ever exists: every access here copies.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::rc::Rc;

/// Alignment of a block: what the emulator maps is a whole number of host pages.
const PAGE: usize = 4096;

/// A block of bytes at a fixed place, zero at first.
#[derive(Debug)]
pub struct HostMem {
    start: *mut u8,
    layout: Layout,
}

impl HostMem {
    /// Takes `len` bytes, rounded up to whole pages of 4 KiB.
    pub fn new(len: usize) -> Rc<Self> {
        let len = len.max(1).next_multiple_of(PAGE);
        let layout = Layout::from_size_align(len, PAGE).expect("length of a memory region");
        // SAFETY: the layout has a non-zero size.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Rc::new(Self { start, layout })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Always false: a block has at least one page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The first byte, for the emulator's map.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Copies bytes from `offset` on. Returns false, and copies nothing, past the end.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        if !self.holds(offset, out.len()) {
            return false;
        }
        // SAFETY: the range lies within the block; `out` is another allocation.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.add(offset), out.as_mut_ptr(), out.len())
        }
        true
    }

    /// Copies bytes to `offset`. Returns false, and copies nothing, past the end.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        // SAFETY: the range lies within the block; `bytes` is another allocation.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(offset), bytes.len())
        }
        true
    }

    /// Sets `len` bytes from `offset` on to `value`. Returns false past the end.
    pub fn fill(&self, offset: usize, len: usize, value: u8) -> bool {
        if !self.holds(offset, len) {
            return false;
        }
        // SAFETY: the range lies within the block.
        unsafe { std::ptr::write_bytes(self.start.add(offset), value, len) }
        true
    }

    fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len())
    }
}

impl Drop for HostMem {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start, self.layout) }
    }
}

/// What a region of the guest's map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read, written and executed.
    Ram,
    /// Read and executed; stores go to the flash controller.
    Flash,
    /// Read only; stores fault.
    Rom,
}

/// One region of the guest's map.
#[derive(Clone, Debug)]
pub struct Region {
    /// First address.
    pub base: u32,
    /// Length in bytes.
    pub len: u32,
    /// What stores do.
    pub kind: Kind,
    /// The bytes.
    pub mem: Rc<HostMem>,
}

/// All memory of a chip except registers.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// The regions; two may share bytes, then one is an alias of the other.
    pub regions: Vec<Region>,
}

impl Map {
    /// The region that holds `len` bytes from `addr` on, and the offset in it.
    pub fn find(&self, addr: u32, len: usize) -> Option<(&Region, usize)> {
        self.regions.iter().find_map(|r| {
            let offset = addr.checked_sub(r.base)? as usize;
            (offset + len <= r.len as usize).then_some((r, offset))
        })
    }

    /// Copies memory; false where no region holds all of it.
    pub fn read(&self, addr: u32, out: &mut [u8]) -> bool {
        self.find(addr, out.len())
            .is_some_and(|(r, offset)| r.mem.read(offset, out))
    }

    /// Copies to RAM; false elsewhere.
    pub fn write_ram(&self, addr: u32, bytes: &[u8]) -> bool {
        self.find(addr, bytes.len())
            .is_some_and(|(r, offset)| r.kind == Kind::Ram && r.mem.write(offset, bytes))
    }

    /// Reads a little-endian word.
    pub fn word(&self, addr: u32) -> Option<u32> {
        let mut b = [0; 4];
        self.read(addr, &mut b).then(|| u32::from_le_bytes(b))
    }

    /// Reads a little-endian half word.
    pub fn half(&self, addr: u32) -> Option<u16> {
        let mut b = [0; 2];
        self.read(addr, &mut b).then(|| u16::from_le_bytes(b))
    }
}
