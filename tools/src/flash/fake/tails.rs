//! Tails in and out, and every cut on the way.

use super::*;
use crate::flash::slots::{self, SlotsError};
use tailtune::image::{HEADER_LEN, MAGIC};
use tailtune::store::{Recovery, export};
use tailtune::tune::tail::emit_head;
use tailtune::tune::{ClassName, FromScratch, HeadBuffers, LinearHead, Math, MethodId};

const ID: [u8; 16] = *b"the right model!";

/// A tail of one class whose bias tells which it is.
fn tail(number: f32) -> Vec<u8> {
    let (mut weights, mut bias) = (vec![0.5; 600], vec![number]);
    let mut names = vec![ClassName::EMPTY; 1];
    let buffers = HeadBuffers {
        weights: &mut weights,
        bias: &mut bias,
        names: &mut names,
    };
    let mut head = LinearHead::new(buffers, &FromScratch { d_model: 600 }).unwrap();
    head.add_class("a").unwrap();
    let mut out = vec![0; 8192];
    let len = emit_head(&head, MethodId::Softmax, Math::Exact, &mut out).unwrap();
    out.truncate(len);
    let at = len - 4;
    out[at..].copy_from_slice(&number.to_le_bytes());
    out
}

fn exported(id: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let record = tailtune::store::Record {
        sequence: 77,
        len: payload.len() as u32,
        model_id: id,
        erases: 3,
        other_erases: 4,
        payload_crc: tailtune::store::record::checksum(payload),
    };
    [&record.emit()[..], payload].concat()
}

/// A device with an image of this model.
fn device(board: &Board) -> Fake {
    let mut device = Fake::new(board);
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = 1;
    header[16..32].copy_from_slice(&ID);
    device.set(board.regions.model.address, &header);
    device
}

fn bias_of(export: &[u8]) -> f32 {
    let last = export.last_chunk::<4>().unwrap();
    f32::from_le_bytes(*last)
}

#[test]
fn tails_go_in_and_come_out_and_the_slots_take_turns() {
    for board in [stm32(), nrf()] {
        let mut device = device(&board);
        let empty = slots::read(&mut device, &board).unwrap_err().to_string();
        assert!(
            empty.contains("nothing was saved; let the device tune"),
            "{empty}"
        );
        for (n, slot) in [(0, 0), (1, 1), (2, 0)] {
            let bytes = exported(ID, &tail(n as f32));
            let saved = slots::write(&mut device, &board, &bytes).unwrap();
            assert_eq!((saved.slot, saved.sequence), (slot, n));
            let found = slots::read(&mut device, &board).unwrap();
            assert_eq!(found.saved, saved);
            assert_eq!(found.recovery, Some(Recovery::Newest));
            assert_eq!(bias_of(&found.export), n as f32);
            let parsed = export::parse(&found.export).unwrap();
            assert_eq!(
                (parsed.record.sequence, parsed.payload),
                (n, &tail(n as f32)[..])
            );
        }
        // Only slots were touched.
        for erased in &device.log.erased {
            let mut slots = board.regions.tails.iter();
            assert!(slots.any(|slot| slot.range().contains(erased)));
        }
        slots::reset(&mut device, &board).unwrap();
        let gone = slots::read(&mut device, &board).unwrap_err();
        assert!(matches!(gone, SlotsError::Store { .. }), "{gone}");
        // Erase counts outlive a reset.
        let bytes = exported(ID, &tail(9.0));
        assert!(slots::write(&mut device, &board, &bytes).unwrap().erases > 1);
    }
}

#[test]
fn a_cut_at_any_operation_of_a_write_leaves_one_of_both_tails() {
    for board in [stm32(), nrf()] {
        let mut before = device(&board);
        for n in [1.0, 2.0] {
            slots::write(&mut before, &board, &exported(ID, &tail(n))).unwrap();
        }
        let new = exported(ID, &tail(3.0));
        let mut cuts = 0;
        loop {
            let mut device = before.clone();
            device.fuel = Some(cuts);
            let done = slots::write(&mut device, &board, &new).is_ok();
            device.fuel = None;
            let found = slots::read(&mut device, &board).unwrap();
            let bias = bias_of(&found.export);
            assert!(bias == 2.0 || bias == 3.0, "{bias} after {cuts}");
            if done {
                assert_eq!(bias, 3.0);
                break;
            }
            // And the same call again does it.
            slots::write(&mut device, &board, &new).unwrap();
            let found = slots::read(&mut device, &board).unwrap();
            assert_eq!(bias_of(&found.export), 3.0);
            cuts += 1;
        }
        assert!(cuts > 5);
    }
}

#[test]
fn a_cut_at_any_operation_of_a_reset_leaves_the_tail_that_counted_or_none() {
    for board in [stm32(), nrf()] {
        let mut before = device(&board);
        for n in [1.0, 2.0] {
            slots::write(&mut before, &board, &exported(ID, &tail(n))).unwrap();
        }
        for cuts in 0.. {
            let mut device = before.clone();
            device.fuel = Some(cuts);
            let done = slots::reset(&mut device, &board).is_ok();
            device.fuel = None;
            match slots::read(&mut device, &board) {
                Ok(found) => {
                    assert_eq!(bias_of(&found.export), 2.0, "after {cuts}");
                    assert!(!done);
                }
                Err(error) => assert!(matches!(error, SlotsError::Store { .. })),
            }
            if done {
                break;
            }
            slots::reset(&mut device, &board).unwrap();
            assert!(slots::read(&mut device, &board).is_err());
        }
    }
}

#[test]
fn refusals_say_whose_tail_it_is() {
    let board = stm32();
    let mut device = device(&board);
    let other = exported([7; 16], &tail(1.0));
    let said = slots::write(&mut device, &board, &other)
        .unwrap_err()
        .to_string();
    let expected = "belongs to the model 07070707070707070707070707070707, the device holds the image of 7468652072696768";
    assert!(said.contains(expected), "{said}");
    let mut blank = Fake::new(&board);
    let said = slots::write(&mut blank, &board, &exported(ID, &tail(1.0)));
    let said = said.unwrap_err().to_string();
    assert!(
        said.contains("holds no image (its first bytes are ff ff ff ff"),
        "{said}"
    );
    let mut damaged = exported(ID, &tail(1.0));
    *damaged.last_mut().unwrap() ^= 1;
    let said = slots::write(&mut device, &board, &damaged).unwrap_err();
    assert!(said.to_string().contains("the export is damaged"), "{said}");
    let said = slots::write(&mut device, &board, &exported(ID, b"no tail")).unwrap_err();
    assert!(matches!(said, SlotsError::Tail(_)), "{said}");
    let large = exported(ID, &[&tail(1.0)[..], &[0; 0x4000]].concat());
    assert!(slots::write(&mut device, &board, &large).is_err());
    assert_eq!(device.log, Log::default());
}

#[test]
fn a_tail_of_another_model_is_still_fetched() {
    let board = stm32();
    let mut device = device(&board);
    slots::write(&mut device, &board, &exported(ID, &tail(5.0))).unwrap();
    // Another image is flashed beside it, then none is left.
    device.set(board.regions.model.address + 16, &[8; 16]);
    let found = slots::read(&mut device, &board).unwrap();
    assert_eq!((found.model_id, found.image), (ID, Some([8; 16])));
    assert_eq!((bias_of(&found.export), found.recovery), (5.0, None));
    device.set(board.regions.model.address, &[0xff; 64]);
    let found = slots::read(&mut device, &board).unwrap();
    assert_eq!((found.model_id, found.image), (ID, None));
}

#[test]
fn a_worn_slot_is_named_by_its_address() {
    let board = stm32();
    let mut device = device(&board);
    let bytes = exported(ID, &tail(5.0));
    device.stuck = Some(board.regions.tails[0].address + 48);
    let error = slots::write(&mut device, &board, &bytes).unwrap_err();
    assert!(
        error.to_string().contains("read back at 0x8004030"),
        "{error}"
    );
}
