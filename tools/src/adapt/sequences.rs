//! Tail tuning of a decoder on the host, by teacher forcing: every position of a right answer is a sample, its
//! label the token that comes next.

use super::AdaptError;
use super::tuning::{Labelled, Origin, Plan, Tuned, tune, tune_positions};
use crate::int8::{Int8Model, SequenceRows};
use crate::metrics::sequence::SequenceErrors;
use crate::reference::ModelInput;
use tailtune::model::Features;
use tailtune::model::latent::input_grid;
use tailtune::tune::{Place, Positions, Report, Samples};

/// A source and the outputs that count as right, start and end token left out; the first is what is learned.
#[derive(Debug, Clone)]
pub struct SequencePair {
    /// What is read.
    pub input: ModelInput,
    /// At least one.
    pub right: Vec<Vec<u32>>,
}

/// A token that the vocabulary does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedToken {
    /// Its piece.
    pub piece: String,
    /// The token of the vocabulary that is fed in its place.
    pub fed_as: u32,
}

impl AddedToken {
    /// Returns its name in a tail: see [`tailtune::tune::output`].
    pub fn name(&self) -> String {
        format!("{}={}", self.piece, self.fed_as)
    }
}

/// What is fed and what should follow: start token first, end token last, at most the decoder's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced {
    /// Fed, tokens of the vocabulary.
    pub fed: Vec<u32>,
    /// The token that should follow each; added ones too.
    pub labels: Vec<u16>,
}

/// Returns how an output is taught.
///
/// # Errors
/// [`AdaptError::NoDecoder`]; [`AdaptError::Vocabulary`] for a token that there is not, or that a label does
/// not hold.
pub fn forced(
    int8: &Int8Model,
    output: &[u32],
    added: &[AddedToken],
) -> Result<Forced, AdaptError> {
    let config = int8.config().decoder.ok_or(AdaptError::NoDecoder)?;
    let place = |token: u32| {
        let index = token.checked_sub(config.vocab_size);
        index.map(|index| added.get(index as usize))
    };
    let fed_as = |&token: &u32| match place(token) {
        None => Ok(token),
        Some(Some(added)) => Ok(added.fed_as),
        Some(None) => Err(AdaptError::Vocabulary { token }),
    };
    let label = |&token: &u32| {
        let label = u16::try_from(token);
        label.map_err(|_| AdaptError::Vocabulary { token })
    };
    let length = usize::from(config.seq_len).min(output.len() + 1);
    let fed = std::iter::once(&config.start).chain(output).take(length);
    let labels = output
        .iter()
        .chain(std::iter::once(&config.end))
        .take(length);
    Ok(Forced {
        fed: fed.map(fed_as).collect::<Result<_, _>>()?,
        labels: labels.map(label).collect::<Result<_, _>>()?,
    })
}

/// Sequence latents as a replay keeps them; their labels do not count.
pub struct Sequences {
    latents: Vec<Vec<i8>>,
    scale: f32,
    zero_point: i8,
}

impl Samples for Sequences {
    fn len(&self) -> usize {
        self.latents.len()
    }

    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)> {
        let features = Features {
            values: self.latents.get(index)?,
            scale: self.scale,
            zero_point: self.zero_point,
        };
        Some((features, 0))
    }
}

/// Tunes on the first right output of each pair, from the image's output projection.
///
/// # Errors
/// [`AdaptError`].
pub fn learn(
    int8: &Int8Model,
    pairs: &[SequencePair],
    added: &[AddedToken],
    plan: &Plan,
    done: &(dyn Fn() + Sync),
) -> Result<Tuned, AdaptError> {
    let names: Vec<String> = added.iter().map(AddedToken::name).collect();
    let inputs: Vec<ModelInput> = pairs.iter().map(|pair| pair.input.clone()).collect();
    let taught = pairs.iter().map(|pair| {
        let first = pair.right.first().map_or(&[][..], Vec::as_slice);
        forced(int8, first, added)
    });
    let taught = taught.collect::<Result<Vec<_>, _>>()?;
    let fed: Vec<(&[u32], &[u16])> = taught.iter().map(|t| (&t.fed[..], &t.labels[..])).collect();
    let below = plan.method.below_the_block();
    let kept = int8
        .sequence_rows(&inputs, &fed, below, done)
        .map_err(|e| AdaptError::Int8(Box::new(e)))?;
    if !below {
        let rows = kept.iter().zip(&taught).flat_map(|(kept, taught)| {
            let SequenceRows::Output(rows) = kept else {
                return Vec::new();
            };
            let sample = |(feature, &label): (&Vec<i8>, &u16)| Labelled {
                feature: feature.clone(),
                latent: Vec::new(),
                label,
            };
            rows.iter().zip(&taught.labels).map(sample).collect()
        });
        let samples: Vec<Labelled> = rows.collect();
        let samples: Vec<&Labelled> = samples.iter().collect();
        return tune(int8, Origin::Image, &names, &samples, plan);
    }
    let latents = kept.into_iter().filter_map(|kept| match kept {
        SequenceRows::Latent(latent) => Some(latent),
        SequenceRows::Output(_) => None,
    });
    let image = int8.image();
    let (scale, zero_point) = input_grid(&image).ok_or(AdaptError::NoBlock)?;
    let mut sequences = Sequences {
        latents: latents.collect(),
        scale,
        zero_point,
    };
    let mut latent = vec![0; sequences.latents.first().map_or(0, Vec::len)];
    let mut places = vec![Place::default(); taught.iter().map(|t| t.labels.len()).sum()];
    let config = int8.config();
    let mut positions = Positions::new(&mut sequences, &config, &mut latent, &mut places)?;
    tune_positions(int8, Origin::Image, &names, &mut positions, plan)
}

/// Returns how far greedy search is from the right outputs, by the image or by a tail.
///
/// # Errors
/// [`AdaptError`].
pub fn errors(
    int8: &Int8Model,
    tail: Option<&[u8]>,
    pairs: &[SequencePair],
    done: &(dyn Fn() + Sync),
) -> Result<SequenceErrors, AdaptError> {
    let inputs: Vec<ModelInput> = pairs.iter().map(|pair| pair.input.clone()).collect();
    let written = int8
        .generate_tuned(&inputs, crate::int8::Search::Greedy, tail, done)
        .map_err(|e| AdaptError::Int8(Box::new(e)))?;
    let mut errors = SequenceErrors::default();
    for (written, pair) in written.iter().zip(pairs) {
        errors.add(written, &pair.right);
    }
    Ok(errors)
}

/// Error rates before and after a tune, of what was learned and of what was held out.
#[derive(Debug, Clone)]
pub struct AdaptedSequences {
    /// Of the learned pairs, before and after.
    pub learned: [SequenceErrors; 2],
    /// Of the held-out pairs; none without any.
    pub test: Option<[SequenceErrors; 2]>,
    /// Positions that were learned from.
    pub positions: usize,
    /// What the fit did.
    pub report: Report,
    /// The tail.
    pub tail: Vec<u8>,
}

/// Tunes a decoder's tail on pairs, and on others that are learned from and not counted; measures it on the
/// first and on `test`.
///
/// # Errors
/// [`AdaptError`].
pub fn adapt_sequences(
    int8: &Int8Model,
    [pairs, rehearsed]: [&[SequencePair]; 2],
    test: &[SequencePair],
    added: &[AddedToken],
    plan: &Plan,
    done: &(dyn Fn() + Sync),
) -> Result<AdaptedSequences, AdaptError> {
    let all = [pairs, rehearsed].concat();
    let tuned = learn(int8, &all, added, plan, &|| ())?;
    let both = |pairs: &[SequencePair]| -> Result<[SequenceErrors; 2], AdaptError> {
        Ok([
            errors(int8, None, pairs, done)?,
            errors(int8, Some(&tuned.tail), pairs, done)?,
        ])
    };
    let mut positions = 0;
    for pair in &all {
        let first = pair.right.first().map_or(&[][..], Vec::as_slice);
        positions += forced(int8, first, added)?.labels.len();
    }
    Ok(AdaptedSequences {
        learned: both(pairs)?,
        test: match test.is_empty() {
            true => None,
            false => Some(both(test)?),
        },
        positions,
        report: tuned.report,
        tail: tuned.tail.to_vec(),
    })
}
