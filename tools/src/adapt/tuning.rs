//! Any method on the host: the runtime's own code over buffers of the size at hand.

use super::AdaptError;
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use tailtune::image::Image;
use tailtune::model::latent::latent_bytes;
use tailtune::model::{Features, Head};
use tailtune::tune::block::{
    BlockBuffers, BlockOptions, FlatBuffers, LoraOptions, MergeReport, affine_len, block_bytes,
    lora_len, scratch_len,
};
use tailtune::tune::{
    AdamState, ClassName, Fit, FromScratch, HasHead, HeadBuffers, HeadOrigin, LastBlock,
    LinearHead, Lora, Math, Method, MethodId, Ncm, NcmBuffers, NormBias, Report, Ridge,
    RidgeBuffers, RidgeOptions, Samples, Schedule, Softmax, SoftmaxBuffers, Tail, Velocity,
    held_back, keep_old_classes,
};

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
    /// Greatest share of the old classes' samples that added classes may take, by
    /// [`keep_old_classes`]; none to let them. What the schedule holds back judges it, and rolls nothing
    /// back then; without that, the training samples do. Not of `ncm` and `ridge`.
    pub keep_old: Option<f32>,
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
            keep_old: None,
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

/// Returns the bytes of a latent, 0 of a model whose last block cannot be tuned.
pub fn latent_len(image: &Image<'_>) -> usize {
    match super::latent_scale(image) {
        Some(_) if block_bytes(image) > 0 => latent_bytes(image.config()),
        _ => 0,
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
    /// How far the added classes' logits were lowered for the old ones; none where it was not asked for.
    pub lowered: Option<f32>,
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
    let mut lowered = None;
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
                    learn(&mut method, &mut samples, plan, &mut lowered)?
                }
                MethodId::Lora => {
                    let mut method = Lora::new(&image, head, buffers, plan.lora)?;
                    let done = learn(&mut method, &mut samples, plan, &mut lowered)?;
                    merge = Some(method.merge_report());
                    done
                }
                MethodId::LastBlock => {
                    let mut block = AlignedBytes::new(&vec![0; block_bytes(&image)]);
                    let mut method = LastBlock::new(&image, head, &mut block, buffers, plan.block)?;
                    learn(&mut method, &mut samples, plan, &mut lowered)?
                }
                _ => learn(&mut head, &mut samples, plan, &mut lowered)?,
            }
        }
    };
    Ok(Tuned {
        tail: bytes,
        report,
        merge,
        lowered,
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
    emit(method, report)
}

/// As [`run`]; where the plan keeps old classes, what is held back judges the added classes, not the tune: a tune
/// that must not lose one sample of the old ones could add few.
fn learn<'m>(
    method: &mut impl HasHead<'m>,
    samples: &mut HostSamples<'_>,
    plan: &Plan,
    lowered: &mut Option<f32>,
) -> Result<(Report, AlignedBytes), AdaptError> {
    let Some(lost) = plan.keep_old else {
        return run(method, samples, plan);
    };
    let n = plan.schedule.hold_back;
    let places = 0..samples.samples.len();
    let (held, learned): (Vec<usize>, Vec<usize>) =
        places.partition(|&index| held_back(samples, index, n));
    let all = samples.samples;
    let subset = |places: Vec<usize>| places.into_iter().map(|i| all[i]).collect::<Vec<_>>();
    let (held, learned) = (subset(held), subset(learned));
    let mut schedule = plan.schedule;
    schedule.hold_back = 0;
    let mut learned = HostSamples {
        samples: &learned,
        ..*samples
    };
    let report = Fit::new(method, &mut learned, &schedule)?.finish()?;
    let mut judges = HostSamples {
        samples: if held.is_empty() { all } else { &held },
        ..*samples
    };
    *lowered = Some(keep_old_classes(method, &mut judges, lost)?);
    emit(method, report)
}

fn emit(method: &dyn Method, report: Report) -> Result<(Report, AlignedBytes), AdaptError> {
    let mut tail = AlignedBytes::new(&vec![0; method.tail_bytes()]);
    method.emit_tail(&mut tail).map_err(AdaptError::Tail)?;
    Ok((report, tail))
}
