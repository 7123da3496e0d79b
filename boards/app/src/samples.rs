//! The samples of a job, through the encoder one at a time.

use crate::error::{AppError, PlatformError, replay, room};
use crate::job::{Job, LABEL_BYTES};
use crate::session::{MAX_CLASSES, Platform};
use embedded_storage::nor_flash::NorFlash;
use tailtune::image::{Image, InputKind};
use tailtune::model::decoder::argmax;
use tailtune::model::{Encoder, Features, Head, Input, InputError};
use tailtune::tune::{FlashReplay, Replay};
use zerocopy::FromBytes;

/// Labels of classes that are still to be added are above the image's own: any is taken.
const ANY_LABEL: usize = u16::MAX as usize;

/// Says whether a feature's class is its label's.
pub(crate) type Judge<'j, E> = dyn FnMut(&Features<'_>, u16) -> Result<bool, AppError<E>> + 'j;

pub(crate) struct JobSamples<'p, P> {
    pub platform: &'p mut P,
    pub job: Job,
    pub input: &'p mut [u8],
    kind: InputKind,
}

impl<'p, P: Platform> JobSamples<'p, P> {
    pub fn new<E>(
        platform: &'p mut P,
        job: Job,
        buffer: &'p mut [u8],
        image: &Image<'_>,
    ) -> Result<Self, AppError<E>> {
        let input = room(buffer, job.sample_len)?;
        Ok(Self {
            platform,
            job,
            input,
            kind: image.config().input,
        })
    }

    /// Returns the sample that was read last.
    pub fn input(&self) -> Input<'_> {
        as_input(self.input, self.kind)
    }

    /// Reads sample `index` into the input buffer; returns its label.
    pub fn read(&mut self, index: u32) -> Result<u16, PlatformError> {
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
    pub fn forward<'e>(
        &mut self,
        encoder: &'e mut Encoder<'_>,
    ) -> Result<Features<'e>, InputError> {
        // Not taken out of the result before the end: a forward is large, and stacks are small.
        let mut run = encoder.begin(as_input(self.input, self.kind));
        while run.as_mut().is_ok_and(|run| run.step()) {
            self.platform.between_steps();
        }
        run.map(|run| run.finish())
    }

    /// Returns how many test samples `right` calls right, of their features.
    #[inline(never)]
    pub fn count<E>(
        &mut self,
        encoder: &mut Encoder<'_>,
        phase: &str,
        right: &mut Judge<'_, E>,
    ) -> Result<u32, AppError<E>> {
        let (first, count) = (self.job.train, self.job.test);
        let mut sum = 0;
        for i in 0..count {
            let label = self.read(first.saturating_add(i))?;
            sum += u32::from(right(&self.forward(encoder)?, label)?);
            self.platform.progress(phase, i + 1, count);
        }
        Ok(sum)
    }

    /// Keeps the features of the training samples.
    #[inline(never)]
    pub fn keep<E>(
        &mut self,
        encoder: &mut Encoder<'_>,
        to: &mut Replay<'_>,
    ) -> Result<(), AppError<E>> {
        for i in 0..self.job.train {
            let label = self.read(i)?;
            to.push(&self.forward(encoder)?, label, ANY_LABEL)?;
            self.platform.progress("train", i + 1, self.job.train);
        }
        Ok(())
    }

    /// Keeps the latents of the training samples, each by way of `buffer`.
    pub fn keep_latents<E, R: NorFlash>(
        &mut self,
        encoder: &mut Encoder<'_>,
        buffer: &mut [i8],
        to: &mut FlashReplay<'_, R>,
    ) -> Result<(), AppError<E>> {
        for i in 0..self.job.train {
            let label = self.read(i)?;
            let features = encoder.latent(self.input(), buffer)?;
            to.push(&features, label, ANY_LABEL).map_err(replay)?;
            self.platform.between_steps();
            self.platform.progress("train", i + 1, self.job.train);
        }
        Ok(())
    }
}

/// Returns a sample as the model reads it: frames as they are; of tokens a u32 with their number, ids
/// u32 with room for the longest input, and as many segment ids u8 where the model has segments. What is
/// no such sample becomes one that the model refuses.
pub(crate) fn as_input(bytes: &[u8], kind: InputKind) -> Input<'_> {
    let InputKind::Tokens { n_segments, .. } = kind else {
        return Input::Frames(as_i8(bytes));
    };
    tokens(bytes, n_segments > 0).unwrap_or(Input::Frames(&[]))
}

fn tokens(bytes: &[u8], segments: bool) -> Option<Input<'_>> {
    let (n, rest) = u32::ref_from_prefix(bytes).ok()?;
    let (n, room) = (*n as usize, rest.len() / if segments { 5 } else { 4 });
    let (ids, rest) = <[u32]>::ref_from_prefix_with_elems(rest, room).ok()?;
    let ids = ids.get(..n)?;
    let segments = if segments { rest.get(..n)? } else { &[] };
    Some(Input::Tokens { ids, segments })
}

pub(crate) fn best_class(head: &Head<'_>, features: &Features<'_>) -> Option<u16> {
    let mut logits = [i16::MIN; MAX_CLASSES];
    head.logits(features, &mut logits);
    first_greatest(logits.get(..head.n_classes().min(MAX_CLASSES))?)
}

/// Returns the place of the greatest logit, the first of equal ones.
pub(crate) fn first_greatest(logits: &[i16]) -> Option<u16> {
    (!logits.is_empty()).then(|| argmax(logits) as u16)
}

/// Returns bytes as the int8 values that they are.
pub(crate) fn as_i8(bytes: &[u8]) -> &[i8] {
    <[i8]>::ref_from_bytes(bytes).unwrap_or(&[])
}

/// As [`as_i8`], to be written.
pub(crate) fn as_i8_mut(bytes: &mut [u8]) -> &mut [i8] {
    <[i8]>::mut_from_bytes(bytes).unwrap_or_default()
}

/// Returns as many numbers as bytes hold from their start on; none where these are not aligned to words.
pub(crate) fn as_f32_mut(bytes: &mut [u8]) -> &mut [f32] {
    let count = bytes.len() / size_of::<f32>();
    let numbers = <[f32]>::mut_from_prefix_with_elems(bytes, count);
    numbers.map_or(&mut [], |(numbers, _)| numbers)
}
