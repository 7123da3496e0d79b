//! One piece of memory, out of which whatever a method needs is cut.

use super::block::FlatBuffers;
use super::recipe::Recipe;
use super::ridge::{factor_len, feature_len};
use super::{
    AdamState, Buffer, ClassName, HeadBuffers, NcmBuffers, RidgeBuffers, SoftmaxBuffers, TuneError,
    Velocity,
};
use zerocopy::IntoBytes;

/// Owns `W` numbers, from an address that is a multiple of 16 on.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct WorkMemory<const W: usize>([f32; W]);

impl<const W: usize> WorkMemory<W> {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self([0.0; W])
    }

    /// Lends all of it; what was cut out of it before is over.
    pub const fn workspace(&mut self) -> Workspace<'_> {
        Workspace { rest: &mut self.0 }
    }
}

impl<const W: usize> Default for WorkMemory<W> {
    fn default() -> Self {
        Self::new()
    }
}

/// What is left of a piece of memory.
#[derive(Debug)]
pub struct Workspace<'m> {
    rest: &'m mut [f32],
}

impl<'m> Workspace<'m> {
    /// Returns a workspace over memory of any size.
    pub const fn new(memory: &'m mut [f32]) -> Self {
        Self { rest: memory }
    }

    /// Returns how many numbers are left.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Lends what is left, for a while.
    pub const fn reborrow(&mut self) -> Workspace<'_> {
        Workspace {
            rest: &mut *self.rest,
        }
    }

    /// Cuts off `len` numbers. What is in them is not known.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`].
    pub fn take(&mut self, len: usize) -> Result<&'m mut [f32], TuneError> {
        let rest = core::mem::take(&mut self.rest);
        let found = rest.len();
        match rest.split_at_mut_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(TuneError::BufferTooSmall {
                buffer: Buffer::Workspace,
                needed: len,
                found,
            }),
        }
    }

    /// Cuts off `len` bytes, from an address that is a multiple of 16 on.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`].
    pub fn bytes(&mut self, len: usize) -> Result<&'m mut [u8], TuneError> {
        let skip = self.rest.as_ptr().addr().wrapping_neg() % 16 / size_of::<f32>();
        self.take(skip)?;
        let taken = self.take(len.div_ceil(size_of::<f32>()))?.as_mut_bytes();
        Ok(taken.get_mut(..len).unwrap_or_default())
    }

    /// Cuts off a head of `capacity` classes.
    pub(super) fn head(
        &mut self,
        d_model: usize,
        capacity: usize,
        names: &'m mut [ClassName],
    ) -> Result<HeadBuffers<'m>, TuneError> {
        Ok(HeadBuffers {
            weights: self.take(capacity.saturating_mul(d_model))?,
            bias: self.take(capacity)?,
            names,
        })
    }

    pub(super) fn ncm(
        &mut self,
        d_model: usize,
        capacity: usize,
    ) -> Result<NcmBuffers<'m>, TuneError> {
        Ok(NcmBuffers {
            features: self.take(d_model)?,
            logits: self.take(capacity)?,
            counts: self.take(capacity)?,
        })
    }

    pub(super) fn ridge(
        &mut self,
        d_model: usize,
        capacity: usize,
    ) -> Result<RidgeBuffers<'m>, TuneError> {
        Ok(RidgeBuffers {
            features: self.take(feature_len(d_model))?,
            logits: self.take(capacity)?,
            factor: self.take(factor_len(d_model))?,
        })
    }

    pub(super) fn softmax(
        &mut self,
        d_model: usize,
        capacity: usize,
        recipe: &Recipe,
    ) -> Result<SoftmaxBuffers<'m>, TuneError> {
        let moments = recipe.schedule.head_moments();
        let (features, logits) = (self.take(d_model)?, self.take(capacity)?);
        let mut moment = || -> Result<Velocity<'m>, TuneError> {
            Ok(Velocity {
                weights: self.take(capacity.saturating_mul(d_model))?,
                bias: self.take(capacity)?,
            })
        };
        Ok(SoftmaxBuffers {
            features,
            logits,
            velocity: (moments > 0).then(&mut moment).transpose()?,
            adam: match moments {
                3 => Some(AdamState::new(moment()?, moment()?)),
                _ => None,
            },
        })
    }

    /// Cuts off `len` parameters of a block, and what the optimizer keeps of them.
    pub(super) fn flat(
        &mut self,
        len: usize,
        recipe: &Recipe,
    ) -> Result<FlatBuffers<'m>, TuneError> {
        let moments = recipe.schedule.flat_moments();
        let only = |yes: bool| if yes { len } else { 0 };
        Ok(FlatBuffers {
            values: self.take(len)?,
            gradient: self.take(len)?,
            first: self.take(only(moments > 0))?,
            second: self.take(only(moments > 1))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_apart_and_aligned() {
        let mut memory = WorkMemory::<20>::new();
        let mut work = memory.workspace();
        let first = work.take(3).unwrap();
        let bytes = work.bytes(17).unwrap();
        assert!(bytes.as_ptr().addr().is_multiple_of(16));
        assert_eq!((first.len(), bytes.len(), work.left()), (3, 17, 20 - 4 - 5));
        first.fill(1.0);
        assert!(bytes.iter().all(|&b| b == 0));
    }

    #[test]
    fn what_is_not_there_is_refused_and_nothing_is_left() {
        let mut memory = [0.0; 4];
        let mut work = Workspace::new(&mut memory);
        let error = work.take(5).unwrap_err();
        assert_eq!(
            error,
            TuneError::BufferTooSmall {
                buffer: Buffer::Workspace,
                needed: 5,
                found: 4
            }
        );
        assert!(work.bytes(usize::MAX).is_err());
    }
}
