//! The whole way of a device: each board's own firmware boots on the real memory map, gives the host's
//! logits, tunes, saves, resets and finds its tail, which is the very one that `tailtune adapt` makes on the
//! host.

mod common;
#[path = "common/device.rs"]
mod device;
#[path = "common/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../src/toolchain.rs"]
mod toolchain;

use device::{Device, Firmware, logits, outcome};
use host::{Job, Model};
use tailtune::store::record::{HEADER_BYTES, checksum};
use vboard::oplog::{Array, Op};

/// Does a job on a new board and on through a reset and a power cycle, and holds all that it says
/// against the host's numbers. Returns the flash operations.
fn journey(firmware: &'static Firmware, model: &Model, job: &Job) -> Vec<Op> {
    let name = &firmware.board.name;
    let mut device = Device::new(firmware);
    device.put_model(&model.image);
    device.put_job(&job.bytes);
    device.power_on(false);

    assert!(job.after > job.before, "there is something to learn");
    let log = device.run_until("resetting");
    assert!(has(&log, "tail in flash: false, doing Adapt"), "{log:#?}");
    let tuned = outcome(&log);
    assert_eq!(tuned.test, job.test, "{name}");
    assert_eq!(tuned.before, job.before, "{name}: right before");
    assert_eq!(tuned.after, job.after, "{name}: right after");
    assert_eq!(tuned.steps, job.steps, "{name}");
    assert_eq!((tuned.slot, tuned.sequence), (0, 0), "{name}");
    let ops = device.m.board_mut().flash.take_ops();

    // It resets itself, and then the power fails, and each time it finds what it learned.
    for boot in 0..2 {
        let log = device.run_until("done");
        assert!(has(&log, "tail in flash: true, doing Evaluate"), "{log:#?}");
        let found = outcome(&log);
        let steps = 0;
        assert_eq!(
            found,
            device::Outcome { steps, ..tuned },
            "{name}: boot {boot}"
        );
        device.power_on(false);
    }
    let more = device.m.board_mut().flash.take_ops();
    assert_eq!(more, [], "{name}: nothing more is written");

    // The image's own head.
    device.put_job(&job.infer());
    device.power_on(false);
    let log = device.run_until("done");
    let expected = job.logits(&model.image);
    assert_eq!(expected.len(), 2 * job.test as usize);
    assert_eq!(logits(&log), expected, "{name}: logits");

    // The record's header, and behind it the tail, byte for byte the host's.
    let slot = device.tails();
    let found = &slot[HEADER_BYTES..][..job.tail.len()];
    assert!(found == job.tail, "{name}: the tail in flash is the host's");
    assert_eq!(format!("{:08x}", checksum(found)), job.crc);
    println!(
        "{name}: tail of {} bytes, CRC-32 {}; {} of {} right before, {} after; {} operations",
        found.len(),
        job.crc,
        job.before,
        job.test,
        job.after,
        ops.len()
    );
    ops
}

fn has(log: &[String], text: &str) -> bool {
    log.iter().any(|line| line.contains(text))
}

/// The smallest of the shipped models, and a head tuned by SGD.
fn head_journey(firmware: &'static Firmware) -> Vec<Op> {
    let model = Model::shipped(&format!("journey-{}", firmware.board.name), firmware);
    journey(firmware, &model, &model.job("softmax", 3, 1))
}

#[test]
fn the_nrf52840_dk_tunes_a_head_saves_it_and_finds_it_again() {
    let ops = head_journey(Firmware::nrf52840_dk());
    // Of the external flash only its status register is written: the quad-enable bit.
    let external: Vec<_> = ops
        .iter()
        .filter(|op| op.array() == Array::External)
        .collect();
    assert_eq!(external.len(), 1, "{external:?}");
    assert_eq!(external[0].range().0, vboard::mx25r::LEN);
}

#[test]
fn the_stm32f411_nucleo_tunes_a_head_saves_it_and_finds_it_again() {
    head_journey(Firmware::stm32f411_nucleo());
}

#[test]
fn the_microbit_tunes_a_head_saves_it_and_finds_it_again() {
    head_journey(Firmware::microbit_v1());
}

#[test]
fn the_last_block_of_kwt1s_shape_is_tuned_with_latents_in_the_external_flash() {
    let model = Model::kwt1_shaped("journey-block", 12);
    let job = model.job("last-block", 2, 1);
    assert!(job.tail.len() > 54 * 1024);
    let firmware = Firmware::nrf52840_dk();
    let ops = journey(firmware, &model, &job);
    let replay = firmware
        .board
        .regions
        .replay
        .as_ref()
        .expect("a replay region");
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
