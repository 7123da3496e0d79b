//! Beam search: the likeliest sequences, several at once.
//!
//! Scores are log-probabilities in single precision, `logit − ln Σ exp(logit)` summed over the tokens, in
//! a fixed order and with exp and ln in software: the same bits everywhere, as in tuning. A finished
//! sequence is ranked by its score over `((5 + len) / 6)^length_penalty` (Wu et al., arXiv 1609.08144,
//! eq. 14).

use super::super::InputError;
use super::Decoder;
use super::greedy::Decoded;

/// How a beam search ranks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BeamOptions {
    /// 0 prefers short sequences as their probability does; 0.6 to 1 is usual for long ones. Negative
    /// or not finite counts as 0.
    pub length_penalty: f32,
}

/// A way on for one sequence.
#[derive(Debug, Clone, Copy, Default)]
struct Candidate {
    parent: usize,
    token: u32,
    score: f32,
}

/// The memory of a beam search of width `W` over outputs of at most `N` tokens.
#[derive(Debug, Clone)]
pub struct Beam<const W: usize, const N: usize> {
    tokens: [[u32; N]; W],
    scores: [f32; W],
    best: [u32; N],
    best_len: usize,
    best_score: f32,
    finished: bool,
}

impl<const W: usize, const N: usize> Default for Beam<W, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const W: usize, const N: usize> Beam<W, N> {
    /// Returns an empty beam.
    pub const fn new() -> Self {
        Self {
            tokens: [[0; N]; W],
            scores: [0.0; W],
            best: [0; N],
            best_len: 0,
            best_score: f32::NEG_INFINITY,
            finished: false,
        }
    }

    /// Returns the tokens of the best sequence of the last search, start and end left out.
    pub fn best(&self) -> &[u32] {
        self.best.get(..self.best_len).unwrap_or(&[])
    }

    /// Returns its score over the length penalty.
    pub const fn score(&self) -> f32 {
        self.best_score
    }

    /// Searches; the result is [`best`](Self::best). The limit is `N` or the model's. Starts anew.
    ///
    /// # Errors
    /// [`InputError::Lane`] unless the decoder has `W` sequences; [`InputError::NothingEncoded`].
    pub fn search(
        &mut self,
        decoder: &mut Decoder<'_>,
        options: &BeamOptions,
    ) -> Result<Decoded, InputError> {
        let (found, lanes) = (W, decoder.lanes());
        if found != lanes {
            return Err(InputError::Lane { found, lanes });
        }
        *self = Self::new();
        decoder.restart();
        let (start, end) = (decoder.config().start, decoder.config().end);
        decoder.advance(&[start; W])?;
        // All lanes are alike: only the first may go on.
        let mut alive = 1;
        for len in 0..=N {
            let (next, count) = self.candidates(decoder, alive, len, end, options);
            let more = len < N && decoder.room() > 0;
            let hopeless = match next.first().filter(|_| count > 0) {
                None => true,
                Some(first) => self.finished && !self.can_win(first.score, options),
            };
            if hopeless || !more {
                if !self.finished && count > 0 {
                    // Nothing ended: the likeliest so far.
                    self.take(
                        len,
                        next.first().map_or(0, |c| c.parent),
                        self.alive_score(&next),
                        options,
                    );
                }
                break;
            }
            self.branch(decoder, &next, count, len)?;
            let mut tokens = [start; W];
            for (token, row) in tokens.iter_mut().zip(&self.tokens) {
                *token = row.get(len).copied().unwrap_or(start);
            }
            alive = count;
            decoder.advance(&tokens)?;
        }
        let len = self.best_len;
        Ok(match self.finished {
            true => Decoded::End { len },
            false => Decoded::Limit { len },
        })
    }

    /// The score of the likeliest sequence that goes on, before its next token.
    fn alive_score(&self, next: &[Candidate; W]) -> f32 {
        let parent = next.first().map_or(0, |c| c.parent);
        self.scores.get(parent).copied().unwrap_or(0.0)
    }

    /// Returns whether a sequence that goes on with this score could still end better than the best.
    fn can_win(&self, score: f32, options: &BeamOptions) -> bool {
        // A score only falls, and the longest sequence divides it by most.
        score / penalty(N, options) > self.best_score
    }

    /// Makes a sequence the best, if it is.
    fn take(&mut self, len: usize, lane: usize, score: f32, options: &BeamOptions) {
        let score = score / penalty(len, options);
        if score > self.best_score
            && let Some(tokens) = self.tokens.get(lane)
        {
            self.best = *tokens;
            self.best_len = len;
            self.best_score = score;
        }
    }

    /// Ends what ends best here, and returns the best ways on with their number, best first.
    fn candidates(
        &mut self,
        decoder: &mut Decoder<'_>,
        alive: usize,
        len: usize,
        end: u32,
        options: &BeamOptions,
    ) -> ([Candidate; W], usize) {
        let scale = decoder.logit_scale();
        let (mut next, mut count) = ([Candidate::default(); W], 0);
        for parent in 0..alive.min(W) {
            let before = self.scores.get(parent).copied().unwrap_or(0.0);
            let logits = decoder.logits(parent);
            let log_sum = log_sum_exp(logits, scale);
            let mut ended = None;
            for (token, &logit) in logits.iter().enumerate() {
                let score = before + (f32::from(logit) * scale - log_sum);
                let token = token as u32;
                if token == end {
                    ended = Some(score);
                } else {
                    let candidate = Candidate {
                        parent,
                        token,
                        score,
                    };
                    count = insert(&mut next, count, candidate);
                }
            }
            if let Some(score) = ended {
                self.finished = true;
                self.take(len, parent, score, options);
            }
        }
        (next, count)
    }

    /// Gives every candidate a lane: its parent's, if no better one has taken it.
    fn branch(
        &mut self,
        decoder: &mut Decoder<'_>,
        next: &[Candidate; W],
        count: usize,
        len: usize,
    ) -> Result<(), InputError> {
        let mut lane_of = [W; W];
        let mut taken = [false; W];
        for (lane, candidate) in lane_of.iter_mut().zip(next).take(count) {
            if let Some(taken) = taken.get_mut(candidate.parent).filter(|taken| !**taken) {
                *taken = true;
                *lane = candidate.parent;
            }
        }
        // Copies first, while every parent's lane still is the parent's.
        for (lane, candidate) in lane_of.iter_mut().zip(next).take(count) {
            if *lane < W {
                continue;
            }
            let Some(free) = taken.iter().position(|taken| !taken) else {
                continue;
            };
            if let Some(taken) = taken.get_mut(free) {
                *taken = true;
            }
            *lane = free;
            decoder.copy_lane(candidate.parent, free)?;
            let tokens = self.tokens.get(candidate.parent).copied();
            if let (Some(to), Some(from)) = (self.tokens.get_mut(free), tokens) {
                *to = from;
            }
        }
        for (&lane, candidate) in lane_of.iter().zip(next).take(count) {
            if let Some(score) = self.scores.get_mut(lane) {
                *score = candidate.score;
            }
            let row = self.tokens.get_mut(lane);
            if let Some(token) = row.and_then(|row| row.get_mut(len)) {
                *token = candidate.token;
            }
        }
        Ok(())
    }
}

/// Puts a candidate in its place among the best, best first; returns their number. The first among
/// equals stays before.
fn insert<const W: usize>(best: &mut [Candidate; W], count: usize, new: Candidate) -> usize {
    let place = best
        .iter()
        .take(count)
        .position(|c| new.score > c.score)
        .unwrap_or(count);
    if place >= W {
        return count;
    }
    let end = (count + 1).min(W);
    if let Some(tail) = best.get_mut(place..end) {
        tail.rotate_right(1);
        if let Some(first) = tail.first_mut() {
            *first = new;
        }
    }
    end
}

/// `((5 + len) / 6)^length_penalty`.
fn penalty(len: usize, options: &BeamOptions) -> f32 {
    match options.length_penalty {
        alpha if alpha > 0.0 && alpha.is_finite() => libm::powf((5.0 + len as f32) / 6.0, alpha),
        _ => 1.0,
    }
}

/// `ln Σ exp(logit · scale)`, relative to the largest.
fn log_sum_exp(logits: &[i16], scale: f32) -> f32 {
    let max = logits.iter().copied().max().unwrap_or(0);
    let sum = logits.iter().fold(0.0f32, |sum, &logit| {
        let below = i32::from(logit) - i32::from(max);
        sum + libm::expf(below as f32 * scale)
    });
    f32::from(max) * scale + libm::logf(sum)
}
