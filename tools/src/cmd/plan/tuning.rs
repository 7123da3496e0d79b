//! The part of `plan` that is about tuning: what the runtime's own plan says, for a board.

use super::super::adapt::MethodName;
use super::super::{CYCLES, CommandError, wrong_call};
use super::Part;
use super::needs::Samples;
use crate::board::{Board, tail_room};
use clap::{Args, ValueEnum};
use serde_json::json;
use tailtune::image::ModelConfig;
use tailtune::tune::{MethodId, Optimizer, ReplayPlace, Schedule, TunePlan, TuneSetup, Tuner};

/// What is to be tuned, and how.
#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// Plan tuning by this method; without it, of the head by softmax regression with momentum
    #[arg(long, value_enum, value_name = "METHOD")]
    tune: Option<MethodName>,
    /// Classes that may be added to the image's own
    #[arg(long, value_name = "N", default_value_t = 4, requires = "tune")]
    classes: u16,
    /// Samples that are kept
    #[arg(long, value_name = "N", default_value_t = 64, requires = "tune")]
    replay: u32,
    /// Where samples are kept
    #[arg(long, value_enum, default_value = "ram", requires = "tune")]
    replay_in: ReplayIn,
    /// What turns gradients into steps (not of ncm and ridge)
    #[arg(long, value_enum, default_value = "momentum", requires = "tune")]
    optimizer: OptimizerName,
    /// Rank of the adapters, of lora
    #[arg(long, value_name = "R", default_value_t = 4, requires = "tune")]
    rank: usize,
}

/// What is planned where nothing is asked for: the arguments' defaults.
pub(super) const DEFAULT: &str = "head under tuning (softmax, momentum, 4 new classes), its tail";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReplayIn {
    /// In RAM
    Ram,
    /// In a ring of the board's erase blocks
    Flash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OptimizerName {
    /// Plain stochastic gradient descent
    Sgd,
    /// With momentum
    Momentum,
    /// Adam
    Adam,
}

impl OptimizerName {
    fn schedule(self) -> Schedule {
        let mut schedule = Schedule::default();
        match self {
            Self::Sgd => schedule.momentum = 0.0,
            Self::Momentum => {}
            Self::Adam => schedule.optimizer = Optimizer::Adam,
        }
        schedule
    }
}

impl TuneArgs {
    /// Returns the defaults for a method.
    pub(super) fn of(method: MethodId, in_flash: bool) -> Self {
        let named = |name: &&MethodName| MethodId::from(**name) == method;
        Self {
            tune: MethodName::value_variants().iter().find(named).copied(),
            classes: 4,
            replay: 64,
            replay_in: match in_flash {
                true => ReplayIn::Flash,
                false => ReplayIn::Ram,
            },
            optimizer: OptimizerName::Momentum,
            rank: 4,
        }
    }

    /// Returns whether a method was asked for.
    pub(super) const fn asked(&self) -> bool {
        self.tune.is_some()
    }

    /// Returns the samples of a plan, of which fewer will do where `few`.
    pub(super) fn samples(&self, config: &ModelConfig, few: bool) -> Samples {
        let in_ram = if self.in_flash() { 0 } else { self.replay };
        Samples::new(config, in_ram, self.classes, !few)
    }

    /// Returns whether samples are to be kept in flash.
    pub(super) fn in_flash(&self) -> bool {
        self.replay_in == ReplayIn::Flash
    }

    /// Returns the runtime's plan for a board.
    ///
    /// # Errors
    /// A method that the model or the board cannot do.
    pub(super) fn plan(
        &self,
        config: &ModelConfig,
        board: &Board,
    ) -> Result<TunePlan, CommandError> {
        let method = self.tune.map_or(MethodId::Softmax, MethodId::from);
        let mut setup = TuneSetup {
            schedule: self.optimizer.schedule(),
            samples: self.replay,
            replay: match self.replay_in {
                ReplayIn::Ram => ReplayPlace::Ram,
                ReplayIn::Flash => {
                    let [word, erase] = replay_flash(board).ok_or_else(|| {
                        let name = &board.name;
                        wrong_call(format!(
                            "--replay-in flash on {name}: its board.toml has no regions.replay; --replay-in ram is left"
                        ))
                    })?;
                    ReplayPlace::Flash { word, erase }
                }
            },
            ..TuneSetup::new(self.classes)
        };
        setup.lora.rank = self.rank;
        Tuner::plan(config, method, &setup).map_err(|e| {
            let name = method.name();
            wrong_call(format!("--tune {name} on {}: {e}", board.name))
        })
    }
}

/// Returns the RAM of tuning by part; parts that a method does not have are left out.
pub(super) fn ram(plan: &TunePlan) -> Vec<Part> {
    let parts = [
        ("head: weights and biases", plan.head),
        ("head: names of added classes", plan.names),
        ("one real feature", plan.features),
        ("logits", plan.logits),
        (
            if plan.method == MethodId::Ridge {
                "ridge: the factor"
            } else {
                "class means: counts"
            },
            plan.state,
        ),
        ("optimizer state of the head", plan.head_moments),
        ("block: f32 parameters", plan.parameters),
        (
            "block: gradient and optimizer state",
            plan.parameter_moments,
        ),
        ("block: forward and backward", plan.scratch),
        ("block: int8 weights in place", plan.block),
        ("the method's own fields, at most", plan.fields),
        ("latent of the sample at hand", plan.latent),
        ("replay", plan.replay),
        ("tail on its way to the store", plan.tail_buffer),
    ];
    let parts = parts.into_iter().filter(|(_, bytes)| *bytes > 0);
    parts.map(|(name, bytes)| Part { name, bytes }).collect()
}

/// Returns the bytes of flash that samples may take on a board.
pub(super) fn replay_room(board: &Board) -> usize {
    let region = board.regions.replay.as_ref();
    region.map_or(0, |region| region.bytes as usize)
}

/// Returns word and erase block of the flash for samples.
fn replay_flash(board: &Board) -> Option<[usize; 2]> {
    let region = board.regions.replay.as_ref()?;
    let flash = board.flash_of(region)?;
    let block = flash.blocks().find(|b| b.contains(&region.address))?;
    Some([flash.write_bytes as usize, block.len()])
}

/// Returns the instructions of a step on a board, and of the end of a fit; none of a core without FPU, which
/// the model is not for.
pub(super) fn instructions(plan: &TunePlan, board: &Board) -> Option<[u32; 2]> {
    let fpu = board.target.ends_with("eabihf");
    fpu.then(|| [plan.instructions(), plan.end_instructions()])
}

/// Returns the milliseconds of instructions at a board's clock.
pub(super) fn milliseconds(instructions: u32, board: &Board) -> f64 {
    let hz = f64::from(board.clock_hz);
    f64::from(instructions) * CYCLES / hz * 1e3
}

/// What is said of tuning on a board.
pub(super) fn lines(plan: &TunePlan, board: &Board) -> Vec<String> {
    let mut lines = Vec::new();
    let time = |instructions: u32| {
        format!(
            "about {instructions} instructions, {:.1} ms at {} MHz",
            milliseconds(instructions, board),
            f64::from(board.clock_hz) / 1e6
        )
    };
    match instructions(plan, board) {
        Some([step, end]) => {
            let of_end = match end {
                0 => String::new(),
                end => format!("; the end of a fit {}", time(end)),
            };
            lines.push(format!(
                "{}: a step takes {}{of_end} (a model: {CYCLES} cycles an instruction)",
                board.name,
                time(step)
            ));
        }
        None => lines.push(format!(
            "{}: instructions a step are not modelled for a core without FPU, where the head's take 20 to 40 \
             times as many; `tailtune bench` counts",
            board.name
        )),
    }
    if plan.replay_flash > 0 {
        lines.push(format!(
            "{}: the samples take {} of the {} bytes of its regions.replay",
            board.name,
            plan.replay_flash,
            replay_room(board)
        ));
    }
    lines
}

/// Returns what `--json` says of tuning.
pub(super) fn json(plan: &TunePlan, board: Option<&Board>) -> serde_json::Value {
    let counted = board.and_then(|b| instructions(plan, b));
    let ms = |which: usize| {
        let board = board?;
        Some(milliseconds(counted?[which], board))
    };
    json!({
        "method": plan.method.name(),
        "tuning_bytes": plan.tuning(),
        "replay_bytes": plan.replay,
        "replay_flash_bytes": plan.replay_flash,
        "tail_bytes": plan.tail,
        "tail_room_bytes": board.map(tail_room),
        "step_instructions": counted.map(|[step, _]| step),
        "step_ms": ms(0),
        "end_instructions": counted.map(|[_, end]| end),
        "end_ms": ms(1),
    })
}
