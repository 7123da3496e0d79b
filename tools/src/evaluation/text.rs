//! How well a pretrained text model does what it was pretrained for: filling in hidden pieces and
//! telling whether a sentence follows another.

use crate::float_model::{ActivationFn, Embedding, FloatModel, Linear, Norm};
use crate::import::{ImportError, Weights};
use crate::int8::argmax;
use crate::metrics::calibration::negative_log_likelihood;
use crate::reference::{FloatInput, forward, linear, normalise};
use crate::synthetic::Random;
use crate::text::{Corpus, Sequence, Shape, Text, TextError};
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;
use tailtune::image::ModelConfig;
use tokenizers::Tokenizer;

/// The heads that only pretraining and its evaluation use, as `tailtune pretrain` writes them beside
/// the encoder: `mlm.dense`, `mlm.norm`, `mlm.bias` (the token table is the last matrix) and `nsp`.
#[derive(Debug, Clone, PartialEq)]
pub struct PretrainingHeads {
    dense: Linear,
    norm: Norm,
    /// `[vocab_size, d_model]`.
    words: Linear,
    /// `[2, d_model]`: follows, does not; none where single sentences were read.
    nsp: Option<Linear>,
}

impl PretrainingHeads {
    /// Reads the heads of the model in `dir`; none for a model that reads no tokens.
    ///
    /// # Errors
    /// [`ImportError`] names the tensor that is missing or of another shape.
    pub fn read(dir: &Path, model: &FloatModel) -> Result<Option<Self>, ImportError> {
        let Embedding::Tokens {
            table,
            projection: None,
            ..
        } = &model.embedding
        else {
            return Ok(None);
        };
        let d = usize::from(model.config.d_model);
        let vocab_size = table.len() / d.max(1);
        let eps = model.layers.first().map_or(1e-5, |l| l.norm1.eps);
        let weights = Weights::read(&dir.join("model.safetensors"))?;
        let dense = |name: &str, out: usize| {
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            weights.linear(&weight, Some(&bias), out, d)
        };
        Ok(Some(Self {
            dense: dense("mlm.dense", d)?,
            norm: weights.norm("mlm.norm.weight", "mlm.norm.bias", d, eps)?,
            words: Linear {
                weight: table.clone(),
                bias: weights.f32("mlm.bias", &[vocab_size])?,
                in_features: d,
                out_features: vocab_size,
            },
            nsp: weights
                .has("nsp.weight")
                .then(|| dense("nsp", 2))
                .transpose()?,
        }))
    }

    /// Returns what of a corpus the model was pretrained on: its pairs of sentences, or its sentences.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn text(
        &self,
        corpus: &Corpus,
        tokenizer: &Tokenizer,
        config: &ModelConfig,
    ) -> Result<Text, TextError> {
        match self.nsp {
            Some(_) => Text::new(corpus, tokenizer),
            None => Text::single(corpus, tokenizer, config),
        }
    }

    fn word_logits(&self, hidden: &[f32]) -> Vec<f32> {
        let mut x = linear(&self.dense, hidden);
        for x in &mut x {
            *x = ActivationFn::GeluErf.apply(*x);
        }
        normalise(&self.norm, &mut x);
        linear(&self.words, &x)
    }
}

/// What was found, over all pairs of the text once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextReport {
    /// Pairs of sentences, or sentences.
    pub n: usize,
    /// Pieces that were hidden, replaced or kept to be told.
    pub pieces: usize,
    /// Mean negative log likelihood of the chosen pieces, nats.
    pub mlm_loss: f64,
    /// `exp(mlm_loss)`: 1 for certainty, the vocabulary's size for guessing.
    pub mlm_perplexity: f64,
    /// Share of the chosen pieces that were told, 0..=1.
    pub mlm_accuracy: f64,
    /// Mean negative log likelihood of whether the second sentence follows, nats; none of single ones.
    pub nsp_loss: Option<f64>,
    /// Share of pairs that were told, 0..=1; none of single sentences.
    pub nsp_accuracy: Option<f64>,
}

/// Truth and logits of one pair: its chosen pieces, and the order of its sentences.
struct Answers {
    words: Vec<(usize, Vec<f32>)>,
    next: Option<(usize, Vec<f32>)>,
}

/// Evaluates on every pair of `text`; which pieces are hidden and which pairs do not follow each other
/// is drawn by `seed`. `tick` is called after each pair.
pub fn evaluate(
    model: &FloatModel,
    heads: &PretrainingHeads,
    text: &Text,
    shape: Shape,
    seed: u64,
    tick: &(dyn Fn() + Sync),
) -> TextReport {
    let one = |place: usize| {
        let salt = (place as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let sequence = text.sequence(place, shape, &mut Random::new(seed ^ salt));
        let answers = answer(model, heads, &sequence);
        tick();
        answers
    };
    let answers: Vec<Answers> = (0..text.pairs()).into_par_iter().map(one).collect();
    let words = answers.iter().flat_map(|a| &a.words);
    let (pieces, mlm_loss, mlm_accuracy) = score(words);
    let (_, nsp_loss, nsp_accuracy) = score(answers.iter().filter_map(|a| a.next.as_ref()));
    let of_pairs = |x: f64| heads.nsp.is_some().then_some(x);
    TextReport {
        n: answers.len(),
        pieces,
        mlm_loss,
        mlm_perplexity: mlm_loss.exp(),
        mlm_accuracy,
        nsp_loss: of_pairs(nsp_loss),
        nsp_accuracy: of_pairs(nsp_accuracy),
    }
}

fn answer(model: &FloatModel, heads: &PretrainingHeads, sequence: &Sequence) -> Answers {
    let has_segments =
        matches!(&model.embedding, Embedding::Tokens { segments, .. } if !segments.is_empty());
    let input = FloatInput::Tokens {
        ids: &sequence.ids,
        segments: if has_segments {
            &sequence.segments
        } else {
            &[]
        },
    };
    let output = forward(model, input, &mut ());
    let d = usize::from(model.config.d_model);
    // A class token of the model's own stands before the pieces.
    let first = usize::from(model.class_token.is_some());
    let word = |&(at, piece): &(usize, u32)| {
        let row = &output.hidden[(first + at) * d..][..d];
        (piece as usize, heads.word_logits(row))
    };
    Answers {
        words: sequence.chosen.iter().map(word).collect(),
        next: heads.nsp.as_ref().map(|nsp| {
            let follows = usize::from(sequence.not_next);
            (follows, linear(nsp, &output.pooled))
        }),
    }
}

/// Returns count, mean negative log likelihood and accuracy.
fn score<'a>(answers: impl Iterator<Item = &'a (usize, Vec<f32>)>) -> (usize, f64, f64) {
    let (mut n, mut loss, mut right) = (0, 0.0, 0);
    for (truth, logits) in answers {
        n += 1;
        right += usize::from(argmax(logits) == Some(*truth));
        let one = std::slice::from_ref(logits);
        loss += negative_log_likelihood(&[Some(*truth)], one).unwrap_or(f64::INFINITY);
    }
    let count = n.max(1) as f64;
    (n, loss / count, right as f64 / count)
}
