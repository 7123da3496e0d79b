//! A head's method that is chosen at run time, over one piece of memory.

use super::ridge::{factor_len, feature_len};
use super::{
    ClassName, HeadOrigin, LinearHead, Math, Method, MethodId, Ncm, Recipe, Ridge, Schedule,
    Softmax, TailError, TuneError, Workspace,
};
use crate::image::Image;
use crate::model::Features;

/// Makes an enum of methods a [`Method`]: everything is done by the one that `inner` and `inner_mut` lend.
macro_rules! by_the_method_inside {
    ($name:ident) => {
        impl Method for $name<'_> {
            fn id(&self) -> MethodId {
                self.inner().id()
            }

            fn math(&self) -> Math {
                self.inner().math()
            }

            fn classes(&self) -> usize {
                self.inner().classes()
            }

            fn check(&self, features: &Features<'_>, label: u16) -> Result<(), TuneError> {
                self.inner().check(features, label)
            }

            fn epochs(&self, schedule: &Schedule) -> u32 {
                self.inner().epochs(schedule)
            }

            fn begin_epoch(&mut self, schedule: &Schedule, epoch: u32) -> Result<(), TuneError> {
                self.inner_mut().begin_epoch(schedule, epoch)
            }

            fn step(
                &mut self,
                features: &Features<'_>,
                label: u16,
                weight: f32,
            ) -> Result<f32, TuneError> {
                self.inner_mut().step(features, label, weight)
            }

            fn end_epoch(&mut self) -> Result<(), TuneError> {
                self.inner_mut().end_epoch()
            }

            fn is_finite(&self) -> bool {
                self.inner().is_finite()
            }

            fn restore(&mut self) {
                self.inner_mut().restore();
            }

            fn logits(&mut self, features: &Features<'_>) -> Result<&[f32], TuneError> {
                self.inner_mut().logits(features)
            }

            fn tail_bytes(&self) -> usize {
                self.inner().tail_bytes()
            }

            fn emit_tail(&self, out: &mut [u8]) -> Result<usize, TailError> {
                self.inner().emit_tail(out)
            }
        }
    };
}
pub(super) use by_the_method_inside;

/// Where a tune starts, and goes back to.
#[derive(Clone, Copy)]
pub struct Start<'m> {
    /// The image, [patched](Image::patched) by the tail that is gone on from.
    pub image: &'m Image<'m>,
    /// The head.
    pub head: &'m dyn HeadOrigin,
    /// The [state](super::Tail::state) of the tail that is gone on from.
    pub state: Option<&'m [[u8; 4]]>,
}

/// Any of the methods that learn from the pooled feature.
///
/// Firmware that tunes heads only takes it instead of [`AnyMethod`](super::AnyMethod), and links no method of a
/// block.
pub enum AnyHead<'m> {
    /// See [`ncm`](super::ncm).
    Ncm(Ncm<'m>),
    /// See [`ridge`](super::ridge).
    Ridge(Ridge<'m>),
    /// See [`softmax`](super::softmax).
    Softmax(Softmax<'m>),
}

impl<'m> AnyHead<'m> {
    /// Returns a recipe's method for `capacity` classes, its buffers cut out of `work`. `names` takes the
    /// names of added classes.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`]; [`TuneError::HeadsOnly`] for a method below the feature.
    pub fn new(
        recipe: &Recipe,
        start: Start<'m>,
        capacity: usize,
        names: &'m mut [ClassName],
        work: &mut Workspace<'m>,
    ) -> Result<Self, TuneError> {
        let Start { head, state, .. } = start;
        let d = head.d_model();
        match recipe.method {
            MethodId::Ncm => {
                let head = LinearHead::new(work.head(d, capacity, names)?, head)?;
                Ncm::new(head, work.ncm(d, capacity)?, state).map(Self::Ncm)
            }
            MethodId::Ridge => {
                let head = LinearHead::new(work.head(d, capacity, names)?, head)?;
                let buffers = work.ridge(d, capacity)?;
                Ridge::new(head, buffers, recipe.ridge, state).map(Self::Ridge)
            }
            MethodId::Softmax => {
                Self::softmax(recipe, head, capacity, names, work).map(Self::Softmax)
            }
            MethodId::NormBias | MethodId::Lora | MethodId::LastBlock => Err(TuneError::HeadsOnly),
        }
    }

    /// Returns the softmax head, which methods of a block train as well.
    pub(super) fn softmax(
        recipe: &Recipe,
        head: &'m dyn HeadOrigin,
        capacity: usize,
        names: &'m mut [ClassName],
        work: &mut Workspace<'m>,
    ) -> Result<Softmax<'m>, TuneError> {
        let d = head.d_model();
        let head = LinearHead::new(work.head(d, capacity, names)?, head)?;
        Softmax::new(head, work.softmax(d, capacity, recipe)?, Math::Exact)
    }

    /// Returns how many numbers of 4 bytes [`new`](Self::new) cuts off; of a method below the feature, how
    /// many its head takes.
    pub fn workspace_len(recipe: &Recipe, start: &Start<'_>, capacity: usize) -> usize {
        let d = start.head.d_model();
        let wide = |rows: usize| rows.saturating_mul(d + 1);
        let head = wide(capacity);
        match recipe.method {
            MethodId::Ncm => head + d + 2 * capacity,
            MethodId::Ridge => head + feature_len(d) + capacity + factor_len(d),
            _ => head + d + capacity + recipe.schedule.head_moments() * wide(capacity),
        }
    }

    /// Adds a class and returns its label.
    ///
    /// # Errors
    /// [`TuneError::ClassesFull`], [`TuneError::NameTooLong`], [`TuneError::NameTaken`].
    pub fn add_class(&mut self, name: &str) -> Result<u16, TuneError> {
        match self {
            Self::Ncm(method) => method.add_class(name),
            Self::Ridge(method) => method.add_class(name),
            Self::Softmax(method) => method.head_mut().add_class(name),
        }
    }

    /// Returns how long the buffer of [`tail_parts`](Self::tail_parts) must be.
    pub fn tail_buffer_len(&self) -> usize {
        self.tail_bytes()
    }

    /// Makes the tail, as [`AnyMethod`](super::AnyMethod::tail_parts) does.
    ///
    /// # Errors
    /// See [`TailError`].
    pub fn tail_parts<'b>(
        &'b mut self,
        _before: &'b mut [u8; 16],
        buffer: &'b mut [u8],
    ) -> Result<[&'b [u8]; 3], TailError> {
        let len = self.emit_tail(buffer)?;
        Ok([&[], &[], buffer.get(..len).unwrap_or_default()])
    }

    fn inner(&self) -> &dyn Method {
        match self {
            Self::Ncm(method) => method,
            Self::Ridge(method) => method,
            Self::Softmax(method) => method,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Method {
        match self {
            Self::Ncm(method) => method,
            Self::Ridge(method) => method,
            Self::Softmax(method) => method,
        }
    }
}

by_the_method_inside!(AnyHead);
