//! The loop: batches made ahead on a thread, gradients of two shards added in a fixed order, one
//! AdamW step; reports, checkpoints and the curve at fixed steps.
//!
//! A run is decided by its configuration, its data and its seed: stopped at any point and started
//! again it ends with the same bits (on the same kind of processor; the framework's matrix product
//! uses what vector instructions it finds).

use crate::checkpoint::{Checkpoint, FILE};
use crate::curve::Curve;
use crate::error::TrainError;
use crate::graph::Graph;
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::schedule::Schedule;
use burn::tensor::Tensor;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// Shards of a batch; a constant, so that the number of processors does not change the sums.
pub const SHARDS: usize = 2;

/// A loss with the parts that are reported.
pub struct Loss {
    /// The mean over the shard.
    pub total: Tensor<1>,
    /// Means over the shard by name.
    pub parts: Vec<(&'static str, f64)>,
}

/// What is learned, from what.
pub trait Task: Sync {
    /// One shard of a batch.
    type Shard: Send + Sync;

    /// Returns the shards of step `step`: the same ones each time it is asked.
    fn shards(&self, step: u64) -> Vec<Self::Shard>;

    /// Returns a graph over `params`.
    fn graph<'a>(&'a self, params: &'a Params) -> Graph<'a>;

    /// Returns the loss of a shard.
    fn loss(&self, graph: &Graph<'_>, shard: &Self::Shard) -> Loss;

    /// Returns what is measured on held-out samples, by name.
    fn validate(&self, params: &Params) -> BTreeMap<String, f64>;
}

/// What a run left.
pub struct Outcome {
    /// The training curve.
    pub curve: Curve,
    /// Seconds of all its parts.
    pub seconds: f64,
}

/// A run in a directory.
pub struct Trainer<'a> {
    /// Where checkpoint and curve go.
    pub dir: &'a Path,
    /// The title of the plot.
    pub title: &'a str,
    /// What decides that a checkpoint belongs to this run.
    pub run: String,
    /// How fast and how long.
    pub schedule: &'a Schedule,
    /// Stop after so many steps of this call, as a kill would; the next call goes on.
    pub stop_after: Option<u64>,
}

impl Trainer<'_> {
    /// Trains `params`, from the checkpoint in the directory where there is one.
    ///
    /// # Errors
    /// [`TrainError`]: a checkpoint of another run, a loss that is no number, a full disk. The last
    /// checkpoint stays.
    pub fn train<T: Task>(&self, task: &T, params: &mut Params) -> Result<Outcome, TrainError> {
        let path = self.dir.join(FILE);
        let mut optimizer = Optimizer::new(self.schedule.weight_decay, self.schedule.clip_norm);
        let (mut step, mut before, mut curve) = (0, 0.0, Curve::default());
        if let Some(checkpoint) = Checkpoint::read(&path)? {
            if checkpoint.run != self.run {
                let text = "it is of a run with another configuration or other data";
                return Err(TrainError::checkpoint(&path, &text));
            }
            checkpoint.apply(params, &path)?;
            optimizer.restore(checkpoint.moments);
            (step, before, curve) = (checkpoint.step, checkpoint.seconds, checkpoint.curve);
            eprintln!("going on after step {step} of {}", self.schedule.steps);
        }
        let start = Instant::now();
        let end = self.stop_after.map_or(self.schedule.steps, |n| {
            self.schedule.steps.min(step.saturating_add(n))
        });
        let bar = bar(self.schedule.steps, step);
        let mut sums = Sums::default();
        std::thread::scope(|scope| {
            let (sender, batches) = sync_channel(2);
            let first = step;
            scope.spawn(move || {
                // The receiver is gone after an error: then there is nothing left to do.
                let _ = (first..end).try_for_each(|s| sender.send(task.shards(s)));
            });
            while step < end {
                let Ok(shards) = batches.recv() else { break };
                let (loss, gradients) = gradients(task, params, &shards, &mut sums);
                if !loss.is_finite() {
                    return Err(TrainError::Diverged { step, loss });
                }
                let norm = optimizer.step(params, &gradients, self.schedule.rate(step));
                sums.add("gradient_norm", f64::from(norm), 1.0);
                step += 1;
                bar.set_position(step);
                if step % self.schedule.report_every == 0 || step == self.schedule.steps {
                    let mut report = std::mem::take(&mut sums).means();
                    report.extend(task.validate(params));
                    let seconds = before + start.elapsed().as_secs_f64();
                    self.report(step, &report, seconds, &bar);
                    curve.push(step, report);
                    self.checkpoint(step, seconds, params, &optimizer, &curve)?;
                }
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        let seconds = before + start.elapsed().as_secs_f64();
        Ok(Outcome { curve, seconds })
    }

    fn checkpoint(
        &self,
        step: u64,
        seconds: f64,
        params: &Params,
        optimizer: &Optimizer,
        curve: &Curve,
    ) -> Result<(), TrainError> {
        let values = params
            .iter()
            .map(|p| (p.tensor.name.clone(), p.tensor.values.clone()));
        let checkpoint = Checkpoint {
            step,
            seconds,
            run: self.run.clone(),
            values: values.collect(),
            moments: optimizer.moments(),
            curve: curve.clone(),
        };
        checkpoint.write(&self.dir.join(FILE))?;
        let csv = self.dir.join("training.csv");
        tailtune_tools::export::write_whole(&csv, curve.csv().as_bytes())?;
        curve.plot(self.title, &self.dir.join("training.svg"))
    }

    fn report(&self, step: u64, values: &BTreeMap<String, f64>, seconds: f64, bar: &ProgressBar) {
        let left = seconds / step as f64 * (self.schedule.steps - step) as f64;
        let mut line = format!("step {step}/{}", self.schedule.steps);
        for (name, value) in values {
            line += &format!("  {name} {value:.4}");
        }
        line += &format!("  {:.0} min left", left / 60.0);
        bar.suspend(|| eprintln!("{line}"));
    }
}

fn bar(steps: u64, done: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("training [{bar:30}] {pos}/{len}, {eta} left");
    let bar = ProgressBar::new(steps).with_position(done);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Each parameter's gradient, in the order of the parameters; none where the loss does not
/// depend on it.
pub type Gradients = Vec<Option<Vec<f32>>>;

/// Returns the loss and the gradients of a batch: the means over its shards.
pub fn gradients<T: Task>(
    task: &T,
    params: &Params,
    shards: &[T::Shard],
    sums: &mut Sums,
) -> (f32, Gradients) {
    let one = |shard: &T::Shard| {
        let graph = task.graph(params);
        let loss = task.loss(&graph, shard);
        let gradients = graph.gradients(&loss.total, params);
        let value = crate::graph::values(loss.total)
            .first()
            .copied()
            .unwrap_or(f32::NAN);
        (value, loss.parts, gradients)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = shards.iter().map(|s| scope.spawn(move || one(s))).collect();
        let join = |t: std::thread::ScopedJoinHandle<'_, _>| {
            t.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let share = 1.0 / shards.len().max(1) as f32;
    let mut total = 0.0;
    let mut sum: Gradients = vec![None; params.iter().len()];
    for (loss, parts, gradients) in results {
        total += loss * share;
        sums.add("loss", f64::from(loss), 1.0);
        for (name, value) in parts {
            sums.add(name, value, 1.0);
        }
        for (sum, gradient) in sum.iter_mut().zip(gradients) {
            accumulate(sum, gradient, share);
        }
    }
    (total, sum)
}

fn accumulate(sum: &mut Option<Vec<f32>>, gradient: Option<Vec<f32>>, share: f32) {
    let Some(gradient) = gradient else { return };
    let sum = sum.get_or_insert_with(|| vec![0.0; gradient.len()]);
    for (s, g) in sum.iter_mut().zip(gradient) {
        *s += g * share;
    }
}

/// Weighted means by name.
#[derive(Debug, Default)]
pub struct Sums(BTreeMap<String, (f64, f64)>);

impl Sums {
    fn add(&mut self, name: &str, value: f64, weight: f64) {
        let entry = self.0.entry(name.to_owned()).or_default();
        *entry = (entry.0 + value * weight, entry.1 + weight);
    }

    fn means(self) -> BTreeMap<String, f64> {
        let mean = |(name, (sum, weight)): (String, (f64, f64))| (name, sum / weight.max(1e-12));
        self.0.into_iter().map(mean).collect()
    }
}

/// An endless shuffled stream of places in `n` samples: every epoch sees each sample once, in its own
/// order.
pub struct Stream {
    n: usize,
    seed: u64,
}

impl Stream {
    /// Returns the stream over `n` samples.
    pub fn new(n: usize, seed: u64) -> Self {
        Self { n, seed }
    }

    /// Returns the places at `count` positions from `start` on.
    pub fn places(&self, start: u64, count: usize) -> Vec<usize> {
        let n = self.n as u64;
        let mut epoch = u64::MAX;
        let mut order = Vec::new();
        let place = |position: u64| {
            if position / n != epoch {
                epoch = position / n;
                order = shuffled(self.n, self.seed.wrapping_add(epoch.wrapping_mul(0x9e37)));
            }
            order[(position % n) as usize]
        };
        (start..start + count as u64).map(place).collect()
    }
}

/// Returns the numbers below `n` in an order that `seed` decides.
pub fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let r = &mut tailtune_tools::synthetic::Random::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, r.below(i as u32 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_sees_each_sample_once() {
        let stream = Stream::new(7, 1);
        let mut epoch = stream.places(7, 7);
        assert_ne!(epoch, stream.places(0, 7));
        assert_eq!(
            stream.places(5, 4),
            [stream.places(0, 7)[5..].to_vec(), epoch[..2].to_vec()].concat()
        );
        epoch.sort_unstable();
        assert_eq!(epoch, [0, 1, 2, 3, 4, 5, 6]);
    }
}
