//! The training loop, one sample at a time: any [`Method`] over any [`Samples`].
//!
//! ```text
//! score the samples held back
//! for each epoch:
//!     method.begin_epoch
//!     for each other sample, in the epoch's own order: method.step
//!     method.end_epoch
//!     all parameters finite? else method.restore, and an error
//!     no lower loss for `patience` epochs? end
//! score the samples held back again: fewer right? method.restore, and say so
//! ```
//!
//! A step is bounded work, so firmware can feed its watchdog between two of them. A loss that is not
//! finite ends the fit: the method goes back to where it started, and the error says where it was.
//!
//! *Held back* with `hold_back = n` is the n-th, the 2n-th … sample of each class, in the order of the
//! samples: the same ones whatever the seed, so that two fits are judged alike. A class with fewer than n
//! samples has none.

use super::guard::{Guard, Verdict, held_back, log_loss};
use super::shuffle::Shuffle;
use super::{Method, Samples, Schedule, TuneError};

/// What a finished fit did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Report {
    /// Passes over the samples.
    pub epochs: u32,
    /// Steps: samples learned from, over all epochs.
    pub steps: u32,
    /// Mean loss of the first epoch, each sample's taken before its step.
    pub first_loss: f32,
    /// Mean loss of the last epoch.
    pub last_loss: f32,
    /// What the samples held back say; none where there were none.
    pub guard: Option<Verdict>,
}

impl Report {
    /// Of a fit that has not begun.
    pub const NONE: Self = Self {
        epochs: 0,
        steps: 0,
        first_loss: 0.0,
        last_loss: 0.0,
        guard: None,
    };

    /// Returns whether the guard took the tune back.
    pub fn rolled_back(&self) -> bool {
        self.guard.is_some_and(|verdict| !verdict.kept())
    }
}

/// A fit under way: call [`step`](Self::step) until it returns `false`, or
/// [`finish`](Self::finish) at any time for the rest in one go.
///
/// One that is dropped half way leaves the method half trained; [`Method::restore`] takes it back.
pub struct Fit<'f, M: ?Sized, S: ?Sized> {
    method: &'f mut M,
    samples: &'f mut S,
    schedule: Schedule,
    shuffle: Shuffle,
    /// Samples of one epoch, those held back included.
    len: u32,
    epochs: u32,
    epoch: u32,
    position: u32,
    /// Sum of this epoch's losses, and of their weights.
    loss: f32,
    weight: f32,
    /// Classes that have a sample: only counted for class balance.
    present: u32,
    guard: Guard,
    /// The lowest loss, and how many epochs have passed since.
    best: f32,
    waited: u32,
    failed: Option<TuneError>,
    report: Report,
}

impl<'f, M: Method + ?Sized, S: Samples + ?Sized> Fit<'f, M, S> {
    /// Starts a fit. Nothing is changed yet.
    ///
    /// # Errors
    /// [`TuneError::NoSamples`], or [`TuneError::Schedule`] for a schedule out of its ranges.
    pub fn new(
        method: &'f mut M,
        samples: &'f mut S,
        schedule: &Schedule,
    ) -> Result<Self, TuneError> {
        schedule.validate()?;
        let len = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        if len == 0 {
            return Err(TuneError::NoSamples);
        }
        let mut present = 0;
        if schedule.class_balance {
            for index in 0..len as usize {
                let label = samples.label(index);
                let first = !(0..index).any(|before| samples.label(before) == label);
                present += u32::from(first);
            }
        }
        Ok(Self {
            epochs: method.epochs(schedule),
            method,
            samples,
            schedule: *schedule,
            shuffle: Shuffle::new(len, schedule.seed, 0),
            len,
            epoch: 0,
            position: 0,
            loss: 0.0,
            weight: 0.0,
            present,
            guard: Guard::new(schedule.hold_back),
            best: f32::INFINITY,
            waited: 0,
            failed: None,
            report: Report::NONE,
        })
    }

    /// Returns how many steps remain at most.
    pub fn steps_left(&self) -> u64 {
        let epochs = u64::from(self.epochs.saturating_sub(self.epoch));
        (epochs * u64::from(self.len)).saturating_sub(self.position.into())
    }

    /// Learns from the next sample and returns whether work remains.
    ///
    /// # Errors
    /// [`TuneError::NotFinite`], a sample that cannot be read or does not suit the method. The
    /// method has been put back to where it started, and every further call gives the same error.
    pub fn step(&mut self) -> Result<bool, TuneError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.epoch >= self.epochs {
            return Ok(false);
        }
        let result = self.advance();
        if let Err(error) = result {
            self.failed = Some(error);
            self.method.restore();
        }
        result
    }

    /// Does all remaining steps and returns what was done.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn finish(mut self) -> Result<Report, TuneError> {
        while self.step()? {}
        Ok(self.report)
    }

    fn advance(&mut self) -> Result<bool, TuneError> {
        let diverged = TuneError::NotFinite {
            epoch: self.epoch,
            step: self.position,
        };
        if self.position == 0 {
            if self.epoch == 0 {
                self.guard.before(self.method, self.samples)?;
            }
            self.method.begin_epoch(&self.schedule, self.epoch)?;
            self.shuffle = Shuffle::new(self.len, self.schedule.seed, self.epoch);
            (self.loss, self.weight) = (0.0, 0.0);
        }
        let index = self.shuffle.index(self.position) as usize;
        if !held_back(self.samples, index, self.schedule.hold_back) {
            let weight = self.weight_of(index);
            let sample = self.samples.get(index);
            let (features, label) = sample.ok_or(TuneError::SampleMissing { index })?;
            let loss = self.method.step(&features, label, weight)?;
            if !loss.is_finite() {
                return Err(diverged);
            }
            self.loss += loss;
            self.weight += weight;
            self.report.steps = self.report.steps.saturating_add(1);
        }
        self.position += 1;
        if self.position < self.len {
            return Ok(true);
        }
        self.method.end_epoch()?;
        if !self.method.is_finite() {
            return Err(diverged);
        }
        let mean = self.loss / if self.weight > 0.0 { self.weight } else { 1.0 };
        if self.epoch == 0 {
            self.report.first_loss = mean;
        }
        self.report.last_loss = mean;
        self.position = 0;
        self.epoch += 1;
        self.report.epochs = self.epoch;
        if self.is_stale(mean)? {
            self.epochs = self.epoch;
        }
        if self.epoch < self.epochs {
            return Ok(true);
        }
        self.report.guard = self.guard.after(self.method, self.samples)?;
        if self.report.rolled_back() {
            self.method.restore();
        }
        Ok(false)
    }

    /// Returns what a sample weighs.
    fn weight_of(&mut self, index: usize) -> f32 {
        if !self.schedule.class_balance {
            return self.schedule.emphasis;
        }
        let label = self.samples.label(index);
        let of_class = (0..self.len as usize).filter(|&i| self.samples.label(i) == label);
        let of_class = of_class.count() as f32 * self.present as f32;
        self.schedule.emphasis * (self.len as f32 / of_class)
    }

    /// Returns whether the loss has not fallen for as long as the schedule allows.
    fn is_stale(&mut self, mean: f32) -> Result<bool, TuneError> {
        let patience = self.schedule.patience;
        if patience == 0 {
            return Ok(false);
        }
        let held = log_loss(self.method, self.samples, self.schedule.hold_back)?;
        let loss = held.unwrap_or(mean);
        if loss < self.best {
            (self.best, self.waited) = (loss, 0);
        } else {
            self.waited += 1;
        }
        Ok(self.waited >= patience)
    }
}

/// How many samples a method gets right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Score {
    /// Samples whose greatest logit was their label's.
    pub right: u32,
    /// All samples.
    pub total: u32,
}

/// Scores a method on samples.
///
/// # Errors
/// A sample that cannot be read or has another shape, or a logit that is NaN.
pub fn evaluate<M, S>(method: &mut M, samples: &mut S) -> Result<Score, TuneError>
where
    M: Method + ?Sized,
    S: Samples + ?Sized,
{
    let mut score = Score::default();
    for index in 0..samples.len() {
        let sample = samples.get(index);
        let (features, label) = sample.ok_or(TuneError::SampleMissing { index })?;
        score.right += u32::from(method.predict(&features)? == label);
        score.total += 1;
    }
    Ok(score)
}
