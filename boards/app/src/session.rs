//! One job, from the image to the answers.

use crate::error::{AppError, PlatformError, replay, room};
use crate::job::{HEADER_BYTES, Job, Kind, names};
use crate::outcome::Outcome;
use crate::samples::{JobSamples, as_f32_mut, as_i8, as_i8_mut, best_class};
use crate::tune::{self, Done};
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use tailtune::image::Image;
use tailtune::model::latent::latent_bytes;
use tailtune::model::{Arena, Encoder, Head, Input, InputError};
use tailtune::store::Store;
use tailtune::tune::{
    ClassName, FlashBuffers, FlashReplay, HeadOrigin, Replay, Samples, Start, Tail, TuneError,
    WorkMemory, Workspace, argmax,
};
use zerocopy::IntoBytes;

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

    /// Starts counting executed instructions, or what the board counts in their place, from 0.
    fn restart_clock(&mut self) {}

    /// Returns what was counted since; 0 on a board that counts nothing.
    fn clock(&mut self) -> u32 {
        0
    }

    /// Runs between two steps of a forward: a watchdog is fed here, an LED toggled.
    fn between_steps(&mut self) {}
}

/// Where the latents of the last block are kept while it is tuned: whatever else is there is lost.
#[derive(Debug)]
pub struct ReplayFlash<R> {
    /// The flash; `&mut` of the store's will not do, another driver's half of it may.
    pub flash: R,
    /// Bytes of it, in whole erase blocks; empty on a board that tunes heads only.
    pub region: Range<u32>,
}

/// The memory of a session: arena of `A` bytes, inputs of up to `I` values, up to `C` added classes, up
/// to `N` training samples and as many test samples, and `W` numbers of 4 bytes in which everything else
/// of a tune is laid out: features or a latent, the head, the method, the tail. Head and method take the
/// arena instead where that is the larger one.
pub struct Memory<const A: usize, const I: usize, const C: usize, const N: usize, const W: usize> {
    pub(crate) arena: Arena<A>,
    pub(crate) input: Arena<I>,
    pub(crate) names: [ClassName; C],
    seen: [u32; C],
    pub(crate) labels: [[u16; N]; 2],
    pub(crate) work: WorkMemory<W>,
}

impl<const A: usize, const I: usize, const C: usize, const N: usize, const W: usize>
    Memory<A, I, C, N, W>
{
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            arena: Arena::new(),
            input: Arena::new(),
            names: [const { ClassName::EMPTY }; C],
            seen: [0; C],
            labels: [[0; N]; 2],
            work: WorkMemory::new(),
        }
    }

    // Each of what a boot may do is a frame of its own: stacks are small, and one frame of all would hold them all.

    /// Runs the model once on frames that are the zero of every feature's int8 range, and returns the
    /// best class: a sign of life where there is no job.
    ///
    /// # Errors
    /// [`AppError`].
    #[inline(never)]
    pub fn sign_of_life<E>(&mut self, image: &[u8]) -> Result<u16, AppError<E>> {
        let image = Image::parse(image)?;
        let mut encoder = Encoder::new(&image, self.arena.as_mut_slice())?;
        let frames = image.config().input.frames();
        let (n_frames, n_features) = frames.ok_or(AppError::Input(InputError::Kind))?;
        let len = n_frames * n_features;
        let input = room(self.input.as_mut_slice(), len as u32)?;
        input.fill(0);
        let features = encoder.forward(Input::Frames(as_i8(input)))?;
        best_class(&Head::new(&image)?, &features).ok_or(AppError::Job)
    }

    /// Does the job that `platform` holds, with the model in `image` and the tails in `store`.
    ///
    /// # Errors
    /// [`AppError`]; a tail that was saved before is still there.
    pub fn run<P: Platform, F: NorFlash, R: NorFlash>(
        &mut self,
        platform: &mut P,
        image: &[u8],
        store: &mut Store<F>,
        latents: ReplayFlash<R>,
    ) -> Result<(), AppError<F::Error>> {
        let image = Image::parse(image)?;
        let mut header = [0; HEADER_BYTES];
        platform.read_job(0, &mut header)?;
        let mut job = Job::parse(&header).ok_or(AppError::Job)?;
        job.kind = platform.choose(job.kind, store.locate(&image.model_id().0).is_ok());
        match job.kind {
            #[cfg(feature = "audio")]
            Kind::Listen => {
                let encoder = Encoder::new(&image, self.arena.as_mut_slice())?;
                let input = self.input.as_mut_slice();
                crate::listen::listen(platform, &job, &image, encoder, input)
            }
            #[cfg(not(feature = "audio"))]
            Kind::Listen => Err(AppError::Job),
            #[cfg(feature = "text")]
            Kind::Tokenize => {
                let samples = JobSamples::new(platform, job, self.input.as_mut_slice(), &image)?;
                crate::tokenize::tokenize(samples, self.arena.as_mut_slice(), &image)
            }
            #[cfg(not(feature = "text"))]
            Kind::Tokenize => Err(AppError::Job),
            Kind::Infer => {
                let samples = JobSamples::new(platform, job, self.input.as_mut_slice(), &image)?;
                infer(samples, self.arena.as_mut_slice(), &image)
            }
            #[cfg(feature = "decode")]
            Kind::Decode => {
                let input = self.input.as_mut_slice();
                let samples = JobSamples::new(platform, job, input, &image)?;
                crate::decode::decode(samples, self.arena.as_mut_slice(), &image)
            }
            #[cfg(not(feature = "decode"))]
            Kind::Decode => Err(AppError::Job),
            Kind::Adapt | Kind::Evaluate => self.adapt(platform, job, &image, store, latents),
        }
    }

    /// Measures the image's own head; tunes, if that is the job; measures the tail that flash holds then.
    #[inline(never)]
    fn adapt<P: Platform, F: NorFlash, R: NorFlash>(
        &mut self,
        platform: &mut P,
        job: Job,
        image: &Image<'_>,
        store: &mut Store<F>,
        latents: ReplayFlash<R>,
    ) -> Result<(), AppError<F::Error>> {
        let (id, d) = (image.model_id().0, usize::from(image.config().d_model));
        let head = Head::new(image)?;
        let [labels, test_labels] = &mut self.labels;
        for count in [job.train, job.test] {
            room_for(count, N)?;
        }
        let mut samples = JobSamples::new(platform, job, self.input.as_mut_slice(), image)?;
        let mut work = self.work.workspace();
        // Features are kept to measure a tail's head on; a tail of the block needs the encoder once more.
        let below = job.kind == Kind::Adapt && job.recipe.method.below_the_block();
        if below && !cfg!(feature = "blocks") {
            return Err(TuneError::HeadsOnly.into());
        }
        let kept = if below { 0 } else { job.test as usize };
        let values = work.bytes(kept.max(1) * d)?;
        let mut test = Replay::new(as_i8_mut(values), test_labels, d)?;
        // Not taken out of the result: an encoder is large, and stacks are small.
        let mut encoder = Encoder::new(image, self.arena.as_mut_slice());
        let encoder = encoder.as_mut().map_err(|e| *e)?;
        let right_before = samples.count(encoder, "test", &mut |features, label| {
            if !below {
                test.push(features, label, usize::from(u16::MAX))?;
            }
            Ok(best_class(&head, features) == Some(label))
        })?;

        let mut done = Done::default();
        if job.kind == Kind::Adapt {
            let mut work = work.reborrow();
            let start = Start {
                image,
                head: &head,
                state: None,
            };
            let (mut in_flash, mut in_ram);
            let train: &mut dyn Samples = if cfg!(feature = "blocks") && below {
                let len = latent_bytes(image.config());
                let buffers = FlashBuffers {
                    labels,
                    seen: &mut self.seen,
                    values: as_i8_mut(work.bytes(len)?),
                };
                let region = of_no_more::<R>(latents.region, len, N);
                let opened = FlashReplay::open(latents.flash, region, *b"last", buffers, 1);
                in_flash = opened.map_err(replay)?;
                in_flash.clear().map_err(replay)?;
                let buffer = work.reborrow().bytes(len)?;
                samples.keep_latents(encoder, as_i8_mut(buffer), &mut in_flash)?;
                &mut in_flash
            } else {
                let values = work.bytes((job.train as usize).max(1) * d)?;
                in_ram = Replay::new(as_i8_mut(values), labels, d)?;
                samples.keep(encoder, &mut in_ram)?;
                &mut in_ram
            };
            let added = room(samples.input, job.names_len)?;
            samples.platform.read_job(HEADER_BYTES as u32, added)?;
            let work = larger(self.arena.as_mut_slice(), work);
            let platform = &mut *samples.platform;
            let method = tune::Job {
                recipe: &job.recipe,
                added: &|| names(added),
            };
            done = method.tune(platform, start, &mut self.names, train, work, store)?;
            if done.rolled_back() {
                let outcome = Outcome::new(&job, [right_before; 2], &done);
                return Ok(samples.platform.write_result(outcome.as_bytes())?);
            }
        }

        // A tail of a block needs the arena to be measured.
        #[cfg(not(feature = "blocks"))]
        let mut work = larger(self.arena.as_mut_slice(), work);
        let saved = store.locate(&id)?;
        let bytes = work.bytes(saved.len)?;
        done.saved = Some(store.load(&id, bytes)?);
        let tail = Tail::parse(bytes)?;
        let logits = work.take(tail.classes())?;
        let right_after = if tail.block().is_empty() {
            right_of(&tail, &mut test, logits)?
        } else {
            #[cfg(not(feature = "blocks"))]
            return Err(TuneError::HeadsOnly.into());
            #[cfg(feature = "blocks")]
            {
                let patched = image.patched(tail.block())?;
                let mut encoder = Encoder::new(&patched, self.arena.as_mut_slice())?;
                samples.count(&mut encoder, "test after", &mut |features, label| {
                    tail.logits(features, logits)?;
                    Ok(argmax(logits) == Some(label.into()))
                })?
            }
        };
        let outcome = Outcome::new(&job, [right_before, right_after], &done);
        samples.platform.write_result(outcome.as_bytes())?;
        Ok(samples.platform.write_result(bytes)?)
    }
}

impl<const A: usize, const I: usize, const C: usize, const N: usize, const W: usize> Default
    for Memory<A, I, C, N, W>
{
    fn default() -> Self {
        Self::new()
    }
}

fn room_for<E>(needed: u32, found: usize) -> Result<(), AppError<E>> {
    match needed as usize > found {
        true => Err(AppError::Memory {
            needed,
            found: found as u32,
        }),
        false => Ok(()),
    }
}

/// Returns the larger of two pieces of memory: the arena, once the encoder has done its part, or what is left.
pub(crate) fn larger<'m>(arena: &'m mut [u8], work: Workspace<'m>) -> Workspace<'m> {
    let arena = as_f32_mut(arena);
    match arena.len() > work.left() {
        true => Workspace::new(arena),
        false => work,
    }
}

/// Returns as much of a region as holds no more than `most` latents.
fn of_no_more<R: NorFlash>(mut region: Range<u32>, len: usize, most: usize) -> Range<u32> {
    let slots = |region: &Range<u32>| {
        FlashReplay::<'_, R>::slots(region.end.saturating_sub(region.start), len)
    };
    while slots(&region) > most {
        region.end = region.end.saturating_sub(R::ERASE_SIZE as u32);
    }
    region
}

/// Returns how many kept features a tail's head gets right.
#[inline(never)]
fn right_of<E>(
    tail: &Tail<'_>,
    kept: &mut Replay<'_>,
    logits: &mut [f32],
) -> Result<u32, AppError<E>> {
    let mut right = 0;
    for index in 0..kept.len() {
        if let Some((features, label)) = kept.get(index) {
            tail.logits(&features, logits)?;
            right += u32::from(argmax(logits) == Some(label.into()));
        }
    }
    Ok(right)
}

/// Logits that fit the stack; an image with more classes is answered for the first ones.
pub(crate) const MAX_CLASSES: usize = 64;

/// Runs every test sample whole and in steps, and writes both logits.
#[inline(never)]
fn infer<P: Platform, E>(
    mut samples: JobSamples<'_, P>,
    arena: &mut [u8],
    image: &Image<'_>,
) -> Result<(), AppError<E>> {
    let mut encoder = Encoder::new(image, arena);
    let encoder = encoder.as_mut().map_err(|e| *e)?;
    let head = Head::new(image)?;
    let n = head.n_classes();
    room_for(n as u32, MAX_CLASSES)?;
    for i in 0..samples.job.test {
        samples.read(samples.job.train.saturating_add(i))?;
        let mut logits = [0i16; MAX_CLASSES];
        let logits = logits.get_mut(..n).unwrap_or_default();
        let whole = encoder.forward(samples.input())?;
        head.logits(&whole, logits);
        samples.platform.write_result(logits.as_bytes())?;
        let features = samples.forward(encoder)?;
        head.logits(&features, logits);
        samples.platform.write_result(logits.as_bytes())?;
        samples.platform.progress("infer", i + 1, samples.job.test);
    }
    Ok(())
}
