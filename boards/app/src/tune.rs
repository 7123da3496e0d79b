//! A job's tune: any method, over what memory is left, and its tail to the store.

use crate::error::AppError;
use crate::session::Platform;
use embedded_storage::nor_flash::NorFlash;
use tailtune::store::{Saved, Store};
#[cfg(not(feature = "blocks"))]
use tailtune::tune::AnyHead as Any;
#[cfg(feature = "blocks")]
use tailtune::tune::AnyMethod as Any;
use tailtune::tune::{ClassName, Fit, Method, Recipe, Report, Samples, Start, Workspace};

/// What a tune did.
pub(crate) struct Done {
    pub report: Report,
    /// Where its tail is; nowhere, if the tune was rolled back.
    pub saved: Option<Saved>,
}

impl Default for Done {
    fn default() -> Self {
        Self {
            report: Report::NONE,
            saved: None,
        }
    }
}

impl Done {
    pub fn rolled_back(&self) -> bool {
        self.report.rolled_back()
    }
}

/// What to do, and which classes to add; called more than once.
pub(crate) struct Job<'j, N> {
    pub recipe: &'j Recipe,
    pub added: &'j dyn Fn() -> N,
}

impl<'n, N: Iterator<Item = &'n str>> Job<'_, N> {
    /// Tunes, one sample a step, and saves the tail. A tune that is rolled back saves none.
    ///
    /// Never inlined: a method is the largest thing on the stack, and nothing else needs that room.
    #[inline(never)]
    pub fn tune<'m, P: Platform, F: NorFlash>(
        &self,
        platform: &mut P,
        start: Start<'m>,
        names: &'m mut [ClassName],
        samples: &mut dyn Samples,
        mut work: Workspace<'m>,
        store: &mut Store<F>,
    ) -> Result<Done, AppError<F::Error>> {
        let schedule = &self.recipe.schedule;
        let capacity = start.head.classes() + (self.added)().count();
        let id = start.image.model_id().0;
        let mut method = Any::new(self.recipe, start, capacity, names, &mut work)?;
        for name in (self.added)() {
            method.add_class(name)?;
        }
        let epochs = method.epochs(schedule);
        platform.progress("tune, epochs", 0, epochs);
        let mut fit = Fit::new(&mut method, samples, schedule)?;
        while fit.step()? {
            platform.between_steps();
        }
        let report = fit.finish()?;
        platform.progress("tune, epochs", epochs, epochs);
        if report.rolled_back() {
            let saved = None;
            return Ok(Done { report, saved });
        }
        let (mut before, buffer) = ([0; 16], work.bytes(method.tail_buffer_len())?);
        let parts = method.tail_parts(&mut before, buffer)?;
        let saved = Some(store.save_parts(&id, &parts)?);
        Ok(Done { report, saved })
    }
}
