//! Whatever a region of flash holds: no panic, and nothing but samples that were written.

use crate::common::mock_flash::MockFlash;
use proptest::prelude::*;
use tailtune::model::Features;
use tailtune::tune::*;

type Flash = MockFlash<1, 4, 256>;
const BLOCKS: usize = 4;
const D: usize = 20;

/// Opens, reads all, and offers some; returns what was found first.
fn exercise(flash: &mut Flash, seed: u32) -> Vec<(u16, Vec<i8>)> {
    let mut labels = vec![0; FlashReplay::<Flash>::slots((BLOCKS * 256) as u32, D)];
    let (mut seen, mut values) = ([0; 3], [0; D]);
    let buffers = FlashBuffers {
        labels: &mut labels,
        seen: &mut seen,
        values: &mut values,
    };
    let end = (BLOCKS * 256) as u32;
    let mut replay = FlashReplay::open(flash, 0..end, *b"test", buffers, seed).unwrap();
    let mut found = Vec::new();
    for i in 0..replay.len() {
        let (features, label) = replay.get(i).unwrap();
        found.push((label, features.values.to_vec()));
    }
    assert!(replay.get(replay.len()).is_none() && replay.get(usize::MAX).is_none());
    for n in 0..20u16 {
        let features = Features {
            values: &[n as i8; D],
            scale: 0.1,
            zero_point: 3,
        };
        replay.offer(&features, n % 3, 3).unwrap();
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), BLOCKS * 256), seed: u32) {
        let mut flash = Flash::new(BLOCKS);
        flash.plant(0, &bytes);
        prop_assert!(exercise(&mut flash, seed).is_empty());
        prop_assert!(!exercise(&mut flash, seed).is_empty());
    }

    /// Bytes of a ring that was in use, some of them changed.
    #[test]
    fn damaged_bytes(
        rounds in 1u32..4,
        damage in prop::collection::vec((0..BLOCKS * 256, 0..0xffu8), 0..12),
        seed: u32,
    ) {
        let mut flash = Flash::new(BLOCKS);
        for round in 0..rounds {
            exercise(&mut flash, seed ^ round);
        }
        let sound = exercise(&mut flash.clone(), seed);
        for (at, byte) in damage {
            flash.plant(at, &[byte]);
        }
        for sample in exercise(&mut flash, seed) {
            prop_assert!(sound.contains(&sample));
        }
    }
}
