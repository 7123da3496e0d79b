//! Which parameters move.

use std::str::FromStr;
use tailtune_tools::import::names;

/// What `--train` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The head alone.
    Head,
    /// The last blocks, the final norm, the pooler and the head.
    Last(usize),
    /// Everything.
    All,
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
            "all" => Ok(Self::All),
            "norm+bias" => Ok(Self::NormBias),
            "lora" => Ok(Self::Lora),
            _ => last()
                .map(Self::Last)
                .ok_or_else(|| "expected head, last-N, all, norm+bias or lora".into()),
        }
    }
}

impl What {
    /// Returns whether the parameter `name` of a model of `n_layers` blocks moves.
    pub fn moves(self, name: &str, n_layers: usize) -> bool {
        let head = name.starts_with(&format!("{}.", names::HEAD));
        let block = block(name);
        let final_norm = name.starts_with(names::FINAL_NORM);
        let pooler = name.starts_with(names::POOLER);
        match self {
            Self::All => true,
            Self::Head | Self::Lora => head,
            Self::Last(n) => {
                head || pooler || final_norm || block.is_some_and(|b| b + n >= n_layers)
            }
            Self::NormBias => {
                let in_blocks = block.is_some() || final_norm;
                head || in_blocks && (name.contains("norm") || name.ends_with(".bias"))
            }
        }
    }

    /// Returns the learning rate that suits it where none is given.
    pub fn rate(self) -> f64 {
        match self {
            Self::Head | Self::NormBias | Self::Lora => 5e-3,
            Self::Last(_) => 1e-3,
            Self::All => 5e-4,
        }
    }
}

/// Returns the block that a parameter belongs to.
fn block(name: &str) -> Option<usize> {
    name.strip_prefix("layers.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_what_was_said() {
        let what = |text: &str| text.parse::<What>().unwrap();
        let q = "layers.2.attention.q.weight";
        assert!(what("head").moves("head.weight", 4) && !what("head").moves(q, 4));
        assert!(what("last-2").moves(q, 4) && !what("last-1").moves(q, 4));
        assert!(what("last-1").moves("final_norm.bias", 4));
        assert!(!what("norm+bias").moves(q, 4));
        assert!(what("norm+bias").moves("layers.2.norm1.weight", 4));
        assert!(what("norm+bias").moves("layers.0.ff1.bias", 4));
        assert!(!what("norm+bias").moves("embeddings.projection.bias", 4));
        assert!(what("all").moves("embeddings.positions.weight", 4));
        assert!("last-0".parse::<What>().is_err() && "tail".parse::<What>().is_err());
    }
}
