//! The store against flash that loses power, tears words, wears, fails, and holds anything.

mod common;

use common::mock_flash::{Cut, Failure, Kind, MockError, MockFlash, Torn};
use proptest::prelude::*;
use tailtune::store::record::{HEADER_BYTES, Record, checksum, payload_offset};
use tailtune::store::{CHUNK, LayoutError, SlotContent, Store, StoreError};

const MODEL: [u8; 16] = *b"the model's  id.";
const OTHER: [u8; 16] = *b"another model id";
const TORN: [Torn; 5] = [
    Torn::Untouched,
    Torn::Half,
    Torn::Noise(1),
    Torn::Noise(77),
    Torn::Done,
];

/// Bytes that differ from one save to the next in length and content.
fn payload(n: usize, len: usize) -> Vec<u8> {
    (0..len + n % 3)
        .map(|i| (i * 7 + n * 31 + (i >> 8)) as u8)
        .collect()
}

fn store<const R: usize, const W: usize, const E: usize>(
    flash: MockFlash<R, W, E>,
) -> Store<MockFlash<R, W, E>> {
    let end = flash.bytes.len() as u32;
    Store::new(flash, 0..end).unwrap()
}

/// What boot finds: the payload, or why there is none.
fn boot<const R: usize, const W: usize, const E: usize>(
    flash: &MockFlash<R, W, E>,
) -> Result<Vec<u8>, StoreError<MockError>> {
    let mut flash = flash.clone();
    flash.boot();
    let mut buffer = vec![0; flash.bytes.len()];
    let saved = store(flash).load(&MODEL, &mut buffer)?;
    buffer.truncate(saved.len);
    Ok(buffer)
}

fn save<const R: usize, const W: usize, const E: usize>(
    flash: &mut MockFlash<R, W, E>,
    payload: &[u8],
) -> Result<(), StoreError<MockError>> {
    let end = flash.bytes.len() as u32;
    let mut store = Store::new(flash, 0..end).unwrap();
    store.save(&MODEL, payload).map(|_| ())
}

/// Cuts a save at every operation in every way; returns the flashes that were left, with the
/// payload that each one must give.
fn cut_everywhere<const R: usize, const W: usize, const E: usize>(
    before: &MockFlash<R, W, E>,
    old: Option<&[u8]>,
    new: &[u8],
) -> Vec<(MockFlash<R, W, E>, Option<Vec<u8>>)> {
    let mut whole = before.clone();
    save(&mut whole, new).unwrap();
    assert_eq!(boot(&whole).unwrap(), new);
    let operations = whole.operations - before.operations;
    let mut left = Vec::new();
    for (after, torn) in (0..operations).flat_map(|after| TORN.map(|torn| (after, torn))) {
        let mut flash = before.clone();
        flash.cut = Some(Cut { after, torn });
        assert!(save(&mut flash, new).is_err());
        flash.boot();
        let last = after + 1 == operations;
        let found =
            match boot(&flash) {
                Ok(found) if found == new => {
                    // Only the header's last word makes it count (noise may happen to program all bits).
                    assert!(last && torn != Torn::Untouched, "{after} {torn:?}");
                    Some(found)
                }
                Ok(found) => {
                    assert_eq!(Some(&found[..]), old, "{after} {torn:?}");
                    assert!(!(last && torn == Torn::Done));
                    Some(found)
                }
                Err(
                    StoreError::Empty | StoreError::Corrupted | StoreError::Flash(MockError::Ecc),
                ) if old.is_none() => None,
                Err(error) => panic!("lost at operation {after}, {torn:?}: {error:?}"),
            };
        left.push((flash, found));
    }
    left
}

/// Single cuts in the first four saves, then a second cut in the save after each of them.
fn cuts<const R: usize, const W: usize, const E: usize>(blocks: usize, len: usize) -> usize {
    let mut points = 0;
    for ecc in [false, true] {
        let mut flash = MockFlash::<R, W, E>::new(blocks);
        flash.ecc = ecc;
        let mut old = None;
        for n in 0..4 {
            let new = payload(n, len);
            let left = cut_everywhere(&flash, old.as_deref(), &new);
            points += left.len();
            if n == 0 || n == 2 {
                let next = payload(n + 10, len);
                for (flash, found) in &left {
                    let twice = cut_everywhere(flash, found.as_deref(), &next);
                    points += twice.len();
                    for (mut flash, _) in twice {
                        // Whatever two cuts left, the store still takes a tail.
                        save(&mut flash, &next).unwrap();
                    }
                }
            }
            save(&mut flash, &new).unwrap();
            old = Some(new);
        }
    }
    points
}

#[test]
fn power_cuts_leave_the_old_or_the_new() {
    let points = [
        cuts::<1, 1, 128>(2, 20),
        cuts::<1, 4, 128>(2, 60),
        cuts::<4, 4, 64>(6, 100),
        cuts::<1, 8, 256>(4, 300),
        cuts::<16, 4, 128>(2, 40),
        cuts::<32, 32, 1024>(2, 700),
        cuts::<1, 256, 4096>(2, 5000 / 2),
        cuts::<4, 4, 4096>(2, 0),
    ];
    let sum: usize = points.iter().sum();
    println!("{sum} cut points, none lost");
    assert!(sum > 10_000);
}

/// A head of d_model 64 and 12 classes on an nRF52840's flash.
#[test]
fn power_cuts_of_a_real_tail() {
    let mut flash = MockFlash::<1, 4, 4096>::new(4);
    let old = payload(1, 3_132);
    save(&mut flash, &payload(0, 3_132)).unwrap();
    save(&mut flash, &old).unwrap();
    let points = cut_everywhere(&flash, Some(&old), &payload(2, 3_132)).len();
    assert_eq!(
        points,
        TORN.len() * (1 + (3_132 + 2_usize).div_ceil(4) + 12)
    );
}

#[test]
fn a_save_in_steps_is_the_same_save_and_every_step_is_small() {
    let data = payload(3, 900);
    let mut whole = MockFlash::<4, 4, 256>::new(12);
    save(&mut whole, &data).unwrap();
    let end = whole.bytes.len() as u32;
    let mut before = (0, 0);
    // The flash can be looked at only when the save is over: do one step more each time.
    for steps in 1.. {
        let mut flash = MockFlash::<4, 4, 256>::new(12);
        let mut store = Store::new(&mut flash, 0..end).unwrap();
        let mut save = store.begin_save(&MODEL, &data).unwrap();
        let mut more = true;
        for _ in 0..steps {
            assert!(more);
            more = save.step().unwrap();
        }
        let now = (flash.erases.iter().sum::<u32>(), flash.words_written);
        let (erased, written) = (now.0 - before.0, now.1 - before.1);
        assert!(erased + u32::from(written > 0) <= 1 && written <= (CHUNK / 4) as u64);
        before = now;
        if !more {
            assert_eq!(flash.bytes, whole.bytes);
            // Four blocks, four chunks written and read back, the header.
            assert_eq!(steps, 4 + 4 + 4 + 3);
            break;
        }
    }
}

#[test]
fn slots_take_turns_and_wear_is_reported() {
    let mut flash = MockFlash::<1, 4, 128>::new(8);
    let end = flash.bytes.len() as u32;
    for n in 0..10u32 {
        let mut store = Store::new(&mut flash, 0..end).unwrap();
        let saved = store.save(&MODEL, &payload(n as usize, 150)).unwrap();
        assert_eq!(saved.slot as u32, n % 2);
        assert_eq!(saved.sequence, n);
        // The first save into slot 1 takes slot 0's count for an estimate.
        assert!(saved.erases == n / 2 + 1 || n % 2 == 1 && saved.erases == n / 2 + 2);
        assert_eq!(store.locate(&MODEL).unwrap(), saved);
        assert_eq!(saved.offset as usize, saved.slot * 512 + payload_offset(4));
    }
    // 48 + 152 bytes take two blocks of each slot.
    assert_eq!(flash.erases, [5, 5, 0, 0, 5, 5, 0, 0]);
    let words: usize = (0..10).map(|n| (150 + n % 3_usize).div_ceil(4) + 12).sum();
    assert_eq!(flash.words_written, words as u64);
}

fn planted(sequence: u32, model_id: [u8; 16], data: &[u8]) -> [u8; HEADER_BYTES] {
    let record = Record {
        sequence,
        len: data.len() as u32,
        model_id,
        erases: 9,
        other_erases: 8,
        payload_crc: checksum(data),
    };
    record.emit()
}

#[test]
fn sequence_numbers_wrap() {
    for first in [u32::MAX - 2, i32::MAX as u32 - 1] {
        let mut flash = MockFlash::<1, 4, 128>::new(2);
        flash.plant(48, b"data");
        flash.plant(0, &planted(first, MODEL, b"data"));
        assert_eq!(boot(&flash).unwrap(), b"data");
        for n in 1..6 {
            let data = payload(n, 20);
            let mut store = store(flash);
            let saved = store.save(&MODEL, &data).unwrap();
            assert_eq!(saved.sequence, first.wrapping_add(n as u32));
            flash = store.into_flash();
            assert_eq!(boot(&flash).unwrap(), data);
        }
    }
}

#[test]
fn other_models_and_formats_are_told() {
    let mut flash = MockFlash::<1, 4, 128>::new(2);
    assert_eq!(boot(&flash), Err(StoreError::Empty));
    flash.plant(48, b"data");
    flash.plant(0, &planted(7, OTHER, b"data"));
    assert_eq!(boot(&flash), Err(StoreError::WrongModel { found: OTHER }));
    // The other model's record stays as long as there is another place.
    save(&mut flash, b"mine").unwrap();
    assert_eq!(boot(&flash).unwrap(), b"mine");
    let mut both = store(flash.clone());
    assert_eq!(both.locate(&OTHER).unwrap().len, 4);
    // The one in use is never given up for a newer one of another model.
    flash.cut = Some(Cut {
        after: 3,
        torn: Torn::Half,
    });
    assert!(save(&mut flash, b"new").is_err());
    assert_eq!(boot(&flash).unwrap(), b"mine");

    for (version, newer) in [(2u16, true), (0, false), (u16::MAX, true)] {
        let mut header = planted(7, MODEL, b"data");
        header[4..6].copy_from_slice(&version.to_le_bytes());
        let crc = checksum(&header[..44]).to_le_bytes();
        header[44..].copy_from_slice(&crc);
        let mut flash = MockFlash::<1, 4, 128>::new(2);
        flash.plant(0, &header);
        let (found, expected) = (version, 1);
        let want = if newer {
            StoreError::NewerFormat { found, expected }
        } else {
            StoreError::OlderFormat { found, expected }
        };
        assert_eq!(boot(&flash), Err(want));
        save(&mut flash, b"mine").unwrap();
        assert_eq!(boot(&flash).unwrap(), b"mine");
        assert_eq!(flash.erases, [0, 1]);
    }
}

#[test]
fn every_flipped_bit_falls_back_to_the_older_record() {
    let mut flash = MockFlash::<1, 4, 128>::new(2);
    save(&mut flash, b"older").unwrap();
    save(&mut flash, b"newer").unwrap();
    // Slot 1 is the newer: its header and its payload.
    for bit in (128 + HEADER_BYTES + 5) * 8..(128 + HEADER_BYTES + 8) * 8 {
        let mut flash = flash.clone();
        flash.bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(boot(&flash).unwrap(), b"newer", "padding is of no meaning");
    }
    for bit in 128 * 8..(128 + HEADER_BYTES + 5) * 8 {
        let mut flash = flash.clone();
        flash.bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(boot(&flash).unwrap(), b"older", "bit {bit}");
        let contents = store(flash.clone()).inspect();
        assert_eq!(contents[1], SlotContent::Corrupted);
        // The next save mends it.
        save(&mut flash, b"mended").unwrap();
        assert_eq!(boot(&flash).unwrap(), b"mended");
    }
}

#[test]
fn room_is_checked() {
    let mut flash = MockFlash::<1, 4, 128>::new(4);
    let mut small = Store::new(&mut flash, 0..512).unwrap();
    let capacity = small.capacity();
    assert_eq!(capacity, 256 - 48);
    let full = StoreError::Full {
        needed: capacity + 1,
        capacity,
    };
    small.save(&MODEL, b"old").unwrap();
    assert_eq!(small.save(&MODEL, &vec![1; capacity + 1]), Err(full));
    let mut buffer = [0; 2];
    let error = small.load(&MODEL, &mut buffer);
    let (needed, found) = (3, 2);
    assert_eq!(error, Err(StoreError::BufferTooSmall { needed, found }));
    let all = vec![2; capacity];
    small.save(&MODEL, &all).unwrap();
    assert_eq!(boot(&flash).unwrap(), all);
}

#[test]
fn layouts_are_checked() {
    let new = |range| Store::new(MockFlash::<1, 4, 128>::new(4), range).map(|s| s.capacity());
    assert_eq!(new(0..512), Ok(208));
    assert_eq!(new(128..384), Ok(80));
    // An odd block is left over.
    assert_eq!(new(0..384), Ok(80));
    let (start, end, erase) = (4, 260, 128);
    let misaligned = LayoutError::Misaligned { start, end, erase };
    assert_eq!(new(4..260), Err(misaligned));
    let (end, capacity) = (640, 512);
    let out = LayoutError::OutOfRange { end, capacity };
    assert_eq!(new(0..640), Err(out));
    let (needed, found) = (256, 128);
    assert_eq!(new(0..128), Err(LayoutError::TooSmall { needed, found }));
    let (needed, found) = (52, 0);
    assert_eq!(new(256..256), Err(LayoutError::TooSmall { needed, found }));
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = new(256..0);
    let (start, end) = (256, 0);
    assert_eq!(reversed, Err(LayoutError::Misaligned { start, end, erase }));
    assert!(new(0..u32::MAX).is_err());
    let apart = |slots| Store::with_slots(MockFlash::<1, 4, 128>::new(4), slots).map(|_| ());
    assert_eq!(apart([384..512, 0..128]), Ok(()));
    assert_eq!(apart([0..256, 128..384]), Err(LayoutError::Overlap));
    // A slot must hold the header, whatever the size of its blocks.
    let tiny = Store::new(MockFlash::<1, 4, 32>::new(4), 0..64).map(|_| ());
    let (needed, found) = (52, 32);
    assert_eq!(tiny, Err(LayoutError::TooSmall { needed, found }));
    // Words that the chunk does not hold whole.
    let odd = Store::new(MockFlash::<1, 12, 120>::new(4), 0..480).map(|_| ());
    assert!(matches!(odd, Err(LayoutError::WordSize { write: 12, .. })));
    let large = Store::new(MockFlash::<1, 512, 4096>::new(2), 0..8192).map(|_| ());
    assert!(matches!(large, Err(LayoutError::WordSize { .. })));
    let zero = Store::new(MockFlash::<0, 4, 128>::new(2), 0..256).map(|_| ());
    assert!(matches!(zero, Err(LayoutError::WordSize { .. })));
}

#[test]
fn worn_flash_is_seen_and_the_old_record_stays() {
    let mut flash = MockFlash::<1, 4, 128>::new(2);
    save(&mut flash, b"the first").unwrap();
    let (old, new) = (b"the second one".as_slice(), b"the third".as_slice());
    save(&mut flash, old).unwrap();
    let mut seen = 0;
    for byte in 0..HEADER_BYTES + new.len() {
        let mut flash = flash.clone();
        flash.stuck = Some((byte, 0x10));
        match save(&mut flash, new) {
            // The bit happens to be 1 anyway.
            Ok(()) => assert_eq!(boot(&flash).unwrap(), new),
            Err(StoreError::Worn { slot: 0, offset }) => {
                assert_eq!(offset, if byte < HEADER_BYTES { 0 } else { 48 });
                assert_eq!(boot(&flash).unwrap(), old);
                seen += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(seen > 20);
}

/// A flash that fails once or for good, at every read, write and erase of a save.
#[test]
fn failing_flash_leaves_the_old_or_the_new() {
    for with_torn_slot in [false, true] {
        let mut flash = MockFlash::<1, 4, 128>::new(2);
        flash.ecc = true;
        let old = payload(1, 20);
        let new = payload(2, 20);
        save(&mut flash, &payload(0, 20)).unwrap();
        save(&mut flash, &old).unwrap();
        if with_torn_slot {
            flash.cut = Some(Cut {
                after: 5,
                torn: Torn::Half,
            });
            assert!(save(&mut flash, &new).is_err());
            flash.boot();
        }
        for kind in [Kind::Read, Kind::Write, Kind::Erase] {
            for (after, once) in (0..30).flat_map(|after| [(after, true), (after, false)]) {
                let mut flash = flash.clone();
                flash.failure = Some(Failure { kind, after, once });
                let result = save(&mut flash, &new);
                let found = boot(&flash).unwrap();
                match result {
                    Ok(()) => assert_eq!(found, new),
                    Err(StoreError::Flash(MockError::Failing | MockError::Ecc)) => {
                        assert!(found == old || found == new, "{kind:?} {after} {once}");
                    }
                    Err(error) => panic!("{error:?}"),
                }
                flash.boot();
                save(&mut flash, &new).unwrap();
            }
        }
    }
}

/// One thing that happens to a device.
#[derive(Debug, Clone)]
enum Event {
    Save(usize),
    CutSave(usize, u64, Torn),
    Foreign,
    Reboot,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let torn = prop_oneof![
        Just(Torn::Untouched),
        Just(Torn::Half),
        any::<u64>().prop_map(Torn::Noise),
        Just(Torn::Done),
    ];
    let event = prop_oneof![
        3 => (0usize..200).prop_map(Event::Save),
        4 => (0usize..200, 0u64..80, torn).prop_map(|(len, at, torn)| Event::CutSave(len, at, torn)),
        1 => Just(Event::Foreign),
        1 => Just(Event::Reboot),
    ];
    prop::collection::vec(event, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// Random sequences of operations against a model in RAM.
    #[test]
    fn sequences_match_the_model(events in events(), ecc: bool) {
        let mut flash = MockFlash::<1, 4, 128>::new(4);
        flash.ecc = ecc;
        let mut current: Option<Vec<u8>> = None;
        for (n, event) in events.into_iter().enumerate() {
            match event {
                Event::Save(len) => {
                    let data = payload(n, len);
                    save(&mut flash, &data).unwrap();
                    current = Some(data);
                }
                Event::CutSave(len, after, torn) => {
                    let data = payload(n, len);
                    flash.cut = Some(Cut { after, torn });
                    let done = save(&mut flash, &data).is_ok();
                    flash.boot();
                    let found = boot(&flash).ok();
                    if done || found.as_deref() == Some(&data[..]) {
                        current = Some(data);
                    }
                }
                Event::Foreign => {
                    let error = store(flash.clone()).locate(&OTHER).unwrap_err();
                    let wrong = matches!(error, StoreError::WrongModel { found: MODEL });
                    prop_assert_eq!(wrong, current.is_some());
                }
                Event::Reboot => flash.boot(),
            }
            prop_assert_eq!(boot(&flash).ok(), current.clone());
        }
    }

    /// Whatever flash holds: an error or a payload whose checksum is right, and room for a save.
    #[test]
    fn random_contents_never_panic(
        noise in prop::collection::vec(any::<u8>(), 512),
        headers in prop::array::uniform2(any::<Option<(u32, u32, u16, bool)>>()),
    ) {
        let mut flash = MockFlash::<1, 4, 128>::new(4);
        flash.plant(0, &noise);
        for (slot, header) in headers.iter().enumerate() {
            // Sound headers with hostile numbers.
            if let Some((sequence, len, version, fits)) = *header {
                let len = if fits { len % 208 } else { len };
                let start = slot * 256;
                let data = &noise[start + 48..][..(len as usize).min(208)];
                let mut header = Record {
                    sequence, len, model_id: MODEL, erases: len, other_erases: len, payload_crc: checksum(data),
                }.emit();
                header[4..6].copy_from_slice(&(version % 3).to_le_bytes());
                let crc = checksum(&header[..44]).to_le_bytes();
                header[44..].copy_from_slice(&crc);
                flash.plant(start, &header);
            }
        }
        if let Ok(found) = boot(&flash) {
            prop_assert!(found.len() <= 208);
        }
        save(&mut flash, b"still works").unwrap();
        prop_assert_eq!(boot(&flash).unwrap(), b"still works");
    }
}
