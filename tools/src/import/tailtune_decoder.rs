//! The decoder of tailtune's own models: `model_type` `tailtune_encoder_decoder`, or `tailtune_decoder`
//! where there is no encoder (`n_layers` 0).
//!
//! config.json is an encoder's with one more key; the names of the tensors are an encoder's with
//! `decoder.` before them, and `output` ([`super::names`]):
//!
//! ```json
//! "decoder": { "n_layers": 2, "seq_len": 32, "vocab_size": 43, "start": 2, "end": 3,
//!              "tied": true, "embed_norm": false, "final_norm": true }
//! ```

use super::tailtune_encoder::{Tensors, names};
use super::{Config, ImportError};
use crate::float_model::{CrossAttention, DecoderLayer, FloatDecoder};
use tailtune::image::{DecoderConfig, ModelConfig};

/// Returns the architecture of the decoder that a configuration describes; none of an encoder.
pub(super) fn config(config: &Config) -> Result<Option<DecoderConfig>, ImportError> {
    if config.str("model_type")? == "tailtune_encoder" {
        return match config.has("decoder") {
            true => Err(config.bad(
                "decoder",
                "none, or model_type \"tailtune_encoder_decoder\" or \"tailtune_decoder\"",
            )),
            false => Ok(None),
        };
    }
    let alone = config.str("model_type")? == "tailtune_decoder";
    if alone != (config.u16("n_layers")? == 0) {
        return Err(config.bad(
            "n_layers",
            "0 with model_type \"tailtune_decoder\", at least 1 with \"tailtune_encoder_decoder\"",
        ));
    }
    Ok(Some(DecoderConfig {
        n_layers: config.u16("decoder/n_layers")?,
        seq_len: config.u16("decoder/seq_len")?,
        vocab_size: config.u32("decoder/vocab_size")?,
        start: config.u32("decoder/start")?,
        end: config.u32("decoder/end")?,
        tied: config.bool("decoder/tied")?,
        embed_norm: config.bool("decoder/embed_norm")?,
        final_norm: config.bool("decoder/final_norm")?,
    }))
}

/// Reads the decoder's tensors; none of an encoder.
pub(super) fn read(
    tensors: &Tensors,
    config: &ModelConfig,
) -> Result<Option<FloatDecoder>, ImportError> {
    let Some(c) = &config.decoder else {
        return Ok(None);
    };
    let (vocab, d) = (c.vocab_size as usize, tensors.d);
    let table = |name: &str, rows: usize| tensors.weights.f32(name, &[rows, d]);
    let layer = |index: usize| {
        let name = |part: &str| names::decoder_layer(index, part);
        Ok(DecoderLayer {
            block: tensors.layer(name)?,
            cross: config
                .has_encoder()
                .then(|| cross(tensors, name))
                .transpose()?,
        })
    };
    Ok(Some(FloatDecoder {
        tokens: table(names::TARGET_TOKENS, vocab)?,
        positions: table(names::TARGET_POSITIONS, c.seq_len.into())?,
        embed_norm: tensors.optional_norm(c.embed_norm, names::TARGET_NORM)?,
        layers: (0..c.n_layers.into())
            .map(layer)
            .collect::<Result<_, ImportError>>()?,
        final_norm: tensors.optional_norm(c.final_norm, names::DECODER_NORM)?,
        output: (!c.tied)
            .then(|| table(&names::weight(names::OUTPUT), vocab))
            .transpose()?,
        output_bias: tensors.weights.f32(&names::bias(names::OUTPUT), &[vocab])?,
    }))
}

fn cross(tensors: &Tensors, name: impl Fn(&str) -> String) -> Result<CrossAttention, ImportError> {
    let square = |part: &str| tensors.linear(&name(part), tensors.d, tensors.d);
    Ok(CrossAttention {
        q: square("cross.q")?,
        k: square("cross.k")?,
        v: square("cross.v")?,
        o: square("cross.o")?,
        norm: tensors.norm(&name("cross_norm"))?,
    })
}
