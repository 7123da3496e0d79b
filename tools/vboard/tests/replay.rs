//! Every power cut of a recorded run, booted again.

mod common;

use common::machine;
use vboard::flash::{Faults, WrongLength};
use vboard::machine::{Options, Stop};
use vboard::replay::every_cut;

#[test]
fn every_cut_of_a_run_boots_again() {
    let program = include_bytes!("programs/nvmc.bin");
    let mut m = machine("nrf51822", &Options::default());
    let mut start = m.board().flash.image();
    start[..program.len()].copy_from_slice(program);
    m.board_mut().flash.load(&start).expect("its length");
    m.board_mut().flash.keep_ops();
    m.power_cycle(Faults::default());
    assert_eq!(m.run(1_000_000), Stop::Budget);
    let ops = m.board_mut().flash.take_ops();
    // Two words and the neighbour page's, then an erase.
    assert_eq!(ops.len(), 4, "{ops:?}");
    let end = m.board().flash.image();

    let mut states = Vec::new();
    let mut boots = 0;
    every_cut(&mut m, &start, &ops, &[1, 2], |m, cut| {
        states.push((cut, m.board().flash.image()));
        assert_eq!(m.run(1_000_000), Stop::Budget, "{cut:?}");
        assert_eq!(m.take_faults(), [], "{cut:?}");
        let sent = String::from_utf8_lossy(m.board().uart.sent()).into_owned();
        boots += 1;
        // Of the recorded run and of each boot so far.
        assert_eq!(sent.matches("600dcafe").count(), 1 + boots, "{cut:?}");
        Ok::<(), WrongLength>(())
    })
    .expect("the start has the chip's length");
    assert_eq!(boots, 4 * 3 + 1);
    assert!(states[0].1 == start);
    assert!(states[12].1 == end);
    // A torn word has some of its bits, an untorn one none.
    let word = |i: usize| {
        let bytes: &[u8] = &states[i].1[0x8000..0x8004];
        u32::from_le_bytes(bytes.try_into().expect("four bytes"))
    };
    assert_eq!((word(0), word(3)), (!0, 0xff00_ff3c));
    for torn in [1, 2] {
        assert_eq!(word(torn) & 0xff00_ff3c, 0xff00_ff3c, "no bit beyond those");
        assert!(
            word(torn) != !0 && word(torn) != 0xff00_ff3c,
            "{:#x}",
            word(torn)
        );
    }
}
