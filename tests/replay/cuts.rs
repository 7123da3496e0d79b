//! Flash that loses power, tears words, fails and wears.

use crate::common::mock_flash::{Cut, Failure, Kind, MockError, MockFlash, Torn};
use crate::lent::*;
use std::collections::BTreeSet;
use tailtune::tune::*;

const TORN: [Torn; 5] = [
    Torn::Untouched,
    Torn::Half,
    Torn::Noise(1),
    Torn::Noise(77),
    Torn::Done,
];

/// The flashes that cuts of one accepted offer leave, at every operation in every way.
fn cut_everywhere<const R: usize, const W: usize, const E: usize>(
    before: &MockFlash<R, W, E>,
    new: &Sample,
    seed: u32,
) -> Vec<MockFlash<R, W, E>> {
    let width = new.1.len();
    let old = boot(before, width);
    let mut whole = before.clone();
    let accepted = offer(&mut whole, new, seed).unwrap();
    let after = boot(&whole, width);
    let erased: BTreeSet<_> = old.difference(&after).cloned().collect();
    assert_eq!(accepted, FlashOffer::Added { lost: erased.len() });
    assert!(after.contains(new));
    let operations = whole.operations - before.operations;
    let cuts = (0..operations).flat_map(|after| TORN.map(|torn| Cut { after, torn }));
    cuts.map(|cut| {
        let mut flash = before.clone();
        flash.cut = Some(cut);
        let error = offer(&mut flash, new, seed);
        assert_eq!(error, Err(ReplayError::Flash(MockError::PowerLoss)));
        flash.boot();
        let found = boot(&flash, width);
        // Nothing but what was offered, and nothing lost but the unit that is erased.
        for sample in &found {
            assert!(sample == new || old.contains(sample), "{cut:?}");
        }
        for sample in &old {
            assert!(found.contains(sample) || erased.contains(sample), "{cut:?}");
        }
        // Whole from the last word on (values that look erased, or noise, from an earlier one).
        if cut.after + 1 == operations && cut.torn == Torn::Done {
            assert_eq!(found, after, "{cut:?}");
        }
        flash
    })
    .collect()
}

/// Two laps of the ring; cuts in each accepted offer, and now and then a second cut in the next one.
/// Returns the number of cuts.
fn cuts<const R: usize, const W: usize, const E: usize>(blocks: usize, width: usize) -> usize {
    let mut points = 0;
    for ecc in [false, true] {
        let mut flash = MockFlash::<R, W, E>::new(blocks);
        flash.ecc = ecc;
        let slots = FlashReplay::<MockFlash<R, W, E>>::slots((blocks * E) as u32, width);
        let mut accepted = 0;
        // A full ring accepts ever fewer.
        for n in 0..2000 {
            if accepted > 2 * slots {
                break;
            }
            let (new, seed) = (sample(n, width), n as u32);
            let mut after = flash.clone();
            if offer(&mut after, &new, seed).unwrap() == FlashOffer::Skipped {
                continue;
            }
            accepted += 1;
            let left = cut_everywhere(&flash, &new, seed);
            points += left.len();
            for (i, left) in left.iter().enumerate().step_by(1 + points % 7) {
                let next = sample(n + 1 + i, width);
                let mut twice = vec![left.clone()];
                let mut whole = left.clone();
                if i % 11 == 0 && offer(&mut whole, &next, seed).unwrap() != FlashOffer::Skipped {
                    twice = cut_everywhere(left, &next, seed);
                    points += twice.len();
                }
                for mut flash in twice.into_iter().step_by(1 + i % 3) {
                    // Whatever the cuts left, the ring takes samples, and holds them.
                    let mut memory = Memory::new(&flash, width);
                    let mut replay = memory.open(&mut flash, seed).unwrap();
                    for n in 0..2 * slots {
                        let sample = sample(10_000 + n, width);
                        let offer = replay.offer(&features(&sample), sample.0, CLASSES);
                        if offer.unwrap() != FlashOffer::Skipped {
                            assert!(content(&mut replay).contains(&sample));
                        }
                    }
                    let found = content(&mut replay);
                    assert_eq!(boot(&flash, width), found);
                }
            }
            flash = after;
        }
        assert!(accepted > 2 * slots, "{accepted}");
    }
    points
}

#[test]
fn power_cuts_lose_a_sample_or_the_unit_being_erased() {
    let points = [
        cuts::<1, 1, 128>(2, 5),
        cuts::<1, 4, 256>(2, 20),
        cuts::<4, 4, 128>(4, 33),
        cuts::<1, 8, 256>(3, 40),
        cuts::<16, 16, 512>(2, 64),
        cuts::<32, 4, 512>(3, 64),
        // Records of more than one block, of more than one chunk, and of both.
        cuts::<1, 4, 128>(6, 110),
        cuts::<1, 16, 512>(3, 300),
        cuts::<8, 8, 256>(4, 300),
    ];
    let sum: usize = points.iter().sum();
    println!("{points:?}: {sum} cut points");
    assert!(sum > 10_000);
}

/// Reads, writes and erases that fail without a power cut, once or for good.
#[test]
fn failures_lose_nothing_else() {
    let mut before = MockFlash::<1, 4, 256>::new(2);
    for n in 0..8 {
        offer(&mut before, &sample(n, 16), n as u32).unwrap();
    }
    // One read that fails is tried again; where all do, nothing is erased.
    for after in 0..60 {
        let mut flash = before.clone();
        let kind = Kind::Read;
        let once = true;
        flash.failure = Some(Failure { kind, after, once });
        let mut memory = Memory::new(&flash, 16);
        let mut replay = memory.open(&mut flash, 1).unwrap();
        assert_eq!(content(&mut replay), boot(&before, 16), "{after}");
    }
    let (kind, after, once) = (Kind::Read, 0, false);
    let mut dead = before.clone();
    dead.failure = Some(Failure { kind, after, once });
    let mut memory = Memory::new(&dead, 16);
    let error = memory.open(&mut dead, 1).map(|_| ());
    assert_eq!(error, Err(ReplayError::Flash(MockError::Failing)));
    assert_eq!(dead.bytes, before.bytes);
    for kind in [Kind::Write, Kind::Erase] {
        for after in 0..20 {
            let mut flash = before.clone();
            flash.failure = Some(Failure {
                kind,
                after,
                once: true,
            });
            let mut memory = Memory::new(&flash, 16);
            let mut replay = memory.open(&mut flash, 1).unwrap();
            let mut failed = 0;
            for n in 8..40 {
                let new = sample(n, 16);
                let kept = content(&mut replay);
                match replay.offer(&features(&new), new.0, CLASSES) {
                    Ok(FlashOffer::Skipped) => assert_eq!(content(&mut replay), kept),
                    Ok(FlashOffer::Added { .. }) => assert!(content(&mut replay).contains(&new)),
                    Err(error) => {
                        assert_eq!(error, ReplayError::Flash(MockError::Failing));
                        assert!(content(&mut replay).is_subset(&kept));
                        failed += 1;
                    }
                }
            }
            assert!(failed <= 1 && replay.len() >= 4);
            let found = content(&mut replay);
            assert_eq!(boot(&flash, 16), found, "{kind:?} {after}");
        }
    }
}

/// A bit that no longer clears: the sample is refused, the ones around it are kept.
#[test]
fn worn_flash_is_noticed() {
    let mut flash = MockFlash::<1, 4, 256>::new(2);
    flash.stuck = Some((20 + 44 + 24 + 3, 0xff));
    let mut memory = Memory::new(&flash, 16);
    let mut replay = memory.open(&mut flash, 1).unwrap();
    let mut offer = |n| {
        let mut sample = sample(n, 16);
        sample.1.fill(n as i8);
        replay.offer(&features(&sample), 0, CLASSES)
    };
    let added = Ok(FlashOffer::Added { lost: 0 });
    let worn = Err(ReplayError::Worn { offset: 20 + 44 });
    assert_eq!([0, 1, 2].map(&mut offer), [added, worn, added]);
    assert_eq!(replay.len(), 2);
    assert_eq!(boot(&flash, 16).len(), 2);
    // The mark itself.
    let mut flash = MockFlash::<1, 4, 256>::new(2);
    flash.stuck = Some((8, 0xff));
    let worn = Err(ReplayError::Worn { offset: 0 });
    assert_eq!(offer_once(&mut flash), worn);
    assert_eq!(offer_once(&mut flash), worn);
}

fn offer_once(flash: &mut MockFlash<1, 4, 256>) -> Result<FlashOffer, ReplayError<MockError>> {
    offer(flash, &sample(1, 16), 1)
}
