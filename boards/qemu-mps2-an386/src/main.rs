//! tailtune's application on the emulated board: the job, the result and the tails' flash are files
//! of the host, reached by semihosting; the model image lies where the loader has put it.

#![no_std]
#![no_main]

#[cfg_attr(target_arch = "riscv32", path = "../../qemu-virt-rv32/src/counter.rs")]
mod counter;
mod file;
mod flash;
mod host;
mod panic;

use core::ops::Range;
use file::File;
use flash::FileFlash;
use host::{entry, println};
use tailtune::store::Store;
use tailtune_app::{Memory, Platform, PlatformError, ReplayFlash};

/// Room for KWT-1 and everything smaller: 48 KiB of arena, inputs of 98 × 40, 32 added classes, 512 training
/// and 512 test samples, 112 KiB to tune in, as on the nRF52840 DK.
static mut MEMORY: Memory<{ 48 * 1024 }, 4096, 32, 512, { 28 * 1024 }> = Memory::new();

unsafe extern "C" {
    static __model_start: u8;
    static __model_bytes: u8;
    static __tail0_offset: u8;
    static __tail0_bytes: u8;
    static __tail1_offset: u8;
    static __tail1_bytes: u8;
    static __replay_offset: u8;
    static __replay_bytes: u8;
}

/// The job and the result as files.
struct Semihosting {
    job: File,
    result: File,
    counter: counter::Counter,
}

impl Platform for Semihosting {
    fn read_job(&mut self, offset: u32, buffer: &mut [u8]) -> Result<(), PlatformError> {
        self.job.read_at(offset, buffer).map_err(|_| PlatformError)
    }

    fn write_result(&mut self, bytes: &[u8]) -> Result<(), PlatformError> {
        self.result.append(bytes).map_err(|_| PlatformError)
    }

    fn progress(&mut self, phase: &str, done: u32, total: u32) {
        println!("{} {}/{}", phase, done, total);
    }

    fn restart_clock(&mut self) {
        self.counter = counter::Counter::start();
    }

    /// Instructions where the emulator counts them.
    fn clock(&mut self) -> u32 {
        self.counter.executed()
    }
}

#[entry]
fn main() -> ! {
    match session() {
        Ok(()) => host::exit(true),
        Err(reason) => {
            println!("failed: {}", reason);
            host::exit(false)
        }
    }
}

/// Does the job; the error is a line for the console.
fn session() -> Result<(), Reason> {
    let number = |symbol: *const u8| symbol.addr() as u32;
    let region = |offset, bytes| number(offset)..number(offset) + number(bytes);
    let slots = [
        region(&raw const __tail0_offset, &raw const __tail0_bytes),
        region(&raw const __tail1_offset, &raw const __tail1_bytes),
    ];
    let latents = region(&raw const __replay_offset, &raw const __replay_bytes);
    let model = &raw const __model_start;
    let model_bytes = (&raw const __model_bytes).addr();
    // SAFETY: the region lies in the machine's memory, outside of what the linker placed code or
    // data in; the loader filled it before reset and nothing writes to it.
    let image = unsafe { core::slice::from_raw_parts(model, model_bytes) };
    let memory = &raw mut MEMORY;
    // SAFETY: `session` runs once, on the only core, and no interrupt touches MEMORY.
    let memory = unsafe { &mut *memory };
    let open = |name, mode| File::open(name, mode).map_err(|_| Reason::File(name));
    let mut platform = Semihosting {
        job: open("job.bin\0", file::READ)?,
        result: open("result.bin\0", file::CREATE)?,
        counter: counter::Counter::start(),
    };
    let file = |name, region: &Range<u32>| {
        FileFlash::open(name, region.end).map_err(|_| Reason::File(name))
    };
    let [first, second] = slots;
    let flash = file("flash.bin\0", &second)?;
    let mut store = Store::with_slots(flash, [first, second]).map_err(|_| Reason::Slots)?;
    let latents = ReplayFlash {
        flash: file("replay.bin\0", &latents)?,
        region: latents,
    };
    memory
        .run(&mut platform, image, &mut store, latents)
        .map_err(Reason::App)
}

/// Why the job was not done.
enum Reason {
    File(&'static str),
    Slots,
    App(tailtune_app::AppError<flash::FlashError>),
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::File(name) => write!(f, "{} cannot be opened", name.trim_end_matches('\0')),
            Self::Slots => write!(f, "the slots of board.toml do not suit the flash"),
            Self::App(error) => write!(f, "{error}"),
        }
    }
}
