//! The decoder's float forward: all tokens of a sequence at once, as training sees them, and greedy
//! decoding over it.

use super::operators::{Mask, add, attention, dense, linear, normalise};
use super::{
    FloatInput, Probe, Site, Transform, Watch, encode, feed_forward, self_attention,
    sub_layer_input,
};
use crate::float_model::{CrossAttention, FloatDecoder, FloatModel};
use crate::int8::argmax;
use tailtune::image::{DecoderConfig, NormOrder};

/// What a decoder gives for the tokens of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// `[n, d_model]`: what the output projection reads.
    pub hidden: Vec<f32>,
    /// `[n, vocab_size]`: row i are the logits of the token after token i.
    pub logits: Vec<f32>,
}

/// Runs encoder and decoder on `input` and the target tokens, the start token first; `input` is none
/// for a model without an encoder.
///
/// # Panics
/// Where the model has no decoder, or no encoder for an input; whoever reads the data has checked
/// kinds, lengths and ids.
pub fn decode(
    model: &FloatModel,
    input: Option<FloatInput<'_>>,
    tokens: &[u32],
    probe: &mut dyn Probe,
) -> Decoded {
    decode_through(model, input, tokens, &mut Watch(probe))
}

/// Runs `model` as [`decode`] does; `through` may change the values at every site.
pub fn decode_through(
    model: &FloatModel,
    input: Option<FloatInput<'_>>,
    tokens: &[u32],
    through: &mut dyn Transform,
) -> Decoded {
    let memory = memory(model, input, through);
    run(model, memory.as_deref(), tokens, through)
}

/// Returns the tokens of the greedy decoding of an input, without start and end token: at each step
/// the token of the largest logit, until the end token or the decoder's `seq_len`.
///
/// # Panics
/// As [`decode`].
pub fn generate(model: &FloatModel, input: Option<FloatInput<'_>>) -> Vec<u32> {
    let (_, config) = decoder_of(model);
    let memory = memory(model, input, &mut Watch(&mut ()));
    let vocab = config.vocab_size as usize;
    let mut tokens = vec![config.start];
    while tokens.len() < usize::from(config.seq_len) {
        let logits = run(model, memory.as_deref(), &tokens, &mut Watch(&mut ())).logits;
        let last = &logits[(tokens.len() - 1) * vocab..];
        match argmax(last) {
            Some(token) if token as u32 != config.end => tokens.push(token as u32),
            _ => break,
        }
    }
    tokens.split_off(1)
}

fn decoder_of(model: &FloatModel) -> (&FloatDecoder, &DecoderConfig) {
    let parts = model.decoder.as_ref().zip(model.config.decoder.as_ref());
    parts.expect("the model has a decoder")
}

fn memory(
    model: &FloatModel,
    input: Option<FloatInput<'_>>,
    through: &mut dyn Transform,
) -> Option<Vec<f32>> {
    let mut memory = encode(model, input?, through);
    through.apply(Site::Memory, &mut memory, model.config.d_model.into());
    Some(memory)
}

fn run(
    model: &FloatModel,
    memory: Option<&[f32]>,
    tokens: &[u32],
    through: &mut dyn Transform,
) -> Decoded {
    let d = usize::from(model.config.d_model);
    let (decoder, config) = decoder_of(model);
    let mut x = embed(decoder, tokens, d, through);
    for (i, layer) in decoder.layers.iter().enumerate() {
        let l = model.layers.len() + i;
        self_attention(model, &layer.block, l, &mut x, Mask::Causal, through);
        if let (Some(cross), Some(memory)) = (&layer.cross, memory) {
            cross_attention(model, cross, l, &mut x, memory, through);
        }
        feed_forward(model, &layer.block, l, &mut x, through);
        through.apply(Site::BlockOut(l), &mut x, d);
    }
    if let Some(norm) = &decoder.final_norm {
        normalise(norm, &mut x);
    }
    through.apply(Site::OutputInput, &mut x, d);
    let mut logits = dense(decoder.output_weight(), &decoder.output_bias, d, &x);
    through.apply(Site::OutputLogits, &mut logits, config.vocab_size as usize);
    Decoded { hidden: x, logits }
}

fn embed(
    decoder: &FloatDecoder,
    tokens: &[u32],
    d: usize,
    through: &mut dyn Transform,
) -> Vec<f32> {
    let row = |&id: &u32| &decoder.tokens[id as usize * d..][..d];
    let mut x: Vec<f32> = tokens.iter().flat_map(row).copied().collect();
    let len = x.len();
    add(&mut x, &decoder.positions[..len]);
    through.apply(Site::TargetSum, &mut x, d);
    if let Some(norm) = &decoder.embed_norm {
        normalise(norm, &mut x);
    }
    through.apply(Site::TargetEmbedded, &mut x, d);
    x
}

fn cross_attention(
    model: &FloatModel,
    cross: &CrossAttention,
    l: usize,
    x: &mut [f32],
    memory: &[f32],
    through: &mut dyn Transform,
) {
    let d = usize::from(model.config.d_model);
    let mut input = sub_layer_input(model, &cross.norm, x);
    through.apply(Site::CrossInput(l), &mut input, d);
    let (mut q, mut k, mut v) = (
        linear(&cross.q, &input),
        linear(&cross.k, memory),
        linear(&cross.v, memory),
    );
    through.apply(Site::CrossQuery(l), &mut q, d);
    through.apply(Site::CrossKey(l), &mut k, d);
    through.apply(Site::CrossValue(l), &mut v, d);
    let mut context = attention(&q, &k, &v, d, model.config.head_dim(), Mask::None);
    through.apply(Site::CrossContext(l), &mut context, d);
    add(x, &linear(&cross.o, &context));
    through.apply(Site::CrossResidual(l), x, d);
    if model.config.norm == NormOrder::Post {
        normalise(&cross.norm, x);
    }
    through.apply(Site::CrossOut(l), x, d);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{self, Random};
    use tailtune::image::{Activation, InputKind, ModelConfig, Pooling};

    fn config(n_layers: u16) -> ModelConfig {
        ModelConfig {
            n_layers,
            d_model: 8,
            n_heads: 2,
            d_ff: 12,
            seq_len: 6,
            n_classes: 0,
            input: InputKind::Tokens {
                vocab_size: 9,
                n_segments: 0,
            },
            class_token: false,
            norm: NormOrder::Pre,
            activation: Activation::Gelu,
            pooling: Pooling::First,
            embed_norm: false,
            final_norm: n_layers > 0,
            embedding_rank: 0,
            pooler: false,
            decoder: Some(DecoderConfig {
                n_layers: 2,
                seq_len: 6,
                vocab_size: 9,
                start: 2,
                end: 3,
                tied: true,
                embed_norm: false,
                final_norm: true,
            }),
        }
    }

    /// A token changes what comes after it, and nothing before.
    #[test]
    fn no_row_sees_a_later_token() {
        for n_layers in [0, 1] {
            let config = config(n_layers);
            config.check().unwrap();
            let model = synthetic::model(&config, 3);
            let ids = [4, 7, 1];
            let input = (n_layers > 0).then_some(FloatInput::Tokens {
                ids: &ids,
                segments: &[],
            });
            let logits = |tokens: &[u32]| decode(&model, input, tokens, &mut ()).logits;
            let (a, b) = (logits(&[2, 5, 6, 7]), logits(&[2, 5, 8, 7]));
            assert_eq!(a[..2 * 9], b[..2 * 9]);
            assert!(a[2 * 9..].iter().zip(&b[2 * 9..]).all(|(a, b)| a != b));
        }
    }

    /// Each token that greedy decoding takes has the largest logit of the whole forward over what it wrote.
    #[test]
    fn greedy_decoding_takes_the_largest_logits() {
        let model = synthetic::model(&config(1), 3);
        for seed in 0..20 {
            let input = synthetic::input(&model.config, 5, &mut Random::new(seed));
            let written = generate(&model, Some(input.float()));
            assert!(written.len() < 6 && !written.contains(&3));
            let tokens = [vec![2], written.clone()].concat();
            let logits = decode(&model, Some(input.float()), &tokens, &mut ()).logits;
            let best = |row: &[f32]| argmax(row).unwrap() as u32;
            let mut all: Vec<u32> = logits.chunks_exact(9).map(best).collect();
            if written.len() < 5 {
                assert_eq!(all.pop(), Some(3));
            } else {
                all.pop();
            }
            assert_eq!(all, written);
        }
    }
}
