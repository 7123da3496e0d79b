//! Samples, memory to open a flash with, and what boot finds.

use crate::common::mock_flash::{MockError, MockFlash};
use crate::common::random::Random;
use embedded_storage::nor_flash::NorFlash;
use std::collections::BTreeSet;
use tailtune::model::Features;
use tailtune::tune::*;

pub const TAG: [u8; 4] = *b"kwt1";
pub const CLASSES: usize = 3;

/// A label, values, scale and zero point: all that comes back.
pub type Sample = (u16, Vec<i8>, u32, i8);

pub fn sample(n: usize, width: usize) -> Sample {
    let mut random = Random(n as u64);
    // Every third one looks as if nothing had been written.
    let mut values = || {
        if n.is_multiple_of(3) {
            -1
        } else {
            random.int8()
        }
    };
    let values = (0..width).map(|_| values()).collect();
    // Told apart by its scale even so.
    let scale = (n + 1) as f32 * 0.001;
    ((n % CLASSES) as u16, values, scale.to_bits(), n as i8)
}

pub fn features(sample: &Sample) -> Features<'_> {
    Features {
        values: &sample.1,
        scale: f32::from_bits(sample.2),
        zero_point: sample.3,
    }
}

/// Memory to open a flash with, again and again.
pub struct Memory {
    pub labels: Vec<u16>,
    pub seen: [u32; CLASSES],
    pub values: Vec<i8>,
}

impl Memory {
    pub fn new<F: NorFlash>(flash: &F, width: usize) -> Self {
        let slots = FlashReplay::<F>::slots(flash.capacity() as u32, width);
        Self {
            labels: vec![7; slots],
            seen: [7; CLASSES],
            values: vec![7; width],
        }
    }

    pub fn open<F: NorFlash>(
        &mut self,
        flash: F,
        seed: u32,
    ) -> Result<FlashReplay<'_, F>, ReplayError<F::Error>> {
        let end = flash.capacity() as u32;
        let buffers = FlashBuffers {
            labels: &mut self.labels,
            seen: &mut self.seen,
            values: &mut self.values,
        };
        FlashReplay::open(flash, 0..end, TAG, buffers, seed)
    }
}

pub fn content(samples: &mut impl Samples) -> BTreeSet<Sample> {
    let len = samples.len();
    let get = |i| {
        let (features, label) = samples.get(i).expect("a sample that was counted");
        let scale = features.scale.to_bits();
        (label, features.values.to_vec(), scale, features.zero_point)
    };
    let found: BTreeSet<_> = (0..len).map(get).collect();
    assert_eq!(found.len(), len, "a sample is there twice");
    found
}

/// What boot finds.
pub fn boot<const R: usize, const W: usize, const E: usize>(
    flash: &MockFlash<R, W, E>,
    width: usize,
) -> BTreeSet<Sample> {
    let mut flash = flash.clone();
    flash.boot();
    let mut memory = Memory::new(&flash, width);
    content(&mut memory.open(flash, 0).unwrap())
}

/// Boots and offers a sample.
pub fn offer<const R: usize, const W: usize, const E: usize>(
    flash: &mut MockFlash<R, W, E>,
    sample: &Sample,
    seed: u32,
) -> Result<FlashOffer, ReplayError<MockError>> {
    let mut memory = Memory::new(flash, sample.1.len());
    let mut replay = memory.open(flash, seed)?;
    replay.offer(&features(sample), sample.0, CLASSES)
}
