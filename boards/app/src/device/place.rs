//! Memory in a RAM that the start-up code leaves as it is.
#![allow(
    unsafe_code,
    reason = "a quarter of a MiB is made where it lies: by value it would pass over the stack"
)]

use crate::Memory;
use core::mem::MaybeUninit;

/// Makes [`Memory::new`] in a place of the section `.arena`, which nothing has zeroed.
pub fn zeroed<const A: usize, const I: usize, const C: usize, const N: usize, const W: usize>(
    place: &mut MaybeUninit<Memory<A, I, C, N, W>>,
) -> &mut Memory<A, I, C, N, W> {
    // SAFETY: the pointer is that of the whole place; numbers that are zero and names of length zero are
    // all that `Memory::new` holds, so zero bytes are a `Memory`.
    unsafe {
        place.as_mut_ptr().write_bytes(0, 1);
        place.assume_init_mut()
    }
}
