//! The options of a fit, shared by every method.

use super::{CommandError, wrong_call};
use crate::adapt::tuning::Plan;
use clap::{Args, ValueEnum};
use serde_json::json;
use tailtune::tune::block::lora::MAX_RANK;
use tailtune::tune::block::{Projection, Projections};
use tailtune::tune::{BlockWeights, Decay, MethodId, Optimizer, Schedule};

/// How a fit goes about it.
#[derive(Debug, Args)]
#[command(next_help_heading = "The fit")]
pub struct FitArgs {
    /// Passes over the training samples
    #[arg(long, default_value_t = 60)]
    epochs: u32,
    /// Samples whose gradients make one step
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u32,
    /// What turns gradients into steps
    #[arg(long, value_enum, default_value = "sgd")]
    optimizer: OptimizerName,
    /// Step size of gradient descent
    #[arg(long, default_value_t = 0.005)]
    learning_rate: f32,
    /// How the learning rate falls over the epochs
    #[arg(long, value_enum, default_value = "constant")]
    decay: DecayName,
    /// Share of the last step that the next one keeps
    #[arg(long, default_value_t = 0.9)]
    momentum: f32,
    /// Pull of the weights towards zero
    #[arg(long, default_value_t = 0.001)]
    weight_decay: f32,
    /// Share of a label that is spread over all classes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    label_smoothing: f32,
    /// Let every class count alike, however many samples it has
    #[arg(long)]
    class_balance: bool,
    /// Hold one training sample in N of each class back: a tune that gets fewer of them right is rolled back
    #[arg(long, value_name = "N", default_value_t = 0)]
    hold_back: u32,
    /// End after this many epochs without a lower loss, of what is held back if anything is; 0 for never
    #[arg(long, value_name = "EPOCHS", default_value_t = 0)]
    patience: u32,
    /// Lower the classes that are added until no more than this share of the image's own classes' samples
    /// (those held back, if any: they roll nothing back then) goes to them; not for ncm and ridge
    #[arg(long, value_name = "SHARE")]
    keep_old: Option<f32>,
    /// Of norm-bias, lora and last-block: learning rate of the block's parameters, by the head's (without it, 0.1)
    #[arg(long, value_name = "FACTOR")]
    block_rate: Option<f32>,
    /// Of lora: the rank, 1 to 32 (without it, 4)
    #[arg(long, value_name = "R")]
    rank: Option<usize>,
    /// Of lora: which projections are adapted, separated by commas (without it, q,v)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    projections: Vec<ProjectionName>,
    /// Of last-block: where its weights are trained (without it, in-place)
    #[arg(long, value_enum, value_name = "WHERE")]
    weights: Option<WeightsName>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WeightsName {
    /// In int8, where they lie
    InPlace,
    /// In an f32 copy, 4 bytes a weight more
    Copy,
    /// In an f32 copy with momentum, 8 bytes a weight more
    CopyMomentum,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OptimizerName {
    /// Gradient descent, with momentum unless --momentum is 0
    Sgd,
    /// Adam
    Adam,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DecayName {
    /// It stays
    Constant,
    /// In a straight line
    Linear,
    /// Half a cosine
    Cosine,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProjectionName {
    /// Queries
    Q,
    /// Keys
    K,
    /// Values
    V,
    /// Attention's output
    O,
    /// The first feed-forward layer
    Ff1,
    /// The second
    Ff2,
}

impl From<ProjectionName> for Projection {
    fn from(name: ProjectionName) -> Self {
        match name {
            ProjectionName::Q => Self::Query,
            ProjectionName::K => Self::Key,
            ProjectionName::V => Self::Value,
            ProjectionName::O => Self::Out,
            ProjectionName::Ff1 => Self::Ff1,
            ProjectionName::Ff2 => Self::Ff2,
        }
    }
}

impl FitArgs {
    /// Returns the plan of a method.
    ///
    /// # Errors
    /// A number out of its range, or an option that the method does not have.
    pub fn plan(&self, method: MethodId, seed: u32) -> Result<Plan, CommandError> {
        self.check(method)?;
        let mut plan = Plan::new(method);
        plan.schedule = Schedule {
            epochs: self.epochs,
            batch: self.batch,
            optimizer: match self.optimizer {
                OptimizerName::Sgd => Optimizer::Sgd,
                OptimizerName::Adam => Optimizer::Adam,
            },
            learning_rate: self.learning_rate,
            decay: match self.decay {
                DecayName::Constant => Decay::Constant,
                DecayName::Linear => Decay::Linear,
                DecayName::Cosine => Decay::Cosine,
            },
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            label_smoothing: self.label_smoothing,
            class_balance: self.class_balance,
            hold_back: self.hold_back,
            patience: self.patience,
            seed,
            ..Schedule::default()
        };
        plan.schedule.validate().map_err(wrong_call)?;
        plan.keep_old = self.keep_old;
        if let Some(rate) = self.block_rate {
            (plan.block.rate, plan.lora.block.rate) = (rate, rate);
        }
        if let Some(rank) = self.rank {
            plan.lora.rank = rank;
        }
        if !self.projections.is_empty() {
            let with = |set: Projections, &name: &ProjectionName| set.with(name.into());
            plan.lora.projections = self.projections.iter().fold(Projections::NONE, with);
        }
        plan.weights = match self.weights {
            None | Some(WeightsName::InPlace) => BlockWeights::InPlace,
            Some(WeightsName::Copy) => BlockWeights::Copy,
            Some(WeightsName::CopyMomentum) => BlockWeights::CopyMomentum,
        };
        Ok(plan)
    }

    fn check(&self, method: MethodId) -> Result<(), CommandError> {
        let lora = method == MethodId::Lora;
        let of = [
            (
                "--block-rate",
                self.block_rate.is_some(),
                method.below_the_block(),
            ),
            ("--rank", self.rank.is_some(), lora),
            ("--projections", !self.projections.is_empty(), lora),
            (
                "--weights",
                self.weights.is_some(),
                method == MethodId::LastBlock,
            ),
            (
                "--keep-old",
                self.keep_old.is_some(),
                !matches!(method, MethodId::Ncm | MethodId::Ridge),
            ),
        ];
        if let Some((option, ..)) = of.iter().find(|(_, given, has)| *given && !has) {
            return Err(wrong_call(format!(
                "--method {} has no {option}: leave it out",
                method.name()
            )));
        }
        let rank_ok = self.rank.is_none_or(|r| (1..=MAX_RANK).contains(&r));
        let rate_ok = self.block_rate.is_none_or(|r| r.is_finite() && r > 0.0);
        let keep_ok = self.keep_old.is_none_or(|k| (0.0..=1.0).contains(&k));
        let ranges = [
            (rank_ok, format!("--rank must be 1 to {MAX_RANK}")),
            (
                rate_ok,
                "--block-rate must be finite and above 0".to_owned(),
            ),
            (keep_ok, "--keep-old must be 0 to 1".to_owned()),
        ];
        match ranges.into_iter().find(|(ok, _)| !ok) {
            Some((_, error)) => Err(wrong_call(error)),
            None => Ok(()),
        }
    }
}

/// Returns the plan as JSON: what the method uses of it.
pub fn plan_json(plan: &Plan) -> serde_json::Value {
    let (method, s) = (plan.method, &plan.schedule);
    let lora = (method == MethodId::Lora).then_some(plan.lora);
    let names = |set: Projections| -> Vec<&str> {
        let names = ["q", "k", "v", "o", "ff1", "ff2"].into_iter();
        let all = names.zip(Projection::ALL).filter(|(_, p)| set.has(*p));
        all.map(|(name, _)| name).collect()
    };
    json!({
        "epochs": s.epochs,
        "batch": s.batch,
        "optimizer": match s.optimizer { Optimizer::Sgd => "sgd", Optimizer::Adam => "adam" },
        "learning_rate": s.learning_rate,
        "decay": match s.decay { Decay::Constant => "constant", Decay::Linear => "linear", Decay::Cosine => "cosine" },
        "momentum": s.momentum,
        "weight_decay": s.weight_decay,
        "label_smoothing": s.label_smoothing,
        "class_balance": s.class_balance,
        "hold_back": s.hold_back,
        "patience": s.patience,
        "keep_old": plan.keep_old,
        "block_rate": method.below_the_block().then_some(match lora { Some(l) => l.block.rate, None => plan.block.rate }),
        "weights": (method == MethodId::LastBlock).then_some(match plan.weights {
            BlockWeights::InPlace => "in-place",
            BlockWeights::Copy => "copy",
            BlockWeights::CopyMomentum => "copy-momentum",
        }),
        "rank": lora.map(|l| l.rank),
        "projections": lora.map(|l| names(l.projections)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Call {
        #[command(flatten)]
        fit: FitArgs,
    }

    fn plan(method: MethodId, args: &str) -> Result<Plan, CommandError> {
        let call = std::iter::once("call").chain(args.split_whitespace());
        Call::parse_from(call).fit.plan(method, 7)
    }

    #[test]
    fn options_reach_the_plan() {
        let args = "--rank 2 --projections q,ff2 --block-rate 0.5 --optimizer adam --batch 4 --decay cosine \
                    --label-smoothing 0.1 --class-balance --hold-back 5 --patience 3 --keep-old 0.02";
        let found = plan_json(&plan(MethodId::Lora, args).unwrap());
        for (key, value) in [
            ("rank", json!(2)),
            ("projections", json!(["q", "ff2"])),
            ("block_rate", json!(0.5f32)),
            ("optimizer", json!("adam")),
            ("batch", json!(4)),
            ("decay", json!("cosine")),
            ("label_smoothing", json!(0.1f32)),
            ("class_balance", json!(true)),
            ("hold_back", json!(5)),
            ("patience", json!(3)),
            ("keep_old", json!(0.02f32)),
        ] {
            assert_eq!(found[key], value, "{key}");
        }
        let block = plan_json(&plan(MethodId::LastBlock, "--weights copy").unwrap());
        assert_eq!(block["weights"], "copy");
        let head = plan_json(&plan(MethodId::Softmax, "").unwrap());
        assert!(head["rank"].is_null() && head["block_rate"].is_null());
        assert_eq!(
            plan_json(&plan(MethodId::Lora, "").unwrap())["projections"],
            json!(["q", "v"])
        );
    }

    #[test]
    fn wrong_options_are_named() {
        for (method, args, part) in [
            (MethodId::Softmax, "--rank 2", "softmax has no --rank"),
            (MethodId::Lora, "--weights copy", "lora has no --weights"),
            (
                MethodId::LastBlock,
                "--projections q",
                "last-block has no --projections",
            ),
            (
                MethodId::Ridge,
                "--block-rate 1",
                "ridge has no --block-rate",
            ),
            (MethodId::Ncm, "--keep-old 0", "ncm has no --keep-old"),
            (MethodId::Lora, "--rank 33", "--rank must be 1 to 32"),
            (MethodId::Lora, "--rank 0", "--rank must be 1 to 32"),
            (
                MethodId::NormBias,
                "--block-rate nan",
                "--block-rate must be",
            ),
            (MethodId::Softmax, "--keep-old 2", "--keep-old must be"),
            (MethodId::Softmax, "--hold-back 1", "one sample in 1"),
            (MethodId::Softmax, "--batch 0", "batch"),
        ] {
            let error = plan(method, args).unwrap_err().to_string();
            assert!(error.contains(part), "{args}: {error}");
        }
    }
}
