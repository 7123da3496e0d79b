//! What the programs share that link only if no panic is reachable: the panic handler calls what does
//! not exist.

use core::panic::PanicInfo;
use tailtune::image::Image;
use tailtune::model::{Arena, Encoder, Features, Head, Input};

static mut ARENA: Arena<{ 48 * 1024 }> = Arena::new();
static mut INPUT: [i8; 4096] = [0; 4096];
static mut LOGITS: [i16; 16] = [0; 16];

unsafe extern "C" {
    static __model_start: u8;
    static __model_bytes: u8;
}

/// Parses the board's image, makes its encoder, runs it and its head, and hands on to `then` what a step of
/// tuning begins with.
pub fn infer(then: impl FnOnce(&Features<'_>, &Head<'_>, u16) -> Option<()>) -> Option<()> {
    let model = &raw const __model_start;
    let bytes = (&raw const __model_bytes).addr();
    // SAFETY: the region lies outside of what the linker placed code or data in; nothing writes to it.
    let image = unsafe { core::slice::from_raw_parts(model, bytes) };
    let (arena, input, logits) = (&raw mut ARENA, &raw mut INPUT, &raw mut LOGITS);
    // SAFETY: `infer` runs once, on the only core, and no interrupt touches these.
    let (arena, input, logits) = unsafe { (&mut *arena, &*input, &mut *logits) };
    let image = Image::parse(image).ok()?;
    let mut encoder = Encoder::new(&image, arena.as_mut_slice()).ok()?;
    let features = encoder.forward(Input::Frames(input)).ok()?;
    let head = Head::new(&image).ok()?;
    head.logits(&features, logits);
    let label = u16::from_ne_bytes(logits.first()?.to_ne_bytes());
    then(&features, &head, label)
}

/// Uses what came out, and ends.
pub fn finish(done: Option<()>) -> ! {
    let result = &raw mut INPUT;
    // SAFETY: a write to a static of this program, on the only core.
    unsafe { result.cast::<u8>().write_volatile(done.is_some().into()) };
    let logits = &raw const LOGITS;
    // SAFETY: as above, a read.
    let _ = unsafe { logits.read_volatile() };
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn tailtune_a_panic_is_reachable() -> !;
    }
    // SAFETY: never linked.
    unsafe { tailtune_a_panic_is_reachable() }
}
