//! The int8 model on the host: the very runtime crate, one encoder a thread.

mod decoder;

pub use decoder::{BEAM_WIDTHS, Search, SequenceRows};

use crate::image_file::{self, ImageFileError};
use crate::image_writer::AlignedBytes;
use crate::reference::ModelInput;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use tailtune::image::{Image, ImageError, ModelConfig};
use tailtune::model::latent::latent_bytes;
use tailtune::model::{
    Encoder, EncoderError, Head, Input, InputError, arena_bytes, quantize_frames,
};
use zerocopy::IntoBytes;

/// Why an image could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Int8Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ImageFileError,
    },
    /// The file is not an image.
    #[error("{}: {source}; make an image with `tailtune convert`", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// The encoder cannot be made.
    #[error("the encoder cannot be made: {0}")]
    Encoder(EncoderError),
    /// A tail is none of this model.
    #[error("the tail: {0}")]
    Tail(String),
    /// An input does not fit the model.
    #[error("input {index}: {source}")]
    Input {
        /// Which one, from 0.
        index: usize,
        /// Why.
        source: InputError,
    },
}

/// What the int8 model gives for one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Int8Output {
    /// The pooled feature, int8 `[d_model]`.
    pub pooled: Vec<i8>,
    /// int16 `[n_classes]`.
    pub logits: Vec<i16>,
}

/// An input as the runtime takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Int8Input {
    /// int8 `[n, n_features]`.
    Frames(Vec<i8>),
    /// Ids and segments.
    Tokens(Vec<u32>, Vec<u8>),
}

/// What can be given to the runtime.
pub trait AsInput: Sync {
    /// Returns it as the runtime takes it.
    fn as_input(&self) -> Input<'_>;
}

impl AsInput for Vec<i8> {
    fn as_input(&self) -> Input<'_> {
        Input::Frames(self)
    }
}

impl AsInput for Int8Input {
    fn as_input(&self) -> Input<'_> {
        match self {
            Self::Frames(frames) => Input::Frames(frames),
            Self::Tokens(ids, segments) => Input::Tokens { ids, segments },
        }
    }
}

/// An image in memory, aligned as on a board and checked.
#[derive(Debug, Clone)]
pub struct Int8Model {
    bytes: AlignedBytes,
    path: PathBuf,
}

impl Int8Model {
    /// Reads and checks an image file.
    ///
    /// # Errors
    /// [`Int8Error::File`] or [`Int8Error::Image`].
    pub fn read(path: &Path) -> Result<Self, Int8Error> {
        let bytes = image_file::read(path).map_err(|source| Int8Error::File {
            path: path.into(),
            source,
        })?;
        let model = Self {
            bytes,
            path: path.into(),
        };
        model.try_image()?;
        Ok(model)
    }

    /// Takes an image that was just written.
    ///
    /// # Errors
    /// [`Int8Error::Image`].
    pub fn new(bytes: AlignedBytes) -> Result<Self, Int8Error> {
        let model = Self {
            bytes,
            path: "(in memory)".into(),
        };
        model.try_image()?;
        Ok(model)
    }

    fn try_image(&self) -> Result<Image<'_>, Int8Error> {
        Image::parse(&self.bytes).map_err(|source| Int8Error::Image {
            path: self.path.clone(),
            source,
        })
    }

    /// Returns the view of the image.
    pub fn image(&self) -> Image<'_> {
        self.try_image()
            .expect("it was parsed when it was read, and nothing changes it")
    }

    /// Returns the architecture.
    pub fn config(&self) -> ModelConfig {
        *self.image().config()
    }

    /// Returns the image's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.image().bytes()
    }

    /// Quantizes frames as the image reads them.
    ///
    /// # Errors
    /// [`Int8Error::Input`] names the input.
    pub fn quantize(&self, inputs: &[Vec<f32>]) -> Result<Vec<Vec<i8>>, Int8Error> {
        let image = self.image();
        let one = |(index, frames): (usize, &Vec<f32>)| quantized(&image, index, frames);
        inputs.par_iter().enumerate().map(one).collect()
    }

    /// Makes inputs what the runtime takes: frames are quantized, tokens stay.
    ///
    /// # Errors
    /// [`Int8Error::Input`] names the input.
    pub fn prepare(&self, inputs: &[ModelInput]) -> Result<Vec<Int8Input>, Int8Error> {
        let image = self.image();
        let one = |(index, input): (usize, &ModelInput)| match input {
            ModelInput::Frames(frames) => quantized(&image, index, frames).map(Int8Input::Frames),
            ModelInput::Tokens(ids, segments) => {
                Ok(Int8Input::Tokens(ids.clone(), segments.clone()))
            }
        };
        inputs.par_iter().enumerate().map(one).collect()
    }

    /// Runs the encoder and the head on every input, on all cores; `done` is called after each.
    ///
    /// # Errors
    /// [`Int8Error`].
    pub fn run<T: AsInput>(
        &self,
        inputs: &[T],
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Int8Output>, Int8Error> {
        let image = self.image();
        let needed = arena_bytes(image.config());
        let head = Head::new(&image).ok();
        let arena = || vec![0u64; needed.div_ceil(8)];
        inputs
            .par_iter()
            .enumerate()
            .map_init(arena, |arena, (index, input)| {
                let mut encoder = Encoder::new(&image, &mut arena.as_mut_bytes()[..needed])
                    .map_err(Int8Error::Encoder)?;
                let features = encoder
                    .forward(input.as_input())
                    .map_err(|source| Int8Error::Input { index, source })?;
                let mut logits = vec![0i16; head.map_or(0, |h| h.n_classes())];
                if let Some(head) = &head {
                    head.logits(&features, &mut logits);
                }
                done();
                Ok(Int8Output {
                    pooled: features.values.to_vec(),
                    logits,
                })
            })
            .collect()
    }
}

/// The pooled feature and the latent of the last block's input.
pub type FeatureAndLatent = (Vec<i8>, Vec<i8>);

impl Int8Model {
    /// Runs the encoder on every input, on all cores, and keeps the latents of the last block's input too;
    /// `done` is called after each.
    ///
    /// # Errors
    /// [`Int8Error`]; an input's for a model that pools the mean.
    pub fn latents<T: AsInput>(
        &self,
        inputs: &[T],
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<FeatureAndLatent>, Int8Error> {
        let image = self.image();
        let needed = arena_bytes(image.config());
        let arena = || vec![0u64; needed.div_ceil(8)];
        let one = |arena: &mut Vec<u64>, (index, input): (usize, &T)| {
            let mut encoder = Encoder::new(&image, &mut arena.as_mut_bytes()[..needed])
                .map_err(Int8Error::Encoder)?;
            let refused = |source| Int8Error::Input { index, source };
            let mut latent = vec![0; latent_bytes(image.config())];
            encoder
                .latent(input.as_input(), &mut latent)
                .map_err(refused)?;
            let feature = encoder.forward_latent(&latent).map_err(refused)?;
            done();
            Ok((feature.values.to_vec(), latent))
        };
        inputs.par_iter().enumerate().map_init(arena, one).collect()
    }

    /// Returns the real logits `[n_classes]` of each input; empty without a head.
    ///
    /// # Errors
    /// [`Int8Error`].
    pub fn logits(
        &self,
        inputs: &[ModelInput],
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<f32>>, Int8Error> {
        let image = self.image();
        let scale = Head::new(&image).map_or(0.0, |head| head.logit_scale());
        let outputs = self.run(&self.prepare(inputs)?, done)?;
        let real = |o: Int8Output| o.logits.iter().map(|&l| f32::from(l) * scale).collect();
        Ok(outputs.into_iter().map(real).collect())
    }
}

fn quantized(image: &Image<'_>, index: usize, frames: &[f32]) -> Result<Vec<i8>, Int8Error> {
    let mut q = vec![0i8; frames.len()];
    match quantize_frames(image, frames, &mut q) {
        Ok(()) => Ok(q),
        Err(source) => Err(Int8Error::Input { index, source }),
    }
}

/// Returns the index of the largest element, the first of equal ones.
pub fn argmax<T: PartialOrd + Copy>(values: &[T]) -> Option<usize> {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    if values.is_empty() { None } else { Some(best) }
}
