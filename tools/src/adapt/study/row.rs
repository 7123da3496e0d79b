//! The lines of a study's table.

use serde::Serialize;
use tailtune::tune::MethodId;

/// One line of the table: a method in a protocol.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The protocol.
    pub study: String,
    /// The variant: shots, noise.
    pub what: String,
    /// The method.
    pub method: &'static str,
    /// Mean accuracy before the shots, where there was something.
    pub before: Option<f64>,
    /// Mean accuracy after.
    pub after: f64,
    /// The lowest of the accuracies that the mean is of.
    pub worst: f64,
    /// Of how many speakers or splits, times seeds.
    pub runs: usize,
    /// Of add-words: mean accuracy on the added words. `before` and `after` are of the old ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_words: Option<f64>,
    /// Of self-label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudo: Option<Pseudo>,
}

/// What became of unlabelled clips.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pseudo {
    /// Share of the stream that took a pseudo-label.
    pub taken: f64,
    /// Share of those that are wrong.
    pub wrong: f64,
    /// Share of the runs whose tune the guard took back.
    pub rolled_back: f64,
}

/// Accuracies before and after, of one run.
pub(super) type Pair = (Option<f64>, f64);

pub(super) fn row(study: &str, what: &str, method: MethodId, runs: &[Pair]) -> Row {
    let before: Option<Vec<f64>> = runs.iter().map(|r| r.0).collect();
    let after: Vec<f64> = runs.iter().map(|r| r.1).collect();
    Row {
        study: study.into(),
        what: what.into(),
        method: method.name(),
        before: before.map(|before| mean(&before)),
        after: mean(&after),
        worst: after.iter().copied().fold(1.0, f64::min),
        runs: runs.len(),
        added_words: None,
        pseudo: None,
    }
}

/// Returns the mean, 0 of nothing.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
