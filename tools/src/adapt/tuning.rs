//! Any method on the host: the runtime's own code over buffers of the size at hand.

use super::AdaptError;
use crate::image_writer::AlignedBytes;
use crate::int8::Int8Model;
use std::ops::{Deref, DerefMut};
use tailtune::image::Image;
use tailtune::model::latent::latent_bytes;
use tailtune::model::{Features, Head};
use tailtune::tune::block::{MergeReport, block_bytes};
use tailtune::tune::{
    AnyHead, AnyMethod, ClassName, Fit, FromScratch, HeadOrigin, Method, MethodId, Recipe, Report,
    Samples, Start, Tail, TuneError, Workspace, held_back, keep_old_classes,
};

/// What is tuned, and how: a recipe, and what only the host does so far.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What a device does as well.
    pub recipe: Recipe,
    /// Greatest share of the old classes' samples that added classes may take, by
    /// [`keep_old_classes`]; none to let them. What the schedule holds back judges it, and rolls nothing
    /// back then; without that, the training samples do. Not of `ncm` and `ridge`.
    pub keep_old: Option<f32>,
}

impl Plan {
    /// Returns the plan that a method starts with.
    pub fn new(method: MethodId) -> Self {
        Self::from(Recipe::new(method))
    }
}

impl From<Recipe> for Plan {
    fn from(recipe: Recipe) -> Self {
        Self {
            recipe,
            keep_old: None,
        }
    }
}

impl Deref for Plan {
    type Target = Recipe;

    fn deref(&self) -> &Recipe {
        &self.recipe
    }
}

impl DerefMut for Plan {
    fn deref_mut(&mut self) -> &mut Recipe {
        &mut self.recipe
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
    let (scale, zero_point) = grid(int8, plan)?;
    let mut samples = HostSamples {
        samples: train,
        below: plan.method.below_the_block(),
        scale,
        zero_point,
    };
    with_method(int8, origin, added, plan, |method| {
        learn(method, &mut samples, plan)
    })
}

/// Tunes a decoder on the positions of sequences; see [`tune`].
///
/// # Errors
/// [`AdaptError`].
pub fn tune_positions(
    int8: &Int8Model,
    origin: Origin<'_>,
    added: &[String],
    positions: &mut dyn Samples,
    plan: &Plan,
) -> Result<Tuned, AdaptError> {
    with_method(int8, origin, added, plan, |method| {
        Ok((Fit::new(method, positions, &plan.schedule)?.finish()?, None))
    })
}

/// Returns scale and zero point of what a plan's method reads.
fn grid(int8: &Int8Model, plan: &Plan) -> Result<(f32, i8), AdaptError> {
    match plan.method.below_the_block() {
        true => crate::adapt::latent_scale(&int8.image()).ok_or(AdaptError::NoBlock),
        false => Ok(super::feature_scale(int8)),
    }
}

/// Makes a plan's method, has it learn, and writes its tail.
fn with_method(
    int8: &Int8Model,
    origin: Origin<'_>,
    added: &[String],
    plan: &Plan,
    learn: impl FnOnce(&mut AnyMethod<'_>) -> Result<(Report, Option<f32>), TuneError>,
) -> Result<Tuned, AdaptError> {
    let image = int8.image();
    let tail = match origin {
        Origin::Tail(bytes) => Some(Tail::parse(bytes).map_err(AdaptError::Tail)?),
        _ => None,
    };
    let block = tail.map_or(&[][..], |tail| tail.block());
    let image = image.patched(block).map_err(AdaptError::Block)?;
    let (image_head, scratch);
    let head: &dyn HeadOrigin = match (&origin, &tail) {
        (Origin::Tail(_), Some(tail)) => tail,
        (Origin::Image, _) => {
            image_head = match image.config().decoder {
                Some(_) => Head::output(&image),
                None => Head::new(&image),
            }
            .map_err(|_| AdaptError::NoHead)?;
            &image_head
        }
        _ => {
            let d_model = image.config().d_model.into();
            scratch = FromScratch { d_model };
            &scratch
        }
    };
    let start = Start {
        image: &image,
        head,
        state: tail.as_ref().and_then(|tail| tail.state(plan.method)),
    };
    let capacity = head.classes() + added.len();
    let named = capacity - head.model_classes().min(head.classes());
    let mut names = vec![ClassName::EMPTY; named];
    let mut memory = vec![0f32; AnyMethod::workspace_len(plan, &start, capacity)];
    let work = &mut Workspace::new(&mut memory);
    let mut method = AnyMethod::new(plan, start, capacity, &mut names, work)?;
    for name in added {
        method.add_class(name)?;
    }
    let (report, lowered) = learn(&mut method)?;
    let mut tail = AlignedBytes::new(&vec![0; method.tail_bytes()]);
    method.emit_tail(&mut tail).map_err(AdaptError::Tail)?;
    Ok(Tuned {
        tail,
        report,
        merge: method.merge_report(),
        lowered,
    })
}

/// Tunes. Where the plan keeps old classes, what is held back judges the added classes, not the tune: a tune that
/// must not lose one sample of the old ones could add few. Returns how far the added classes were lowered, too.
fn learn(
    method: &mut AnyMethod<'_>,
    samples: &mut HostSamples<'_>,
    plan: &Plan,
) -> Result<(Report, Option<f32>), TuneError> {
    let Some(lost) = plan.keep_old else {
        return Ok((Fit::new(method, samples, &plan.schedule)?.finish()?, None));
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
    let judges = &mut HostSamples {
        samples: if held.is_empty() { all } else { &held },
        ..*samples
    };
    let lowered = match method {
        AnyMethod::Head(AnyHead::Ncm(_) | AnyHead::Ridge(_)) => None,
        AnyMethod::Head(AnyHead::Softmax(method)) => Some(keep_old_classes(method, judges, lost)?),
        AnyMethod::NormBias(method) => Some(keep_old_classes(method, judges, lost)?),
        AnyMethod::Lora(method) => Some(keep_old_classes(method, judges, lost)?),
        AnyMethod::LastBlock(method) => Some(keep_old_classes(method, judges, lost)?),
        AnyMethod::LastBlockMaster(method) => Some(keep_old_classes(method, judges, lost)?),
    };
    Ok((report, lowered))
}
