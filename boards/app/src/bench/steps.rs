//! One step of every way of tuning, in a program that links all of them. Softmax regression by SGD is in
//! the other one ([`model`](super::model)), which links nothing else of tuning.

use super::{Meter, NotMeasured};
use tailtune::image::Image;
use tailtune::model::latent::latent_bytes;
use tailtune::model::{Encoder, Features, Head, Input};
use tailtune::tune::block::{BlockBuffers, BlockOptions, FlatBuffers, LoraOptions, block_bytes};
use tailtune::tune::{
    AdamMemory, HeadMemory, LastBlock, LinearHead, Lora, Math, Method, MethodId, MomentumMemory,
    Ncm, NcmMemory, NormBias, Optimizer, Ridge, RidgeMemory, RidgeOptions, Schedule, Softmax,
    ridge,
};

/// The widest feature that is measured.
const D: usize = 64;
/// The most classes.
const C: usize = 16;

const REFUSED: NotMeasured = NotMeasured("the head is refused");

/// The memory of a step below the feature, for the last block of KWT-1 and smaller ones.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct StepMemory {
    block: [u8; BLOCK],
    scratch: [f32; SCRATCH],
    parameters: [[f32; PARAMETERS]; 3],
    latent: [i8; LATENT],
}

const BLOCK: usize = 56 * 1024;
const SCRATCH: usize = 2816;
const PARAMETERS: usize = 1024;
const LATENT: usize = 6528;

impl StepMemory {
    /// Returns zeros.
    pub const fn new() -> Self {
        Self {
            block: [0; BLOCK],
            scratch: [0.0; SCRATCH],
            parameters: [[0.0; PARAMETERS]; 3],
            latent: [0; LATENT],
        }
    }

    /// Lends what a method works in.
    const fn parts(&mut self) -> (&mut [u8], BlockBuffers<'_>, &mut [i8]) {
        let [values, gradient, first] = &mut self.parameters;
        let parameters = FlatBuffers {
            values,
            gradient,
            first,
            second: &mut [],
        };
        let buffers = BlockBuffers {
            scratch: &mut self.scratch,
            parameters,
        };
        (&mut self.block, buffers, &mut self.latent)
    }
}

impl Default for StepMemory {
    fn default() -> Self {
        Self::new()
    }
}

#[inline(never)]
fn adam_step(
    meter: &mut impl Meter,
    origin: &Head<'_>,
    features: &Features<'_>,
) -> Result<(), NotMeasured> {
    let work = (origin.n_classes() * origin.n_features()) as u32;
    let (mut head, mut adam) = (HeadMemory::<D, C>::new(), AdamMemory::<D, C>::new());
    let head = LinearHead::new(head.buffers(), origin).map_err(|_| REFUSED)?;
    let mut method = Softmax::new(head, adam.buffers(), Math::Exact).map_err(|_| REFUSED)?;
    let schedule = Schedule {
        optimizer: Optimizer::Adam,
        ..Schedule::default()
    };
    step(meter, "adam-step", &mut method, &schedule, features, work)
}

/// Class means and ridge. The ridge classifier's end of a fit is a case of its own.
#[inline(never)]
fn closed_forms(
    meter: &mut impl Meter,
    origin: &Head<'_>,
    features: &Features<'_>,
) -> Result<(), NotMeasured> {
    let (d, classes) = (origin.n_features(), origin.n_classes());
    let schedule = Schedule::default();
    let mut memory = HeadMemory::<D, C>::new();
    let head = LinearHead::new(memory.buffers(), origin).map_err(|_| REFUSED)?;
    let mut means = NcmMemory::<D, C>::new();
    let mut method = Ncm::new(head, means.buffers(), None).map_err(|_| REFUSED)?;
    let work = (classes * d) as u32;
    step(meter, "ncm-step", &mut method, &schedule, features, work)?;

    let head = LinearHead::new(memory.buffers(), origin).map_err(|_| REFUSED)?;
    let mut sums = RidgeMemory::<D, C, { ridge::factor_len(D) }>::new();
    let options = RidgeOptions::default();
    let mut method = Ridge::new(head, sums.buffers(), options, None).map_err(|_| REFUSED)?;
    let work = (classes * d + ridge::factor_len(d)) as u32;
    step(meter, "ridge-step", &mut method, &schedule, features, work)?;
    let start = meter.executed();
    let solved = method.end_epoch();
    let spent = meter.executed().wrapping_sub(start);
    solved.map_err(|_| REFUSED)?;
    let n = d + 1;
    meter.report(
        "ridge-solve",
        spent,
        (n * n * n / 6 + classes * n * n) as u32,
    );
    Ok(())
}

/// Measures one step of each method on an input of arbitrary numbers: Adam and the closed forms on its
/// pooled feature, those below the feature, with momentum, on its latent. Of a model that pools the mean
/// there are none below.
///
/// # Errors
/// [`NotMeasured`]: no image, or one larger than the memory.
pub fn steps(
    meter: &mut impl Meter,
    image: &[u8],
    arena: &mut [u8],
    input: &mut [i8],
    memory: &mut StepMemory,
) -> Result<(), NotMeasured> {
    let image = Image::parse(image).map_err(|_| NotMeasured("no image"))?;
    let origin = Head::new(&image).map_err(|_| REFUSED)?;
    if origin.n_classes() > C || origin.n_features() > D {
        return Err(NotMeasured("no room for the head"));
    }
    let (rows, columns) = image.config().input.frames().unwrap_or((0, 0));
    let small = NotMeasured("no room for the input");
    let input = input.get_mut(..rows * columns).ok_or(small)?;
    for (i, x) in input.iter_mut().enumerate() {
        *x = (i.wrapping_mul(0x9e37) >> 8) as i8;
    }
    let mut encoder = Encoder::new(&image, arena).map_err(|_| NotMeasured("no room"))?;
    let refused = |_| NotMeasured("the input is refused");
    let features = encoder.forward(Input::Frames(input)).map_err(refused)?;
    adam_step(meter, &origin, &features)?;
    closed_forms(meter, &origin, &features)?;
    if block_bytes(&image) == 0 {
        return Ok(());
    }
    let small = NotMeasured("no room for the latent");
    let latent = memory.latent.get_mut(..latent_bytes(image.config()));
    let latent = latent.ok_or(small)?;
    let taken = encoder.latent(Input::Frames(input), latent);
    let grid = taken.map(|f| (f.scale, f.zero_point)).map_err(refused)?;
    below_the_feature(meter, &image, &origin, grid, memory)
}

/// Measures the methods that learn from the latent in `memory`, whose scale and zero point `grid` is.
#[inline(never)]
fn below_the_feature(
    meter: &mut impl Meter,
    image: &Image<'_>,
    origin: &Head<'_>,
    grid: (f32, i8),
    memory: &mut StepMemory,
) -> Result<(), NotMeasured> {
    let c = image.config();
    let [t, d, heads, ff] = [c.seq_len, c.d_model, c.n_heads, c.d_ff].map(u32::from);
    // Each weight forwards and backwards, each input of attention twice either way, by head.
    let work = 2 * (4 * d * d + 2 * d * ff) + 4 * heads * t * d;
    let schedule = Schedule::default();
    let options = BlockOptions::default();
    let refused = |_| NotMeasured("the block is refused");
    for id in [MethodId::NormBias, MethodId::Lora, MethodId::LastBlock] {
        let (mut head, mut moving) = (HeadMemory::<D, C>::new(), MomentumMemory::<D, C>::new());
        let head = LinearHead::new(head.buffers(), origin).map_err(|_| REFUSED)?;
        let head = Softmax::new(head, moving.buffers(), Math::Exact).map_err(|_| REFUSED)?;
        let (block, buffers, latent) = memory.parts();
        let features = Features {
            values: latent.get(..latent_bytes(c)).unwrap_or(&[]),
            scale: grid.0,
            zero_point: grid.1,
        };
        match id {
            MethodId::NormBias => {
                let mut method = NormBias::new(image, head, buffers, options).map_err(refused)?;
                step(
                    meter,
                    "norm-bias-step",
                    &mut method,
                    &schedule,
                    &features,
                    work,
                )?;
            }
            MethodId::Lora => {
                let lora = LoraOptions::default();
                let mut method = Lora::new(image, head, buffers, lora).map_err(refused)?;
                step(meter, "lora-step", &mut method, &schedule, &features, work)?;
            }
            _ => {
                let method = LastBlock::new(image, head, block, buffers, options);
                let mut method = method.map_err(refused)?;
                step(
                    meter,
                    "last-block-step",
                    &mut method,
                    &schedule,
                    &features,
                    work,
                )?;
            }
        }
    }
    Ok(())
}

/// Measures a step. `work` is its multiply-accumulates.
fn step<M: Method>(
    meter: &mut impl Meter,
    case: &str,
    method: &mut M,
    schedule: &Schedule,
    features: &Features<'_>,
    work: u32,
) -> Result<(), NotMeasured> {
    let refused = NotMeasured("a step is refused");
    method.begin_epoch(schedule, 0).map_err(|_| refused)?;
    let start = meter.executed();
    let step = method.step(features, 1, 1.0);
    let spent = meter.executed().wrapping_sub(start);
    step.map_err(|_| refused)?;
    meter.report(case, spent, work);
    Ok(())
}
