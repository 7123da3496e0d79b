//! The store on flash that wears, fails and holds other things; its wear, its steps, its room.

mod common;

use common::mock_flash::{Cut, MockFlash, Torn};
use common::tails::{MODEL, OTHER, find, found as boot, open, payload, save};
use tailtune::store::record::{HEADER_BYTES, PAYLOAD_ALIGN, Record, checksum, payload_offset};
use tailtune::store::{CHUNK, LayoutError, Recovery, SlotContent, Store, StoreError};

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
        assert_eq!(saved.erases, n / 2 + 1);
        let other = n.div_ceil(2);
        let wear = if n % 2 == 0 {
            [n / 2 + 1, other]
        } else {
            [other, n / 2 + 1]
        };
        assert_eq!(store.wear(), wear.map(Some));
        assert_eq!(store.locate(&MODEL).unwrap(), saved);
        assert_eq!(saved.offset as usize, saved.slot * 512 + payload_offset(4));
    }
    // 48 + 152 bytes take two blocks of each slot.
    assert_eq!(flash.erases, [5, 5, 0, 0, 5, 5, 0, 0]);
    let words: usize = (0..10).map(|n| (150 + n % 3_usize).div_ceil(4) + 12).sum();
    assert_eq!(flash.words_written, words as u64);
}

#[test]
fn wear_is_told_as_far_as_it_is_known() {
    let mut flash = MockFlash::<1, 4, 128>::new(4);
    flash.ecc = true;
    assert_eq!(open(&mut flash).wear(), [None, None]);
    for n in 0..5 {
        save(&mut flash, &payload(n, 20)).unwrap();
    }
    assert_eq!(open(&mut flash).wear(), [Some(3), Some(2)]);
    // The count of a torn slot stands in the other one; the erase that tore it is not in it.
    let torn = Torn::Half;
    flash.cut = Some(Cut { after: 0, torn });
    assert!(save(&mut flash, b"torn").is_err());
    flash.boot();
    assert_eq!(open(&mut flash).wear(), [Some(3), Some(2)]);
    // A reset keeps both: it erases both slots, and so does its end after a cut.
    open(&mut flash).factory_reset().unwrap();
    assert_eq!(open(&mut flash).wear(), [Some(4), Some(3)]);
    let mut whole = flash.clone();
    save(&mut whole, b"new").unwrap();
    assert_eq!(open(&mut whole).wear(), [Some(5), Some(3)]);
    let after = 2 + 12 + 1;
    flash.cut = Some(Cut { after, torn });
    assert!(open(&mut flash).factory_reset().is_err());
    flash.boot();
    assert_eq!(open(&mut flash).wear(), [Some(5), Some(4)]);
}

#[test]
fn a_reset_erases_every_block_in_small_steps() {
    let mut flash = MockFlash::<1, 4, 128>::new(8);
    save(&mut flash, &payload(0, 400)).unwrap();
    save(&mut flash, &payload(1, 100)).unwrap();
    let before = flash.erases.clone();
    let mut store = open(&mut flash);
    let mut reset = store.begin_factory_reset().unwrap();
    let mut steps = 1;
    while reset.step().unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 4 + 1 + 4);
    let now = flash.erases.iter().zip(&before);
    assert!(now.clone().all(|(now, before)| now - before == 1));
    // But for the tombstone in the slot that did not count, nothing is left.
    let (tombstone, rest) = flash.bytes.split_at(HEADER_BYTES);
    assert!(tombstone.starts_with(b"TTRC") && rest.iter().all(|byte| *byte == 0xff));
    let mut store = open(&mut flash);
    let [kept, blank] = store.inspect();
    assert!(matches!(kept, SlotContent::Tombstone(t) if t.sequence == 2));
    assert_eq!(blank, SlotContent::Blank);
    assert_eq!(store.locate(&OTHER), Err(StoreError::Empty));
    // Saves go on where they were.
    for (n, slot) in [(3, 1), (4, 0), (5, 1)] {
        let saved = open(&mut flash).save(&MODEL, &payload(n, 30)).unwrap();
        assert_eq!((saved.sequence as usize, saved.slot), (n, slot));
        assert_eq!(find(&flash), Ok((payload(n, 30), Recovery::Newest)));
    }
}

#[test]
fn worn_flash_is_reset_without_a_tombstone() {
    let mut flash = MockFlash::<1, 4, 128>::new(2);
    save(&mut flash, b"older").unwrap();
    save(&mut flash, b"newer").unwrap();
    // A bit of the tombstone's sequence number, in slot 0.
    flash.stuck = Some((8, 0x10));
    open(&mut flash).factory_reset().unwrap();
    assert_eq!(boot(&flash), Err(StoreError::Corrupted));
    assert_eq!(open(&mut flash).wear(), [None, None]);
    flash.stuck = None;
    save(&mut flash, b"new").unwrap();
    assert_eq!(boot(&flash).unwrap(), b"new");
}

#[test]
fn boot_says_which_tail_it_found() {
    let mut flash = MockFlash::<1, 4, 128>::new(2);
    let torn = Torn::Half;
    let which = |flash: &MockFlash<1, 4, 128>| find(flash).unwrap().1;
    let cut_save = |flash: &mut MockFlash<1, 4, 128>, after| {
        flash.cut = Some(Cut { after, torn });
        assert!(save(flash, &payload(9, 20)).is_err());
        flash.boot();
    };
    save(&mut flash, b"first").unwrap();
    assert_eq!(which(&flash), Recovery::Newest);
    // In the erase of a blank slot, which leaves no trace; in its payload; in its header.
    for (after, want) in [
        (0, Recovery::Newest),
        (2, Recovery::PreviousAfterTornSave),
        (8, Recovery::PreviousAfterTornSave),
    ] {
        cut_save(&mut flash, after);
        assert_eq!(which(&flash), want, "{after}");
    }
    save(&mut flash, b"second").unwrap();
    assert_eq!(which(&flash), Recovery::Newest);
    // From now on a slot that was erased, and no more, is seen.
    let torn = Torn::Done;
    flash.cut = Some(Cut { after: 0, torn });
    assert!(save(&mut flash, b"third").is_err());
    assert_eq!(flash.bytes[..128], [0xff; 128]);
    assert_eq!(which(&flash), Recovery::PreviousAfterTornSave);
}

/// Given whole or in parts, and whatever words the flash has, it is the same record at an offset
/// that keeps tensors aligned.
#[test]
fn parts_are_the_payload() {
    fn check<const R: usize, const W: usize, const E: usize>() {
        let data = payload(0, 700);
        let mut whole = MockFlash::<R, W, E>::new(4);
        save(&mut whole, &data).unwrap();
        for cuts in [[0, 0], [1, 255], [256, 257], [3, 699], [511, 512]] {
            let [a, b] = cuts;
            let mut flash = MockFlash::<R, W, E>::new(4);
            let parts = [&data[..a], &data[a..b], &[], &data[b..]];
            let saved = open(&mut flash).save_parts(&MODEL, &parts).unwrap();
            assert_eq!((saved.len, saved.offset as usize % PAYLOAD_ALIGN), (700, 0));
            assert_eq!(flash.bytes, whole.bytes);
        }
        let needed = 2 * data.len();
        let mut store = Store::new(&mut whole, 0..2 * E as u32).unwrap();
        let capacity = store.capacity();
        let full = store.save_parts(&MODEL, &[&data, &data]);
        assert_eq!(full, Err(StoreError::Full { needed, capacity }));
    }
    check::<1, 1, 512>();
    check::<1, 4, 512>();
    check::<1, 8, 512>();
    check::<16, 16, 512>();
    check::<1, 32, 512>();
    check::<128, 4, 512>();
    check::<1, 256, 1024>();
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
            let saved = open(&mut flash).save(&MODEL, &data).unwrap();
            assert_eq!(saved.sequence, first.wrapping_add(n as u32));
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
    assert_eq!(open(&mut flash).locate(&OTHER).unwrap().len, 4);
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
        let contents = open(&mut flash).inspect();
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
