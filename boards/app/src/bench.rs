//! What operators and layers cost, in executed instructions: the same on every run.

mod steps;

pub use steps::{StepMemory, steps};

use tailtune::image::Image;
use tailtune::kernels::{
    AttentionScale, Context, HeadLayout, Linear, Norm, Panel, ROWS, attend, exponentials,
    layer_norm_i16, linear_add_i16, linear_i8,
};
use tailtune::model::{Encoder, Features, Head, Input};
use tailtune::quant::Scaling;
use tailtune::tune::{
    HeadMemory, LinearHead, Math, Method, MomentumMemory, Schedule, Softmax, SoftmaxMemory,
};

/// What counts, and where the counts go.
pub trait Meter {
    /// Returns the instructions executed so far; wraps.
    fn executed(&mut self) -> u32;

    /// Paints the stack below the caller.
    fn paint(&mut self);

    /// Returns how many bytes of what was painted have been written since.
    fn painted_over(&mut self) -> u32;

    /// Takes the count of one case. `work` is its multiply-accumulates or its elements.
    fn report(&mut self, case: &str, instructions: u32, work: u32);
}

/// Why a case was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotMeasured(pub &'static str);

/// Tokens of the shapes that other libraries were measured on.
const T: usize = 98;
const D: usize = 64;
const FF: usize = 256;

/// Operands of the largest operator, KWT-1's feed-forward; every array lies at a multiple of four.
#[repr(C)]
pub struct Operands {
    input: [i8; T * FF],
    weights: [i8; D * FF],
    epilogue: [[i32; 2]; FF],
    output: [i8; T * FF],
    residual: [i16; T * D],
    scores: [u32; 4 * T],
    sums: [i32; ROWS],
    table: [i8; 256],
    panel: [u32; 2 * FF],
}

impl Operands {
    /// Returns zeros.
    pub const fn new() -> Self {
        Self {
            input: [0; T * FF],
            weights: [0; D * FF],
            epilogue: [[0; 2]; FF],
            output: [0; T * FF],
            residual: [0; T * D],
            scores: [0; 4 * T],
            sums: [0; ROWS],
            table: [0; 256],
            panel: [0; 2 * FF],
        }
    }

    /// Fills everything by a generator that starts from `seed`, which the caller reads from memory:
    /// the compiler must not know the numbers.
    pub fn fill(&mut self, seed: u32) {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let bytes = self.input.iter_mut().chain(&mut self.weights);
        for x in bytes.chain(&mut self.table) {
            *x = (next() >> 24) as i8;
        }
        for pair in &mut self.epilogue {
            *pair = [next() as i16 as i32, (1 << 30) | (next() >> 4) as i32];
        }
        for x in &mut self.residual {
            *x = (next() >> 18) as i16;
        }
    }
}

impl Default for Operands {
    fn default() -> Self {
        Self::new()
    }
}

/// Measures the operators of one KWT-1 layer.
pub fn operators(meter: &mut impl Meter, o: &mut Operands) {
    let empty = {
        let start = meter.executed();
        meter.executed().wrapping_sub(start)
    };
    let case = |meter: &mut dyn Meter, name: &str, work: usize, run: &mut dyn FnMut()| {
        let start = meter.executed();
        run();
        let spent = meter.executed().wrapping_sub(start);
        meter.report(name, spent.saturating_sub(empty), work as u32);
    };
    let scaling = Scaling {
        pre_shift: 0,
        shift: 43,
    };
    for (name, k, n) in [("linear-98x64x64", D, D), ("linear-98x64x256", D, FF)] {
        let layer = Linear {
            weight: o.weights.get(..k * n).unwrap_or(&[]),
            epilogue: o.epilogue.get(..n).unwrap_or(&[]),
            in_features: k,
            scaling,
            zero_point: 3,
        };
        let tables = [(name, None), ("linear-gelu-98x64x256", Some(&o.table))];
        for (name, table) in tables.into_iter().take(n / FF + 1) {
            let input = o.input.get(..T * k).unwrap_or(&[]);
            case(meter, name, T * k * n, &mut || {
                let blocks = input.chunks(ROWS * k);
                for (input, output) in blocks.zip(o.output.chunks_mut(ROWS * n)) {
                    let mut panel = Panel::new(&mut o.panel, input.len() / k, k);
                    panel.fill(input);
                    linear_i8(&layer, table, &panel, output);
                }
            });
        }
    }
    let layer = Linear {
        weight: &o.weights,
        epilogue: o.epilogue.get(..D).unwrap_or(&[]),
        in_features: FF,
        scaling,
        zero_point: 0,
    };
    case(meter, "linear-add-98x256x64", T * FF * D, &mut || {
        let rows = o.input.chunks(ROWS * FF);
        for (input, residual) in rows.zip(o.residual.chunks_mut(ROWS * D)) {
            let mut panel = Panel::new(&mut o.panel, input.len() / FF, FF);
            panel.fill(input);
            linear_add_i16(&layer, &panel, residual);
        }
    });
    let norm = Norm {
        params: o.epilogue.get(..D).unwrap_or(&[]),
        epsilon: 4096,
        shift: 12,
    };
    case(meter, "layer-norm-98x64", T * D, &mut || {
        layer_norm_i16(&norm, &mut o.residual);
    });
    let scale = AttentionScale {
        softmax: Scaling {
            pre_shift: 0,
            shift: 40,
        },
        softmax_mantissa: 1 << 30,
        context_shift: 30,
        context_mantissa: 1 << 30,
        zero_point: 0,
    };
    let (keys, values) = o.input.split_at(T * D);
    let context = Context {
        keys,
        values: values.get(..T * D).unwrap_or(&[]),
        layout: HeadLayout::new(D, T),
        len: T,
        scale,
    };
    let queries = o.output.get(..T * D).unwrap_or(&[]);
    case(meter, "attention-98x98x64", 2 * T * T * D, &mut || {
        for four in queries.chunks(ROWS * D) {
            let mut panel = Panel::new(&mut o.panel, four.len() / D, D);
            panel.fill(four);
            attend(&context, &mut panel, 0, &mut o.scores);
        }
    });
    case(meter, "softmax-98x98", T * T, &mut || {
        for _ in 0..T.div_ceil(ROWS) {
            let e = exponentials(&mut o.scores, T, scale.softmax, scale.softmax_mantissa);
            o.sums = e;
        }
    });
}

/// Measures a model's first block, its whole forward with the stack under it, and one step of tuning
/// its head, on frames of arbitrary numbers. A block of a model of one counts only the rows that the
/// pooling reads.
///
/// # Errors
/// [`NotMeasured`]: no image, one that does not fit, or one of tokens.
pub fn model(
    meter: &mut impl Meter,
    image: &[u8],
    arena: &mut [u8],
    input: &mut [i8],
) -> Result<(), NotMeasured> {
    let image = Image::parse(image).map_err(|_| NotMeasured("no image"))?;
    let frames = image.config().input.frames();
    let (rows, columns) = frames.ok_or(NotMeasured("the model reads no frames"))?;
    let input = input.get_mut(..rows * columns);
    let input = input.ok_or(NotMeasured("no room for the input"))?;
    for (i, x) in input.iter_mut().enumerate() {
        *x = (i.wrapping_mul(0x9e37) >> 8) as i8;
    }
    let fits = |_| NotMeasured("no room for the arena");
    let mut encoder = Encoder::new(&image, arena).map_err(fits)?;
    let start = meter.executed();
    let refused = |_| NotMeasured("the input is refused");
    let mut run = encoder.begin(Input::Frames(input)).map_err(refused)?;
    let mut from = None;
    let mut layer = 0;
    while run.step() {
        match (run.blocks_done(), from) {
            (Some(0), None) => from = Some(meter.executed()),
            (Some(1), Some(start)) if layer == 0 => {
                layer = meter.executed().wrapping_sub(start);
            }
            _ => {}
        }
    }
    let _ = run.finish();
    let whole = meter.executed().wrapping_sub(start);
    let c = image.config();
    let (t, d, ff) = (c.seq_len, c.d_model, c.d_ff);
    let [t, d, ff] = [t, d, ff].map(u32::from);
    let macs = t * (4 * d * d + 2 * d * ff) + 2 * t * t * d;
    meter.report("layer", layer, macs);
    meter.report("forward", whole, macs * u32::from(c.n_layers));
    meter.paint();
    let features = encoder.forward(Input::Frames(input)).map_err(refused)?;
    let stack = meter.painted_over();
    meter.report("forward-stack-bytes", stack, 0);
    head_steps(meter, &image, &features)
}

/// Measures one step of softmax regression, plain and with momentum; of models of up to 64 features and
/// 16 classes.
fn head_steps(
    meter: &mut impl Meter,
    image: &Image<'_>,
    features: &Features<'_>,
) -> Result<(), NotMeasured> {
    let refused = NotMeasured("the head is refused");
    let origin = Head::new(image).map_err(|_| refused)?;
    if origin.n_classes() > 16 || origin.n_features() > 64 {
        return Ok(());
    }
    let work = (origin.n_classes() * origin.n_features()) as u32;
    let (mut plain, mut momentum) = (
        SoftmaxMemory::<64, 16>::new(),
        MomentumMemory::<64, 16>::new(),
    );
    let cases = [
        ("head-step-sgd", plain.buffers(), 0.0),
        ("head-step-momentum", momentum.buffers(), 0.9),
    ];
    for (case, buffers, momentum) in cases {
        let mut head = HeadMemory::<64, 16>::new();
        let head = LinearHead::new(head.buffers(), &origin).map_err(|_| refused)?;
        let mut method = Softmax::new(head, buffers, Math::Exact).map_err(|_| refused)?;
        let schedule = Schedule {
            momentum,
            weight_decay: 0.0,
            ..Schedule::default()
        };
        method.begin_epoch(&schedule, 0).map_err(|_| refused)?;
        let start = meter.executed();
        let step = method.step(features, 1, 1.0);
        let spent = meter.executed().wrapping_sub(start);
        step.map_err(|_| refused)?;
        meter.report(case, spent, work);
    }
    Ok(())
}

/// Measures the front end of the model's sound on one second of it, frames quantized. Does nothing for
/// a model that has none.
///
/// # Errors
/// [`NotMeasured`]: no image, or a front end of other sizes.
#[cfg(feature = "audio")]
pub fn front_end(
    meter: &mut impl Meter,
    image: &[u8],
    frames: &mut [i8],
) -> Result<(), NotMeasured> {
    use tailtune::audio::{Ring, Stream};
    let image = Image::parse(image).map_err(|_| NotMeasured("no image"))?;
    let Some(tables) = image.front_end() else {
        return Ok(());
    };
    let refused = |_| NotMeasured("the front end is refused");
    let (rows, columns) = image.config().input.frames().unwrap_or((0, 0));
    let frames = frames.get_mut(..rows * columns).unwrap_or_default();
    let mut stream = Stream::<512, 80>::new(tables).map_err(refused)?;
    let mut ring = Ring::new(&image, frames).map_err(refused)?;
    let mut block = [0i16; 128];
    let start = meter.executed();
    let mut state = 1u32;
    for _ in 0..SECOND / block.len() {
        for sample in &mut block {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = (state >> 18) as i16;
        }
        stream.push(&block, |frame| ring.push(frame));
    }
    let spent = meter.executed().wrapping_sub(start);
    meter.report("front-end-1s", spent, SECOND as u32);
    Ok(())
}

/// Samples of one second.
#[cfg(feature = "audio")]
const SECOND: usize = 16_000;
