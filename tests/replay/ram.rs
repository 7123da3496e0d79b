//! Samples in RAM: what stays when more is offered than fits, evenly over classes and over time.

use crate::common::random::Random;
use proptest::prelude::*;
use tailtune::model::Features;
use tailtune::tune::*;

const D: usize = 3;

fn features(values: &[i8]) -> Features<'_> {
    Features {
        values,
        scale: 0.03,
        zero_point: -5,
    }
}

/// Values that tell which sample of a stream they are.
fn values(n: usize) -> [i8; D] {
    [n as i8, (n >> 8) as i8, !n as i8]
}

fn number(values: &[i8]) -> usize {
    let [low, high, check] = *values else {
        panic!("{values:?}")
    };
    assert_eq!(check, !low);
    usize::from(low as u8) | usize::from(high as u8) << 8
}

/// A stream through a buffer; returns the numbers and labels of what it keeps.
fn keep(labels: &[u16], capacity: usize, classes: usize, seed: u32) -> Vec<(usize, u16)> {
    let (mut bytes, mut places) = (vec![0; capacity * D], vec![0; capacity]);
    let mut seen = vec![0; classes];
    let replay = Replay::new(&mut bytes, &mut places, D).unwrap();
    let mut replay = replay.balanced(&mut seen, seed);
    for (n, &label) in labels.iter().enumerate() {
        replay.offer(&features(&values(n)), label, classes).unwrap();
    }
    content(&mut replay)
}

fn content(replay: &mut Replay<'_>) -> Vec<(usize, u16)> {
    let len = replay.len();
    let sample = |i| {
        let (features, label) = replay.get(i).unwrap();
        (number(features.values), label)
    };
    (0..len).map(sample).collect()
}

/// Labels of which class `c` has the `weights[c]`-th part, in random order.
fn stream(weights: &[usize], len: usize, seed: u64) -> Vec<u16> {
    let all: Vec<u16> = (0u16..)
        .zip(weights)
        .flat_map(|(class, &weight)| vec![class; weight])
        .collect();
    let mut random = Random(seed);
    (0..len).map(|_| all[random.below(all.len())]).collect()
}

fn counts(kept: &[(usize, u16)], classes: usize) -> Vec<usize> {
    let count = |class| kept.iter().filter(|(_, label)| *label == class).count();
    (0..classes as u16).map(count).collect()
}

#[test]
fn imbalanced_streams_end_balanced() {
    for (weights, capacity) in [
        (&[10, 1][..], 20),
        (&[10, 1], 7),
        (&[1, 10, 10, 1, 100], 32),
        (&[1000, 1, 1, 1], 13),
        (&[1; 12], 128),
    ] {
        for seed in 0..20 {
            let labels = stream(weights, 20_000, seed);
            let kept = keep(&labels, capacity, weights.len(), seed as u32);
            let counts = counts(&kept, weights.len());
            let share = capacity / weights.len();
            assert!(
                counts.iter().all(|&c| c == share || c == share + 1),
                "{weights:?}: {counts:?} of {capacity}"
            );
        }
    }
}

/// Each sample of a class stays equally often, wherever it came in the stream and whatever else did.
#[test]
fn each_sample_of_a_class_is_as_likely() {
    const SEEDS: u32 = 4000;
    // Class 0 fills the buffer, then gives way to the others, which come late.
    let mut labels = vec![0; 40];
    labels.extend(stream(&[3, 2, 1], 160, 5));
    let mut kept = vec![0u32; labels.len()];
    for seed in 0..SEEDS {
        for (n, label) in keep(&labels, 16, 3, seed) {
            assert_eq!(labels[n], label);
            kept[n] += 1;
        }
    }
    for class in 0..3 {
        let of_class = || labels.iter().zip(&kept).filter(|(l, _)| **l == class);
        let n = of_class().count() as f64;
        let total: u32 = of_class().map(|(_, kept)| kept).sum();
        let expected = f64::from(total) / n;
        let chi: f64 = of_class()
            .map(|(_, &kept)| (f64::from(kept) - expected).powi(2) / expected)
            .sum();
        // A choice without replacement varies by the part that is not chosen.
        let (mean, deviation) = (n - 1.0, (2.0 * (n - 1.0)).sqrt());
        let chi = chi / (1.0 - expected / f64::from(SEEDS));
        println!("class {class}: chi-square {chi:.1}, {mean} ± {deviation:.1} expected");
        assert!((chi - mean).abs() < 4.0 * deviation);
    }
}

#[test]
fn a_seed_decides_every_choice() {
    let labels = stream(&[5, 1, 1], 1000, 9);
    let run = |seed| keep(&labels, 24, 3, seed);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    // Another target, or another generator, is noticed.
    let sum = run(7).iter().fold(0u64, |sum, &(n, label)| {
        sum.wrapping_mul(31)
            .wrapping_add((n * 3) as u64 + u64::from(label))
    });
    assert_eq!(format!("{sum:016x}"), "d28568211f135c47");
}

#[test]
fn offers_say_what_became_of_them() {
    let mut memory = ReplayMemory::<D, 4>::new();
    let mut seen = [0; 3];
    let mut replay = memory.replay(D).unwrap().balanced(&mut seen, 3);
    for n in 0..4 {
        let offer = replay.offer(&features(&values(n)), 0, 3);
        assert_eq!(offer, Ok(Offer::Added));
    }
    let mut kept = content(&mut replay);
    let (mut skipped, mut own) = (0, 0);
    for n in 4..200 {
        let label = if n < 100 { 0 } else { 1 + (n % 2) as u16 };
        match replay.offer(&features(&values(n)), label, 3).unwrap() {
            Offer::Added => panic!("there is no room"),
            Offer::Replaced { index, class } => {
                assert_eq!(kept[index].1, class);
                own += usize::from(class == label);
                kept[index] = (n, label);
            }
            Offer::Skipped => skipped += 1,
        }
        assert_eq!(content(&mut replay), kept);
    }
    assert!(skipped > 100 && own > 5, "{skipped} {own}");
    assert_eq!(
        [0, 1, 2].map(|class| replay.stored(class)).iter().max(),
        Some(&2)
    );
}

#[test]
fn a_class_can_be_forgotten() {
    let mut memory = ReplayMemory::<D, 12>::new();
    let mut seen = [0; 3];
    let mut replay = memory.replay(D).unwrap().balanced(&mut seen, 3);
    assert_eq!(replay.forget(0), 0);
    let offer = |replay: &mut Replay<'_>, n: usize, label| {
        replay.offer(&features(&values(n)), label, 3).unwrap()
    };
    for n in 0..300 {
        offer(&mut replay, n, (n % 3) as u16);
    }
    let before = content(&mut replay);
    assert_eq!(replay.forget(1), 4);
    let left: Vec<_> = before.iter().copied().filter(|s| s.1 != 1).collect();
    assert_eq!(content(&mut replay), left);
    assert_eq!(
        (replay.forget(1), replay.forget(9), replay.labels().len()),
        (0, 0, 8)
    );
    // Its room goes to what comes next, and evenness comes back.
    for n in 300..304 {
        assert_eq!(offer(&mut replay, n, 2), Offer::Added);
    }
    assert_eq!([0, 1, 2].map(|class| replay.stored(class)), [4, 0, 8]);
    for n in 304..400 {
        offer(&mut replay, n, (n % 3) as u16);
    }
    assert_eq!([0, 1, 2].map(|class| replay.stored(class)), [4; 3]);
    replay.clear();
    assert!(replay.is_empty());
    assert_eq!(offer(&mut replay, 1, 1), Offer::Added);
    assert_eq!(seen, [0, 1, 0]);
}

/// What was pushed counts as offered, before the counts were lent and after.
#[test]
fn pushed_samples_count() {
    let mut memory = ReplayMemory::<D, 8>::new();
    let mut seen = [9; 2];
    let mut replay = memory.replay(D).unwrap();
    for n in 0..5 {
        replay.push(&features(&values(n)), 0, 2).unwrap();
    }
    let mut replay = replay.balanced(&mut seen, 1);
    for n in 5..8 {
        replay.push(&features(&values(n)), 1, 2).unwrap();
    }
    let full = TuneError::ReplayFull { capacity: 8 };
    assert_eq!(replay.push(&features(&values(8)), 1, 2), Err(full));
    let offer = replay.offer(&features(&values(8)), 1, 2);
    assert!(matches!(offer, Ok(Offer::Replaced { class: 0, .. })));
    assert_eq!(seen, [5, 4]);
}

#[test]
fn bad_offers_are_refused_and_change_nothing() {
    let mut memory = ReplayMemory::<D, 2>::new();
    let mut seen = [0; 2];
    let bytes = values(1);
    let good = features(&bytes);
    let mut replay = memory.replay(D).unwrap();
    let (buffer, needed) = (Buffer::Seen, 2);
    let missing = |found| TuneError::BufferTooSmall {
        buffer,
        needed,
        found,
    };
    assert_eq!(replay.offer(&good, 1, 2), Err(missing(0)));
    let mut replay = replay.balanced(&mut seen, 1);
    replay.offer(&good, 1, 2).unwrap();
    for features in [
        Features {
            values: &[1],
            ..good
        },
        Features {
            scale: f32::NAN,
            ..good
        },
        Features { scale: 0.5, ..good },
        Features {
            zero_point: 0,
            ..good
        },
    ] {
        assert!(replay.offer(&features, 1, 2).is_err());
    }
    let (found, classes) = (2, 2);
    let label = TuneError::LabelOutOfRange { found, classes };
    assert_eq!(replay.offer(&good, 2, 2), Err(label));
    let (needed, found) = (3, 2);
    let few = TuneError::BufferTooSmall {
        buffer,
        needed,
        found,
    };
    assert_eq!(replay.offer(&good, 1, 3), Err(few));
    assert_eq!(content(&mut replay), [(1, 1)]);
    assert_eq!(seen, [0, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// At every moment: full as soon as it can be, and a class has all that was offered of it or is
    /// within one of the largest.
    #[test]
    fn any_stream_is_balanced(
        labels in prop::collection::vec(0u16..6, 0..300),
        skew in 0u16..6,
        capacity in 1usize..40,
        seed: u32,
    ) {
        let (mut bytes, mut places) = (vec![0; capacity * D], vec![0; capacity]);
        let mut seen = [0; 6];
        let replay = Replay::new(&mut bytes, &mut places, D).unwrap();
        let mut replay = replay.balanced(&mut seen, seed);
        let mut offered = [0; 6];
        for (n, &label) in labels.iter().enumerate() {
            // Half of the samples are of one class.
            let label = if n % 2 == 0 { skew } else { label };
            replay.offer(&features(&values(n)), label, 6).unwrap();
            offered[usize::from(label)] += 1;
            prop_assert_eq!(replay.labels().len(), capacity.min(n + 1));
            let stored: [usize; 6] = core::array::from_fn(|class| replay.stored(class as u16));
            if n >= capacity {
                let largest = *stored.iter().max().unwrap();
                for (stored, offered) in stored.into_iter().zip(offered) {
                    prop_assert!(stored <= offered && stored >= offered.min(largest - 1));
                }
            }
        }
    }
}
