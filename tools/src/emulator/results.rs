//! What a job's result says.

use super::EmulatorError;
use tailtune::image::Image;
use tailtune_app::outcome::Outcome;

/// The logits of one sample, twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferResult {
    /// By the whole forward.
    pub whole: Vec<i16>,
    /// By the forward in steps.
    pub steps: Vec<i16>,
}

/// Reads the result of an infer job.
///
/// # Errors
/// [`EmulatorError::Result`].
pub fn infer_results(bytes: &[u8], image: &Image<'_>) -> Result<Vec<InferResult>, EmulatorError> {
    let n = image.labels().len();
    if n == 0 || !bytes.len().is_multiple_of(4 * n) {
        return Err(EmulatorError::Result(format!(
            "{} bytes for {n} classes",
            bytes.len()
        )));
    }
    let logits = |b: &[u8]| {
        b.chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect()
    };
    let one = |b: &[u8]| InferResult {
        whole: logits(&b[..2 * n]),
        steps: logits(&b[2 * n..]),
    };
    Ok(bytes.chunks_exact(4 * n).map(one).collect())
}

/// Reads the result of an adapt or evaluate job: its record and the tail.
///
/// # Errors
/// [`EmulatorError::Result`].
pub fn outcome(bytes: &[u8]) -> Result<(Outcome, Vec<u8>), EmulatorError> {
    match Outcome::parse(bytes) {
        Some((outcome, tail)) => Ok((*outcome, tail.to_vec())),
        None => Err(EmulatorError::Result(format!(
            "{} bytes are no record",
            bytes.len()
        ))),
    }
}

/// What a decode job gave for one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeResult {
    /// Instructions of the encoder and of cross-attention's keys and values.
    pub encoder: u32,
    /// Instructions of the decoder, all tokens and the end token.
    pub decoder: u32,
    /// What was written.
    pub tokens: Vec<u32>,
}

/// Reads the result of a decode job of `n` samples.
///
/// # Errors
/// [`EmulatorError::Result`].
pub fn decode_results(bytes: &[u8], n: usize) -> Result<Vec<DecodeResult>, EmulatorError> {
    let bad = || EmulatorError::Result(format!("{} bytes for {n} outputs", bytes.len()));
    let (words, []) = bytes.as_chunks::<4>() else {
        return Err(bad());
    };
    let mut words = words.iter().map(|&b| u32::from_le_bytes(b));
    let mut next = || words.next().ok_or_else(bad);
    let mut results = Vec::new();
    for _ in 0..n {
        let (encoder, decoder, len) = (next()?, next()?, next()?);
        results.push(DecodeResult {
            encoder,
            decoder,
            tokens: (0..len).map(|_| next()).collect::<Result<_, _>>()?,
        });
    }
    match next() {
        Ok(_) => Err(bad()),
        Err(_) => Ok(results),
    }
}
