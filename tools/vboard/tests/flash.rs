//! probe-rs attaches, erases, flashes, verifies and resets every chip, and the firmware boots.

mod common;

use std::time::Duration;

use common::{TARGETS, firmware, flash, serve_chip, wait_for};
use probe_rs::MemoryInterface;
use vboard::machine::Options;

#[test]
fn flashed_firmware_boots_on_every_chip() {
    for t in &TARGETS {
        let marker = (t.ram_end - 4, 0x600d_c0de);
        let mut image = firmware(t.flash, t.ram_end - 16, &[marker]);
        // Enough for several pages.
        image.extend((0..30_000u32).map(|i| (i * 7) as u8));
        let served = serve_chip(t.chip, Options::default(), None);
        let mut session = served.attach(t.probe_rs);
        flash(&mut session, t.flash, &image).expect("flashed and verified");

        let mut core = session.core(0).expect("the core");
        let info = core
            .reset_and_halt(Duration::from_secs(1))
            .expect("it halts at reset");
        assert_eq!(
            info.pc as u32,
            t.flash + 0xc0,
            "{}: halted at the reset vector",
            t.chip
        );
        core.write_word_32(u64::from(marker.0), 0).expect("RAM");
        core.run().expect("it runs");
        assert!(
            wait_for(&mut core, marker.0, marker.1),
            "{}: the firmware ran",
            t.chip
        );
        assert!(!core.core_halted().expect("its state"), "{}", t.chip);
        drop(core);
        drop(session);
        let left = served.end();
        assert!(left.image[..image.len()] == image[..], "{}", t.chip);
        assert!(
            left.image[image.len().next_multiple_of(4096)..]
                .iter()
                .all(|b| *b == 0xff)
        );
    }
}
