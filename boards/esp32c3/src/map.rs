//! Model and job where the core sees them. The second stage maps the firmware's own segments only; these are pages
//! above, of the same table.

use core::ops::Range;
use esp32c3_pac::MMU_TABLE;

/// Bytes of a page.
const PAGE: usize = 64 * 1024;
/// The first entry that is ours: a firmware of up to 4 MiB lies below. Those of the HAL's flash driver are taken
/// from the table's end.
const FIRST: usize = 64;
/// Where entry 0 is seen as data.
const DATA: usize = 0x3c00_0000;

/// How far above its own addresses flash is seen in our entries.
pub const BASE: usize = DATA + FIRST * PAGE;

/// Maps whole pages of flash, each `BASE` above its own address.
///
/// # Safety
/// Nothing else uses the entries from `FIRST` on that these pages take, and nothing has read there before.
pub unsafe fn map(flash: Range<usize>) {
    // SAFETY: the caller vouches for the entries; the table is a register block of the chip.
    let table = unsafe { &*MMU_TABLE::ptr() };
    for page in flash.start / PAGE..flash.end.div_ceil(PAGE) {
        let number = u8::try_from(page).unwrap_or(u8::MAX);
        table.entry(FIRST + page).write(|w| {
            // SAFETY: every number names a page of flash.
            unsafe { w.paddr().bits(number) };
            w.invalid().clear_bit()
        });
    }
}
