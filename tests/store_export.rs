//! Tails that leave a device and come to another.

mod common;

use common::mock_flash::{MockError, MockFlash};
use common::store_fuzz::read_export;
use common::tails::{MODEL, OTHER, exported, found, open, payload, save};
use tailtune::store::record::{HEADER_BYTES, Record, Tombstone, checksum};
use tailtune::store::{ExportError, StoreError, export};

#[test]
fn an_export_is_read_in_pieces_of_any_size() {
    fn check<const R: usize, const W: usize, const E: usize>(len: usize) {
        let mut flash = MockFlash::<R, W, E>::new(2);
        for n in 0..3 {
            save(&mut flash, &payload(n, len)).unwrap();
        }
        let saved = open(&mut flash).locate(&MODEL).unwrap();
        let whole = read_export(&mut flash, HEADER_BYTES + len + 9);
        for step in [1, 7, 47, 48, 49, 255, 256, 257, 1000] {
            assert_eq!(read_export(&mut flash, step), whole, "{step}");
        }
        // What flash holds, without padding.
        assert_eq!(whole[..HEADER_BYTES], flash.bytes[..HEADER_BYTES]);
        let parsed = export::parse(&whole).unwrap();
        assert_eq!(parsed.payload, payload(2, len));
        assert_eq!(parsed.record.model_id, MODEL);
        assert_eq!(parsed.record.sequence, saved.sequence);
        assert_eq!(parsed.record.erases, saved.erases);
    }
    check::<1, 4, 1024>(600);
    check::<32, 32, 1024>(600);
    check::<256, 4, 1024>(700);
    check::<1, 1, 1024>(255);
    check::<1, 8, 128>(0);
}

#[test]
fn another_device_takes_it_as_its_own_save() {
    let mut from = MockFlash::<1, 4, 256>::new(2);
    for n in 0..6 {
        save(&mut from, &payload(n, 150)).unwrap();
    }
    let bytes = read_export(&mut from, 64);
    let mut to = MockFlash::<32, 32, 512>::new(2);
    save(&mut to, b"its own").unwrap();
    let saved = open(&mut to).import(&MODEL, &bytes).unwrap();
    assert_eq!((saved.sequence, saved.slot, saved.erases), (1, 1, 1));
    assert_eq!(found(&to).unwrap(), payload(5, 150));
}

#[test]
fn what_is_no_export_is_told_and_the_old_tail_stays() {
    let mut flash = MockFlash::<1, 4, 128>::new(2);
    let good = exported(&payload(0, 40));
    save(&mut flash, b"the old one").unwrap();
    let before = flash.clone();
    let mut refused = |model, bytes: &[u8]| {
        let error = open(&mut flash).import(model, bytes).unwrap_err();
        assert_eq!(flash.operations, before.operations);
        assert_eq!(found(&flash).unwrap(), b"the old one");
        error
    };
    let export = StoreError::<MockError>::Export;

    assert_eq!(refused(&MODEL, b""), export(ExportError::NotAnExport));
    assert_eq!(
        refused(&MODEL, &[0xff; 99]),
        export(ExportError::NotAnExport)
    );
    let tombstone = Tombstone {
        sequence: 1,
        erases: 1,
        other_erases: 1,
    };
    assert_eq!(
        refused(&MODEL, &tombstone.emit()),
        export(ExportError::NotAnExport)
    );
    for found in 4..good.len() {
        let needed = if found < HEADER_BYTES {
            HEADER_BYTES
        } else {
            good.len()
        };
        let error = ExportError::Length { needed, found };
        assert_eq!(refused(&MODEL, &good[..found]), export(error));
    }
    let (needed, found) = (good.len(), good.len() + 1);
    let longer = [&good[..], &[0]].concat();
    let error = ExportError::Length { needed, found };
    assert_eq!(refused(&MODEL, &longer), export(error));
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = if bit < 32 {
            ExportError::NotAnExport
        } else {
            ExportError::Checksum
        };
        assert_eq!(refused(&MODEL, &bytes), export(error), "{bit}");
    }
    let mut newer = good.clone();
    newer[4] = 2;
    let crc = checksum(&newer[..44]).to_le_bytes();
    newer[44..48].copy_from_slice(&crc);
    let (found, expected) = (2, 1);
    let error = ExportError::Version { found, expected };
    assert_eq!(refused(&MODEL, &newer), export(error));

    let found = MODEL;
    assert_eq!(refused(&OTHER, &good), StoreError::WrongModel { found });
    let (needed, capacity) = (81, 80);
    let full = StoreError::Full { needed, capacity };
    assert_eq!(refused(&MODEL, &exported(&[3; 81])), full);
    // A length that no memory has.
    let len = u32::MAX;
    let huge = Record {
        len,
        ..export::parse(&good).unwrap().record
    };
    let needed = HEADER_BYTES.saturating_add(len as usize);
    let found = HEADER_BYTES;
    let error = ExportError::Length { needed, found };
    assert_eq!(refused(&MODEL, &huge.emit()), export(error));
}

#[test]
fn without_a_tail_there_is_no_export() {
    let mut flash = MockFlash::<1, 4, 128>::new(2);
    let mut store = open(&mut flash);
    assert_eq!(store.export(&MODEL).unwrap_err(), StoreError::Empty);
    store.save(&MODEL, b"mine").unwrap();
    let found = MODEL;
    let wrong = StoreError::WrongModel { found };
    assert_eq!(store.export(&OTHER).unwrap_err(), wrong);
    store.factory_reset().unwrap();
    assert_eq!(store.export(&MODEL).unwrap_err(), StoreError::Empty);
}
