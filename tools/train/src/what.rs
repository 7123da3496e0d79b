//! Which parameters move.

use std::str::FromStr;
use tailtune::image::ModelConfig;
use tailtune_tools::import::names;

/// What `--train` says. The head of a model with a decoder is its output projection, which is the
/// decoder's token table where the two are tied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The head alone.
    Head,
    /// The last blocks (of the decoder, where there is one), the norm after them, the pooler and the head.
    Last(usize),
    /// Everything: encoder, and decoder or head.
    All,
    /// Everything but decoder and head.
    Encoder,
    /// The decoder with its output projection.
    Decoder,
    /// Every LayerNorm and every bias of the blocks, and the head (Ben Zaken et al., "BitFit",
    /// arXiv 2106.10199).
    NormBias,
    /// Low-rank adapters beside the attention's projections, and the head (Hu et al.,
    /// arXiv 2106.09685).
    Lora,
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let last = || text.strip_prefix("last-")?.parse().ok().filter(|n| *n > 0);
        match text {
            "head" => Ok(Self::Head),
            "all" | "both" => Ok(Self::All),
            "encoder" => Ok(Self::Encoder),
            "decoder" => Ok(Self::Decoder),
            "norm+bias" => Ok(Self::NormBias),
            "lora" => Ok(Self::Lora),
            _ => last().map(Self::Last).ok_or_else(|| {
                "expected head, last-N, encoder, decoder, both, all, norm+bias or lora".into()
            }),
        }
    }
}

impl What {
    /// Returns whether the parameter `name` of a model moves.
    pub fn moves(self, name: &str, config: &ModelConfig) -> bool {
        let head = match &config.decoder {
            None => is_of(name, names::HEAD),
            Some(d) => is_of(name, names::OUTPUT) || d.tied && name == names::TARGET_TOKENS,
        };
        let (blocks, n_layers, last_norm) = match &config.decoder {
            None => ("layers.", config.n_layers, names::FINAL_NORM),
            Some(d) => ("decoder.layers.", d.n_layers, names::DECODER_NORM),
        };
        match self {
            Self::All => true,
            Self::Head | Self::Lora => head,
            Self::Encoder => !head && !name.starts_with("decoder.") && !is_of(name, names::HEAD),
            Self::Decoder => head || name.starts_with("decoder."),
            Self::Last(n) => {
                let last = |block| block + n >= usize::from(n_layers);
                head || is_of(name, names::POOLER)
                    || is_of(name, last_norm)
                    || block(name, blocks).is_some_and(last)
            }
            Self::NormBias => {
                let norms = [names::FINAL_NORM, names::DECODER_NORM];
                let in_blocks = block(name, "layers.").is_some()
                    || block(name, "decoder.layers.").is_some()
                    || norms.iter().any(|norm| is_of(name, norm));
                head || in_blocks && (name.contains("norm") || name.ends_with(".bias"))
            }
        }
    }

    /// Returns the learning rate that suits it where none is given.
    pub fn rate(self) -> f64 {
        match self {
            Self::Head | Self::NormBias | Self::Lora => 5e-3,
            Self::Last(_) => 1e-3,
            Self::All | Self::Encoder | Self::Decoder => 5e-4,
        }
    }
}

/// Returns whether a parameter is a part of `layer`.
fn is_of(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Returns the block that a parameter belongs to, of those whose names start with `blocks`.
fn block(name: &str, blocks: &str) -> Option<usize> {
    name.strip_prefix(blocks)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailtune::image::{Activation, DecoderConfig, InputKind, NormOrder, Pooling};

    const ENCODER: ModelConfig = ModelConfig {
        n_layers: 4,
        d_model: 8,
        n_heads: 2,
        d_ff: 8,
        seq_len: 5,
        n_classes: 3,
        input: InputKind::Tokens {
            vocab_size: 9,
            n_segments: 0,
        },
        class_token: false,
        norm: NormOrder::Pre,
        activation: Activation::Relu,
        pooling: Pooling::First,
        embed_norm: false,
        final_norm: true,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    };

    const SEQUENCE: ModelConfig = ModelConfig {
        n_classes: 0,
        decoder: Some(DecoderConfig {
            n_layers: 2,
            seq_len: 5,
            vocab_size: 9,
            start: 2,
            end: 3,
            tied: false,
            embed_norm: false,
            final_norm: true,
        }),
        ..ENCODER
    };

    fn moves(what: &str, name: &str, config: &ModelConfig) -> bool {
        what.parse::<What>().unwrap().moves(name, config)
    }

    #[test]
    fn what_moves_is_what_was_said() {
        let moves = |what: &str, name: &str| moves(what, name, &ENCODER);
        let q = "layers.2.attention.q.weight";
        assert!(moves("head", "head.weight") && !moves("head", q));
        assert!(moves("last-2", q) && !moves("last-1", q));
        assert!(moves("last-1", "final_norm.bias"));
        assert!(!moves("norm+bias", q));
        assert!(moves("norm+bias", "layers.2.norm1.weight"));
        assert!(moves("norm+bias", "layers.0.ff1.bias"));
        assert!(!moves("norm+bias", "embeddings.projection.bias"));
        assert!(moves("all", "embeddings.positions.weight"));
        assert!(moves("encoder", q) && !moves("encoder", "head.weight"));
        assert!("last-0".parse::<What>().is_err() && "tail".parse::<What>().is_err());
    }

    #[test]
    fn encoder_and_decoder_move_apart() {
        let encoder = [
            "embeddings.tokens.weight",
            "layers.3.ff1.bias",
            "final_norm.weight",
        ];
        let decoder = [
            names::TARGET_TOKENS,
            "decoder.layers.1.cross.q.weight",
            "decoder.final_norm.bias",
            "output.weight",
        ];
        let moves = |what: &str, name: &str| moves(what, name, &SEQUENCE);
        for name in encoder {
            assert!(moves("encoder", name) && !moves("decoder", name) && moves("both", name));
            assert!(!moves("head", name) && !moves("last-1", name));
        }
        for name in decoder {
            assert!(moves("decoder", name) && !moves("encoder", name) && moves("both", name));
        }
        assert!(moves("last-1", decoder[1]) && !moves("last-1", "decoder.layers.0.ff1.bias"));
        assert!(moves("head", "output.bias") && !moves("head", names::TARGET_TOKENS));
        let tied = ModelConfig {
            decoder: SEQUENCE.decoder.map(|d| DecoderConfig { tied: true, ..d }),
            ..SEQUENCE
        };
        assert!(super::What::Head.moves(names::TARGET_TOKENS, &tied));
        assert!(moves("norm+bias", "decoder.layers.0.cross_norm.weight"));
        assert!(!moves("norm+bias", "decoder.layers.0.cross.q.weight"));
    }
}
