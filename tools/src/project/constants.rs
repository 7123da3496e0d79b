//! A project's src/model.rs: what the firmware knows of its model and of its board's flash.

use super::Samples;
use crate::board::{Board, Region};
use crate::int8::Int8Model;
use tailtune::model::arena_bytes;
use tailtune::tune::{MethodId, Recipe, TuneError, TunePlan, TuneSetup, Tuner};
use tailtune_board::BootKind;

/// Bytes of RAM by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ram {
    /// Numbers of 4 bytes that arena and tuning take in turns.
    pub work_numbers: usize,
    /// A tail, as the store keeps it.
    pub tail: usize,
    /// Features, labels and names of classes.
    pub samples: usize,
}

impl Ram {
    /// Returns what the firmware's memory takes.
    ///
    /// # Errors
    /// What the runtime's plan refuses.
    pub fn new(model: &Int8Model, samples: &Samples) -> Result<Self, TuneError> {
        let added = u16::try_from(samples.added.len()).unwrap_or(u16::MAX);
        let setup = TuneSetup {
            schedule: Recipe::new(MethodId::Softmax).schedule,
            samples: u32::try_from(samples.samples.len()).unwrap_or(u32::MAX),
            ..TuneSetup::new(added)
        };
        let plan: TunePlan = Tuner::plan(&model.config(), MethodId::Softmax, &setup)?;
        let tuned = plan.head + plan.features + plan.logits + plan.state + plan.head_moments;
        Ok(Self {
            work_numbers: plan.arena.max(tuned).div_ceil(4),
            tail: plan.tail,
            samples: plan.replay + plan.names,
        })
    }

    /// Returns the sum.
    pub fn bytes(&self) -> usize {
        4 * self.work_numbers + self.tail + self.samples
    }
}

/// Returns the text.
pub fn model_rs(board: &Board, model: &Int8Model, samples: &Samples, ram: &Ram) -> String {
    let (image, config) = (model.image(), model.config());
    let labels: Vec<&str> = image.labels().iter().collect();
    let [first, second] = board
        .regions
        .tails
        .clone()
        .map(|region| slot(board, &region));
    let (address, bytes) = (board.regions.model.address, model.bytes().len());
    // ESP-IDF's second stage does not map the model: the firmware does, above its own address.
    let base = match board.boot.as_ref().map(|boot| boot.kind) {
        Some(BootKind::EspIdf) => "crate::map::BASE + ",
        _ => "",
    };
    let id = image.model_id().0;
    let len = samples.samples.first().map_or(0, |s| s.values.len());
    let mut text = format!(
        "//! What this firmware knows of its model and of its board, made by `tailtune new`.

use core::ops::Range;

/// The model, by the image's own identity.
pub const MODEL_ID: [u8; 16] = {id:?};
/// Where the image lies, as the core sees it, and its bytes.
pub const MODEL_ADDRESS: usize = {base}{address:#x};
pub const MODEL_BYTES: usize = {bytes};
/// Width of a feature.
pub const D_MODEL: usize = {d};
/// The image's own classes.
pub const LABELS: [&str; {n}] = {labels:?};
/// Classes that are learned beside them.
pub const NEW_LABELS: [&str; {added_len}] = {added:?};
pub const CLASSES: usize = LABELS.len() + NEW_LABELS.len();
/// What the encoder works in, and with the tuning that takes its place (numbers of 4 bytes).
pub const ARENA_BYTES: usize = {arena};
pub const WORK_NUMBERS: usize = {work};
/// A tail of all these classes.
pub const TAIL_BYTES: usize = {tail};
/// The two slots that tails are kept in, from the start of their flash.
pub const TAIL_SLOTS: [Range<u32>; 2] = [{first}, {second}];
/// Values of a sample: {shape}.
pub const SAMPLE_LEN: usize = {len};
/// Samples, each after the number of its class.
pub static SAMPLES: [(u16, [i8; SAMPLE_LEN]); {count}] = [
",
        d = config.d_model,
        n = labels.len(),
        added_len = samples.added.len(),
        added = samples.added,
        arena = arena_bytes(&config),
        work = ram.work_numbers,
        tail = ram.tail,
        shape = super::shape(&config),
        count = samples.samples.len(),
    );
    for (i, sample) in samples.samples.iter().enumerate() {
        let label = sample.label;
        text += &format!("    ({label}, int8(*include_bytes!(\"../samples/{i}.bin\"))),\n");
    }
    text + "];

/// Returns bytes as the int8 values that they are.
const fn int8(bytes: [u8; SAMPLE_LEN]) -> [i8; SAMPLE_LEN] {
    // SAFETY: both are as many bytes, and every byte is an i8.
    unsafe { core::mem::transmute(bytes) }
}

/// Returns the image.
///
/// # Safety
/// It lies at its address from now on, and nothing erases or writes it.
pub unsafe fn image() -> &'static [u8] {
    // SAFETY: the caller vouches for the region; bytes need no alignment.
    unsafe { core::slice::from_raw_parts(MODEL_ADDRESS as *const u8, MODEL_BYTES) }
}
"
}

/// Returns a slot in bytes from the start of its flash.
fn slot(board: &Board, region: &Region) -> String {
    let flash = board.flash_of(region).map_or(0, |flash| flash.address);
    let range = region.range();
    let [start, end] = [range.start, range.end].map(|at| at.saturating_sub(flash));
    format!("{start:#x}..{end:#x}")
}
