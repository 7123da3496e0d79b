//! tailtune's application on the emulated board: the job, the result and the tails' flash are files
//! of the host, reached by semihosting; the model image lies where the loader has put it.

#![no_std]
#![no_main]

mod file;
mod flash;
mod host;
mod panic;

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
    static __slots_start: u8;
    static __slot_bytes: u8;
    static __replay_start: u8;
    static __replay_bytes: u8;
}

/// The job and the result as files.
struct Semihosting {
    job: File,
    result: File,
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
    let address = |symbol: *const u8| symbol.addr() as u32;
    let (model, model_bytes, start, slot) = (
        &raw const __model_start,
        address(&raw const __model_bytes) as usize,
        address(&raw const __slots_start),
        address(&raw const __slot_bytes),
    );
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
    };
    let flash =
        FileFlash::open("flash.bin\0", start + 2 * slot).map_err(|_| Reason::File("flash.bin"))?;
    let mut store = Store::new(flash, start..start + 2 * slot).map_err(|_| Reason::Slots)?;
    let (start, bytes) = (
        address(&raw const __replay_start),
        address(&raw const __replay_bytes),
    );
    let latents = ReplayFlash {
        flash: FileFlash::open("replay.bin\0", start + bytes)
            .map_err(|_| Reason::File("replay.bin"))?,
        region: start..start + bytes,
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
