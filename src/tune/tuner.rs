//! A method and its replay buffer in one: what firmware holds.

use super::{
    Fit, Method, MethodId, Replay, Report, Schedule, Score, TailError, TuneError, TunePlan,
    TuneSetup, evaluate,
};
use crate::image::ModelConfig;
use crate::model::Features;

/// A method and the samples that it learns from.
///
/// # Examples
/// ```
/// use tailtune::model::Features;
/// use tailtune::tune::*;
///
/// # fn main() -> Result<(), TuneError> {
/// // All memory is fixed: features of up to 4 values, up to 3 classes, up to 8 samples.
/// let mut head = HeadMemory::<4, 3>::new();
/// let mut momentum = MomentumMemory::<4, 3>::new();
/// let mut samples = ReplayMemory::<4, 8>::new();
///
/// let origin = FromScratch { d_model: 4 };
/// let head = LinearHead::new(head.buffers(), &origin)?;
/// let method = Softmax::new(head, momentum.buffers(), Math::Exact)?;
/// let mut tuner = Tuner::new(method, samples.replay(4)?);
///
/// let yes = tuner.method_mut().head_mut().add_class("yes")?;
/// let no = tuner.method_mut().head_mut().add_class("no")?;
/// // In firmware these come from `Encoder::forward`.
/// let feature = |values| Features { values, scale: 0.05, zero_point: -3 };
/// tuner.observe(&feature(&[90, -20, 7, 0]), yes)?;
/// tuner.observe(&feature(&[-80, 31, 5, 2]), no)?;
/// let report = tuner.fit(&Schedule { epochs: 10, ..Schedule::default() })?;
/// assert!(report.last_loss < report.first_loss);
/// assert_eq!(tuner.method_mut().predict(&feature(&[70, 0, 1, 1]))?, yes);
///
/// let mut tail = [0; 128];
/// let len = tuner.emit_tail(&mut tail).unwrap();
/// assert_eq!(Tail::parse(&tail[..len]).unwrap().added_names().nth(1), Some("no"));
/// # Ok(())
/// # }
/// ```
pub struct Tuner<'m, M> {
    method: M,
    replay: Replay<'m>,
}

impl Tuner<'_, ()> {
    /// Returns what tuning a model by a method takes: RAM by part, flash, and instructions a step, before
    /// anything runs. Also in constants.
    ///
    /// # Errors
    /// See [`TunePlan::new`].
    ///
    /// # Examples
    /// ```
    /// use tailtune::tune::{MethodId, TuneSetup, Tuner};
    /// # use tailtune::image::*;
    /// # let config = ModelConfig {
    /// #     n_layers: 12, d_model: 64, n_heads: 1, d_ff: 256, seq_len: 99, n_classes: 12,
    /// #     input: InputKind::Frames { n_frames: 98, n_features: 40 }, class_token: true,
    /// #     norm: NormOrder::Post, activation: Activation::Gelu, pooling: Pooling::ClassToken,
    /// #     embed_norm: false, final_norm: false,
    /// #     embedding_rank: 0, pooler: false, decoder: None,
    /// # };
    /// // Of KWT-1, with room for four classes more.
    /// let plan = Tuner::plan(&config, MethodId::Softmax, &TuneSetup::new(4))?;
    /// assert!(plan.tuning() <= 16 * 1024);
    /// # Ok::<(), tailtune::tune::TuneError>(())
    /// ```
    pub const fn plan(
        config: &ModelConfig,
        method: MethodId,
        setup: &TuneSetup,
    ) -> Result<TunePlan, TuneError> {
        TunePlan::new(config, method, setup)
    }
}

impl<'m, M: Method> Tuner<'m, M> {
    /// Returns a tuner.
    pub const fn new(method: M, replay: Replay<'m>) -> Self {
        Self { method, replay }
    }

    /// Returns the method.
    pub const fn method(&self) -> &M {
        &self.method
    }

    /// Returns the method, to add classes or to predict.
    pub const fn method_mut(&mut self) -> &mut M {
        &mut self.method
    }

    /// Returns the samples.
    pub const fn replay(&self) -> &Replay<'m> {
        &self.replay
    }

    /// Returns the samples, to clear them.
    pub const fn replay_mut(&mut self) -> &mut Replay<'m> {
        &mut self.replay
    }

    /// Keeps a labelled feature to learn from.
    ///
    /// # Errors
    /// The replay buffer is full, the label is out of range, or the feature does not suit.
    pub fn observe(&mut self, features: &Features<'_>, label: u16) -> Result<(), TuneError> {
        self.method.check(features, label)?;
        self.replay.push(features, label, self.method.classes())
    }

    /// Learns from what was observed.
    ///
    /// # Errors
    /// See [`Fit::new`] and [`Fit::step`]; whatever the error, the old tail is in place.
    pub fn fit(&mut self, schedule: &Schedule) -> Result<Report, TuneError> {
        self.begin_fit(schedule)?.finish()
    }

    /// Starts learning, one sample a step.
    ///
    /// # Errors
    /// See [`Fit::new`].
    pub fn begin_fit(&mut self, schedule: &Schedule) -> Result<Fit<'_, M, Replay<'m>>, TuneError> {
        Fit::new(&mut self.method, &mut self.replay, schedule)
    }

    /// Scores the method on the samples that it has learned from.
    ///
    /// # Errors
    /// See [`evaluate`].
    pub fn score(&mut self) -> Result<Score, TuneError> {
        evaluate(&mut self.method, &mut self.replay)
    }

    /// Returns how many bytes [`emit_tail`](Self::emit_tail) writes.
    pub fn tail_bytes(&self) -> usize {
        self.method.tail_bytes()
    }

    /// Writes the tail, for the store, and returns its length.
    ///
    /// # Errors
    /// See [`TailError`].
    pub fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError> {
        self.method.emit_tail(out)
    }
}
