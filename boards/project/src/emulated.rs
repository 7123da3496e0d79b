//! A model that learns on the device, which is emulated: what it says goes to the console, what it learns to a file.

#![no_std]
#![no_main]

mod failure;
#[allow(dead_code, reason = "files are opened for more than is needed here")]
mod file;
mod firmware;
mod flash;
mod host;
#[rustfmt::skip]
mod model;
mod panic;

use firmware::{Boot, Memory};
use flash::FileFlash;
use host::{entry, println};

static mut MEMORY: Memory = Memory::new();

#[entry]
fn main() -> ! {
    let memory = &raw mut MEMORY;
    // SAFETY: `main` runs once, and no interrupt touches MEMORY.
    let memory = unsafe { &mut *memory };
    // SAFETY: the emulator's loader has put the model there, and nothing writes it.
    let image = unsafe { model::image() };
    let [_, last] = model::TAIL_SLOTS;
    let Ok(flash) = FileFlash::open("flash.bin\0", last.end) else {
        println!("failed: flash.bin cannot be opened");
        host::exit(false)
    };
    let mut say = |sample: &str, found: &str| println!("{} is taken for {}", sample, found);
    match firmware::boot(memory, image, flash, false, &mut say) {
        Ok(Boot::Learned) => println!("learned and saved; the next run loads it"),
        Ok(Boot::Answered) => println!("done"),
        Err(e) => {
            println!("failed: {:?}", e);
            host::exit(false)
        }
    }
    host::exit(true)
}
