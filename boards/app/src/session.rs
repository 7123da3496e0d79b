//! One job, from the image to the answers.

use crate::job::{HEADER_BYTES, Job, Kind, LABEL_BYTES, names};
use crate::outcome::{MAGIC, Outcome};
use core::fmt;
use embedded_storage::nor_flash::NorFlash;
use tailtune::image::{Image, ImageError};
use tailtune::model::{Arena, Encoder, EncoderError, Features, Head, Input, InputError};
use tailtune::store::{LayoutError, Saved, Store, StoreError};
use tailtune::tune::{
    HeadMemory, LinearHead, Math, Method, MomentumMemory, Replay, ReplayMemory, Report, Schedule,
    Softmax, Tail, TailError, TuneError, Tuner, evaluate,
};
use zerocopy::little_endian::{F32, U32};
use zerocopy::{FromBytes, IntoBytes};

/// What a board gives the application.
pub trait Platform {
    /// Reads job bytes from `offset` on; an error where there are none.
    ///
    /// # Errors
    /// Anything that keeps the bytes from being read whole.
    fn read_job(&mut self, offset: u32, buffer: &mut [u8]) -> Result<(), PlatformError>;

    /// Appends to the result.
    ///
    /// # Errors
    /// Anything that keeps the bytes from being written whole.
    fn write_result(&mut self, bytes: &[u8]) -> Result<(), PlatformError>;

    /// Says how far the job is: `done` of `total` samples of a phase.
    fn progress(&mut self, phase: &str, done: u32, total: u32);

    /// Decides what to do, knowing what the job says and whether flash holds a tail of this model.
    fn choose(&mut self, job: Kind, has_tail: bool) -> Kind {
        let _ = has_tail;
        job
    }

    /// Runs between two steps of a forward: a watchdog is fed here, an LED toggled.
    fn between_steps(&mut self) {}
}

/// A board could not read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PlatformError;

/// Why a job was not done.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AppError<E> {
    /// The model region holds no image.
    Image(ImageError),
    /// The image does not fit the board's memory, or has no head.
    Encoder(EncoderError),
    /// A sample does not fit the model.
    Input(InputError),
    /// The job region holds no job.
    Job,
    /// A sample, or the number of them, is larger than the board's memory.
    Memory {
        /// What was asked for.
        needed: u32,
        /// What there is.
        found: u32,
    },
    /// The board could not read the job or write the result.
    Platform,
    /// Tuning failed; the old tail stays.
    Tune(TuneError),
    /// A tail is malformed or does not fit its buffer.
    Tail(TailError),
    /// The image carries no front end, or one that this board has no room for.
    FrontEnd,
    /// The slots do not lie soundly in flash.
    Layout(LayoutError),
    /// The store failed; the old tail stays.
    Store(StoreError<E>),
}

impl<E: fmt::Debug> fmt::Display for AppError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(e) => write!(f, "model region: {e}"),
            Self::Encoder(e) => write!(f, "encoder: {e}"),
            Self::Input(e) => write!(f, "sample: {e}"),
            Self::Job => write!(f, "no job, or one of another version"),
            Self::Memory { needed, found } => {
                write!(f, "the job needs room for {needed}, this board has {found}")
            }
            Self::Platform => write!(f, "the job cannot be read or the result not written"),
            Self::Tune(e) => write!(f, "tuning: {e}"),
            Self::Tail(e) => write!(f, "tail: {e}"),
            Self::FrontEnd => write!(
                f,
                "no front end in the image, or one too large for this board"
            ),
            Self::Layout(e) => write!(f, "store: {e}"),
            Self::Store(e) => write!(f, "store: {e:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for AppError<E> {}

macro_rules! from {
    ($($error:ty => $variant:ident),*) => {
        $(impl<E> From<$error> for AppError<E> {
            fn from(e: $error) -> Self {
                Self::$variant(e)
            }
        })*
    };
}
impl<E> From<StoreError<E>> for AppError<E> {
    fn from(e: StoreError<E>) -> Self {
        Self::Store(e)
    }
}

from!(ImageError => Image, EncoderError => Encoder, InputError => Input, TuneError => Tune,
    TailError => Tail, LayoutError => Layout);

impl<E> From<PlatformError> for AppError<E> {
    fn from(_: PlatformError) -> Self {
        Self::Platform
    }
}

/// The memory of a session: arena of `A` bytes, inputs of up to `I` values, features of up to `D`
/// values, up to `C` classes, up to `N` training and as many test samples, tails of up to `T` bytes.
pub struct Memory<
    const A: usize,
    const I: usize,
    const D: usize,
    const C: usize,
    const N: usize,
    const T: usize,
> {
    arena: Arena<A>,
    input: [u8; I],
    head: HeadMemory<D, C>,
    momentum: MomentumMemory<D, C>,
    train: ReplayMemory<D, N>,
    test: ReplayMemory<D, N>,
    tail: [u8; T],
}

impl<const A: usize, const I: usize, const D: usize, const C: usize, const N: usize, const T: usize>
    Memory<A, I, D, C, N, T>
{
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            arena: Arena::new(),
            input: [0; I],
            head: HeadMemory::new(),
            momentum: MomentumMemory::new(),
            train: ReplayMemory::new(),
            test: ReplayMemory::new(),
            tail: [0; T],
        }
    }

    /// Runs the model once on frames that are the zero of every feature's int8 range, and returns the
    /// best class: a sign of life where there is no job.
    ///
    /// # Errors
    /// [`AppError`].
    pub fn sign_of_life<E>(&mut self, image: &[u8]) -> Result<u16, AppError<E>> {
        let image = Image::parse(image)?;
        let mut encoder = Encoder::new(&image, self.arena.as_mut_slice())?;
        let frames = image.config().input.frames();
        let (n_frames, n_features) = frames.ok_or(AppError::Input(InputError::Kind))?;
        let len = n_frames * n_features;
        let input = room(&mut self.input, len as u32)?;
        input.fill(0);
        let features = encoder.forward(Input::Frames(as_i8(input)))?;
        best_class(&Head::new(&image)?, &features).ok_or(AppError::Job)
    }

    /// Does the job that `platform` holds, with the model in `image` and the tails in `store`.
    ///
    /// # Errors
    /// [`AppError`]; a tail that was saved before is still there.
    pub fn run<P: Platform, F: NorFlash>(
        &mut self,
        platform: &mut P,
        image: &[u8],
        store: &mut Store<F>,
    ) -> Result<(), AppError<F::Error>> {
        let image = Image::parse(image)?;
        let mut header = [0; HEADER_BYTES];
        platform.read_job(0, &mut header)?;
        let mut job = Job::parse(&header).ok_or(AppError::Job)?;
        let id = image.model_id().0;
        job.kind = platform.choose(job.kind, store.locate(&id).is_ok());
        let encoder = Encoder::new(&image, self.arena.as_mut_slice())?;
        if job.kind == Kind::Listen {
            #[cfg(feature = "audio")]
            return crate::listen::listen(platform, &job, &image, encoder, &mut self.input);
            #[cfg(not(feature = "audio"))]
            return Err(AppError::Job);
        }
        let input = room(&mut self.input, job.sample_len)?;
        let mut samples = Samples {
            platform,
            job,
            encoder,
            input,
        };
        if job.kind == Kind::Infer {
            return infer(&mut samples, &image);
        }

        let d_model = usize::from(image.config().d_model);
        let (mut train, mut test) = (self.train.replay(d_model)?, self.test.replay(d_model)?);
        let image_head = Head::new(&image)?;
        let right_before = samples.collect(job.train, job.test, "test", &mut test, &image_head)?;
        if job.kind == Kind::Evaluate {
            let saved = store.load(&id, &mut self.tail)?;
            let bytes = self.tail.get(..saved.len).unwrap_or(&[]);
            let tail = Tail::parse(bytes)?;
            let head = LinearHead::new(self.head.buffers(), &tail)?;
            let mut method = Softmax::new(head, self.momentum.buffers(), tail.math())?;
            let right_after = evaluate(&mut method, &mut test)?.right;
            let outcome = outcome(&job, right_before, right_after, &Report::NONE, &saved);
            return finish(samples.platform, &outcome, bytes);
        }
        samples.collect(0, job.train, "train", &mut train, &image_head)?;

        let mut head = LinearHead::new(self.head.buffers(), &image_head)?;
        // The input buffer is free now: the names of the classes to add fit it.
        let added = room(&mut self.input, job.names_len)?;
        platform.read_job(HEADER_BYTES as u32, added)?;
        for name in names(added) {
            head.add_class(name)?;
        }
        let method = Softmax::new(head, self.momentum.buffers(), Math::Exact)?;
        let mut tuner = Tuner::new(method, train);
        let report = tune(platform, &mut tuner, &job.schedule)?;
        let right_after = evaluate(tuner.method_mut(), &mut test)?.right;
        let len = tuner.emit_tail(&mut self.tail)?;
        let bytes = self.tail.get(..len).unwrap_or(&[]);
        let saved = store.save(&id, bytes)?;
        let outcome = outcome(&job, right_before, right_after, &report, &saved);
        finish(platform, &outcome, bytes)
    }
}

impl<const A: usize, const I: usize, const D: usize, const C: usize, const N: usize, const T: usize>
    Default for Memory<A, I, D, C, N, T>
{
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the first `len` bytes of a buffer.
pub(crate) fn room<E>(buffer: &mut [u8], len: u32) -> Result<&mut [u8], AppError<E>> {
    let found = buffer.len() as u32;
    buffer
        .get_mut(..len as usize)
        .ok_or(AppError::Memory { needed: len, found })
}

/// The samples of a job, run through the encoder one at a time.
struct Samples<'p, 'a, P> {
    platform: &'p mut P,
    job: Job,
    encoder: Encoder<'a>,
    input: &'a mut [u8],
}

impl<P: Platform> Samples<'_, '_, P> {
    /// Reads sample `index` into the input buffer; returns its label.
    fn read(&mut self, index: u32) -> Result<u16, PlatformError> {
        let offset = self.job.sample_offset(index).ok_or(PlatformError)?;
        let mut label = [0; LABEL_BYTES];
        self.platform.read_job(offset, &mut label)?;
        let values = offset
            .checked_add(LABEL_BYTES as u32)
            .ok_or(PlatformError)?;
        self.platform.read_job(values, self.input)?;
        Ok(u16::from_le_bytes(label))
    }

    /// Runs the encoder on the input buffer, step by step.
    fn forward(&mut self) -> Result<Features<'_>, InputError> {
        let mut run = self.encoder.begin(Input::Frames(as_i8(self.input)))?;
        while run.step() {
            self.platform.between_steps();
        }
        Ok(run.finish())
    }

    /// Keeps the features of samples `first .. first + count`; returns how many the image's own head
    /// gets right.
    fn collect<E>(
        &mut self,
        first: u32,
        count: u32,
        phase: &str,
        to: &mut Replay<'_>,
        head: &Head<'_>,
    ) -> Result<u32, AppError<E>> {
        if count as usize > to.capacity() {
            return Err(AppError::Memory {
                needed: count,
                found: to.capacity() as u32,
            });
        }
        let mut right = 0;
        for i in 0..count {
            let label = self.read(first.saturating_add(i))?;
            let features = self.forward()?;
            right += u32::from(best_class(head, &features) == Some(label));
            // Labels of classes that are still to be added are above the image's own.
            to.push(&features, label, usize::from(u16::MAX))?;
            self.platform.progress(phase, i + 1, count);
        }
        Ok(right)
    }
}

/// Logits that fit the stack; an image with more classes is answered for the first ones.
pub(crate) const MAX_CLASSES: usize = 64;

fn best_class(head: &Head<'_>, features: &Features<'_>) -> Option<u16> {
    let mut logits = [i16::MIN; MAX_CLASSES];
    head.logits(features, &mut logits);
    let mut best: Option<(u16, i16)> = None;
    for (class, &logit) in (0u16..).zip(logits.iter().take(head.n_classes())) {
        if best.is_none_or(|(_, most)| logit > most) {
            best = Some((class, logit));
        }
    }
    best.map(|(class, _)| class)
}

/// Runs every test sample whole and in steps, and writes both logits.
fn infer<P: Platform, E>(
    samples: &mut Samples<'_, '_, P>,
    image: &Image<'_>,
) -> Result<(), AppError<E>> {
    let head = Head::new(image)?;
    let n = head.n_classes();
    if n > MAX_CLASSES {
        return Err(AppError::Memory {
            needed: n as u32,
            found: MAX_CLASSES as u32,
        });
    }
    for i in 0..samples.job.test {
        samples.read(samples.job.train.saturating_add(i))?;
        let mut logits = [0i16; MAX_CLASSES];
        let logits = logits.get_mut(..n).unwrap_or_default();
        let whole = samples
            .encoder
            .forward(Input::Frames(as_i8(samples.input)))?;
        head.logits(&whole, logits);
        samples.platform.write_result(logits.as_bytes())?;
        let features = samples.forward()?;
        head.logits(&features, logits);
        samples.platform.write_result(logits.as_bytes())?;
        samples.platform.progress("infer", i + 1, samples.job.test);
    }
    Ok(())
}

/// Tunes, one sample a step.
fn tune<P: Platform, E, M: Method>(
    platform: &mut P,
    tuner: &mut Tuner<'_, M>,
    schedule: &Schedule,
) -> Result<Report, AppError<E>> {
    let mut fit = tuner.begin_fit(schedule)?;
    platform.progress("tune, epochs", 0, schedule.epochs);
    while fit.step()? {
        platform.between_steps();
    }
    platform.progress("tune, epochs", schedule.epochs, schedule.epochs);
    Ok(fit.finish()?)
}

fn outcome(job: &Job, before: u32, after: u32, report: &Report, saved: &Saved) -> Outcome {
    Outcome {
        magic: MAGIC,
        test: U32::new(job.test),
        right_before: U32::new(before),
        right_after: U32::new(after),
        steps: U32::new(report.steps),
        first_loss: F32::new(report.first_loss),
        last_loss: F32::new(report.last_loss),
        epochs: U32::new(report.epochs),
        sequence: U32::new(saved.sequence),
        slot: U32::new(saved.slot as u32),
        tail_len: U32::new(saved.len as u32),
    }
}

fn finish<P: Platform, E>(
    platform: &mut P,
    outcome: &Outcome,
    tail: &[u8],
) -> Result<(), AppError<E>> {
    platform.write_result(outcome.as_bytes())?;
    Ok(platform.write_result(tail)?)
}

/// Returns bytes as the int8 values that they are.
fn as_i8(bytes: &[u8]) -> &[i8] {
    <[i8]>::ref_from_bytes(bytes).unwrap_or(&[])
}
