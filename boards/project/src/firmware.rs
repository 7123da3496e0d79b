//! The model at work: it says what it takes samples for, and learns from those that have a label.

use crate::failure::Failure;
use crate::model::{
    ARENA_BYTES, CLASSES, D_MODEL, LABELS, MODEL_ID, NEW_LABELS, SAMPLES, TAIL_BYTES, TAIL_SLOTS,
    WORK_NUMBERS,
};
use embedded_storage::nor_flash::NorFlash;
use tailtune::image::Image;
use tailtune::model::{Encoder, Head, Input};
use tailtune::store::Store;
use tailtune::tune::{
    AnyHead, ClassName, Fit, HeadOrigin, Method, MethodId, Recipe, Replay, Start, Tail, WorkMemory,
    argmax,
};

/// What is called with a sample's label, and with the label that was found for it.
pub type Say<'s> = &'s mut dyn FnMut(&str, &str);

/// All memory that the model needs.
pub struct Memory {
    /// The encoder's arena, and what the head is tuned in: in turns.
    work: WorkMemory<WORK_NUMBERS>,
    /// What was learned, as the store keeps it.
    tail: [u8; TAIL_BYTES],
    /// What the encoder gives for each sample.
    features: [i8; SAMPLES.len() * D_MODEL],
    labels: [u16; SAMPLES.len()],
    names: [ClassName; NEW_LABELS.len()],
}

/// What a boot did.
pub enum Boot {
    /// It learned and saved: the next one will load that.
    Learned,
    /// It said what it takes the samples for.
    Answered,
}

/// Loads what was learned and says what it takes the samples for; learns first, if there is nothing yet or if
/// it is told to.
pub fn boot<F: NorFlash>(
    memory: &mut Memory,
    image: &'static [u8],
    flash: F,
    learn: bool,
    say: Say<'_>,
) -> Result<Boot, Failure<F::Error>> {
    let image = Image::parse(image)?;
    if image.model_id().0 != MODEL_ID {
        return Err(Failure::OtherModel);
    }
    // A power cut while it saves leaves what was there before, or what is new.
    let mut store = Store::with_slots(flash, TAIL_SLOTS)?;
    match store.load(&MODEL_ID, &mut memory.tail) {
        Ok(saved) if !learn => {
            memory.answer(&image, saved.len, say)?;
            Ok(Boot::Answered)
        }
        _ => {
            let len = memory.learn(&image, say)?;
            let tail = memory.tail.get(..len).unwrap_or_default();
            store.save(&MODEL_ID, tail).map_err(Failure::Store)?;
            Ok(Boot::Learned)
        }
    }
}

impl Memory {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            work: WorkMemory::new(),
            tail: [0; TAIL_BYTES],
            features: [0; SAMPLES.len() * D_MODEL],
            labels: [0; SAMPLES.len()],
            names: [const { ClassName::EMPTY }; NEW_LABELS.len()],
        }
    }

    /// Says what the tail takes the samples for. A sensor's frames go where the samples do.
    #[inline(never)]
    fn answer<E>(&mut self, image: &Image<'_>, len: usize, say: Say<'_>) -> Result<(), Failure<E>> {
        let tail = Tail::parse(self.tail.get(..len).unwrap_or_default())?;
        let mut logits = [0.0; CLASSES];
        let logits = logits
            .get_mut(..tail.classes())
            .ok_or(Failure::OtherModel)?;
        let mut encoder = Encoder::new(image, self.work.workspace().bytes(ARENA_BYTES)?)?;
        for (label, frames) in &SAMPLES {
            // `begin` in place of `forward` works in bounded steps: a watchdog is fed between them.
            let features = encoder.forward(Input::Frames(frames))?;
            tail.logits(&features, logits)?;
            say(
                name((*label).into()),
                name(argmax(logits).unwrap_or(CLASSES)),
            );
        }
        Ok(())
    }

    /// Says what the image's own head takes the samples for, then tunes it on them; returns the bytes of the
    /// tail.
    #[inline(never)]
    fn learn<E>(&mut self, image: &Image<'_>, say: Say<'_>) -> Result<usize, Failure<E>> {
        let head = Head::new(image)?;
        let mut samples = Replay::new(&mut self.features, &mut self.labels, D_MODEL)?;
        let mut encoder = Encoder::new(image, self.work.workspace().bytes(ARENA_BYTES)?)?;
        for (label, frames) in &SAMPLES {
            let features = encoder.forward(Input::Frames(frames))?;
            let mut logits = [0; LABELS.len()];
            head.logits(&features, &mut logits);
            let best = (0..LABELS.len())
                .rev()
                .max_by_key(|&class| logits.get(class));
            say(name((*label).into()), name(best.unwrap_or(CLASSES)));
            samples.push(&features, *label, CLASSES)?;
        }

        // The encoder has done its part: the head is tuned in its arena.
        let recipe = Recipe::new(MethodId::Softmax);
        let start = Start {
            image,
            head: &head,
            state: None,
        };
        let mut work = self.work.workspace();
        let mut method = AnyHead::new(&recipe, start, CLASSES, &mut self.names, &mut work)?;
        for name in NEW_LABELS {
            method.add_class(name)?;
        }
        let mut fit = Fit::new(&mut method, &mut samples, &recipe.schedule)?;
        // One sample a step.
        while fit.step()? {}
        fit.finish()?;
        Ok(method.emit_tail(&mut self.tail)?)
    }
}

/// Returns a class's name.
fn name(class: usize) -> &'static str {
    let mut names = LABELS.iter().chain(&NEW_LABELS);
    names.nth(class).copied().unwrap_or("nothing that it knows")
}
