//! How fast and how long: linear warm-up, then cosine decay to zero.

use serde::{Deserialize, Serialize};

/// The `[schedule]` of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Optimizer steps.
    pub steps: u64,
    /// Samples of one step.
    pub batch: usize,
    /// The rate after warm-up.
    pub learning_rate: f64,
    /// Steps from 0 to the full rate.
    #[serde(default)]
    pub warmup_steps: u64,
    /// AdamW's decay of matrices.
    #[serde(default = "weight_decay")]
    pub weight_decay: f32,
    /// Largest norm of the gradient.
    #[serde(default = "clip_norm")]
    pub clip_norm: f32,
    /// Share of the target that goes to all classes evenly, 0 to below 1 (Szegedy et al.,
    /// arXiv 1512.00567, §7).
    #[serde(default)]
    pub label_smoothing: f32,
    /// Steps from one report, validation and checkpoint to the next.
    #[serde(default = "report_every")]
    pub report_every: u64,
}

fn weight_decay() -> f32 {
    0.01
}

fn clip_norm() -> f32 {
    1.0
}

fn report_every() -> u64 {
    500
}

impl Schedule {
    /// Returns a schedule of so many steps with every other number at its default.
    pub fn short(steps: u64, batch: usize, learning_rate: f64) -> Self {
        Self {
            steps,
            batch,
            learning_rate,
            warmup_steps: steps / 20,
            weight_decay: weight_decay(),
            clip_norm: clip_norm(),
            label_smoothing: 0.0,
            report_every: steps.div_ceil(10),
        }
    }

    /// Returns the learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1);
        let done = (step - self.warmup_steps) as f64 / rest as f64;
        self.learning_rate * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done.min(1.0)))
    }

    /// Returns what is wrong with the numbers, if anything.
    pub fn fault(&self) -> Option<String> {
        let wrong = |key: &str, found: &dyn std::fmt::Display, expected: &str| {
            Some(format!("schedule.{key} is {found}, expected {expected}"))
        };
        if self.steps == 0 {
            return wrong("steps", &self.steps, "at least 1");
        }
        if self.batch < 2 {
            return wrong("batch", &self.batch, "at least 2");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return wrong("learning_rate", &self.learning_rate, "a number above 0");
        }
        if self.clip_norm.is_nan() || self.clip_norm <= 0.0 {
            return wrong("clip_norm", &self.clip_norm, "a number above 0");
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return wrong("label_smoothing", &self.label_smoothing, "0 to below 1");
        }
        if self.report_every == 0 {
            return wrong("report_every", &self.report_every, "at least 1");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_warms_up_and_decays_to_nothing() {
        let schedule: Schedule =
            toml::from_str("steps = 100\nbatch = 4\nlearning_rate = 0.1\nwarmup_steps = 10")
                .unwrap();
        assert_eq!(schedule.fault(), None);
        assert!((schedule.rate(0) - 0.01).abs() < 1e-12);
        assert!((schedule.rate(9) - 0.1).abs() < 1e-12);
        assert!((schedule.rate(55) - 0.05).abs() < 1e-12);
        assert!(schedule.rate(99) < 1e-4);
        let faulty = Schedule {
            batch: 1,
            ..schedule
        };
        assert!(faulty.fault().unwrap().contains("schedule.batch is 1"));
    }
}
