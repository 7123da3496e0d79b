//! A model that learns on the device: the LED says how far it is, the button makes it learn again.

#![no_std]
#![no_main]

mod failure;
mod firmware;
#[allow(dead_code, reason = "the board has more than is needed here")]
mod hal;
#[rustfmt::skip]
mod model;

use cortex_m_rt::entry;
use defmt::{error, info};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin, PinState};
use firmware::{Boot, Memory};

static mut MEMORY: Memory = Memory::new();

#[entry]
fn main() -> ! {
    let mut board = hal::start();
    let learn = is_held(&mut board.button);
    let memory = &raw mut MEMORY;
    // SAFETY: `main` runs once, and no interrupt touches MEMORY.
    let memory = unsafe { &mut *memory };
    // SAFETY: flash is readable whenever its driver is not at work, and nothing writes the model's region.
    let image = unsafe { model::image() };
    // A pin that fails leaves the LED as it is: there is nobody to tell.
    let _ = board.led.set_state(hal::LIT);
    let mut say = |sample: &str, found: &str| info!("{} is taken for {}", sample, found);
    match firmware::boot(memory, image, board.flash, learn, &mut say) {
        Ok(Boot::Learned) => {
            info!("learned and saved; resetting");
            board.delay.delay_ms(100);
            hal::reset()
        }
        Ok(Boot::Answered) => info!("done"),
        Err(e) => error!("failed: {}", e),
    }
    loop {
        let _ = board.led.set_state(hal::LIT);
        board.delay.delay_ms(100);
        let _ = board.led.set_state(!hal::LIT);
        board.delay.delay_ms(900);
    }
}

/// Returns whether the button is held; a pin that cannot be read is not.
fn is_held(button: &mut impl InputPin) -> bool {
    let level = match hal::HELD {
        PinState::Low => button.is_low(),
        PinState::High => button.is_high(),
    };
    level.unwrap_or(false)
}
