//! What the commands over a probe share: the options, the device, the progress.

use super::terminal::progress;
use super::{CommandError, wrong_call};
use crate::board::{self, Board};
use crate::flash::device::{Device, Step};
use crate::flash::plan::real;
#[cfg(feature = "flash")]
use crate::flash::{device::DeviceError, probe::ProbeDevice};
use clap::Args;
use indicatif::ProgressBar;

/// Which board and which probe.
#[derive(Debug, Args)]
pub struct OnProbe {
    /// The board (see `tailtune boards`)
    #[arg(long, value_parser = board::find)]
    pub board: Board,
    /// The debug probe, needed where there are several (see `tailtune probes`)
    #[arg(long, value_name = "VID:PID[:SERIAL]")]
    pub probe: Option<String>,
}

impl OnProbe {
    /// Attaches to the board's chip. With `unlock`, a protected chip may be erased to get in.
    pub fn attach(&self, unlock: bool) -> Result<Box<dyn Device>, CommandError> {
        real(&self.board).map_err(wrong_call)?;
        self.open(unlock)
    }

    #[cfg(feature = "flash")]
    fn open(&self, unlock: bool) -> Result<Box<dyn Device>, CommandError> {
        let device = attach_probe(&self.board, self.probe.as_deref(), unlock)?;
        Ok(Box::new(device))
    }

    #[cfg(not(feature = "flash"))]
    fn open(&self, _: bool) -> Result<Box<dyn Device>, CommandError> {
        Err(WITHOUT.into())
    }

    /// Attaches, does `work`, and lets the core go on whatever came of it.
    pub fn with<R>(
        &self,
        work: impl FnOnce(&mut dyn Device) -> Result<R, CommandError>,
    ) -> Result<R, CommandError> {
        let mut device = self.attach(false)?;
        let done = work(&mut *device);
        let resumed = device.resume();
        let done = done?;
        resumed?;
        Ok(done)
    }
}

/// Attaches to a board's chip.
#[cfg(feature = "flash")]
pub fn attach_probe(
    board: &Board,
    probe: Option<&str>,
    unlock: bool,
) -> Result<ProbeDevice, CommandError> {
    match ProbeDevice::attach(board, probe, unlock) {
        Ok(device) => Ok(device),
        Err(e @ DeviceError::Selector { .. }) => Err(wrong_call(e)),
        Err(e) => Err(e.into()),
    }
}

/// What a command says that needs a probe and has no library for it.
#[cfg(not(feature = "flash"))]
pub const WITHOUT: &str =
    "this tailtune was built without the feature flash: build it with `cargo install --path tools`";

/// One bar a step, in bytes.
#[derive(Default)]
pub struct Bars(Option<(Step, ProgressBar)>);

impl Bars {
    /// Takes what a device reports.
    pub fn report(&mut self, step: Step, done: u64, total: u64) {
        if self.0.as_ref().is_none_or(|(now, _)| *now != step) {
            self.finish();
            let what = match step {
                Step::Erase => "erasing, bytes",
                Step::Program => "writing, bytes",
                Step::Verify => "reading back, bytes",
            };
            self.0 = Some((step, progress(what, total as usize)));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set_position(done);
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some((_, bar)) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
