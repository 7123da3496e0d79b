//! Power cuts while the nRF52840 DK's own firmware saves a tail: the flash operations of one save are
//! recorded, and what every cut leaves is checked by the runtime's own store, and by booting.
//!
//! Before each save both slots hold a tail, as on a device that has learned twice. After a cut the store
//! must find the older or the newer one, whole; saving once more must work; and the firmware must find
//! the same.

mod common;
#[path = "common/device.rs"]
mod device;
#[path = "common/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../src/toolchain.rs"]
mod toolchain;

use device::{Device, Firmware, outcome};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use host::{Job, Model};
use tailtune::store::record::{HEADER_BYTES, Record};
use tailtune::store::{Recovery, Store};
use vboard::flash::{Bank, Flash, scatter};
use vboard::mem::HostMem;
use vboard::oplog::{Array, Op};

const BLOCK: usize = 4096;

/// The bytes of the tail slots as a NOR flash that begins at address zero, as the chip's does.
struct Slots<'a> {
    start: u32,
    bytes: &'a mut [u8],
}

#[derive(Debug)]
struct Outside;

impl NorFlashError for Outside {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::OutOfBounds
    }
}

impl ErrorType for Slots<'_> {
    type Error = Outside;
}

impl Slots<'_> {
    fn at(&mut self, offset: u32, len: usize) -> Result<&mut [u8], Outside> {
        let from = offset.checked_sub(self.start).ok_or(Outside)? as usize;
        self.bytes.get_mut(from..from + len).ok_or(Outside)
    }
}

impl ReadNorFlash for Slots<'_> {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Outside> {
        bytes.copy_from_slice(self.at(offset, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.start as usize + self.bytes.len()
    }
}

impl NorFlash for Slots<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Outside> {
        self.at(from, (to - from) as usize)?.fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Outside> {
        let held = self.at(offset, bytes.len())?;
        held.iter_mut().zip(bytes).for_each(|(h, b)| *h &= b);
        Ok(())
    }
}

/// What a store finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    new: bool,
    slot: usize,
    sequence: u32,
    recovery: Recovery,
}

/// One save, taken apart.
struct Recorded {
    dk: Device,
    /// What the slots held before it.
    start: Vec<u8>,
    ops: Vec<Op>,
    old: Vec<u8>,
    new: Vec<u8>,
    model_id: [u8; 16],
}

/// Lets a board learn three times and records the third save. `short` is the job of later boots.
fn record(model: &Model, jobs: &[Job; 3]) -> Recorded {
    let mut dk = Device::new(Firmware::nrf52840_dk());
    dk.put_model(&model.image);
    let mut start = Vec::new();
    for (i, job) in jobs.iter().enumerate() {
        dk.put_job(&job.bytes);
        start = dk.tails();
        // Button 1: the job is done whatever flash holds.
        dk.power_on(i > 0);
        dk.m.board_mut().flash.take_ops();
        let done = outcome(&dk.run_until("resetting"));
        assert_eq!((done.slot, done.sequence as usize), (i % 2, i));
    }
    let range = Firmware::nrf52840_dk().tails();
    let mut ops = dk.m.board_mut().flash.take_ops();
    ops.retain(|op| op.array() == Array::Internal && range.contains(&op.range().0));
    let record = Record::parse(&dk.tails()[..HEADER_BYTES]).expect("the new record");
    let [_, old, new] = jobs;
    assert_ne!(old.tail, new.tail);
    dk.put_job(&new.short);
    Recorded {
        dk,
        start,
        ops,
        old: old.tail.clone(),
        new: new.tail.clone(),
        model_id: record.model_id,
    }
}

impl Recorded {
    /// Walks through the cuts: before each operation and after the last, and for each seed with that
    /// operation torn. Those that `pick` takes are given to `check` as what the slots then hold.
    fn cuts(
        &self,
        seeds: &[u64],
        mut pick: impl FnMut(usize) -> bool,
        mut check: impl FnMut(usize, Option<u64>, Vec<u8>),
    ) {
        let range = Firmware::nrf52840_dk().tails();
        let bank = Bank {
            array: Array::Internal,
            base: range.start,
            len: range.len() as u32,
            mem: HostMem::new(range.len()),
        };
        let mut flash = Flash::new(vec![bank]);
        let mut held = self.start.clone();
        let mut number = 0;
        for after in 0..=self.ops.len() {
            let op = self.ops.get(after);
            let torn = seeds.iter().filter(|_| op.is_some()).map(|s| Some(*s));
            for torn in [None].into_iter().chain(torn) {
                number += 1;
                if !pick(number - 1) {
                    continue;
                }
                flash.load(&held).expect("its length");
                if let (Some(op), Some(_)) = (op, torn) {
                    flash.apply(op, torn);
                }
                check(after, torn, flash.image());
            }
            if let Some(op) = op {
                flash.load(&held).expect("its length");
                flash.apply(op, None);
                held = flash.image();
            }
        }
    }

    /// How many cuts there are.
    fn count(&self, seeds: usize) -> usize {
        self.ops.len() * (1 + seeds) + 1
    }

    /// What the runtime's store finds in these slots; and that it can be saved to again.
    fn store_finds(&self, bytes: &[u8], at: &str) -> Found {
        let start = Firmware::nrf52840_dk().tails().start;
        let mut bytes = bytes.to_vec();
        let slots = Firmware::nrf52840_dk()
            .board
            .regions
            .tails
            .each_ref()
            .map(|r| r.range());
        let flash = Slots {
            start,
            bytes: &mut bytes,
        };
        let mut store = Store::with_slots(flash, slots.clone()).expect("the board's slots");
        let (saved, recovery) = store
            .boot(&self.model_id)
            .unwrap_or_else(|e| panic!("{at}: {e}"));
        let mut tail = vec![0; saved.len];
        let loaded = store.load(&self.model_id, &mut tail);
        loaded.unwrap_or_else(|e| panic!("{at}: {e}"));
        let new = tail == self.new;
        assert!(
            new || tail == self.old,
            "{at}: neither the old tail nor the new"
        );

        let again = store.save(&self.model_id, &self.new);
        let again = again.unwrap_or_else(|e| panic!("{at}: no save after it: {e}"));
        assert_ne!(again.slot, saved.slot, "{at}");
        assert_eq!(again.sequence, saved.sequence + 1, "{at}");
        let (found, recovery_then) = store.boot(&self.model_id).expect("what was saved");
        assert_eq!(
            (found.slot, recovery_then),
            (again.slot, Recovery::Newest),
            "{at}"
        );
        Found {
            new,
            slot: saved.slot,
            sequence: saved.sequence,
            recovery,
        }
    }

    /// What the firmware finds in these slots when it boots, and that it works with it.
    fn firmware_finds(&mut self, bytes: &[u8], expected: Found, at: &str) {
        self.dk.put(Firmware::nrf52840_dk().tails().start, bytes);
        self.dk.power_on(false);
        let log = self.dk.run_until("done");
        let found = outcome(&log);
        assert_eq!(
            (found.slot, found.sequence),
            (expected.slot, expected.sequence),
            "{at}"
        );
        let len = if expected.new { &self.new } else { &self.old }.len();
        assert_eq!((found.tail_len, found.test), (len, 1), "{at}");
        let ops = self.dk.m.board_mut().flash.take_ops();
        assert_eq!(ops, [], "{at}: a boot that evaluates writes nothing");
    }
}

/// Checks the cuts that `pick` takes by the store and `boots` of them by booting.
fn cut_power(mut r: Recorded, seeds: &[u64], picked: &[usize], boots: usize) {
    let mut states: Vec<(String, Vec<u8>, Found)> = Vec::new();
    let (mut old, mut new, mut torn_saves) = (0, 0, 0);
    // Evenly spread.
    let boot_every = (picked.len() / boots).max(1);
    let (mut next, mut tried) = (picked.iter().copied().peekable(), 0);
    let mut kept = Vec::new();
    r.cuts(
        seeds,
        |number| next.next_if_eq(&number).is_some(),
        |after, torn, bytes| {
            let at = format!("{after} of {} operations, torn {torn:?}", r.ops.len());
            let found = r.store_finds(&bytes, &at);
            // The new tail counts only when all is written.
            assert!(!found.new || after + 1 >= r.ops.len(), "{at}");
            assert!(found.new || after < r.ops.len(), "{at}");
            if !found.new {
                let untouched = bytes == r.start;
                assert_eq!(untouched, found.recovery == Recovery::Newest, "{at}");
            }
            old += usize::from(!found.new);
            new += usize::from(found.new);
            torn_saves += usize::from(found.recovery == Recovery::PreviousAfterTornSave);
            if tried % boot_every == 0 || found.new {
                kept.push((at, bytes, found));
            }
            tried += 1;
        },
    );
    states.append(&mut kept);
    assert_eq!(tried, picked.len());
    for (at, bytes, found) in &states {
        r.firmware_finds(bytes, *found, at);
    }
    println!(
        "{} operations, {} bytes of tail: {tried} cuts of {}, {old} found the old tail ({torn_saves} said \
         that a save was torn), {new} the new one; {} of them booted; 0 tails lost, 0 bricks",
        r.ops.len(),
        r.new.len(),
        r.count(seeds.len()),
        states.len()
    );
    assert!(old > 0 && new > 0);
    assert!(states.len() >= boots.min(tried));
}

#[test]
fn a_head_survives_every_power_cut_of_its_save() {
    let model = Model::shipped("cuts-head", Firmware::nrf52840_dk());
    let jobs = [1, 2, 3].map(|seed| model.job("softmax", 2, seed));
    let r = record(&model, &jobs);
    let seeds = [1, 2];
    let all: Vec<usize> = (0..r.count(seeds.len())).collect();
    assert!(all.len() > 1000, "{}", all.len());
    let boots = all.len();
    cut_power(r, &seeds, &all, boots);
}

#[test]
fn a_last_block_survives_500_sampled_power_cuts_of_its_save() {
    // One of KWT-1's layers: its last block, and so the tail, is as large as that of all twelve.
    let model = Model::kwt1_shaped("cuts-block", 1);
    let jobs = [1, 2, 3].map(|seed| model.job("last-block", 1, seed));
    let r = record(&model, &jobs);
    assert!(r.new.len() > 54 * 1024);
    let seeds = [1];
    let all = r.count(seeds.len());
    // The first and the last cuts, and between them one of each stretch.
    let mut picked: Vec<usize> = (0..490)
        .map(|i| {
            let (from, to) = (i * all / 490, (i + 1) * all / 490);
            from + scatter(7, i as u32) as usize % (to - from)
        })
        .collect();
    let ends = (0..all).take(8).chain((0..all).rev().take(8));
    picked.extend(ends);
    picked.sort_unstable();
    picked.dedup();
    assert!(picked.len() >= 500, "{}", picked.len());
    cut_power(r, &seeds, &picked, 20);
}
