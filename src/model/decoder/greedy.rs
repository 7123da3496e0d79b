//! Greedy search: the likeliest token, again and again.

use super::super::InputError;
use super::Decoder;
use core::ops::ControlFlow;

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Decoded {
    /// With the end token, which is not among the tokens.
    End {
        /// Tokens before it.
        len: usize,
    },
    /// At the length limit, without an end token.
    Limit {
        /// Tokens.
        len: usize,
    },
    /// Because the caller stopped it.
    Stopped {
        /// Tokens.
        len: usize,
    },
}

impl Decoded {
    /// Returns the number of tokens.
    pub const fn len(self) -> usize {
        match self {
            Self::End { len } | Self::Limit { len } | Self::Stopped { len } => len,
        }
    }

    /// Returns whether there is no token.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Returns the index of the largest logit, the first among equals; 0 of none.
pub fn argmax(logits: &[i16]) -> u32 {
    let mut best = (0, i16::MIN);
    for (index, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (index as u32, logit);
        }
    }
    best.0
}

impl Decoder<'_> {
    /// Writes the likeliest output to `output`, the start and the end token left out, and calls `each`
    /// with every token as soon as it is known, so that it can be spoken while the next is computed.
    /// The limit is `output`'s length, or the model's. Starts anew: tokens so far are forgotten.
    ///
    /// # Errors
    /// [`InputError::NothingEncoded`].
    pub fn greedy(
        &mut self,
        output: &mut [u32],
        each: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Decoded, InputError> {
        self.restart();
        self.continue_greedy(&[self.config.start], output, each)
    }

    /// As [`greedy`](Self::greedy), after the tokens so far and those of a prompt.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn continue_greedy(
        &mut self,
        prompt: &[u32],
        output: &mut [u32],
        mut each: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Decoded, InputError> {
        let end = self.config.end;
        let mut next = argmax(self.extend(prompt)?);
        for (len, place) in output.iter_mut().enumerate() {
            if next == end {
                return Ok(Decoded::End { len });
            }
            *place = next;
            if each(next).is_break() {
                return Ok(Decoded::Stopped { len: len + 1 });
            }
            if self.room() == 0 {
                return Ok(Decoded::Limit { len: len + 1 });
            }
            next = argmax(self.step(next)?);
        }
        let len = output.len();
        match next == end {
            true => Ok(Decoded::End { len }),
            false => Ok(Decoded::Limit { len }),
        }
    }
}
