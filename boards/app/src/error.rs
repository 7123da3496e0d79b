//! Why a job was not done.

use core::fmt;
use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};
use tailtune::image::ImageError;
use tailtune::model::{EncoderError, InputError};
use tailtune::store::{LayoutError, StoreError};
use tailtune::tune::{ReplayError, TailError, TuneError};

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
    /// The image carries no tokenizer, or a text has no tokens.
    #[cfg(feature = "text")]
    Text(tailtune::text::TextError),
    /// The slots do not lie soundly in flash.
    Layout(LayoutError),
    /// The store failed; the old tail stays.
    Store(StoreError<E>),
    /// The latents of the last block cannot be kept; the old tail stays.
    Replay(ReplayError<FlashFailed>),
}

/// The flash for latents reported an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FlashFailed {
    /// An address or a length that is no multiple of what it must be.
    NotAligned,
    /// An address or a length that the flash does not have.
    OutOfBounds,
    /// Anything else.
    Other,
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
            #[cfg(feature = "text")]
            Self::Text(e) => write!(f, "text: {e}"),
            Self::Layout(e) => write!(f, "store: {e}"),
            Self::Store(e) => write!(f, "store: {e:?}"),
            Self::Replay(e) => write!(f, "replay flash: {e}"),
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

#[cfg(feature = "text")]
impl<E> From<tailtune::text::TextError> for AppError<E> {
    fn from(e: tailtune::text::TextError) -> Self {
        Self::Text(e)
    }
}

impl<E> From<PlatformError> for AppError<E> {
    fn from(_: PlatformError) -> Self {
        Self::Platform
    }
}

/// Takes an error of the replay, whatever its flash.
pub(crate) fn replay<E, R: NorFlashError>(error: ReplayError<R>) -> AppError<E> {
    AppError::Replay(error.map_flash(|e| match e.kind() {
        NorFlashErrorKind::NotAligned => FlashFailed::NotAligned,
        NorFlashErrorKind::OutOfBounds => FlashFailed::OutOfBounds,
        _ => FlashFailed::Other,
    }))
}

/// Returns the first `len` bytes of a buffer.
pub(crate) fn room<E>(buffer: &mut [u8], len: u32) -> Result<&mut [u8], AppError<E>> {
    let found = buffer.len() as u32;
    buffer
        .get_mut(..len as usize)
        .ok_or(AppError::Memory { needed: len, found })
}
