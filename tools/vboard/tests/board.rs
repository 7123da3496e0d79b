//! A board's own firmware, as built for silicon, on the emulated chip: flashed from its ELF by
//! probe-rs, started through its HAL, its clock, its LED and its log at work.

mod common;
#[path = "common/dk.rs"]
mod dk;
#[allow(dead_code)]
#[path = "../../src/toolchain.rs"]
mod toolchain;
use common::{machine, serve_chip};
use dk::Firmware;
use probe_rs::flashing::DownloadOptions;
use vboard::chip::Pin;
use vboard::machine::{Options, Stop};
use vboard::oplog::Array;
use vboard::{flash::Faults, rtt};

#[test]
fn the_nrf52840_dk_firmware_boots_logs_and_blinks() {
    let segments = &Firmware::own().segments;
    let served = serve_chip("nrf52840", Options::default(), None);
    let mut session = served.attach("nRF52840_xxAA");
    let mut loader = session.target().flash_loader();
    assert_eq!(segments[0].0, 0, "the vectors");
    for (addr, bytes) in segments {
        loader.add_data(u64::from(*addr), bytes).expect("it fits");
    }
    let mut options = DownloadOptions::new();
    options.verify = true;
    loader
        .commit(&mut session, options)
        .expect("flashed and verified");
    drop(session);
    let image = served.end().image;

    let mut m = machine("nrf52840", &Options::default());
    m.board_mut().flash.keep_ops();
    m.board_mut().flash.load(&image).expect("its length");
    m.power_cycle(Faults::default());
    // Three seconds, by the chip's own 32 kHz clock.
    let (mut log, mut block) = (Vec::new(), None);
    let mut levels = Vec::new();
    for _ in 0..300 {
        assert_eq!(m.run(640_000), Stop::Budget);
        log.extend(rtt::take(m.board_mut(), &mut block));
        levels.push(m.board().chip.pin(0, 13).expect("the LED"));
    }
    assert_eq!(m.take_faults(), []);
    // The HAL programs the reset pin into UICR at the first boot, and resets. Then the external flash
    // is told to use four lines, for ever.
    let ops = m.board_mut().flash.take_ops();
    let arrays: Vec<Array> = ops.iter().map(|op| op.array()).collect();
    let (internal, external) = (Array::Internal, Array::External);
    assert_eq!(arrays, [internal, internal, external], "{ops:?}");
    assert_eq!(m.resets(), 1);
    // One defmt frame: no job in flash.
    assert!(!log.is_empty(), "nothing in RTT");
    let on = levels.iter().filter(|l| {
        **l == Pin {
            output: true,
            high: false,
        }
    });
    let on = on.count();
    assert!(
        (27..=33).contains(&on),
        "on for 100 ms of each second: {on} of 300"
    );
    // Time passed in sleep, not in a loop.
    let b = m.board();
    assert!(
        b.instructions * 100 < b.now,
        "{} of {}",
        b.instructions,
        b.now
    );
}
