//! Flat parameters with their gradient and what an optimizer keeps of them.

use crate::tune::optimizer::{State, Step};
use crate::tune::softmax::enough;
use crate::tune::vector::descend;
use crate::tune::{Buffer, Math, Schedule, TuneError};

/// The memory of a block's parameters, lent by the caller: each as long as the parameters.
#[derive(Debug, Default)]
pub struct FlatBuffers<'m> {
    /// The parameters.
    pub values: &'m mut [f32],
    /// Their gradient, gathered over a batch.
    pub gradient: &'m mut [f32],
    /// Velocities, or Adam's first moments; may be empty for plain SGD.
    pub first: &'m mut [f32],
    /// Adam's second moments; may be empty without Adam.
    pub second: &'m mut [f32],
}

/// Parameters under training.
pub struct Flat<'m> {
    pub values: &'m mut [f32],
    pub gradient: &'m mut [f32],
    first: &'m mut [f32],
    second: &'m mut [f32],
    step: Step,
    /// Learning rate by the schedule's.
    rate: f32,
    decays: bool,
    batch: u32,
    gathered: u32,
}

impl<'m> Flat<'m> {
    /// Returns `len` parameters; weight decay pulls them where `decays`.
    pub fn new(
        buffers: FlatBuffers<'m>,
        len: usize,
        math: Math,
        rate: f32,
        decays: bool,
    ) -> Result<Self, TuneError> {
        enough(Buffer::Parameters, buffers.values.len(), len)?;
        enough(Buffer::Parameters, buffers.gradient.len(), len)?;
        Ok(Self {
            values: buffers.values.get_mut(..len).unwrap_or_default(),
            gradient: buffers.gradient.get_mut(..len).unwrap_or_default(),
            first: buffers.first,
            second: buffers.second,
            step: Step::new(math),
            rate,
            decays,
            batch: 1,
            gathered: 0,
        })
    }

    pub fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
        let len = self.values.len();
        let moments = schedule.flat_moments();
        if moments > 0 {
            enough(Buffer::Velocity, self.first.len(), len)?;
        }
        if moments > 1 {
            enough(Buffer::Adam, self.second.len(), len)?;
        }
        self.step.begin_epoch(schedule, epoch);
        self.step.rate *= self.rate;
        if !self.decays {
            self.step.decay = 0.0;
        }
        (self.batch, self.gathered) = (schedule.batch, 0);
        self.gradient.fill(0.0);
        if epoch == 0 {
            self.first.fill(0.0);
            self.second.fill(0.0);
        }
        Ok(())
    }

    /// Counts a sample whose gradient was added; the last of a batch makes a step.
    pub fn sample_done(&mut self) {
        self.gathered = self.gathered.saturating_add(1);
        if self.gathered >= self.batch {
            self.flush();
        }
    }

    /// Makes a step of what was gathered.
    pub fn flush(&mut self) {
        if self.gathered == 0 {
            return;
        }
        self.gathered = 0;
        if self.batch > 1 {
            let share = 1.0 / self.batch as f32;
            self.gradient.iter_mut().for_each(|g| *g *= share);
        }
        self.step.advance();
        descend(
            &self.step,
            State {
                parameters: self.values,
                gradient: self.gradient,
                first: self.first,
                second: self.second,
            },
        );
    }

    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|w| w.is_finite())
    }
}
