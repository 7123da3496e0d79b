//! What tuning takes, known before anything runs: bytes by part, and instructions a step.
//!
//! ```text
//! const CONFIG: ModelConfig = …;                      as `tailtune inspect` prints it, or `*image.config()`
//! const PLAN: TunePlan = match Tuner::plan(&CONFIG, MethodId::Softmax, &TuneSetup::new(4)) {
//!     Ok(plan) => plan,
//!     Err(_) => panic!("this model cannot be tuned so"),
//! };
//! ```
//!
//! Every number comes from the function that the method's `new` asks for its buffers: a plan's bytes are
//! taken, and one element less is refused. Nothing allocates or panics.

use super::block::last::planned_block_bytes;
use super::block::lora::planned_patch_bytes as lora_patch_bytes;
use super::block::norm_bias::planned_patch_bytes as affine_patch_bytes;
use super::block::{LoraOptions, MAX_RANK, affine_len, lora_len, scratch_len};
use super::cost::{Shape, end_instructions, step_instructions};
use super::replay::{RegionPlan, flash_region};
use super::ridge::{factor_len, feature_len};
use super::tail::{MAX_NAME_BYTES, tail_len};
use super::{
    Buffer, ClassName, LastBlock, Lora, MethodId, Ncm, NormBias, Place, Ridge, Schedule,
    ScheduleField, Softmax, TuneError,
};
use crate::image::{ModelConfig, Pooling};
use crate::model::decoder::decoder_latent_bytes;
use crate::model::latent::latent_bytes;
use crate::model::{arena_bytes, tuned_decoder_arena_bytes};

/// Where samples are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ReplayPlace {
    /// In RAM: [`Replay`](super::Replay), balanced over the classes.
    Ram,
    /// In flash: [`FlashReplay`](super::FlashReplay).
    Flash {
        /// The larger of its read and write sizes, bytes.
        word: usize,
        /// Its erase block, bytes.
        erase: usize,
    },
}

/// What is to be tuned, beside the model and the method.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TuneSetup {
    /// Classes that may be added to the image's own; of a decoder tokens, to the vocabulary's.
    pub added: u16,
    /// The schedule: its optimizer, momentum and batch decide what stands beside every parameter.
    pub schedule: Schedule,
    /// Projections and rank, of `lora`.
    pub lora: LoraOptions,
    /// Samples that are kept; of a decoder positions, and for a method of a block sequences, each with all its
    /// positions.
    pub samples: u32,
    /// Where.
    pub replay: ReplayPlace,
}

impl TuneSetup {
    /// Returns the setup for so many added classes: the default schedule, no samples.
    pub const fn new(added: u16) -> Self {
        Self {
            added,
            schedule: Schedule::DEFAULT,
            lora: LoraOptions::DEFAULT,
            samples: 0,
            replay: ReplayPlace::Ram,
        }
    }
}

/// What tuning takes, in bytes, by part; 0 where a method has no such part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TunePlan {
    /// The method.
    pub method: MethodId,
    /// The arena of the encoder, which gives the features or latents, or of the decoder with as many outputs as
    /// classes.
    pub arena: usize,
    /// The head: weights and biases of every class.
    pub head: usize,
    /// Names of the classes that may be added.
    pub names: usize,
    /// One real feature; ridge: two, each with a 1 behind it.
    pub features: usize,
    /// Logits.
    pub logits: usize,
    /// Counts of the class means, or the ridge classifier's factor.
    pub state: usize,
    /// What the optimizer keeps of the head: nothing for plain SGD, velocities, or Adam's gradient and two
    /// moments.
    pub head_moments: usize,
    /// The block's f32 parameters.
    pub parameters: usize,
    /// Their gradient and what the optimizer keeps of them.
    pub parameter_moments: usize,
    /// What the block's forward and backward work in.
    pub scratch: usize,
    /// The block's int8 weights, of `last-block`.
    pub block: usize,
    /// The method's own fields. Pointers are those of the target that asks: on a host they are wider.
    pub fields: usize,
    /// The latent of the sample at hand.
    pub latent: usize,
    /// Samples in RAM, or what a replay in flash keeps in RAM.
    pub replay: usize,
    /// Bytes of flash for the samples.
    pub replay_flash: usize,
    /// Bytes of a tail in the store, where every added name has its greatest length.
    pub tail: usize,
    /// RAM that the tail is written to on its way there: all of it, or what goes around the block in
    /// place.
    pub tail_buffer: usize,
    /// Instructions of a step on a Cortex-M4 with FPU: see [`instructions`](Self::instructions).
    instructions: u32,
    end_instructions: u32,
}

impl TunePlan {
    /// Returns the plan of a method over a model's own image.
    ///
    /// A method that goes on from a tail of another one may keep more of the block in its own tail.
    ///
    /// # Errors
    /// What the method would refuse: [`TuneError::NoBlock`] for a model that pools the mean or has a pooler,
    /// or a rank out of its range; [`TuneError::Schedule`] for batches of `last-block`; [`TuneError::BufferTooSmall`] for
    /// a flash whose words or blocks are no size of a replay.
    pub const fn new(
        config: &ModelConfig,
        method: MethodId,
        setup: &TuneSetup,
    ) -> Result<Self, TuneError> {
        let d = config.d_model as usize;
        let classes = match config.decoder {
            Some(decoder) => decoder.vocab_size as usize,
            None => config.n_classes as usize,
        };
        let capacity = classes + setup.added as usize;
        let below = method.below_the_block();
        let rank = setup.lora.rank;
        let lora = matches!(method, MethodId::Lora);
        let cut_off = matches!(config.pooling, Pooling::Mean) || config.pooler;
        if below && cut_off && config.decoder.is_none() || lora && (rank == 0 || rank > MAX_RANK) {
            return Err(TuneError::NoBlock);
        }
        if matches!(method, MethodId::LastBlock) && setup.schedule.batch != 1 {
            return Err(TuneError::Schedule(ScheduleField::Batch));
        }
        let width = match config.decoder {
            _ if !below => d,
            Some(_) => decoder_latent_bytes(config),
            None => latent_bytes(config),
        };
        let region = match replay(setup, width, capacity) {
            Ok(region) => region,
            Err(e) => return Err(e),
        };
        let head_len = capacity * (d + 1);
        let gradient_descent = !matches!(method, MethodId::Ncm | MethodId::Ridge);
        let head_moments = if gradient_descent {
            setup.schedule.head_moments()
        } else {
            0
        };
        let len = match method {
            MethodId::NormBias | MethodId::LastBlock => affine_len(config),
            MethodId::Lora => lora_len(config, &setup.lora),
            _ => 0,
        };
        let patch = match method {
            MethodId::NormBias => affine_patch_bytes(config),
            MethodId::Lora => lora_patch_bytes(config, setup.lora.projections),
            MethodId::LastBlock => planned_block_bytes(config),
            _ => 0,
        };
        let block = if matches!(method, MethodId::LastBlock) {
            patch
        } else {
            0
        };
        let state = match method {
            MethodId::Ncm => capacity,
            MethodId::Ridge => factor_len(d),
            _ => 0,
        };
        let features = match method {
            MethodId::Ridge => feature_len(d),
            _ => d,
        };
        let names = setup.added as usize * MAX_NAME_BYTES;
        let shape = Shape::new(config, capacity, setup);
        let tail = tail_len(d, capacity, names, patch, state);
        Ok(Self {
            method,
            arena: match config.decoder {
                Some(_) => tuned_decoder_arena_bytes(config, 1, capacity),
                None => arena_bytes(config),
            },
            head: 4 * head_len,
            names: setup.added as usize * size_of::<ClassName>(),
            features: 4 * features,
            logits: 4 * capacity,
            state: 4 * state,
            head_moments: (4 * head_len).saturating_mul(head_moments),
            parameters: 4 * len,
            parameter_moments: if below {
                4 * len * (1 + setup.schedule.flat_moments())
            } else {
                0
            },
            scratch: if below { 4 * scratch_len(config) } else { 0 },
            block,
            fields: match method {
                MethodId::Ncm => size_of::<Ncm<'_>>(),
                MethodId::Ridge => size_of::<Ridge<'_>>(),
                MethodId::Softmax => size_of::<Softmax<'_>>(),
                MethodId::NormBias => size_of::<NormBias<'_>>(),
                MethodId::Lora => size_of::<Lora<'_>>(),
                MethodId::LastBlock => size_of::<LastBlock<'_>>(),
            },
            latent: if below { width } else { 0 },
            replay: match config.decoder {
                Some(decoder) if below => {
                    let positions =
                        (setup.samples as usize).saturating_mul(decoder.seq_len as usize);
                    region
                        .ram
                        .saturating_add(positions.saturating_mul(size_of::<Place>()))
                }
                _ => region.ram,
            },
            replay_flash: region.flash,
            tail,
            tail_buffer: tail - block,
            instructions: step_instructions(&shape, method, &setup.schedule),
            end_instructions: end_instructions(&shape, method),
        })
    }

    /// Returns the RAM of tuning, in bytes, without the arena, the samples, and the tail on its way to the
    /// store.
    pub const fn tuning(&self) -> usize {
        let parts = [
            self.head,
            self.names,
            self.features,
            self.logits,
            self.state,
            self.head_moments,
            self.parameters,
            self.parameter_moments,
            self.scratch,
            self.block,
            self.fields,
            self.latent,
        ];
        sum(&parts)
    }

    /// Returns all RAM, in bytes: arena, tuning, samples, and the tail on its way to the store.
    pub const fn ram(&self) -> usize {
        sum(&[self.arena, self.tuning(), self.replay, self.tail_buffer])
    }

    /// Returns the bytes that the arena can lend to the tuning of a head, once the encoder has given the
    /// features of every sample: of all that [`ram`](Self::ram) counts, what both take in turns. None for a
    /// method below the feature.
    pub const fn shared(&self) -> usize {
        if self.method.below_the_block() {
            return 0;
        }
        let lent = sum(&[
            self.head,
            self.features,
            self.logits,
            self.state,
            self.head_moments,
            self.tail_buffer,
        ]);
        if lent < self.arena { lent } else { self.arena }
    }

    /// Returns about how many instructions one step takes on a Cortex-M4 with FPU, with the firmware's
    /// usual size optimization: counted multiply-accumulates, elementwise operations and exponentials times
    /// what each was measured to take (see `cost`). Within 15 % of what `tailtune bench` counts. Of a decoder, one
    /// position's at most, where cross-attention is counted and was not measured.
    pub const fn instructions(&self) -> u32 {
        self.instructions
    }

    /// Returns about how many instructions the end of a fit takes, as [`instructions`](Self::instructions): the
    /// ridge classifier's solution; else 0.
    pub const fn end_instructions(&self) -> u32 {
        self.end_instructions
    }
}

/// Returns the sum, at most `usize::MAX`.
const fn sum(mut parts: &[usize]) -> usize {
    let mut sum = 0usize;
    while let Some((part, rest)) = parts.split_first() {
        sum = sum.saturating_add(*part);
        parts = rest;
    }
    sum
}

/// Bytes of a replay.
struct ReplayBytes {
    ram: usize,
    flash: usize,
}

/// Returns what the samples of a setup take; `width` is the bytes of one.
const fn replay(setup: &TuneSetup, width: usize, classes: usize) -> Result<ReplayBytes, TuneError> {
    let samples = setup.samples as usize;
    if samples == 0 {
        return Ok(ReplayBytes { ram: 0, flash: 0 });
    }
    // A label each, and a count of each class.
    match setup.replay {
        ReplayPlace::Ram => Ok(ReplayBytes {
            ram: samples
                .saturating_mul(width + 2)
                .saturating_add(4 * classes),
            flash: 0,
        }),
        ReplayPlace::Flash { word, erase } => match flash_region(word, erase, width, setup.samples)
        {
            Some(RegionPlan { bytes, slots }) => Ok(ReplayBytes {
                ram: slots.saturating_mul(2).saturating_add(4 * classes + width),
                flash: bytes,
            }),
            None => Err(TuneError::BufferTooSmall {
                buffer: Buffer::Replay,
                needed: samples.saturating_mul(width),
                found: 0,
            }),
        },
    }
}
