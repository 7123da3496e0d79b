//! The int8 decoder on the host: the very runtime crate, one decoder a thread.

use super::{Int8Error, Int8Input, Int8Model};
use crate::reference::ModelInput;
use rayon::prelude::*;
use std::ops::ControlFlow;
use tailtune::image::Image;
use tailtune::model::decoder::decoder_latent_bytes;
use tailtune::model::{
    Beam, BeamOptions, Decoder, Features, InputError, OutputHead, decoder_arena_bytes,
    tuned_decoder_arena_bytes,
};
use tailtune::tune::{Tail, TailOutput};
use zerocopy::IntoBytes;

/// The longest output that the host searches: the format's longest sequence.
const LONGEST: usize = tailtune::image::MAX_SEQ_LEN as usize;

/// How an output is searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Search {
    /// The likeliest token, again and again.
    Greedy,
    /// Several sequences at once.
    Beam {
        /// One of [`BEAM_WIDTHS`].
        width: usize,
        /// See [`BeamOptions`].
        length_penalty: f32,
    },
}

/// The widths of beam that the host has: a beam's width is a constant of the program.
pub const BEAM_WIDTHS: [usize; 6] = [2, 3, 4, 5, 8, 10];

impl Search {
    /// Returns the sequences that it keeps.
    pub const fn lanes(self) -> usize {
        match self {
            Self::Greedy => 1,
            Self::Beam { width, .. } => width,
        }
    }
}

/// A decoder's arena and itself: what a thread works with.
struct Worker<'a> {
    image: &'a Image<'a>,
    head: Option<&'a TailOutput<'a>>,
    arena: Vec<u64>,
    lanes: usize,
}

impl<'a> Worker<'a> {
    fn new(image: &'a Image<'a>, lanes: usize) -> Self {
        Self::with_head(image, lanes, None)
    }

    fn with_head(image: &'a Image<'a>, lanes: usize, head: Option<&'a TailOutput<'a>>) -> Self {
        let config = image.config();
        let needed = match head {
            Some(head) => tuned_decoder_arena_bytes(config, lanes, head.outputs()),
            None => decoder_arena_bytes(config, lanes),
        };
        Self {
            image,
            head,
            arena: vec![0; needed.div_ceil(8)],
            lanes,
        }
    }

    /// Returns a decoder that has read `input`; none for a model without an encoder.
    fn decoder(
        &mut self,
        index: usize,
        input: Option<&Int8Input>,
    ) -> Result<Decoder<'_>, Int8Error> {
        let arena = self.arena.as_mut_bytes();
        let decoder = match self.head {
            Some(head) => Decoder::with_head(self.image, arena, self.lanes, head),
            None => Decoder::new(self.image, arena, self.lanes),
        };
        let mut decoder = decoder.map_err(Int8Error::Encoder)?;
        if let Some(input) = input {
            let encoded = decoder.encode(super::AsInput::as_input(input));
            encoded.map_err(|source| Int8Error::Input { index, source })?;
        }
        Ok(decoder)
    }
}

impl Int8Model {
    /// Writes an output for every input, on all cores, start and end token left out; `done` is called
    /// after each.
    ///
    /// # Errors
    /// [`Int8Error`]; a model without a decoder.
    pub fn generate(
        &self,
        inputs: &[ModelInput],
        search: Search,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<u32>>, Int8Error> {
        self.generate_tuned(inputs, search, None, done)
    }

    /// As [`generate`](Self::generate), by a tail: its head in the place of the output projection, its tensors in
    /// the place of the last block's. The tail lies at a multiple of 16.
    ///
    /// # Errors
    /// As [`generate`](Self::generate); [`Int8Error::Tail`] for one that is none of this decoder.
    pub fn generate_tuned(
        &self,
        inputs: &[ModelInput],
        search: Search,
        tail: Option<&[u8]>,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<u32>>, Int8Error> {
        let (mut image, mut head) = (self.image(), None);
        if let Some(bytes) = tail {
            let refused = |e: &dyn std::fmt::Display| Int8Error::Tail(e.to_string());
            let tail = Tail::parse(bytes).map_err(|e| refused(&e))?;
            image = image.patched(tail.block()).map_err(|e| refused(&e))?;
            head = Some(TailOutput::new(tail, image.config()).map_err(|e| refused(&e))?);
        }
        let inputs = self.prepare(inputs)?;
        let start = || Worker::with_head(&image, search.lanes(), head.as_ref());
        let one = |worker: &mut Worker<'_>, (index, input): (usize, &Int8Input)| {
            let mut decoder = worker.decoder(index, Some(input))?;
            let output = searched(&mut decoder, search);
            done();
            output.map_err(|source| Int8Error::Input { index, source })
        };
        inputs.par_iter().enumerate().map_init(start, one).collect()
    }

    /// Returns the int16 logits after every token of `tokens`, the start token first; `input` is none for a
    /// model without an encoder.
    ///
    /// # Errors
    /// [`Int8Error`].
    pub fn teacher_forced(
        &self,
        input: Option<&ModelInput>,
        tokens: &[u32],
    ) -> Result<Vec<Vec<i16>>, Int8Error> {
        let image = self.image();
        let input = match input {
            Some(input) => self.prepare(std::slice::from_ref(input))?.pop(),
            None => None,
        };
        let mut worker = Worker::new(&image, 1);
        let mut decoder = worker.decoder(0, input.as_ref())?;
        let mut all = Vec::new();
        let fed = decoder.extend_with(tokens, |_, logits| all.push(logits.to_vec()));
        fed.map_err(|source| Int8Error::Input { index: 0, source })?;
        Ok(all)
    }
}

/// What tuning reads of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceRows {
    /// What the output projection reads after every token, int8 `[tokens][d_model]`.
    Output(Vec<Vec<i8>>),
    /// The sequence latent of the last block.
    Latent(Vec<i8>),
}

impl Int8Model {
    /// Feeds sequences by teacher forcing, on all cores: `fed` are each one's tokens, the start token first, and
    /// the tokens that should follow. Returns the latents of the last block where `latents`, else what the
    /// output projection reads; `done` is called after each.
    ///
    /// # Errors
    /// [`Int8Error`].
    pub fn sequence_rows(
        &self,
        inputs: &[ModelInput],
        fed: &[(&[u32], &[u16])],
        latents: bool,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<SequenceRows>, Int8Error> {
        let image = self.image();
        let inputs = match image.config().has_encoder() {
            true => self.prepare(inputs)?.into_iter().map(Some).collect(),
            false => vec![None; fed.len()],
        };
        let start = || Worker::new(&image, 1);
        let one = |worker: &mut Worker<'_>, (index, (input, (tokens, labels)))| {
            let input: &Option<Int8Input> = input;
            let mut decoder = worker.decoder(index, input.as_ref())?;
            let refused = |source| Int8Error::Input { index, source };
            let rows = if latents {
                let mut latent = vec![0; decoder_latent_bytes(image.config())];
                decoder
                    .latent(tokens, labels, &mut latent)
                    .map_err(refused)?;
                SequenceRows::Latent(latent)
            } else {
                let mut rows = Vec::new();
                let each = |_, row: &Features<'_>| rows.push(row.values.to_vec());
                decoder.extend_rows(tokens, each).map_err(refused)?;
                SequenceRows::Output(rows)
            };
            done();
            Ok(rows)
        };
        let all = inputs.par_iter().zip(fed.par_iter().copied()).enumerate();
        all.map_init(start, one).collect()
    }
}

fn searched(decoder: &mut Decoder<'_>, search: Search) -> Result<Vec<u32>, InputError> {
    let (width, length_penalty) = match search {
        Search::Greedy => {
            let mut output = vec![0; decoder.config().seq_len.into()];
            let end = decoder.greedy(&mut output, |_| ControlFlow::Continue(()))?;
            output.truncate(end.len());
            return Ok(output);
        }
        Search::Beam {
            width,
            length_penalty,
        } => (width, length_penalty),
    };
    let options = BeamOptions { length_penalty };
    match width {
        2 => beam::<2>(decoder, &options),
        3 => beam::<3>(decoder, &options),
        4 => beam::<4>(decoder, &options),
        5 => beam::<5>(decoder, &options),
        8 => beam::<8>(decoder, &options),
        10 => beam::<10>(decoder, &options),
        found => {
            let lanes = decoder.lanes();
            Err(InputError::Lane { found, lanes })
        }
    }
}

fn beam<const W: usize>(
    decoder: &mut Decoder<'_>,
    options: &BeamOptions,
) -> Result<Vec<u32>, InputError> {
    let mut beam = Box::new(Beam::<W, LONGEST>::new());
    beam.search(decoder, options)?;
    Ok(beam.best().to_vec())
}
