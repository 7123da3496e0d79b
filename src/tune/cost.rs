//! Instructions of a step, estimated: how often each kind of loop turns, times what a turn takes.
//!
//! Calibrated on the counts of `tailtune bench` for a Cortex-M4 with FPU, size-optimized, over eleven shapes
//! (d_model 16 to 64, 1 to 8 heads, d_ff 32 to 256, 10 to 99 tokens, 2 to 16 classes, both norm orders, both
//! activations). There an estimate is within 10 % of the count, of KWT-1's shape within 2 %; the project's tests hold all within 15 %. It is
//! no promise of another compiler, of Adam's software square root at other values, or of a core without FPU,
//! where a step of the head takes 20 to 40 times as many.

use super::block::{Projection, affine_len, lora_len};
use super::{MethodId, Optimizer, Schedule, TuneSetup};
use crate::image::{Activation, ModelConfig};

/// How large the loops are.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    d: u64,
    ff: u64,
    tokens: u64,
    /// Rows that cross-attention reads; 0 without it.
    memory: u64,
    heads: u64,
    classes: u64,
    gelu: bool,
    affine: u64,
    lora: u64,
    /// Numbers of the adapters' inner sides that each head makes anew: of keys and values.
    lora_by_head: u64,
}

impl Shape {
    /// Returns the shape of a model with so many classes.
    pub const fn new(config: &ModelConfig, classes: usize, setup: &TuneSetup) -> Self {
        let lora = &setup.lora;
        let by_head = lora.projections.has(Projection::Key) as usize
            + lora.projections.has(Projection::Value) as usize;
        let d = config.d_model as usize;
        Self {
            d: d as u64,
            ff: config.d_ff as u64,
            tokens: match config.decoder {
                Some(decoder) => decoder.seq_len as u64,
                None => config.seq_len as u64,
            },
            memory: if config.decoder.is_some() && config.has_encoder() {
                config.seq_len as u64
            } else {
                0
            },
            heads: config.n_heads as u64,
            classes: classes as u64,
            gelu: matches!(config.activation, Activation::Gelu),
            affine: affine_len(config) as u64,
            lora: lora_len(config, lora) as u64,
            lora_by_head: by_head as u64 * d as u64 * lora.rank as u64,
        }
    }
}

/// Hundredths of an instruction.
type Centi = u64;

// What a turn of each loop takes.
/// One multiply-accumulate of a logit; unrolled.
const LOGIT: Centi = 378;
/// A class: its exponential and its row's start.
const CLASS_SOFTMAX: Centi = 20_000;
const CLASS_PLAIN: Centi = 9_450;
/// A number of a feature, taken and made real.
const FEATURE: Centi = 800;
/// A weight's step, by optimizer.
const SGD: Centi = 490;
const MOMENTUM: Centi = 960;
const ADAM: Centi = 12_000;
/// Of the block, by weight: forwards and backwards.
const WEIGHT: Centi = 1_370;
/// By input of attention and head: two products and two sums.
const INPUT: Centi = 4_017;
/// By hidden number: roundings, scales, slopes; and of GELU the error function and its slope.
const HIDDEN: Centi = 32_500;
const GELU: Centi = 25_300;
/// By column: norms, roundings, biases, and their gradients; and by column and head.
const COLUMN: Centi = 245_900;
const COLUMN_OF_HEAD: Centi = 52_500;
/// By adapter number; and by inner number of a head.
const ADAPTER: Centi = 4_800;
const ADAPTER_OF_HEAD: Centi = 7_000;
/// By int8 weight that steps in place: a random number, a rounding, a clip.
const IN_PLACE: Centi = 5_400;

/// Returns what softmax regression takes on a real feature.
const fn head(s: &Shape, schedule: &Schedule) -> Centi {
    let weights = s.classes * (s.d + 1);
    25_000 + LOGIT * s.classes * s.d + CLASS_SOFTMAX * s.classes + optimizer(schedule) * weights
}

/// Returns what the optimizer takes for a number of the head.
const fn optimizer(schedule: &Schedule) -> Centi {
    match schedule.optimizer {
        Optimizer::Adam => ADAM,
        Optimizer::Sgd if schedule.momentum > 0.0 => MOMENTUM,
        Optimizer::Sgd => SGD,
    }
}

/// Returns what `numbers` of a block's parameters take more than they were measured with, by momentum.
const fn beyond_momentum(numbers: u64, schedule: &Schedule) -> Centi {
    numbers * optimizer(schedule).saturating_sub(MOMENTUM)
}

/// Returns what a forward and a backward through the last block take, norms and biases included.
const fn block(s: &Shape) -> Centi {
    let hidden = if s.gelu { HIDDEN + GELU } else { HIDDEN };
    WEIGHT * weights(s)
        + INPUT * s.heads * s.tokens * s.d
        + hidden * s.ff
        + COLUMN * s.d
        + cross(s)
        + COLUMN_OF_HEAD * s.heads * s.d
        // The gradient of the loss by the feature.
        + 500 * s.classes * s.d
}

/// Returns what cross-attention takes, frozen: its queries' and its output's weights, and for every row what an
/// input of one head of self-attention takes.
const fn cross(s: &Shape) -> Centi {
    if s.memory == 0 {
        return 0;
    }
    WEIGHT * 2 * s.d * s.d + INPUT * s.memory * s.d
}

/// Returns the block's weights.
const fn weights(s: &Shape) -> u64 {
    4 * s.d * s.d + 2 * s.d * s.ff
}

/// Returns the instructions of a step.
pub const fn step_instructions(s: &Shape, method: MethodId, schedule: &Schedule) -> u32 {
    let centi = match method {
        MethodId::Ncm => 28_300 + 2_530 * s.d + LOGIT * s.classes * s.d + CLASS_PLAIN * s.classes,
        MethodId::Ridge => {
            let sums = (s.d + 1) * (s.d + 2) / 2;
            25_900 + 7_780 * s.d + LOGIT * s.classes * s.d + CLASS_PLAIN * s.classes + 474 * sums
        }
        MethodId::Softmax => FEATURE * s.d + head(s, schedule),
        MethodId::NormBias => block(s) + head(s, schedule) + beyond_momentum(s.affine, schedule),
        MethodId::Lora => {
            block(s)
                + head(s, schedule)
                + beyond_momentum(s.lora, schedule)
                + ADAPTER * s.lora
                + ADAPTER_OF_HEAD * s.lora_by_head * s.heads.saturating_sub(1)
        }
        MethodId::LastBlock => {
            block(s)
                + head(s, schedule)
                + beyond_momentum(s.affine, schedule)
                + IN_PLACE * weights(s)
        }
    };
    whole(centi)
}

/// Returns the instructions at the end of a fit: the ridge classifier's solution, else 0.
pub const fn end_instructions(s: &Shape, method: MethodId) -> u32 {
    match method {
        MethodId::Ridge => whole(
            252_800
                + 20_121 * s.classes * s.d
                + 4_936 * s.d * s.d
                + 448 * s.d * s.d * s.d / 6
                + 413 * s.classes * s.d * s.d,
        ),
        _ => 0,
    }
}

const fn whole(centi: Centi) -> u32 {
    let instructions = centi / 100;
    if instructions > u32::MAX as u64 {
        u32::MAX
    } else {
        instructions as u32
    }
}
