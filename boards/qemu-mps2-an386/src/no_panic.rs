//! Links only if no panic is reachable from parsing an image, making its encoder, running it, its head,
//! and a step of tuning that head: the panic handler calls what does not exist. What is in it besides is
//! the reset code, so its .text is what an encoder with a softmax head takes.

#![no_std]
#![no_main]

use core::panic::PanicInfo;
#[cfg(not(target_arch = "riscv32"))]
use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;
use tailtune::image::Image;
use tailtune::model::{Arena, Encoder, Head, Input};
use tailtune::tune::{HeadMemory, LinearHead, Math, Method, Schedule, Softmax, SoftmaxMemory};

static mut ARENA: Arena<{ 48 * 1024 }> = Arena::new();
static mut INPUT: [i8; 4096] = [0; 4096];
static mut LOGITS: [i16; 16] = [0; 16];
static mut HEAD: HeadMemory<64, 16> = HeadMemory::new();
static mut STEP: SoftmaxMemory<64, 16> = SoftmaxMemory::new();

unsafe extern "C" {
    static __model_start: u8;
    static __model_bytes: u8;
}

#[entry]
fn main() -> ! {
    let done = run().is_some();
    let result = &raw mut INPUT;
    // SAFETY: a write to a static of this program, on the only core: whatever came out is used.
    unsafe { result.cast::<u8>().write_volatile(done.into()) };
    loop {
        core::hint::spin_loop();
    }
}

fn run() -> Option<()> {
    let model = &raw const __model_start;
    let bytes = (&raw const __model_bytes).addr();
    // SAFETY: the region lies outside of what the linker placed code or data in; nothing writes to it.
    let image = unsafe { core::slice::from_raw_parts(model, bytes) };
    let (arena, input, logits) = (&raw mut ARENA, &raw mut INPUT, &raw mut LOGITS);
    let (head, step) = (&raw mut HEAD, &raw mut STEP);
    // SAFETY: `run` runs once, on the only core, and no interrupt touches these.
    let (arena, input, logits) = unsafe { (&mut *arena, &*input, &mut *logits) };
    // SAFETY: as above.
    let (head, step) = unsafe { (&mut *head, &mut *step) };
    let image = Image::parse(image).ok()?;
    let mut encoder = Encoder::new(&image, arena.as_mut_slice()).ok()?;
    let features = encoder.forward(Input::Frames(input)).ok()?;
    let origin = Head::new(&image).ok()?;
    origin.logits(&features, logits);
    let head = LinearHead::new(head.buffers(), &origin).ok()?;
    let mut method = Softmax::new(head, step.buffers(), Math::Exact).ok()?;
    // Plain SGD: this memory has no velocities, and a step that is refused would prove nothing.
    let schedule = Schedule {
        momentum: 0.0,
        ..Schedule::default()
    };
    method.begin_epoch(&schedule, 0).ok()?;
    method
        .step(
            &features,
            u16::from_ne_bytes(logits.first()?.to_ne_bytes()),
            1.0,
        )
        .ok()?;
    Some(())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn tailtune_a_panic_is_reachable() -> !;
    }
    // SAFETY: never linked.
    unsafe { tailtune_a_panic_is_reachable() }
}
