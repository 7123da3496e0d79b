//! A method that is chosen at run time, over one piece of memory.

use super::any_head::{AnyHead, Start, by_the_method_inside};
use super::block::{
    BlockBuffers, MasterBuffers, MergeReport, affine_len, block_bytes, lora_len, master_len,
    scratch_len,
};
use super::{
    BlockWeights, ClassName, LastBlock, LastBlockMaster, Lora, Math, Method, MethodId, NormBias,
    Recipe, Schedule, TailError, TuneError, Workspace,
};
use crate::image::ModelConfig;
use crate::model::Features;

/// Any of the methods.
///
/// Firmware that knows its method takes that one and links no other; [`AnyHead`] is one without blocks.
#[expect(
    clippy::large_enum_variant,
    reason = "there is no heap to put the largest on, and there is only one of them"
)]
pub enum AnyMethod<'m> {
    /// A method that learns from the pooled feature.
    Head(AnyHead<'m>),
    /// See [`block::norm_bias`](super::block::norm_bias).
    NormBias(NormBias<'m>),
    /// See [`block::lora`](super::block::lora).
    Lora(Lora<'m>),
    /// See [`block::in_place`](super::block::in_place).
    LastBlock(LastBlock<'m>),
    /// See [`block::master`](super::block::master).
    LastBlockMaster(LastBlockMaster<'m>),
}

impl<'m> AnyMethod<'m> {
    /// Returns a recipe's method for `capacity` classes, its buffers cut out of `work`. `names` takes the
    /// names of added classes.
    ///
    /// # Errors
    /// [`TuneError::BufferTooSmall`]; [`TuneError::NoBlock`] for a method below the feature and a model
    /// that pools the mean.
    pub fn new(
        recipe: &Recipe,
        start: Start<'m>,
        capacity: usize,
        names: &'m mut [ClassName],
        work: &mut Workspace<'m>,
    ) -> Result<Self, TuneError> {
        if !recipe.method.below_the_block() {
            return AnyHead::new(recipe, start, capacity, names, work).map(Self::Head);
        }
        let image = start.image;
        let config = image.config();
        let softmax = AnyHead::softmax(recipe, start.head, capacity, names, work)?;
        let len = match recipe.method {
            MethodId::Lora => lora_len(config, &recipe.lora),
            _ => affine_len(config),
        };
        let buffers = BlockBuffers {
            scratch: work.take(scratch_len(config))?,
            parameters: work.flat(len, recipe)?,
        };
        match recipe.method {
            MethodId::NormBias => {
                NormBias::new(image, softmax, buffers, recipe.block).map(Self::NormBias)
            }
            MethodId::Lora => Lora::new(image, softmax, buffers, recipe.lora).map(Self::Lora),
            _ => {
                let block = work.bytes(block_bytes(image))?;
                let options = recipe.block;
                let [weights, velocity] = copies(recipe, config);
                if weights == 0 {
                    return LastBlock::new(image, softmax, block, buffers, options)
                        .map(Self::LastBlock);
                }
                let copy = MasterBuffers {
                    weights: work.take(weights)?,
                    velocity: work.take(velocity)?,
                };
                LastBlockMaster::new(image, softmax, block, copy, buffers, options)
                    .map(Self::LastBlockMaster)
            }
        }
    }

    /// Returns how many numbers of 4 bytes [`new`](Self::new) cuts off, whatever the memory's alignment.
    pub fn workspace_len(recipe: &Recipe, start: &Start<'_>, capacity: usize) -> usize {
        let config = start.image.config();
        let softmax = AnyHead::workspace_len(recipe, start, capacity);
        let parameters = match recipe.method {
            MethodId::Lora => lora_len(config, &recipe.lora),
            MethodId::NormBias | MethodId::LastBlock => affine_len(config),
            _ => return softmax,
        };
        let flat = parameters * (2 + recipe.schedule.flat_moments());
        let block = match recipe.method {
            // Up to 3 more, so that it starts at a multiple of 16.
            MethodId::LastBlock => {
                let [weights, velocity] = copies(recipe, config);
                block_bytes(start.image).div_ceil(4) + 3 + weights + velocity
            }
            _ => 0,
        };
        softmax + scratch_len(config) + flat + block
    }

    /// Adds a class and returns its label.
    ///
    /// # Errors
    /// [`TuneError::ClassesFull`], [`TuneError::NameTooLong`], [`TuneError::NameTaken`].
    pub fn add_class(&mut self, name: &str) -> Result<u16, TuneError> {
        match self {
            Self::Head(method) => method.add_class(name),
            Self::NormBias(method) => method.head_mut().add_class(name),
            Self::Lora(method) => method.head_mut().add_class(name),
            Self::LastBlock(method) => method.head_mut().add_class(name),
            Self::LastBlockMaster(method) => method.head_mut().add_class(name),
        }
    }

    /// Returns what merging the adapters of `lora` costs; nothing of another method.
    pub fn merge_report(&self) -> Option<MergeReport> {
        match self {
            Self::Lora(method) => Some(method.merge_report()),
            _ => None,
        }
    }

    /// Returns how long the buffer of [`tail_parts`](Self::tail_parts) must be.
    pub fn tail_buffer_len(&self) -> usize {
        match self {
            Self::LastBlock(method) => method.behind_block_len(),
            Self::LastBlockMaster(method) => method.behind_block_len(),
            _ => self.tail_bytes(),
        }
    }

    /// Makes the tail, in parts for a store that takes them one behind the other: the block that
    /// `last-block` trains lies in it already, and needs no second buffer. `buffer` is
    /// [`tail_buffer_len`](Self::tail_buffer_len) long, from a multiple of 16 on.
    ///
    /// # Errors
    /// See [`TailError`].
    pub fn tail_parts<'b>(
        &'b mut self,
        before: &'b mut [u8; 16],
        buffer: &'b mut [u8],
    ) -> Result<[&'b [u8]; 3], TailError> {
        match self {
            Self::LastBlock(method) => method.tail_parts(before, buffer),
            Self::LastBlockMaster(method) => method.tail_parts(before, buffer),
            _ => {
                let len = self.emit_tail(buffer)?;
                Ok([&[], &[], buffer.get(..len).unwrap_or_default()])
            }
        }
    }

    fn inner(&self) -> &dyn Method {
        match self {
            Self::Head(method) => method,
            Self::NormBias(method) => method,
            Self::Lora(method) => method,
            Self::LastBlock(method) => method,
            Self::LastBlockMaster(method) => method,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Method {
        match self {
            Self::Head(method) => method,
            Self::NormBias(method) => method,
            Self::Lora(method) => method,
            Self::LastBlock(method) => method,
            Self::LastBlockMaster(method) => method,
        }
    }
}

/// Returns how long the f32 copy of the block's weights is, and its velocities.
fn copies(recipe: &Recipe, config: &ModelConfig) -> [usize; 2] {
    let len = master_len(config);
    match recipe.weights {
        BlockWeights::InPlace => [0, 0],
        BlockWeights::Copy => [len, 0],
        BlockWeights::CopyMomentum => [len, len],
    }
}

by_the_method_inside!(AnyMethod);
