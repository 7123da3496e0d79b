//! What to do with a model that does not fit a board: the nearest smaller ones that would, each with its
//! bytes.

use super::CommandError;
use super::model_args::Taken;
use super::terminal::kib;
use crate::board::Board;
use crate::float_model::FloatModel;
use tailtune::image::{InputKind, ModelConfig};
use tailtune::model::arena_bytes;

/// Fewer pieces than these cut words into single letters.
const FEWEST_PIECES: u32 = 256;

/// Ranks are tried in these steps: of panels' columns.
const RANK_STEP: u16 = 8;

/// Returns the smaller models whose images have at most `room` bytes, by what was made smaller. `bytes` says
/// how many the image of a configuration has.
pub fn for_flash(
    config: &ModelConfig,
    room: usize,
    bytes: &dyn Fn(&ModelConfig) -> usize,
) -> Vec<String> {
    let mut found = alone(config, room, bytes);
    if found.is_empty() {
        // Not one thing alone: the fewest blocks, and then the largest table that leaves room.
        let one = ModelConfig {
            n_layers: 1,
            ..*config
        };
        found = alone(&one, room, bytes);
        for text in &mut found {
            text.insert_str(0, "one block (--layers 1) and ");
        }
    }
    if found.is_empty() {
        found.extend(narrower(config, room, bytes));
    }
    found
}

/// Returns the widest model of the same depth and vocabulary, its hidden layer as much narrower.
fn narrower(
    config: &ModelConfig,
    room: usize,
    bytes: &dyn Fn(&ModelConfig) -> usize,
) -> Option<String> {
    let head_dim = config.head_dim() as u32;
    let of = |size: u32| {
        let part = |width: u16| (u32::from(width) * size / head_dim.max(1)).max(1) as u16;
        ModelConfig {
            d_model: config.n_heads * size as u16,
            d_ff: part(config.d_ff),
            embedding_rank: config.embedding_rank.min(config.n_heads * size as u16),
            ..*config
        }
    };
    let size = largest(1, head_dim.saturating_sub(1), |n| bytes(&of(n)) <= room)?;
    let (c, n) = (of(size), bytes(&of(size)));
    let (d, ff) = (c.d_model, c.d_ff);
    Some(format!(
        "no part of this model, but one of d_model {d} and d_ff {ff} instead of {} and {}: {n} bytes ({})",
        config.d_model,
        config.d_ff,
        kib(n)
    ))
}

fn alone(config: &ModelConfig, room: usize, bytes: &dyn Fn(&ModelConfig) -> usize) -> Vec<String> {
    let fits = |c: &ModelConfig| bytes(c) <= room;
    let mut found = Vec::new();
    let mut say = |what: String, c: &ModelConfig| {
        found.push(format!("{what}: {} bytes ({})", bytes(c), kib(bytes(c))));
    };
    if let InputKind::Tokens {
        vocab_size,
        n_segments,
    } = config.input
    {
        let of = |vocab_size| ModelConfig {
            input: InputKind::Tokens {
                vocab_size,
                n_segments,
            },
            ..*config
        };
        let most = largest(FEWEST_PIECES, vocab_size, |n| fits(&of(n)));
        if let Some(n) = most {
            say(
                format!("a vocabulary of at most {n} pieces (--prune-vocab)"),
                &of(n),
            );
        }
        let of = |steps: u32| ModelConfig {
            embedding_rank: steps as u16 * RANK_STEP,
            ..*config
        };
        let steps = u32::from(config.d_model.saturating_sub(1) / RANK_STEP);
        let most = match config.embedding_rank {
            0 => largest(1, steps, |n| fits(&of(n))),
            _ => None,
        };
        if let Some(n) = most {
            let rank = of(n).embedding_rank;
            say(
                format!("a factorised token table (--factorise-embedding {rank})"),
                &of(n),
            );
        }
    }
    let of = |n_layers: u32| ModelConfig {
        n_layers: n_layers as u16,
        ..*config
    };
    let fewer = u32::from(config.n_layers.saturating_sub(1));
    if let Some(n) = largest(1, fewer, |n| fits(&of(n))) {
        say(
            format!("the first {n} of {} blocks (--layers {n})", config.n_layers),
            &of(n),
        );
    }
    found
}

/// Returns the longest sequence whose arena has at most `room` bytes, as an option with its bytes.
pub fn for_ram(config: &ModelConfig, room: usize) -> Option<String> {
    let InputKind::Tokens { .. } = config.input else {
        return None;
    };
    let of = |seq_len: u32| ModelConfig {
        seq_len: seq_len as u16,
        ..*config
    };
    // Five bytes a token: its id and its segment.
    let ram = |n| arena_bytes(&of(n)) + 5 * n as usize;
    let n = largest(1, config.seq_len.into(), |n| ram(n) <= room)?;
    let bytes = arena_bytes(&of(n));
    Some(format!(
        "texts of at most {n} tokens (--seq-len {n}): an arena of {bytes} bytes ({})",
        kib(bytes)
    ))
}

/// Returns the greatest number from `least` to `most` that `fits`; numbers below one that fits fit too.
fn largest(least: u32, most: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    if most < least || !fits(least) {
        return None;
    }
    let (mut low, mut high) = (least, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match fits(middle) {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    Some(low)
}

/// Refuses a model that does not fit a board, before any work is put into it.
pub fn check(
    taken: &Taken,
    board: &Board,
    bytes: &dyn Fn(&FloatModel) -> Result<usize, CommandError>,
) -> Result<(), CommandError> {
    let config = &taken.model.config;
    let mut lacks = Vec::new();
    let (found, region) = (bytes(&taken.model)?, board.regions.model.bytes as usize);
    if found > region {
        let of = |c: &ModelConfig| {
            // Labels and provenance do not change with the shape.
            let fixed = found.saturating_sub(tensor_bytes(config));
            fixed + tensor_bytes(c)
        };
        lacks.push(format!(
            "the image is {found} bytes, its model region holds {region}; {}",
            would_fit(&for_flash(config, region, &of))
        ));
    }
    let (arena, ram) = (arena_bytes(config), board.ram_bytes() as usize);
    let stack = board.stack_bytes as usize;
    if arena + stack > ram {
        let remedy: Vec<String> = for_ram(config, ram.saturating_sub(stack))
            .into_iter()
            .collect();
        lacks.push(format!(
            "its arena is {arena} bytes, the board has {ram} of RAM of which the stack takes {stack}; {}",
            would_fit(&remedy)
        ));
    }
    match lacks.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{}: the model does not fit: {}",
            board.name,
            lacks.join("; ")
        )
        .into()),
    }
}

/// Returns the bytes of a model's tensors and of their directory.
fn tensor_bytes(config: &ModelConfig) -> usize {
    crate::image_writer::image_len(config, &[], "", [0; 3])
}

/// Says which smaller models would fit.
pub fn would_fit(remedies: &[String]) -> String {
    match remedies {
        [] => "a model of smaller width would fit (d_model, d_ff)".to_owned(),
        _ => format!("what would fit: {}", remedies.join(", or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits_is_found() {
        for limit in 1..20 {
            assert_eq!(largest(1, 15, |n| n <= limit), Some(limit.min(15)));
        }
        assert_eq!(largest(3, 15, |n| n <= 2), None);
        assert_eq!(largest(1, 0, |_| true), None);
    }
}
