//! Where everything lies in flash, from the linker script.
#![allow(
    unsafe_code,
    reason = "symbols of memory.x are addresses that only the linker knows"
)]

use core::ops::Range;

unsafe extern "C" {
    static __model_start: u8;
    static __model_bytes: u8;
    static __job_start: u8;
    static __job_bytes: u8;
    static __tail0_offset: u8;
    static __tail0_bytes: u8;
    static __tail1_offset: u8;
    static __tail1_bytes: u8;
    static __replay_offset: u8;
    static __replay_bytes: u8;
}

/// The regions of the board.toml that the firmware was built from.
#[derive(Debug, Clone)]
pub struct Regions {
    /// The model image.
    pub model: &'static [u8],
    /// The job; empty on a board without such a region.
    pub job: &'static [u8],
    /// The slots of the tails, in bytes from the start of their flash.
    pub slots: [Range<u32>; 2],
    /// The latents, in bytes from the start of their flash; empty on a board that tunes heads only.
    pub replay: Range<u32>,
}

impl Regions {
    /// Returns the regions that the linker script names.
    ///
    /// # Safety
    /// - The firmware is linked with the memory.x that `tailtune_board::build` made.
    /// - The regions `model` and `job` of the board.toml are mapped at their addresses from now on.
    /// - Nothing erases or writes these two as long as the firmware runs.
    pub unsafe fn linked() -> Self {
        // SAFETY: as the caller vouches.
        unsafe { Self::mapped(0) }
    }

    /// As [`linked`](Self::linked), of flash that is seen `base` above its own addresses.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn mapped(base: usize) -> Self {
        let number = |symbol: *const u8| symbol.addr() as u32;
        let offsets = |offset, bytes| {
            let start = number(offset);
            start..start.saturating_add(number(bytes))
        };
        Self {
            // SAFETY: the caller vouches for the region.
            model: unsafe { region(base, &raw const __model_start, &raw const __model_bytes) },
            // SAFETY: as above.
            job: unsafe { region(base, &raw const __job_start, &raw const __job_bytes) },
            slots: [
                offsets(&raw const __tail0_offset, &raw const __tail0_bytes),
                offsets(&raw const __tail1_offset, &raw const __tail1_bytes),
            ],
            replay: offsets(&raw const __replay_offset, &raw const __replay_bytes),
        }
    }
}

/// Returns a region of flash that the linker script names, `base` above.
///
/// # Safety
/// It is mapped there, and nothing erases or writes it.
unsafe fn region(base: usize, start: *const u8, bytes: *const u8) -> &'static [u8] {
    match bytes.addr() {
        // A board without the region: its address is none.
        0 => &[],
        // SAFETY: the caller vouches for the region; bytes need no alignment.
        len => unsafe { core::slice::from_raw_parts(start.wrapping_add(base), len) },
    }
}
