//! A PDM microphone by DMA, two blocks in turn, into the streaming front end, while the encoder runs step by
//! step beside it on the same core. Clock on P0.28, data on P0.29.
//!
//! `cargo run --release --example microphone`, with an image that carries a front end of 16 kHz in the model
//! region. Embassy: both are futures of one task. A block of sound is waiting at most as long as a step takes.

#![no_std]
#![no_main]

use core::cell::RefCell;
use defmt::{error, info};
use embassy_executor::Spawner;
use embassy_futures::join::join;
use embassy_futures::yield_now;
use embassy_nrf::pdm::{self, Frequency, Pdm, Ratio, SamplerState};
use embassy_nrf::{bind_interrupts, peripherals};
use embassy_time::{Instant, Timer};
use panic_probe as _;
use rtt_target::rtt_init_defmt;
use static_cell::ConstStaticCell;
use tailtune::audio::{Ring, Stream};
use tailtune::image::Image;
use tailtune::model::{Arena, Encoder, Head, Input};
use tailtune_app::device::Regions;

bind_interrupts!(struct Irqs {
    PDM => pdm::InterruptHandler<peripherals::PDM>;
});

/// Samples of a block, 20 ms: longer than any step of the encoder takes.
const BLOCK: usize = 320;
/// New frames between two answers.
const FRAMES: u32 = 10;
/// Bytes of one input, of KWT-1 98 frames of 40 features.
const INPUT: usize = 98 * 40;

static ARENA: ConstStaticCell<Arena<{ 32 * 1024 }>> = ConstStaticCell::new(Arena::new());
static HEARD: ConstStaticCell<[i8; INPUT]> = ConstStaticCell::new([0; INPUT]);
static SEEN: ConstStaticCell<[i8; INPUT]> = ConstStaticCell::new([0; INPUT]);

/// What was heard so far.
struct Ears<'a, 'b> {
    stream: Stream<'a, 512, 80>,
    ring: Ring<'a, 'b>,
    /// Frames since the last answer.
    fresh: u32,
}

impl Ears<'_, '_> {
    fn hear(&mut self, block: &[i16]) {
        let (ring, fresh) = (&mut self.ring, &mut self.fresh);
        self.stream.push(block, |frame| {
            ring.push(frame);
            *fresh += 1;
        });
    }
}

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    rtt_init_defmt!();
    let p = embassy_nrf::init(Default::default());
    // SAFETY: flash is always readable on this part, and nothing here writes to it.
    let regions = unsafe { Regions::linked() };
    let mut config = pdm::Config::default();
    // 1.28 MHz by 80: 16 kHz.
    config.frequency = Frequency::_1280k;
    config.ratio = Ratio::Ratio80;
    let pdm = Pdm::new(p.PDM, Irqs, p.P0_28, p.P0_29, config);
    if let Err(reason) = listen(pdm, &regions).await {
        error!("{=str}", reason);
    }
}

async fn listen(mut pdm: Pdm<'_>, regions: &Regions) -> Result<(), &'static str> {
    let image = Image::parse(regions.model).map_err(|_| "no image in the model region")?;
    let tables = image.front_end().ok_or("the image carries no front end")?;
    let frames = image.config().input.frames();
    let (n_frames, n_features) = frames.ok_or("the model reads no frames")?;
    let len = n_frames * n_features;
    let heard = HEARD.take().get_mut(..len).ok_or("an input is too long")?;
    let seen = SEEN.take().get_mut(..len).ok_or("an input is too long")?;
    let ears = RefCell::new(Ears {
        stream: Stream::new(tables).map_err(|_| "a front end of another size")?,
        ring: Ring::new(&image, heard).map_err(|_| "an input of another size")?,
        fresh: 0,
    });
    let arena = ARENA.take().as_mut_slice();
    let mut encoder = Encoder::new(&image, arena).map_err(|_| "the arena is too small")?;
    let head = Head::new(&image).map_err(|_| "the image has no head")?;

    let mut blocks = [[0i16; BLOCK]; 2];
    let sound = pdm.run_task_sampler(&mut blocks, |block| {
        ears.borrow_mut().hear(block);
        SamplerState::Sampled
    });
    let answers = async {
        loop {
            {
                let mut ears = ears.borrow_mut();
                if ears.fresh >= FRAMES && ears.ring.is_full() {
                    ears.fresh = 0;
                    seen.copy_from_slice(ears.ring.frames());
                } else {
                    drop(ears);
                    Timer::after_millis(5).await;
                    continue;
                }
            }
            let start = Instant::now();
            let Ok(mut run) = encoder.begin(Input::Frames(seen)) else {
                return "the input does not fit the model";
            };
            while run.step() {
                // Sound that has come goes first.
                yield_now().await;
            }
            let mut logits = [i16::MIN; 64];
            head.logits(&run.finish(), &mut logits);
            let classes = logits.iter().take(head.n_classes());
            let best = classes.enumerate().max_by_key(|(_, logit)| **logit);
            let name = best.and_then(|(class, _)| image.labels().iter().nth(class));
            info!(
                "{=str}, {} ms",
                name.unwrap_or("?"),
                start.elapsed().as_millis()
            );
        }
    };
    let (stopped, answered) = join(sound, answers).await;
    stopped.map_err(|_| "the microphone does not run")?;
    Err(answered)
}
