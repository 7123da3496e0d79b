//! Power cut at every operation of everything that writes, in every way that a word or a block can
//! tear, on plain NOR, byte-writable, write-once and ECC flash: the next boot finds the old tail or
//! the new one, and says which.

mod common;

use common::mock_flash::{Cut, Failure, Kind, MockError, MockFlash, Torn};
use common::tails::{Act, OTHER, find, found, open, payload, save};
use tailtune::store::record::HEADER_BYTES;
use tailtune::store::{Recovery, StoreError};

const TORN: [Torn; 5] = [
    Torn::Untouched,
    Torn::Half,
    Torn::Noise(1),
    Torn::Noise(77),
    Torn::Done,
];

/// A flash and the payload that it must give.
type State<const R: usize, const W: usize, const E: usize> = (MockFlash<R, W, E>, Option<Vec<u8>>);

/// Cut points tried, and those after which something was lost.
#[derive(Default)]
struct Tally {
    tried: usize,
    lost: Vec<String>,
}

impl Tally {
    fn check(&self) -> usize {
        println!("{} cut points tried, {} lost", self.tried, self.lost.len());
        assert!(self.lost.is_empty(), "{}", self.lost[0]);
        self.tried
    }

    /// Cuts one act at every operation in every way; returns what was left.
    fn cut<const R: usize, const W: usize, const E: usize>(
        &mut self,
        (before, old): &State<R, W, E>,
        act: Act,
        payload: &[u8],
    ) -> Vec<State<R, W, E>> {
        let new = act.leaves(payload);
        let mut whole = before.clone();
        act.run(&mut whole, payload).unwrap();
        assert_eq!(found(&whole).ok(), new);
        let operations = whole.operations - before.operations;
        // The operation from which on the new counts: the last word of a header.
        let counts = if act == Act::Reset {
            (before.erases.len() / 2 + HEADER_BYTES.div_ceil(W)) as u64 - 1
        } else {
            operations - 1
        };
        let mut left = Vec::new();
        for (after, torn) in (0..operations).flat_map(|after| TORN.map(|torn| (after, torn))) {
            let mut flash = before.clone();
            flash.cut = Some(Cut { after, torn });
            assert!(act.run(&mut flash, payload).is_err());
            flash.boot();
            let old_may = after < counts || after == counts && torn != Torn::Done;
            let new_may = after > counts || after == counts && torn != Torn::Untouched;
            let result = find(&flash);
            let tail = result.as_ref().ok().map(|(tail, _)| tail.clone());
            let is_new = new_may && tail == new && is_told(&result, act);
            let is_old = old_may && tail == *old && is_known(&result);
            self.tried += 1;
            let ends = [Act::Save, Act::Reset].map(|act| ends(&flash, act));
            if !(is_new || is_old && says_which(before, &flash)) || ends != [true; 2] {
                let at = format!("{act:?}, operation {after} of {operations}, {torn:?}");
                self.lost.push(format!("{at}: {result:?}, {ends:?}"));
            }
            left.push((flash, tail));
        }
        left
    }
}

/// Of the new one is said that it is the newest; of nothing, that there is nothing.
fn is_told(found: &Result<(Vec<u8>, Recovery), StoreError<MockError>>, act: Act) -> bool {
    match found {
        Ok((_, recovery)) => *recovery == Recovery::Newest,
        Err(error) => act == Act::Reset && *error == StoreError::Empty,
    }
}

/// A tail, or one of the reasons why there is none yet.
fn is_known(found: &Result<(Vec<u8>, Recovery), StoreError<MockError>>) -> bool {
    matches!(
        found,
        Ok(_)
            | Err(StoreError::Empty
                | StoreError::Corrupted
                | StoreError::WrongModel { found: OTHER }
                | StoreError::Flash(MockError::Ecc))
    )
}

/// The old tail is said to be the one before, wherever flash shows that something was begun.
fn says_which<const R: usize, const W: usize, const E: usize>(
    before: &MockFlash<R, W, E>,
    after: &MockFlash<R, W, E>,
) -> bool {
    let Ok((_, recovery)) = find(after) else {
        return true;
    };
    let saved = open(&mut after.clone())
        .locate(&common::tails::MODEL)
        .unwrap();
    let slots = after.bytes.split_at(after.bytes.len() / 2);
    let other = if saved.slot == 0 { slots.1 } else { slots.0 };
    let fresh = saved.sequence == 0 && other.iter().all(|byte| *byte == 0xff);
    if before.bytes != after.bytes && !fresh {
        recovery == Recovery::PreviousAfterTornSave
    } else {
        // Torn words whose bits are as they were show themselves with ECC only.
        after.ecc || fresh || recovery == find(before).unwrap().1
    }
}

/// Whatever cuts left, the store still takes a tail, and forgets all.
fn ends<const R: usize, const W: usize, const E: usize>(
    flash: &MockFlash<R, W, E>,
    act: Act,
) -> bool {
    let mut flash = flash.clone();
    let tail = payload(5, 9);
    act.run(&mut flash, &tail).is_ok()
        && match find(&flash) {
            Ok(found) => act == Act::Save && found == (tail, Recovery::Newest),
            Err(error) => act == Act::Reset && error == StoreError::Empty,
        }
}

/// Flashes on which the cuts begin: no, one, two and three tails, a reset, another model's tail.
fn states<const R: usize, const W: usize, const E: usize>(
    blocks: usize,
    len: usize,
    ecc: bool,
) -> Vec<State<R, W, E>> {
    let mut flash = MockFlash::<R, W, E>::new(blocks);
    flash.ecc = ecc;
    let mut states = vec![(flash.clone(), None)];
    for n in 0..3 {
        save(&mut flash, &payload(n, len)).unwrap();
        states.push((flash.clone(), Some(payload(n, len))));
    }
    open(&mut flash).factory_reset().unwrap();
    states.push((flash.clone(), None));
    open(&mut flash).save(&OTHER, b"another's").unwrap();
    states.push((flash.clone(), None));
    save(&mut flash, b"beside it").unwrap();
    states.push((flash, Some(b"beside it".to_vec())));
    states
}

/// Single cuts in everything from every state; with `twice`, a second cut in everything after each.
fn cuts<const R: usize, const W: usize, const E: usize>(
    blocks: usize,
    len: usize,
    twice: bool,
) -> usize {
    print!("words of {W:3}, {blocks:2} blocks of {E:4}, tails of {len:4}: ");
    let mut tally = Tally::default();
    for ecc in [false, true] {
        for (i, state) in states::<R, W, E>(blocks, len, ecc).iter().enumerate() {
            for act in Act::ALL {
                let left = tally.cut(state, act, &payload(7, len));
                // After one tail, and after an even number.
                if twice && (1..=2).contains(&i) {
                    for state in &left {
                        for act in [Act::Parts, Act::Reset] {
                            tally.cut(state, act, &payload(11, len));
                        }
                    }
                }
            }
        }
    }
    tally.check()
}

#[test]
fn power_cuts_leave_the_old_or_the_new_and_say_which() {
    let tried = [
        cuts::<1, 1, 128>(2, 20, false),
        cuts::<1, 4, 128>(2, 20, true),
        cuts::<4, 4, 64>(6, 100, false),
        cuts::<8, 8, 128>(4, 60, false),
        cuts::<1, 16, 256>(2, 60, true),
        cuts::<16, 4, 128>(2, 40, false),
        cuts::<32, 32, 1024>(2, 700, false),
        cuts::<1, 256, 4096>(2, 2_500, false),
        cuts::<4, 4, 4096>(2, 0, false),
    ];
    let sum: usize = tried.iter().sum();
    println!("{sum} cut points tried, 0 lost");
    assert!(sum > 50_000);
}

/// A head of d_model 64 and 12 classes on an nRF52840's flash.
#[test]
fn power_cuts_of_a_real_tail() {
    let mut flash = MockFlash::<1, 4, 4096>::new(4);
    let old = payload(1, 3_132);
    save(&mut flash, &payload(0, 3_132)).unwrap();
    save(&mut flash, &old).unwrap();
    let mut tally = Tally::default();
    tally.cut(&(flash, Some(old)), Act::Save, &payload(2, 3_132));
    let words = (3_132 + 2_usize).div_ceil(4) + 12;
    assert_eq!(tally.check(), TORN.len() * (1 + words));
}

/// A flash that fails once or for good, at every read, write and erase.
#[test]
fn failing_flash_leaves_the_old_or_the_new() {
    for (with_torn_slot, act) in [false, true]
        .into_iter()
        .flat_map(|t| Act::ALL.map(|a| (t, a)))
    {
        let mut flash = MockFlash::<1, 4, 128>::new(2);
        flash.ecc = true;
        let old = Some(payload(1, 20));
        let tail = payload(2, 20);
        let new = act.leaves(&tail);
        save(&mut flash, &payload(0, 20)).unwrap();
        save(&mut flash, &payload(1, 20)).unwrap();
        if with_torn_slot {
            flash.cut = Some(Cut {
                after: 5,
                torn: Torn::Half,
            });
            assert!(save(&mut flash, &tail).is_err());
            flash.boot();
        }
        for kind in [Kind::Read, Kind::Write, Kind::Erase] {
            for (after, once) in (0..30).flat_map(|after| [(after, true), (after, false)]) {
                let mut flash = flash.clone();
                flash.failure = Some(Failure { kind, after, once });
                let result = act.run(&mut flash, &tail);
                let found = found(&flash);
                assert!(is_known(
                    &found.clone().map(|tail| (tail, Recovery::Newest))
                ));
                let found = found.ok();
                match result {
                    Ok(()) => assert_eq!(found, new),
                    Err(StoreError::Flash(MockError::Failing | MockError::Ecc)) => {
                        assert!(found == old || found == new, "{kind:?} {after} {once}");
                    }
                    Err(error) => panic!("{error:?}"),
                }
                flash.boot();
                act.run(&mut flash, &tail).unwrap();
            }
        }
    }
}
