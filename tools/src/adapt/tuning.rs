//! Any method on the host: the runtime's own code over buffers of the size at hand.

use super::AdaptError;
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use rayon::prelude::*;
use tailtune::image::Image;
use tailtune::model::latent::latent_bytes;
use tailtune::model::{Encoder, Features, Head, arena_bytes};
use tailtune::tune::block::{
    BlockBuffers, BlockOptions, FlatBuffers, LoraOptions, MasterBuffers, MergeReport, affine_len,
    block_bytes, lora_len, master_len, scratch_len,
};
use tailtune::tune::{
    AdamState, ClassName, Fit, FromScratch, HeadBuffers, HeadOrigin, LastBlock, LastBlockMaster,
    LinearHead, Lora, Math, Method, MethodId, Ncm, NcmBuffers, NormBias, Report, Ridge,
    RidgeBuffers, RidgeOptions, Samples, Schedule, Softmax, SoftmaxBuffers, Tail, Velocity, argmax,
};
use zerocopy::IntoBytes;

/// What is tuned, and how.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The method.
    pub method: MethodId,
    /// The numbers of the fit.
    pub schedule: Schedule,
    /// Of `ridge`.
    pub ridge: RidgeOptions,
    /// Of `lora`.
    pub lora: LoraOptions,
    /// Of `norm-bias` and `last-block`.
    pub block: BlockOptions,
    /// Of `last-block`.
    pub weights: BlockWeights,
}

/// Where `last-block` trains its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum BlockWeights {
    /// In int8, where they lie
    #[default]
    InPlace,
    /// In an f32 copy, 4 bytes a weight more
    Copy,
    /// In an f32 copy with momentum, 8 bytes a weight more
    CopyMomentum,
}

impl Plan {
    /// Returns the plan that a method starts with.
    pub fn new(method: MethodId) -> Self {
        let block = BlockOptions::default();
        Self {
            method,
            schedule: Schedule {
                epochs: 60,
                learning_rate: 0.005,
                weight_decay: 0.001,
                ..Schedule::default()
            },
            ridge: RidgeOptions::default(),
            lora: LoraOptions {
                block,
                ..LoraOptions::default()
            },
            block,
            weights: BlockWeights::default(),
        }
    }
}

/// Where tuning starts.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'o> {
    /// The image's head.
    Image,
    /// No class at all.
    Scratch,
    /// A tail.
    Tail(&'o [u8]),
}

/// A sample, as the methods take it.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// The pooled feature, int8 `[d_model]`.
    pub feature: Vec<i8>,
    /// The last block's latent; empty where no method below the feature is asked for.
    pub latent: Vec<i8>,
    /// Its class.
    pub label: u16,
}

/// Samples as a fit reads them.
struct HostSamples<'s> {
    samples: &'s [&'s Labelled],
    below: bool,
    scale: f32,
    zero_point: i8,
}

impl Samples for HostSamples<'_> {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)> {
        let sample = self.samples.get(index)?;
        let values = if self.below {
            &sample.latent
        } else {
            &sample.feature
        };
        let (scale, zero_point) = (self.scale, self.zero_point);
        let features = Features {
            values,
            scale,
            zero_point,
        };
        Some((features, sample.label))
    }
}

/// What a fit gave.
#[derive(Debug, Clone)]
pub struct Tuned {
    /// The tail, at an address that is a multiple of 16.
    pub tail: AlignedBytes,
    /// What the fit did.
    pub report: Report,
    /// Of `lora`: what merging cost.
    pub merge: Option<MergeReport>,
}

/// Tunes on `train`. `added` are the names of classes that the origin does not have, in the order of
/// their labels.
///
/// # Errors
/// [`AdaptError`].
pub fn tune(
    int8: &Int8Model,
    origin: Origin<'_>,
    added: &[String],
    train: &[&Labelled],
    plan: &Plan,
) -> Result<Tuned, AdaptError> {
    let image = int8.image();
    let config = *image.config();
    let d = usize::from(config.d_model);
    let tail = match origin {
        Origin::Tail(bytes) => Some(Tail::parse(bytes).map_err(AdaptError::Tail)?),
        _ => None,
    };
    let block = tail.map_or(&[][..], |tail| tail.block());
    let image = image.patched(block).map_err(AdaptError::Block)?;
    let (image_head, scratch);
    let head_origin: &dyn HeadOrigin = match (&origin, &tail) {
        (Origin::Tail(_), Some(tail)) => tail,
        (Origin::Image, _) => {
            image_head = Head::new(&image).map_err(|_| AdaptError::NoHead)?;
            &image_head
        }
        _ => {
            scratch = FromScratch { d_model: d };
            &scratch
        }
    };
    let known = head_origin.classes();
    let capacity = known + added.len();
    let named = known - head_origin.model_classes().min(known) + added.len();
    let f = |len: usize| vec![0f32; len];
    let (mut weights, mut bias) = (f(capacity * d), f(capacity));
    let mut names = vec![ClassName::EMPTY; named];
    let (mut features, mut logits, mut counts) = (f(2 * (d + 1)), f(capacity), f(capacity));
    let mut moments = [(); 3].map(|()| (f(capacity * d), f(capacity)));
    let mut factor = f(tailtune::tune::ridge::factor_len(d));

    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut names,
    };
    let head = LinearHead::new(buffers, head_origin)?;
    let state = |method| tail.as_ref().and_then(|tail| tail.state(method));
    let below = plan.method.below_the_block();
    let (scale, zero_point) = if below {
        crate::adapt::latent_scale(&image).ok_or(AdaptError::NoBlock)?
    } else {
        super::feature_scale(int8)
    };
    let mut samples = HostSamples {
        samples: train,
        below,
        scale,
        zero_point,
    };
    let [first, second, gradient] = &mut moments;
    let mut merge = None;
    let (report, bytes) = match plan.method {
        MethodId::Ncm => {
            let buffers = NcmBuffers {
                features: &mut features,
                logits: &mut logits,
                counts: &mut counts,
            };
            let mut method = Ncm::new(head, buffers, state(MethodId::Ncm))?;
            for name in added {
                method.add_class(name)?;
            }
            run(&mut method, &mut samples, plan)?
        }
        MethodId::Ridge => {
            let buffers = RidgeBuffers {
                features: &mut features,
                logits: &mut logits,
                factor: &mut factor,
            };
            let mut method = Ridge::new(head, buffers, plan.ridge, state(MethodId::Ridge))?;
            for name in added {
                method.add_class(name)?;
            }
            run(&mut method, &mut samples, plan)?
        }
        _ => {
            let mut head = head;
            add(&mut head, added)?;
            let buffers = SoftmaxBuffers {
                features: &mut features,
                logits: &mut logits,
                velocity: Some(moment(first)),
                adam: Some(AdamState::new(moment(gradient), moment(second))),
            };
            let mut head = Softmax::new(head, buffers, Math::Exact)?;
            let len = match plan.method {
                MethodId::Lora => lora_len(&config, &plan.lora),
                _ => affine_len(&config),
            };
            let mut flat = [(); 4].map(|()| vec![0f32; if below { len } else { 0 }]);
            let mut scratch = vec![0f32; if below { scratch_len(&config) } else { 0 }];
            let [values, gradient, first, second] = &mut flat;
            let buffers = BlockBuffers {
                scratch: &mut scratch,
                parameters: FlatBuffers {
                    values,
                    gradient,
                    first,
                    second,
                },
            };
            match plan.method {
                MethodId::NormBias => {
                    let mut method = NormBias::new(&image, head, buffers, plan.block)?;
                    run(&mut method, &mut samples, plan)?
                }
                MethodId::Lora => {
                    let mut method = Lora::new(&image, head, buffers, plan.lora)?;
                    let done = run(&mut method, &mut samples, plan)?;
                    merge = Some(method.merge_report());
                    done
                }
                MethodId::LastBlock => {
                    let mut block = AlignedBytes::new(&vec![0; block_bytes(&image)]);
                    if plan.weights == BlockWeights::InPlace {
                        let mut method =
                            LastBlock::new(&image, head, &mut block, buffers, plan.block)?;
                        run(&mut method, &mut samples, plan)?
                    } else {
                        let moves = plan.weights == BlockWeights::CopyMomentum;
                        let mut copy = f(master_len(&config));
                        let mut velocity = f(if moves { master_len(&config) } else { 0 });
                        let copy = MasterBuffers {
                            weights: &mut copy,
                            velocity: &mut velocity,
                        };
                        let mut method = LastBlockMaster::new(
                            &image, head, &mut block, copy, buffers, plan.block,
                        )?;
                        run(&mut method, &mut samples, plan)?
                    }
                }
                _ => run(&mut head, &mut samples, plan)?,
            }
        }
    };
    Ok(Tuned {
        tail: bytes,
        report,
        merge,
    })
}

fn moment((weights, bias): &mut (Vec<f32>, Vec<f32>)) -> Velocity<'_> {
    Velocity { weights, bias }
}

fn add(head: &mut LinearHead<'_>, added: &[String]) -> Result<(), AdaptError> {
    for name in added {
        head.add_class(name)?;
    }
    Ok(())
}

fn run(
    method: &mut dyn Method,
    samples: &mut HostSamples<'_>,
    plan: &Plan,
) -> Result<(Report, AlignedBytes), AdaptError> {
    let report = Fit::new(method, samples, &plan.schedule)?.finish()?;
    let mut tail = AlignedBytes::new(&vec![0; method.tail_bytes()]);
    method.emit_tail(&mut tail).map_err(AdaptError::Tail)?;
    Ok((report, tail))
}

/// Returns the logits of each sample by a tail, as a device computes them: the integer runtime's block
/// where the tail holds one, then the head.
///
/// # Errors
/// [`AdaptError`].
pub fn logits(
    int8: &Int8Model,
    tail: &[u8],
    samples: &[&Labelled],
) -> Result<Vec<Vec<f32>>, AdaptError> {
    let tail = Tail::parse(tail).map_err(AdaptError::Tail)?;
    let image = int8.image();
    let image = image.patched(tail.block()).map_err(AdaptError::Block)?;
    let (scale, zero_point) = super::feature_scale(int8);
    let one = |arena: &mut Vec<u64>, sample: &&Labelled| {
        let mut logits = vec![0.0; tail.classes()];
        let feature = |values| Features {
            values,
            scale,
            zero_point,
        };
        if tail.block().is_empty() {
            tail.logits(&feature(&sample.feature), &mut logits)?;
        } else {
            let needed = arena_bytes(image.config());
            let arena = &mut arena.as_mut_slice().as_mut_bytes()[..needed];
            let mut encoder = Encoder::new(&image, arena).map_err(|_| AdaptError::NoBlock)?;
            let features = encoder.forward_latent(&sample.latent);
            tail.logits(&features.map_err(|_| AdaptError::NoBlock)?, &mut logits)?;
        }
        Ok(logits)
    };
    let arena = || vec![0u64; arena_bytes(image.config()).div_ceil(8)];
    samples.par_iter().map_init(arena, one).collect()
}

/// Returns the share of samples that a tail gets right.
///
/// # Errors
/// [`AdaptError`].
pub fn accuracy(int8: &Int8Model, tail: &[u8], samples: &[&Labelled]) -> Result<f64, AdaptError> {
    let logits = logits(int8, tail, samples)?;
    let right = logits.iter().zip(samples);
    let right = right.filter(|(logits, s)| argmax(logits) == Some(s.label.into()));
    Ok(right.count() as f64 / samples.len().max(1) as f64)
}

/// Returns the bytes of a latent, 0 of a model whose last block cannot be tuned.
pub fn latent_len(image: &Image<'_>) -> usize {
    match super::latent_scale(image) {
        Some(_) if block_bytes(image) > 0 => latent_bytes(image.config()),
        _ => 0,
    }
}

/// Lends the class means of a tail of `ncm`, and what makes features of pooled values.
///
/// # Errors
/// [`AdaptError`], or what `f` gives.
pub fn with_means<R>(
    int8: &Int8Model,
    tail: &[u8],
    f: impl FnOnce(&mut Ncm<'_>, &dyn Fn(&[i8]) -> Features<'_>) -> Result<R, AdaptError>,
) -> Result<R, AdaptError> {
    let tail = Tail::parse(tail).map_err(AdaptError::Tail)?;
    let (scale, zero_point) = super::feature_scale(int8);
    let (d, n) = (tail.d_model(), tail.classes());
    let (mut weights, mut bias) = (vec![0.0; n * d], vec![0.0; n]);
    let mut names = vec![ClassName::EMPTY; n - tail.model_classes()];
    let (mut features, mut logits, mut counts) = (vec![0.0; d], vec![0.0; n], vec![0.0; n]);
    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut names,
    };
    let head = LinearHead::new(buffers, &tail)?;
    let buffers = NcmBuffers {
        features: &mut features,
        logits: &mut logits,
        counts: &mut counts,
    };
    let mut ncm = Ncm::new(head, buffers, tail.state(MethodId::Ncm))?;
    f(&mut ncm, &|values| Features {
        values,
        scale,
        zero_point,
    })
}
