//! Links only if no panic is reachable from parsing an image, making its encoder, running it, its head,
//! and a step of tuning that head. What is in it besides is the reset code, so its .text is what an
//! encoder takes whose softmax head is trained on the device.

#![no_std]
#![no_main]

#[path = "no_panic/mod.rs"]
mod no_panic;

#[cfg(not(target_arch = "riscv32"))]
use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;
use tailtune::model::{Features, Head};
use tailtune::tune::{HeadMemory, LinearHead, Math, Method, Schedule, Softmax, SoftmaxMemory};

static mut HEAD: HeadMemory<64, 16> = HeadMemory::new();
static mut STEP: SoftmaxMemory<64, 16> = SoftmaxMemory::new();

#[entry]
fn main() -> ! {
    no_panic::finish(no_panic::infer(step))
}

fn step(features: &Features<'_>, origin: &Head<'_>, label: u16) -> Option<()> {
    let (head, step) = (&raw mut HEAD, &raw mut STEP);
    // SAFETY: `step` runs once, on the only core, and no interrupt touches these.
    let (head, step) = unsafe { (&mut *head, &mut *step) };
    let head = LinearHead::new(head.buffers(), origin).ok()?;
    let mut method = Softmax::new(head, step.buffers(), Math::Exact).ok()?;
    // Plain SGD: this memory has no velocities, and a step that is refused would prove nothing.
    let schedule = Schedule {
        momentum: 0.0,
        ..Schedule::default()
    };
    method.begin_epoch(&schedule, 0).ok()?;
    method.step(features, label, 1.0).ok()?;
    Some(())
}
