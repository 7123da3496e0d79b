//! Why the model does not work.

use tailtune::image::ImageError;
use tailtune::model::{EncoderError, InputError};
use tailtune::store::{LayoutError, StoreError};
use tailtune::tune::{TailError, TuneError};

/// Why the model does not work; `E` is the flash's error.
#[derive(Debug)]
#[allow(dead_code, reason = "what they hold is printed")]
pub enum Failure<E> {
    /// The model's region holds no image: `tailtune flash` writes one.
    Image(ImageError),
    /// The image is of another model than this firmware was made for.
    OtherModel,
    /// The image does not fit the memory, or has no head.
    Encoder(EncoderError),
    /// A sample has another shape than the model's input.
    Input(InputError),
    /// Learning failed; what was learned before stays.
    Tune(TuneError),
    /// What was learned cannot be read.
    Tail(TailError),
    /// The slots do not suit the flash.
    Layout(LayoutError),
    /// Nothing was saved; what was learned before stays.
    Store(StoreError<E>),
}

macro_rules! from {
    ($($error:ty => $variant:ident),*) => {
        $(impl<E> From<$error> for Failure<E> {
            fn from(e: $error) -> Self {
                Self::$variant(e)
            }
        })*
    };
}
from!(ImageError => Image, EncoderError => Encoder, InputError => Input, TuneError => Tune,
    TailError => Tail, LayoutError => Layout);
