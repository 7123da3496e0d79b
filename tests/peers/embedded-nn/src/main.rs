//! embedded-nn's kernels in the shapes of tailtune's bench, on the same emulated Cortex-M4F with the same
//! counter: `cargo run --release` here prints a line a case, `CASE INSTRUCTIONS`, and their sum for one
//! KWT-1 encoder layer.
//!
//! In its best configuration: shapes that the compiler knows, opt-level 3, fat LTO, `cortex-m4`. It has no
//! LayerNorm, so that its RMSNorm stands for it; what its layers compute is compared with plain loops.

#![no_std]
#![no_main]

#[path = "../../../../boards/qemu-mps2-an386/src/counter.rs"]
mod counter;
#[path = "../../../../boards/qemu-mps2-an386/src/host.rs"]
mod host;
#[path = "../../../../boards/qemu-mps2-an386/src/panic.rs"]
mod panic;

use core::hint::black_box;
use counter::Counter;
use embedded_nn::activations::gelu_s8;
use embedded_nn::basic_math::{ElementwiseAddParams, elementwise_add_s8};
use embedded_nn::fully_connected::fully_connected_s8;
use embedded_nn::softmax::softmax_s8;
use embedded_nn::transformer::{
    AttentionParams, RmsNormParams, rms_norm_s8, scaled_dot_product_attention_s8,
};
use embedded_nn::types::{Activation, Dims, FcParams, PerTensorQuantParams};
use host::{entry, println};

const T: usize = 98;
const D: usize = 64;
const FF: usize = 256;

/// A factor of 2^-10, as a multiplier of Q31 and a shift.
const QUANT: PerTensorQuantParams = PerTensorQuantParams::new(1 << 30, -9);
const ACTIVATION: Activation = Activation::int8_unconstrained();

static mut OPERANDS: Operands = Operands {
    input: [0; T * FF],
    weights: [0; FF * D],
    bias: [0; FF],
    output: [0; T * FF],
    other: [0; T * D],
    scores: [0; 2 * T * T],
    table: [0; 256],
};

struct Operands {
    input: [i8; T * FF],
    weights: [i8; FF * D],
    bias: [i32; FF],
    output: [i8; T * FF],
    other: [i8; T * D],
    scores: [i8; 2 * T * T],
    table: [i8; 256],
}

/// Counts what `f` executes, printed and returned.
fn count(case: &str, f: impl FnOnce()) -> u32 {
    let counter = Counter::start();
    let before = counter.executed();
    f();
    let spent = counter.executed().wrapping_sub(before);
    println!("{} {}", case, spent);
    spent
}

#[inline(never)]
fn linear<const K: usize, const N: usize>(o: &mut Operands) {
    let params = FcParams {
        input_offset: 3,
        filter_offset: 0,
        output_offset: -5,
        activation: ACTIVATION,
    };
    let done = fully_connected_s8(
        &params,
        &QUANT,
        &Dims::new(T as i32, 1, 1, K as i32),
        &o.input[..T * K],
        &Dims::new(K as i32, 1, 1, N as i32),
        &o.weights[..K * N],
        Some(&o.bias[..N]),
        &Dims::new(T as i32, 1, 1, N as i32),
        &mut o.output[..T * N],
    );
    assert!(done.is_ok());
}

/// Fails unless the layer's outputs are those of plain loops, to the rounding of the requantize.
fn check<const K: usize, const N: usize>(o: &Operands) {
    for (row, outputs) in o.output[..T * N].chunks_exact(N).enumerate() {
        let input = &o.input[row * K..][..K];
        for (channel, &found) in outputs.iter().enumerate() {
            let weights = &o.weights[channel * K..][..K];
            let products = input.iter().zip(weights);
            let sum = products.fold(o.bias[channel], |sum, (&x, &w)| {
                sum + (i32::from(x) + 3) * i32::from(w)
            });
            let expected = (((sum + 512) >> 10) - 5).clamp(-128, 127);
            assert!((i32::from(found) - expected).abs() <= 1);
        }
    }
}

#[inline(never)]
fn attention(o: &mut Operands) {
    let params = AttentionParams {
        batches: 1,
        seq_len: T,
        num_heads: 1,
        head_dim: D,
        q_offset: 0,
        k_offset: 0,
        v_offset: 0,
        score_offset: 128,
        output_offset: 0,
        softmax_mult: 1 << 30,
        softmax_shift: 20,
        softmax_diff_min: -256,
    };
    let (q, rest) = o.input.split_at(T * D);
    let (k, v) = rest.split_at(T * D);
    let out = &mut o.output[..T * D];
    let done =
        scaled_dot_product_attention_s8(&params, &QUANT, &QUANT, q, k, v, &mut o.scores, out);
    assert!(done.is_ok());
}

#[inline(never)]
fn softmax(o: &mut Operands) {
    let (scores, out) = o.scores.split_at_mut(T * T);
    assert!(softmax_s8(scores, T, T, 1 << 30, 20, -256, out).is_ok());
}

#[inline(never)]
fn norm(o: &mut Operands) {
    let params = RmsNormParams {
        input_offset: 0,
        output_offset: 0,
        axis_size: D,
        epsilon: 1,
    };
    let gain = Some(&o.weights[..D]);
    let out = &mut o.output[..T * D];
    assert!(rms_norm_s8(&params, &QUANT, &o.input[..T * D], gain, out).is_ok());
}

#[inline(never)]
fn add(o: &mut Operands) {
    let params = ElementwiseAddParams {
        input1_offset: 0,
        input1_mult: 1 << 30,
        input1_shift: 0,
        input2_offset: 0,
        input2_mult: 1 << 30,
        input2_shift: 0,
        left_shift: 8,
        output_offset: 0,
        output_mult: 1 << 30,
        output_shift: -7,
        activation: ACTIVATION,
    };
    let (a, b) = (&o.input[..T * D], &o.other[..]);
    assert!(elementwise_add_s8(a, b, &mut o.output[..T * D], &params).is_ok());
}

#[inline(never)]
fn gelu(o: &mut Operands) {
    assert!(gelu_s8(&o.input, &mut o.output, &o.table).is_ok());
}

#[entry]
fn main() -> ! {
    let operands = &raw mut OPERANDS;
    // SAFETY: `main` runs once, on the only core, and no interrupt touches this.
    let o = black_box(unsafe { &mut *operands });
    let mut state = black_box(0x5eed_u32);
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as i8
    };
    o.input.fill_with(&mut random);
    o.weights.fill_with(&mut random);
    o.other.fill_with(&mut random);
    o.scores.fill_with(&mut random);
    o.table.fill_with(&mut random);
    o.bias.fill_with(|| i32::from(random()) * 100);

    let square = count("linear-98x64x64", || linear::<D, D>(o));
    check::<D, D>(o);
    let ff1 = count("linear-98x64x256", || linear::<D, FF>(o));
    check::<D, FF>(o);
    let ff2 = count("linear-98x256x64", || linear::<FF, D>(o));
    check::<FF, D>(o);
    let attention = count("attention-98x98x64", || attention(o));
    count("softmax-98x98", || softmax(o));
    let norm = count("rms-norm-98x64", || norm(o));
    let add = count("add-98x64", || add(o));
    let gelu = count("gelu-98x256", || gelu(o));
    let layer = 4 * square + ff1 + ff2 + attention + 2 * (norm + add) + gelu;
    println!("kwt1-layer {}", layer);
    black_box(&o.output);
    host::exit(true)
}
