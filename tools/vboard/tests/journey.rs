//! The whole way of a device: the nRF52840 DK's own firmware boots on the real memory map, tunes, saves,
//! resets and finds its tail, which is the very one that `tailtune adapt` makes on the host.

mod common;
#[path = "common/dk.rs"]
mod dk;
#[path = "common/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../src/toolchain.rs"]
mod toolchain;

use dk::{Dk, Firmware, board, outcome};
use host::{Job, Model};
use tailtune::store::record::checksum;
use vboard::oplog::{Array, Op};

/// Does a job on a new board and on through a reset and a power cycle, and holds all that it says
/// against the host's numbers. Returns the flash operations.
fn journey(model: &Model, job: &Job) -> Vec<Op> {
    let mut dk = Dk::new(Firmware::own());
    dk.put(board().regions.model.address, &model.image);
    dk.put_job(&job.bytes);
    dk.power_on(false);

    assert!(job.after > job.before, "there is something to learn");
    let log = dk.run_until("resetting");
    assert!(has(&log, "tail in flash: false, doing Adapt"), "{log:#?}");
    let tuned = outcome(&log);
    assert_eq!(tuned.test, job.test);
    assert_eq!(tuned.before, job.before, "right before, as on the host");
    assert_eq!(tuned.after, job.after, "right after, as on the host");
    assert_eq!(tuned.steps, job.steps);
    assert_eq!((tuned.slot, tuned.sequence), (0, 0));
    let ops = dk.m.board_mut().flash.take_ops();

    // It resets itself, and then the power fails, and each time it finds what it learned.
    for boot in 0..2 {
        let log = dk.run_until("done");
        assert!(has(&log, "tail in flash: true, doing Evaluate"), "{log:#?}");
        let found = outcome(&log);
        let steps = 0;
        assert_eq!(found, dk::Outcome { steps, ..tuned }, "boot {boot}");
        dk.power_on(false);
    }
    assert_eq!(
        dk.m.board_mut().flash.take_ops(),
        [],
        "nothing more is written"
    );

    // The record's header, and behind it the tail, byte for byte the host's.
    let slot = dk.tails();
    let found = &slot[slot_header()..][..job.tail.len()];
    assert!(found == job.tail, "the tail in flash is the host's");
    assert_eq!(format!("{:08x}", checksum(found)), job.crc);
    println!(
        "tail of {} bytes, CRC-32 {}; {} of {} right before, {} after; {} operations",
        found.len(),
        job.crc,
        job.before,
        job.test,
        job.after,
        ops.len()
    );
    ops
}

fn slot_header() -> usize {
    tailtune::store::record::HEADER_BYTES
}

fn has(log: &[String], text: &str) -> bool {
    log.iter().any(|line| line.contains(text))
}

#[test]
fn a_head_is_tuned_saved_and_found_again() {
    let model = Model::shipped("journey-head");
    let ops = journey(&model, &model.job("softmax", 3, 1));
    // Of the external flash only its status register is written: the quad-enable bit.
    let external: Vec<_> = ops
        .iter()
        .filter(|op| op.array() == Array::External)
        .collect();
    assert_eq!(external.len(), 1, "{external:?}");
    assert_eq!(external[0].range().0, vboard::mx25r::LEN);
}

#[test]
fn the_last_block_of_kwt1s_shape_is_tuned_with_latents_in_the_external_flash() {
    let model = Model::kwt1_shaped("journey-block", 12);
    let job = model.job("last-block", 2, 1);
    assert!(job.tail.len() > 54 * 1024);
    let ops = journey(&model, &job);
    let replay = board().regions.replay.as_ref().expect("a replay region");
    let (mut programmed, mut erased) = (0, 0);
    for op in ops.iter().filter(|op| op.array() == Array::External) {
        let (addr, len) = op.range();
        match op {
            _ if addr == vboard::mx25r::LEN => {}
            _ if !(replay.range().contains(&addr)) => panic!("outside the region: {op}"),
            Op::Program { .. } => programmed += len,
            Op::Erase { .. } => erased += len,
        }
    }
    // Three latents, 99 tokens of 64 channels each.
    assert!(programmed >= 3 * 99 * 64, "{programmed}");
    assert!(erased >= programmed, "{erased}");
}
