//! A tail as the output projection of a decoder, for [`Decoder::with_head`](crate::model::Decoder::with_head).
//!
//! A tail can have tokens that the vocabulary does not have: rows of the head with no row of the token table.
//! A tied projection (Press and Wolf) is untied so: the tail's rows move, the token table that is fed stays. An
//! added token has an id from the vocabulary's size on, and where it is fed, the token of the vocabulary that its name
//! gives is fed: the name of an added token is `NAME=ID`, ID decimal and below the vocabulary's size.

use super::head::{check, logit};
use super::{HeadOrigin, Tail, TuneError};
use crate::image::ModelConfig;
use crate::model::{Cut, Features, OutputHead};

/// A tail whose head stands in for a decoder's output projection.
#[derive(Debug, Clone, Copy)]
pub struct TailOutput<'t> {
    tail: Tail<'t>,
    vocab_size: u32,
}

impl<'t> TailOutput<'t> {
    /// Returns the head of a tail; its block's tensors are for [`Image::patched`](crate::image::Image::patched).
    ///
    /// # Errors
    /// [`TuneError::Cut`] for a tail of an encoder, or a model without a decoder; [`TuneError::FeatureLength`]
    /// and [`TuneError::Vocabulary`] for one of another shape; [`TuneError::FedAs`] for an added token whose
    /// name gives no token of the vocabulary.
    pub fn new(tail: Tail<'t>, config: &ModelConfig) -> Result<Self, TuneError> {
        let expected = Cut::Output;
        let found = match config.decoder {
            Some(_) => tail.cut(),
            None => Cut::Pooled,
        };
        let decoder = config.decoder.filter(|_| found == expected);
        let decoder = decoder.ok_or(TuneError::Cut { found, expected })?;
        let (found, expected) = (tail.d_model(), usize::from(config.d_model));
        if found != expected {
            return Err(TuneError::FeatureLength { found, expected });
        }
        let (found, vocab_size) = (tail.model_classes(), decoder.vocab_size);
        if found != vocab_size as usize {
            return Err(TuneError::Vocabulary { found, vocab_size });
        }
        for (index, name) in tail.added_names().enumerate() {
            let fed = fed_as(name).filter(|&token| token < vocab_size);
            fed.ok_or(TuneError::FedAs { index })?;
        }
        Ok(Self { tail, vocab_size })
    }

    /// Returns the tail.
    pub const fn tail(&self) -> &Tail<'t> {
        &self.tail
    }
}

impl OutputHead for TailOutput<'_> {
    fn width(&self) -> usize {
        self.tail.d_model()
    }

    fn outputs(&self) -> usize {
        self.tail.classes()
    }

    fn logit(&self, output: usize, row: &Features<'_>) -> f32 {
        let weights = self.tail.row(output).iter();
        let weights = weights.map(|&w| f32::from_le_bytes(w));
        match check(row, self.tail.d_model()) {
            Ok(()) => logit(self.tail.bias(output), weights, row),
            Err(_) => 0.0,
        }
    }

    fn fed_as(&self, output: u32) -> u32 {
        let Some(index) = output.checked_sub(self.vocab_size) else {
            return output;
        };
        // `new` has seen that every name gives one.
        let name = self.tail.added_name(index as usize);
        name.and_then(fed_as).unwrap_or(0)
    }
}

/// Returns the token that the name of an added token gives.
pub fn fed_as(name: &str) -> Option<u32> {
    let (_, id) = name.rsplit_once('=')?;
    id.parse().ok()
}
