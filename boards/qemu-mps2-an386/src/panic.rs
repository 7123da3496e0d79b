//! A panic ends the emulator with an error.

use crate::host::{exit, println};
use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("panic: {}", info);
    exit(false)
}
