//! The same as `microphone`, by RTIC: the PDM interrupt hands full blocks to a task that makes frames of
//! them; the encoder runs in `idle`, below both. Clock on P0.28, data on P0.29.
//!
//! `cargo run --release --example microphone_rtic`. No step of the encoder delays sound: it is preempted.

#![no_std]
#![no_main]

use panic_probe as _;

#[rtic::app(device = nrf_pac, peripherals = false, dispatchers = [EGU0_SWI0])]
mod app {
    use core::sync::atomic::{Ordering, compiler_fence};
    use defmt::{error, info};
    use nrf_pac::pdm::vals::{Edge, Freq, Operation, Ratio};
    use nrf_pac::shared::regs::Psel;
    use tailtune::audio::{Ring, Stream};
    use tailtune::image::Image;
    use tailtune::model::{Arena, Encoder, Head, Input};
    use tailtune_app::device::Regions;

    /// Samples of a block, 20 ms.
    const BLOCK: usize = 320;
    /// New frames between two answers.
    const FRAMES: u32 = 10;
    /// Bytes of one input, of KWT-1 98 frames of 40 features.
    const INPUT: usize = 98 * 40;
    const CLOCK_PIN: u8 = 28;
    const DATA_PIN: u8 = 29;

    /// What was heard so far.
    pub struct Ears {
        stream: Stream<'static, 512, 80>,
        ring: Ring<'static, 'static>,
        /// Frames since the last answer.
        fresh: u32,
    }

    #[shared]
    struct Shared {
        ears: Option<Ears>,
    }

    #[local]
    struct Local {
        /// Two blocks; the DMA fills one while the other is read.
        blocks: &'static mut [[i16; BLOCK]; 2],
        /// The block that the DMA fills.
        filling: usize,
        image: Option<Image<'static>>,
        arena: &'static mut Arena<{ 32 * 1024 }>,
        seen: &'static mut [i8; INPUT],
    }

    #[init(local = [
        block_memory: [[i16; BLOCK]; 2] = [[0; BLOCK]; 2],
        arena_memory: Arena<{ 32 * 1024 }> = Arena::new(),
        heard_memory: [i8; INPUT] = [0; INPUT],
        seen_memory: [i8; INPUT] = [0; INPUT],
    ])]
    fn init(cx: init::Context) -> (Shared, Local) {
        rtt_target::rtt_init_defmt!();
        // SAFETY: flash is always readable on this part, and nothing here writes to it.
        let regions = unsafe { Regions::linked() };
        let image = Image::parse(regions.model).ok();
        let ears = image
            .as_ref()
            .and_then(|image| ears(image, cx.local.heard_memory));
        match &ears {
            Some(_) => start(cx.local.block_memory),
            None => error!("no image of a model that hears in the model region"),
        }
        let shared = Shared { ears };
        let local = Local {
            blocks: cx.local.block_memory,
            filling: 0,
            image,
            arena: cx.local.arena_memory,
            seen: cx.local.seen_memory,
        };
        (shared, local)
    }

    fn ears(image: &Image<'static>, heard: &'static mut [i8; INPUT]) -> Option<Ears> {
        let (n_frames, n_features) = image.config().input.frames()?;
        Some(Ears {
            stream: Stream::new(image.front_end()?).ok()?,
            ring: Ring::new(image, heard.get_mut(..n_frames * n_features)?).ok()?,
            fresh: 0,
        })
    }

    /// Starts the microphone: 1.28 MHz by 80 are 16 kHz.
    fn start(blocks: &mut [[i16; BLOCK]; 2]) {
        let pin = |pin: u8| {
            let mut psel = Psel(0);
            psel.set_pin(pin);
            psel
        };
        let port = nrf_pac::P0;
        port.pin_cnf(CLOCK_PIN.into())
            .write(|w| w.set_dir(nrf_pac::gpio::vals::Dir::Output));
        port.pin_cnf(DATA_PIN.into())
            .write(|w| w.set_input(nrf_pac::gpio::vals::Input::Connect));
        nrf_pac::PDM.psel().clk().write_value(pin(CLOCK_PIN));
        nrf_pac::PDM.psel().din().write_value(pin(DATA_PIN));
        nrf_pac::PDM
            .pdmclkctrl()
            .write(|w| w.set_freq(Freq::_1280k));
        nrf_pac::PDM.ratio().write(|w| w.set_ratio(Ratio::Ratio80));
        nrf_pac::PDM.mode().write(|w| {
            w.set_operation(Operation::Mono);
            w.set_edge(Edge::LeftFalling);
        });
        nrf_pac::PDM.enable().write(|w| w.set_enable(true));
        let [first, _] = blocks;
        nrf_pac::PDM
            .sample()
            .ptr()
            .write_value(first.as_mut_ptr().addr() as u32);
        nrf_pac::PDM
            .sample()
            .maxcnt()
            .write(|w| w.set_buffsize(BLOCK as u16));
        nrf_pac::PDM.intenset().write(|w| {
            w.set_started(true);
            w.set_end(true);
        });
        compiler_fence(Ordering::SeqCst);
        nrf_pac::PDM.tasks_start().write_value(1);
    }

    /// A block is full, or the next one was begun.
    #[task(binds = PDM, priority = 3, local = [blocks, filling])]
    fn block(cx: block::Context) {
        let (blocks, filling) = (cx.local.blocks, cx.local.filling);
        if nrf_pac::PDM.events_end().read() != 0 {
            nrf_pac::PDM.events_end().write_value(0);
            compiler_fence(Ordering::SeqCst);
            let full = blocks[*filling];
            *filling = 1 - *filling;
            if hear::spawn(full).is_err() {
                error!("a block of sound was lost");
            }
        }
        if nrf_pac::PDM.events_started().read() != 0 {
            nrf_pac::PDM.events_started().write_value(0);
            // Where the block after the one that was begun goes.
            let next = &mut blocks[1 - *filling];
            nrf_pac::PDM
                .sample()
                .ptr()
                .write_value(next.as_mut_ptr().addr() as u32);
        }
    }

    /// Makes frames of a block.
    #[task(priority = 2, shared = [ears])]
    async fn hear(mut cx: hear::Context, block: [i16; BLOCK]) {
        cx.shared.ears.lock(|ears| {
            let Some(Ears {
                stream,
                ring,
                fresh,
            }) = ears
            else {
                return;
            };
            stream.push(&block, |frame| {
                ring.push(frame);
                *fresh += 1;
            });
        });
    }

    /// Answers, again and again.
    #[idle(shared = [ears], local = [image, arena, seen])]
    fn idle(mut cx: idle::Context) -> ! {
        if let Some(image) = cx.local.image
            && let Ok(mut encoder) = Encoder::new(image, cx.local.arena.as_mut_slice())
            && let Ok(head) = Head::new(image)
            && let Some((n_frames, n_features)) = image.config().input.frames()
            && let Some(seen) = cx.local.seen.get_mut(..n_frames * n_features)
        {
            loop {
                let ready = cx.shared.ears.lock(|ears| match ears {
                    Some(ears) if ears.fresh >= FRAMES && ears.ring.is_full() => {
                        ears.fresh = 0;
                        seen.copy_from_slice(ears.ring.frames());
                        true
                    }
                    _ => false,
                });
                if !ready {
                    cortex_m::asm::wfi();
                    continue;
                }
                let Ok(mut run) = encoder.begin(Input::Frames(seen)) else {
                    break;
                };
                while run.step() {}
                let mut logits = [i16::MIN; 64];
                head.logits(&run.finish(), &mut logits);
                let classes = logits.iter().take(head.n_classes());
                let best = classes.enumerate().max_by_key(|(_, logit)| **logit);
                let name = best.and_then(|(class, _)| image.labels().iter().nth(class));
                info!("{=str}", name.unwrap_or("?"));
            }
        }
        error!("the model does not run here");
        loop {
            cortex_m::asm::wfi();
        }
    }
}
