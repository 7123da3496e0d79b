//! The ring in flash: what it accepts, keeps and refuses.

use crate::common::mock_flash::MockFlash;
use crate::common::random::Random;
use crate::lent::*;
use tailtune::model::Features;
use tailtune::tune::*;

/// Ten of a class to one of the next: each ends at its share, within the bounds of the documentation.
#[test]
fn imbalanced_streams_end_balanced() {
    type Flash = MockFlash<1, 4, 256>;
    let mut flash = Flash::new(8);
    let slots = FlashReplay::<Flash>::slots(8 * 256, 16);
    assert_eq!(slots, 8 * 5);
    let mut memory = Memory::new(&flash, 16);
    let mut replay = memory.open(&mut flash, 1).unwrap();
    let mut random = Random(4);
    let mut accepted = 0;
    for n in 0..30_000 {
        let label = [1, 11, 111].iter().position(|&to| random.below(111) < to);
        let label = label.unwrap_or(2) as u16;
        let sample = sample(n, 16);
        let offer = replay.offer(&features(&sample), label, CLASSES).unwrap();
        accepted += u32::from(offer != FlashOffer::Skipped);
        let stored = [0, 1, 2].map(|class| replay.stored(class));
        if n > 2000 {
            let share = slots / CLASSES;
            assert!(
                stored.iter().all(|&m| m + 6 >= share && m <= share + 2),
                "{stored:?}"
            );
        }
    }
    let stored = [0, 1, 2].map(|class| replay.stored(class));
    println!("{stored:?} of {slots}, {accepted} accepted");
    println!("erases {:?}", flash.erases);
    // Acceptance, and with it wear, grows as the logarithm of what is offered.
    assert!(accepted < 500, "{accepted}");
}

/// A class that stops coming loses no more than the records of a unit and the rest of the division.
#[test]
fn a_class_that_stops_coming_stays() {
    let mut flash = MockFlash::<1, 4, 256>::new(16);
    let mut memory = Memory::new(&flash, 16);
    let mut replay = memory.open(&mut flash, 1).unwrap();
    for n in 0..10_000 {
        let label = if n < 2000 { n % 3 } else { n % 2 };
        let sample = sample(n, 16);
        let offer = replay.offer(&features(&sample), label as u16, CLASSES);
        offer.unwrap();
    }
    // 5 slots a unit, shares of 26, and a rest of 2.
    assert_eq!(replay.capacity(), 80);
    println!("{:?}", [0, 1, 2].map(|class| replay.stored(class)));
    assert!(replay.stored(2) >= 26 - 2 - 5 && replay.stored(0).max(replay.stored(1)) <= 29);
}

#[test]
fn a_seed_decides_every_choice() {
    let run = |seed| {
        let mut flash = MockFlash::<1, 4, 256>::new(4);
        let mut memory = Memory::new(&flash, 16);
        let mut replay = memory.open(&mut flash, seed).unwrap();
        for n in 0..500 {
            let sample = sample(n, 16);
            replay.offer(&features(&sample), sample.0, CLASSES).unwrap();
        }
        flash.bytes
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// A reset changes neither the samples nor their order nor what comes next to flash.
#[test]
fn resets_are_not_noticed() {
    let mut flash = MockFlash::<4, 8, 512>::new(3);
    let mut long = Memory::new(&flash, 16);
    let mut other = flash.clone();
    let mut replay = long.open(&mut flash, 1).unwrap();
    let order = |replay: &mut dyn Samples| -> Vec<u32> {
        let len = replay.len();
        let scale = |i| replay.get(i).unwrap().0.scale.to_bits();
        (0..len).map(scale).collect()
    };
    // As long as no choice is drawn, they are the same to the bit.
    for n in 0..18 {
        let sample = sample(n, 16);
        let a = replay.offer(&features(&sample), sample.0, CLASSES);
        assert_eq!(offer(&mut other, &sample, 9), a);
        let mut memory = Memory::new(&other, 16);
        let mut again = memory.open(&mut other, 9).unwrap();
        assert_eq!(order(&mut again), order(&mut replay));
        assert!(again.labels().eq(replay.labels()));
        assert_eq!(memory.seen.iter().sum::<u32>(), n as u32 + 1);
    }
    assert_eq!(flash.bytes, other.bytes);
}

/// Learning from flash is learning from RAM, to the bit.
#[test]
fn a_fit_reads_from_flash() {
    const D: usize = 16;
    let flash = MockFlash::<1, 4, 4096>::new(2);
    let mut lent = Memory::new(&flash, D);
    let mut stored = lent.open(flash, 1).unwrap();
    let mut memory = ReplayMemory::<D, 30>::new();
    let mut replay = memory.replay(D).unwrap();
    for n in 0..30 {
        let mut sample = sample(n, D);
        (sample.2, sample.3) = (0.01f32.to_bits(), 3);
        let features = features(&sample);
        replay.push(&features, sample.0, CLASSES).unwrap();
        stored.offer(&features, sample.0, CLASSES).unwrap();
    }
    let fit = |samples: &mut dyn Samples| {
        let (mut head, mut momentum) = (HeadMemory::<D, 3>::new(), MomentumMemory::<D, 3>::new());
        let mut head = LinearHead::new(head.buffers(), &FromScratch { d_model: D }).unwrap();
        for name in ["a", "b", "c"] {
            head.add_class(name).unwrap();
        }
        let mut method = Softmax::new(head, momentum.buffers(), Math::Exact).unwrap();
        let fit = Fit::new(&mut method, samples, &Schedule::default()).unwrap();
        fit.finish().unwrap();
        let mut tail = vec![0; method.tail_bytes()];
        method.emit_tail(&mut tail).unwrap();
        tail
    };
    assert_eq!(fit(&mut stored), fit(&mut replay));
}

#[test]
fn samples_of_another_cut_are_not_seen() {
    let mut flash = MockFlash::<1, 4, 256>::new(3);
    for n in 0..6 {
        offer(&mut flash, &sample(n, 16), n as u32).unwrap();
    }
    // Another width: another grid. What is written does not hit what was.
    assert!(boot(&flash, 20).is_empty());
    let mut other = flash.clone();
    for n in 0..30 {
        offer(&mut other, &sample(n, 20), n as u32).unwrap();
        let kept = boot(&flash, 16);
        assert!(boot(&other, 16).is_subset(&kept));
    }
    assert!(boot(&other, 16).is_empty() && !boot(&other, 20).is_empty());
    // Another tag.
    let mut memory = Memory::new(&flash, 16);
    let Memory {
        labels,
        seen,
        values,
    } = &mut memory;
    let buffers = FlashBuffers {
        labels,
        seen,
        values,
    };
    let mut replay = FlashReplay::open(&mut flash, 0..768, *b"kwt2", buffers, 1).unwrap();
    assert_eq!((replay.len(), replay.capacity()), (0, 15));
    let new = sample(9, 16);
    let offer = replay.offer(&features(&new), 0, CLASSES);
    assert_eq!(offer, Ok(FlashOffer::Added { lost: 0 }));
    assert_eq!(content(&mut replay).len(), 1);
    assert_eq!(boot(&flash, 16).len(), 6);
    // Fewer classes: labels beyond them are not seen.
    let (mut seen, mut values) = ([0; 1], [0; 16]);
    let buffers = FlashBuffers {
        labels: &mut [0; 15],
        seen: &mut seen,
        values: &mut values,
    };
    let replay = FlashReplay::open(&mut flash, 0..768, TAG, buffers, 1).unwrap();
    assert!(replay.len() > 0 && replay.labels().all(|label| label == 0));
}

#[test]
fn a_region_can_be_cleared() {
    let mut flash = MockFlash::<1, 4, 256>::new(3);
    let mut memory = Memory::new(&flash, 16);
    let mut replay = memory.open(&mut flash, 1).unwrap();
    for round in 0..3 {
        for n in 0..12 {
            let offer = replay.offer(&features(&sample(n, 16)), 0, CLASSES);
            assert_eq!(offer, Ok(FlashOffer::Added { lost: 0 }), "{round}");
        }
        assert_eq!(replay.len(), 12);
        replay.clear().unwrap();
        assert!(replay.is_empty());
    }
    assert!(flash.bytes.iter().all(|&byte| byte == 0xff));
    assert!(boot(&flash, 16).is_empty());
}

#[test]
fn bad_regions_buffers_and_samples_are_refused() {
    type Flash = MockFlash<1, 4, 256>;
    let flash = Flash::new(8);
    let open = |region, labels: usize, width: usize| {
        let (mut labels, mut values) = (vec![0; labels], vec![0; width]);
        let buffers = FlashBuffers {
            labels: &mut labels,
            seen: &mut [0; CLASSES],
            values: &mut values,
        };
        let replay = FlashReplay::open(flash.clone(), region, TAG, buffers, 1);
        replay.map(|replay| replay.capacity())
    };
    assert_eq!(open(256..2048, 100, 16), Ok(35));
    assert_eq!(open(256..2048, 100, 300), Ok(3));
    let misaligned = |start, end| {
        Err(ReplayError::Misaligned {
            start,
            end,
            erase: 256,
        })
    };
    assert_eq!(open(4..512, 100, 16), misaligned(4, 512));
    assert_eq!(open(0..500, 100, 16), misaligned(0, 500));
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = open(512..0, 100, 16);
    assert_eq!(reversed, misaligned(512, 0));
    let (end, capacity) = (2304, 2048);
    assert_eq!(
        open(0..2304, 100, 16),
        Err(ReplayError::OutOfRange { end, capacity })
    );
    let small = |needed, found| Err(ReplayError::TooSmall { needed, found });
    assert_eq!(open(0..256, 100, 16), small(512, 256));
    assert_eq!(open(0..0, 100, 16), small(512, 0));
    assert_eq!(open(0..768, 100, 300), small(1024, 768));
    assert_eq!(open(0..768, 100, (1 << 24) + 1), small(0, 768));
    let sample_error = |error| Err(ReplayError::Sample(error));
    assert_eq!(open(0..2048, 100, 0), sample_error(TuneError::NoFeatures));
    let (buffer, needed, found) = (Buffer::Labels, 40, 39);
    let few = TuneError::BufferTooSmall {
        buffer,
        needed,
        found,
    };
    assert_eq!(open(0..2048, 39, 16), sample_error(few));

    let odd = MockFlash::<3, 4, 256>::new(4);
    let error = Memory::new(&odd, 16).open(odd, 1).map(|_| ());
    let (read, write, erase) = (3, 4, 256);
    assert_eq!(error, Err(ReplayError::WordSize { read, write, erase }));

    let mut flash = flash;
    let mut memory = Memory::new(&flash, 16);
    let mut replay = memory.open(&mut flash, 1).unwrap();
    let good = sample(1, 16);
    let good = features(&good);
    let (found, classes) = (3, 3);
    let label = TuneError::LabelOutOfRange { found, classes };
    assert_eq!(replay.offer(&good, 3, 3), Err(ReplayError::Sample(label)));
    let (buffer, needed, found) = (Buffer::Seen, 4, 3);
    let few = TuneError::BufferTooSmall {
        buffer,
        needed,
        found,
    };
    assert_eq!(replay.offer(&good, 3, 4), Err(ReplayError::Sample(few)));
    assert_eq!(replay.offer(&good, 0, 4), Err(ReplayError::Sample(few)));
    let (found, classes) = (u16::MAX, usize::from(u16::MAX));
    let label = TuneError::LabelOutOfRange { found, classes };
    let highest = replay.offer(&good, u16::MAX, 1 << 16);
    assert_eq!(highest, Err(ReplayError::Sample(label)));
    for features in [
        Features {
            values: &[1],
            ..good
        },
        Features { scale: 0.0, ..good },
    ] {
        assert!(replay.offer(&features, 0, 3).is_err());
    }
    assert!(replay.is_empty() && flash.operations == 0);
}

/// What is pushed is kept, whatever its class, until the ring is full; then it is refused and nothing is lost.
#[test]
fn chosen_samples_are_all_kept_or_refused() {
    let mut flash = MockFlash::<1, 4, 256>::new(4);
    let mut memory = Memory::new(&flash, 16);
    let mut replay = memory.open(&mut flash, 1).unwrap();
    let capacity = replay.capacity();
    for n in 0..capacity {
        let sample = sample(n, 16);
        // One class only: a stream of it would be thinned out once another was offered.
        let label = u16::from(n + 1 == capacity);
        replay.push(&features(&sample), label, CLASSES).unwrap();
    }
    let kept = |replay: &mut dyn Samples| -> Vec<_> {
        let one = |i| replay.get(i).map(|(f, label)| (f.values.to_vec(), label));
        (0..capacity).map(one).collect()
    };
    let before = kept(&mut replay);
    let rest = sample(capacity, 16);
    let full = ReplayError::Sample(TuneError::ReplayFull { capacity });
    assert_eq!(replay.push(&features(&rest), 0, CLASSES), Err(full));
    let out_of_range = TuneError::LabelOutOfRange {
        found: 9,
        classes: CLASSES,
    };
    let refused = replay.push(&features(&rest), 9, CLASSES);
    assert_eq!(refused, Err(ReplayError::Sample(out_of_range)));
    assert_eq!(replay.len(), capacity);
    assert_eq!(kept(&mut replay), before);
    assert_eq!((replay.stored(0), replay.stored(1)), (capacity - 1, 1));
    let mut again = Memory::new(&flash, 16);
    let mut again = again.open(&mut flash, 2).unwrap();
    assert_eq!(kept(&mut again), before);
    again.clear().unwrap();
    again.push(&features(&rest), 0, CLASSES).unwrap();
    assert_eq!(again.len(), 1);
}
