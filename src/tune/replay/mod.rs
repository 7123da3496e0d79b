//! Replay: labelled features kept to train on, int8 as the encoder gave them.
//!
//! The trunk is frozen, so it runs once per sample and its output at the cut is all that training
//! needs (latent replay). [`Samples`] is what a fit reads from:
//!
//! ```text
//! ram        Replay: samples in lent memory, in the order in which they came
//! reservoir  what stays of it when more comes than fits: balanced over the classes
//! flash      FlashReplay: a ring of erase blocks, balanced by what it accepts
//! scan       what of it a reset left
//! sequences  the positions of a decoder's sequences, each a sample
//! io         its reads and writes
//! record     its bytes
//! error      why flash was refused
//! ```
//!
//! RAM: `d_model + 2` bytes a sample in RAM, 2 bytes a sample in flash; 4 bytes a class for either if
//! it is to stay balanced. Nothing allocates or panics, and no sample is ever copied to the stack.

mod error;
mod flash;
mod io;
mod ram;
mod record;
mod reservoir;
mod scan;
mod sequences;

pub use error::ReplayError;
pub use flash::{FlashBuffers, FlashOffer, FlashReplay};
pub use ram::{Replay, ReplayMemory};
pub use reservoir::Offer;
pub use sequences::{Place, Positions};

use super::shuffle::Shuffle;
use crate::model::Features;

/// A region of flash for samples.
pub(super) struct RegionPlan {
    /// Its bytes.
    pub bytes: usize,
    /// Records that fit.
    pub slots: usize,
}

/// Returns the smallest region that keeps `samples` of `width` bytes at any time; none where no replay fits
/// such a flash, or such numbers.
pub(super) const fn flash_region(
    word: usize,
    erase: usize,
    width: usize,
    samples: u32,
) -> Option<RegionPlan> {
    match record::Grid::holding(word, erase, width, samples) {
        Some(grid) => Some(RegionPlan {
            bytes: grid.region(),
            slots: grid.capacity(),
        }),
        None => None,
    }
}

/// Labelled samples that can be visited in any order, many times.
pub trait Samples {
    /// Returns the number of samples.
    fn len(&self) -> usize;

    /// Returns whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a sample and its label; `None` if it cannot be read.
    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)>;

    /// Returns a sample's label; `None` if it cannot be read.
    fn label(&mut self, index: usize) -> Option<u16> {
        self.get(index).map(|(_, label)| label)
    }
}

/// Random numbers, each the first place of a permutation of its own: integer arithmetic, 8 bytes.
#[derive(Debug, Clone, Copy)]
struct Draw {
    seed: u32,
    count: u32,
}

impl Draw {
    const fn new(seed: u32) -> Self {
        Self { seed, count: 0 }
    }

    /// Returns a number of `0..n`; 0 if there is none.
    fn below(&mut self, n: u32) -> u32 {
        self.count = self.count.wrapping_add(1);
        Shuffle::new(n, self.seed, self.count).index(0)
    }
}

/// Returns how many samples have a label.
fn stored(labels: &[u16], label: u16) -> u32 {
    labels.iter().filter(|&&found| found == label).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The count of every number of `0..n` is within five standard deviations.
    #[test]
    fn draws_are_even() {
        for n in (1..20).chain([100, 1000]) {
            const EACH: u32 = 2000;
            let mut draw = Draw::new(n);
            let mut counts = std::vec![0u32; n as usize];
            for _ in 0..n * EACH {
                counts[draw.below(n) as usize] += 1;
            }
            let far = counts.iter().map(|&c| c.abs_diff(EACH)).max();
            assert!(far < Some(225), "{n}: {far:?}");
        }
        assert_eq!(Draw::new(1).below(0), 0);
    }
}
