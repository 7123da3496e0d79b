//! What a model takes, by part, and whether a board has it.

use super::super::remedies;
use super::super::terminal::kib;
use super::Part;
use super::tuning;
use crate::board::{Board, tail_room};
use crate::image_writer::image_len;
use tailtune::image::{HEADER_LEN, InputKind, Layout, ModelConfig, TENSOR_ALIGNMENT, TensorEntry};
use tailtune::tune::TunePlan;

/// What a model takes.
pub struct Needs {
    config: ModelConfig,
    pub image_bytes: usize,
    pub flash: Vec<Part>,
    pub ram: Vec<Part>,
    pub tuning: TunePlan,
    /// Whether a method was asked for, whose tail then has to fit too.
    pub asked: bool,
    /// Samples that are kept in RAM.
    samples: Samples,
    /// Where no method was asked for: the same by class means, which take the least.
    pub by_means: Option<Box<Self>>,
}

/// Samples in RAM.
#[derive(Debug, Clone, Copy)]
pub struct Samples {
    /// How many.
    pub planned: usize,
    /// With how few a plan is still good; as many as are planned where that was asked for.
    pub fewest: usize,
    /// Bytes of one, with its label.
    bytes: usize,
}

impl Samples {
    /// Returns the samples of a plan; where their number was not `asked` for, one a class is enough.
    pub fn new(config: &ModelConfig, planned: u32, added: u16, asked: bool) -> Self {
        let planned = planned as usize;
        let classes = usize::from(config.n_classes) + usize::from(added);
        Self {
            planned,
            fewest: if asked { planned } else { classes.min(planned) },
            bytes: usize::from(config.d_model) + 2,
        }
    }
}

impl Needs {
    /// Returns the sum of the parts.
    fn parts_bytes(&self) -> usize {
        self.ram.iter().map(|p| p.bytes).sum()
    }

    /// Returns what is counted twice on a board: its firmware tunes heads in the encoder's arena.
    pub fn shared_bytes(&self, board: &Board) -> usize {
        match board.is_heads_only() {
            true => self.tuning.shared(),
            false => 0,
        }
    }

    /// Returns the RAM without the stack; of no board, as one takes it that tunes more than heads.
    pub fn ram_bytes(&self, board: Option<&Board>) -> usize {
        self.parts_bytes() - board.map_or(0, |board| self.shared_bytes(board))
    }
}

impl Needs {
    /// As [`samples_on`](Self::samples_on), by class means where the method does not fit.
    pub fn samples_kept(&self, board: &Board) -> Option<usize> {
        let by_means = || self.by_means.as_ref()?.samples_on(board);
        self.samples_on(board).or_else(by_means)
    }

    /// Returns how many of the samples fit beside the rest; none where too few do.
    pub fn samples_on(&self, board: &Board) -> Option<usize> {
        let Samples {
            planned,
            fewest,
            bytes,
        } = self.samples;
        let left_out = ram_lack(self, board).div_ceil(bytes);
        planned.checked_sub(left_out).filter(|&n| n >= fewest)
    }
}

/// Returns what a model takes whose image has `image_bytes`.
pub fn needs(
    config: &ModelConfig,
    image_bytes: usize,
    tuning: TunePlan,
    samples: Samples,
    asked: bool,
) -> Needs {
    let layout = Layout::new(config);
    let align = |n: usize| n.next_multiple_of(TENSOR_ALIGNMENT as usize);
    let directory = layout.len() * size_of::<TensorEntry>();
    let mut groups = [
        ("embedding", 0),
        ("encoder blocks", 0),
        ("pooling and head", 0),
    ];
    for spec in layout.iter() {
        let group = match (spec.layer, spec.kind as u8) {
            (tailtune::image::NO_LAYER, kind) if kind < 16 => 0,
            (tailtune::image::NO_LAYER, _) => 2,
            _ => 1,
        };
        groups[group].1 += align(spec.len_bytes() as usize);
    }
    let tensors: usize = groups.iter().map(|(_, bytes)| bytes).sum();
    let known = HEADER_LEN + directory + tensors;
    let mut flash = vec![Part {
        name: "header and tensor directory",
        bytes: HEADER_LEN + directory,
    }];
    flash.extend(groups.iter().map(|&(name, bytes)| Part { name, bytes }));
    let rest = image_bytes.saturating_sub(known);
    flash.push(Part {
        name: "labels, provenance, front end, tokenizers, padding",
        bytes: rest,
    });

    let mut ram = vec![
        Part {
            name: "arena",
            bytes: tuning.arena,
        },
        Part {
            name: "input of one inference",
            bytes: input_bytes(config),
        },
    ];
    if asked {
        ram.extend(tuning::ram(&tuning));
    } else {
        let (bytes, name) = (tuning.tuning() + tuning.tail_buffer, tuning::DEFAULT);
        ram.push(Part { name, bytes });
        let (bytes, name) = (tuning.replay, "replay, 64 samples");
        ram.push(Part { name, bytes });
    }
    Needs {
        config: *config,
        image_bytes,
        flash,
        ram,
        tuning,
        asked,
        samples,
        by_means: None,
    }
}

fn input_bytes(config: &ModelConfig) -> usize {
    match config.input {
        InputKind::Tokens { .. } => config.max_input_len() * 5,
        frames => frames.frames().map_or(0, |(n, features)| n * features),
    }
}

/// Returns the RAM that a model takes on a board, the firmware's stack included.
fn ram_needed(needs: &Needs, board: &Board) -> usize {
    needs.ram_bytes(Some(board)) + board.stack_bytes as usize
}

/// Returns the RAM that a board lacks for a model.
pub fn ram_lack(needs: &Needs, board: &Board) -> usize {
    ram_needed(needs, board).saturating_sub(board.ram_bytes() as usize)
}

/// Returns whether a model fits a board.
pub fn fits(needs: &Needs, board: &Board) -> bool {
    needs.image_bytes <= board.regions.model.bytes as usize
        && needs.samples_on(board).is_some()
        && (!needs.asked || needs.tuning.tail <= tail_room(board))
        && needs.tuning.replay_flash <= tuning::replay_room(board)
        || needs.by_means.as_ref().is_some_and(|n| fits(n, board))
}

/// Says whether the model fits, and if not, what would.
pub fn verdict(needs: &Needs, board: &Board) -> String {
    if needs.samples_on(board).is_none()
        && let Some(by_means) = &needs.by_means
        && fits(by_means, board)
    {
        let said = verdict(by_means, board);
        return format!("{said}; this by class means (--tune ncm), softmax does not fit");
    }
    let (region, ram) = (
        board.regions.model.bytes as usize,
        board.ram_bytes() as usize,
    );
    let mut lacks = Vec::new();
    if needs.image_bytes > region {
        lacks.push(format!(
            "the image is {} bytes larger than the model region of {region}: {}",
            needs.image_bytes - region,
            remedies::would_fit(&remedies::for_flash(&needs.config, region, &|c| {
                let layout = |c| image_len(c, &[], "", [0; 3]);
                needs.image_bytes.saturating_sub(layout(&needs.config)) + layout(c)
            }))
        ));
    }
    let ram_needed = ram_needed(needs, board);
    let samples = needs.samples_on(board);
    if samples.is_none() {
        let lack = ram_needed - ram;
        let remedy = if needs.asked && lack <= needs.tuning.replay {
            "fewer samples (--replay), or samples in flash (--replay-in flash), would fit"
                .to_owned()
        } else {
            let rest = ram_needed - needs.tuning.arena - input_bytes(&needs.config);
            match remedies::for_ram(&needs.config, ram.saturating_sub(rest)) {
                Some(shorter) => format!("what would fit: {shorter}"),
                None => "a shorter seq_len or a smaller d_model would fit".to_owned(),
            }
        };
        lacks.push(format!(
            "RAM lacks {lack} bytes of {ram_needed} (stack of {} counted): {remedy}",
            board.stack_bytes
        ));
    }
    let (tail, room) = (needs.tuning.tail, tail_room(board));
    if needs.asked && tail > room {
        lacks.push(format!(
            "the tail is {} bytes larger than a slot's {room}: a board.toml with regions.tails of at least {} bytes each would fit",
            tail - room,
            board.slot_bytes() as usize + tail - room
        ));
    }
    let (latents, room) = (needs.tuning.replay_flash, tuning::replay_room(board));
    if latents > room {
        lacks.push(format!(
            "the samples take {latents} bytes of flash, its regions.replay has {room}: fewer samples (--replay) would fit"
        ));
    }
    if lacks.is_empty() {
        let fewer = match samples {
            Some(n) if n < needs.samples.planned => {
                format!(" with {n} of {} samples", needs.samples.planned)
            }
            _ => String::new(),
        };
        format!(
            "{}: fits{fewer}; {} of flash and {} of RAM stay free",
            board.name,
            kib(region - needs.image_bytes),
            kib(ram.saturating_sub(ram_needed))
        )
    } else {
        format!("{}: does not fit: {}", board.name, lacks.join("; "))
    }
}
