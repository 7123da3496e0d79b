//! What must fail fails: broken flash, no write enable, a second write, too much RAM, a power cut, a
//! protected part.

mod common;

use common::{TARGETS, Target, faulty, firmware, flash, machine, serve_chip};
use probe_rs::Permissions;
use probe_rs::flashing::FlashError;
use probe_rs::probe::WireProtocol;
use vboard::board::{Access, AccessKind};
use vboard::exception::Fault;
use vboard::flash::{Cut, Faults};
use vboard::machine::{Machine, Options, Stop};

fn payload(len: u32) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256) as u8 & 0xfe).collect()
}

#[test]
fn a_stuck_word_fails_verification() {
    for t in &TARGETS {
        let faults = Faults {
            stuck: vec![t.flash + 0x404],
            ..Faults::default()
        };
        let served = serve_chip(t.chip, faulty(faults), None);
        let e = flash(&mut served.attach(t.probe_rs), t.flash, &payload(5000));
        assert!(matches!(e, Err(FlashError::Verify)), "{}: {e:?}", t.chip);
        let left = served.end();
        let bytes = payload(5000);
        assert_eq!(left.image[0x404..0x408], [0xff; 4], "{}", t.chip);
        assert!(left.image[..0x404] == bytes[..0x404], "{}", t.chip);
    }
}

#[test]
fn without_write_enable_nothing_is_programmed() {
    for t in &TARGETS {
        let faults = Faults {
            write_enable_off: true,
            ..Faults::default()
        };
        let served = serve_chip(t.chip, faulty(faults), None);
        let e = flash(&mut served.attach(t.probe_rs), t.flash, &payload(2000));
        assert!(e.is_err(), "{}: {e:?}", t.chip);
        let left = served.end();
        assert!(left.image.iter().all(|b| *b == 0xff), "{}", t.chip);
        assert_eq!(left.operations, 0, "{}", t.chip);
    }
}

/// Enables programming of words by the controller's registers, as firmware would.
fn enable_writing(m: &mut Machine, t: &Target) {
    let writes: &[(u32, u32)] = match t.chip {
        "stm32f411" => &[
            (0x4002_3c04, 0x4567_0123),
            (0x4002_3c04, 0xcdef_89ab),
            (0x4002_3c10, 0x201),
        ],
        _ => &[(0x4001_e504, 1)],
    };
    for (addr, value) in writes {
        m.write_memory(*addr, &value.to_le_bytes(), 4)
            .expect("a register");
    }
}

fn word(m: &mut Machine, addr: u32) -> u32 {
    let mut b = [0; 4];
    m.read_memory(addr, &mut b).expect("memory");
    u32::from_le_bytes(b)
}

#[test]
fn a_second_write_clears_bits_and_sets_none() {
    for t in &TARGETS {
        let mut m = machine(t.chip, &Options::default());
        let at = t.flash + 0x2000;
        let store = |m: &mut Machine, value: u32| m.write_memory(at, &value.to_le_bytes(), 4);
        store(&mut m, 0).expect("ignored, not refused");
        assert_eq!(word(&mut m, at), !0, "{}: not enabled", t.chip);
        enable_writing(&mut m, t);
        store(&mut m, 0xffff_00f3).expect("programmed");
        store(&mut m, 0x1234_ffff).expect("programmed again");
        assert_eq!(word(&mut m, at), 0x1234_00f3, "{}", t.chip);
    }
}

#[test]
fn a_byte_past_the_ram_faults() {
    for t in &TARGETS {
        let store_at = |addr| {
            let mut m = machine(t.chip, &Options::default());
            let mut image = m.board().flash.image();
            let code = firmware(t.flash, t.ram_end - 16, &[(addr, 1), (t.ram_end - 8, 7)]);
            image[..code.len()].copy_from_slice(&code);
            m.board_mut().flash.load(&image).expect("its length");
            m.power_cycle(Faults::default());
            m
        };
        let mut m = store_at(t.ram_end - 4);
        assert_eq!(m.run(1000), Stop::Budget, "{}", t.chip);
        assert_eq!(word(&mut m, t.ram_end - 8), 7);
        assert_eq!(m.take_faults(), [], "{}", t.chip);

        let mut m = store_at(t.ram_end);
        // The handler is a BKPT: without a debugger a fault within a fault.
        assert_eq!(m.run(1000), Stop::Lockup, "{}", t.chip);
        let faults = m.take_faults();
        let access = Access {
            addr: t.ram_end,
            kind: AccessKind::Write,
        };
        assert_eq!(faults[0].fault, Fault::Bus(access), "{}", t.chip);
        // The third instruction of the code.
        assert_eq!(faults[0].pc, t.flash + 0xc4, "{}", t.chip);
        assert_eq!(faults[1].fault, Fault::Breakpoint, "{}", t.chip);
        assert_ne!(word(&mut m, t.ram_end - 8), 7);
    }
}

#[test]
fn more_ram_than_the_part_has_can_be_given() {
    let options = Options {
        ram: Some(0x4400),
        ..Options::default()
    };
    let mut m = machine("nrf51822", &options);
    m.write_memory(0x2000_4000, &[1], 1).expect("1 KiB more");
    assert!(m.write_memory(0x2000_4400, &[1], 1).is_err());
}

#[test]
fn a_power_cut_while_flashing_is_an_error_and_the_next_run_repairs_it() {
    for t in &TARGETS {
        let bytes = payload(9000);
        // How many operations a whole run takes.
        let served = serve_chip(t.chip, Options::default(), None);
        flash(&mut served.attach(t.probe_rs), t.flash, &bytes).expect("a good chip");
        let all = served.end().operations;
        assert!(all > 2000, "{}: {all}", t.chip);
        for (i, after) in [0, 1, 2, all / 3, all / 2, all - 1].into_iter().enumerate() {
            let cut = Cut {
                after,
                torn: (i % 2 == 1).then_some(after),
            };
            let faults = Faults {
                cut: Some(cut),
                ..Faults::default()
            };
            let served = serve_chip(t.chip, faulty(faults), None);
            let mut session = served.attach(t.probe_rs);
            let e = flash(&mut session, t.flash, &bytes);
            assert!(e.is_err(), "{} cut after {after}: {e:?}", t.chip);
            drop(session);
            let left = served.end();
            assert!(!left.powered);
            assert_eq!(left.operations, after, "{}", t.chip);
            // The last operations may program the rest of a page, where nothing changes.
            let whole = left.image[..bytes.len()] == bytes[..];
            assert!(after > all / 2 || !whole, "{} cut after {after}", t.chip);

            let served = serve_chip(t.chip, Options::default(), Some(left.image));
            flash(&mut served.attach(t.probe_rs), t.flash, &bytes)
                .unwrap_or_else(|e| panic!("{} after a cut at {after}: {e:?}", t.chip));
            assert!(served.end().image[..bytes.len()] == bytes[..], "{}", t.chip);
        }
    }
}

#[test]
fn a_protected_nrf52840_opens_by_erasing_all_and_only_with_permission() {
    let mut m = machine("nrf52840", &Options::default());
    let mut image = m.board().flash.image();
    image[0] = 0x55;
    // UICR.APPROTECT.
    image[0x10_0208] = 0;
    m.board_mut().flash.load(&image).expect("its length");

    let attach = |permissions| {
        let served = serve_chip("nrf52840", Options::default(), Some(image.clone()));
        let mut probe = served.probe();
        probe.select_protocol(WireProtocol::Swd).expect("SWD");
        let session = probe.attach("nRF52840_xxAA", permissions);
        let done = session.map(drop);
        (done, served.end().image)
    };
    let (refused, left) = attach(Permissions::default());
    let e = refused.expect_err("no permission to erase");
    assert!(format!("{e:?}").contains("MissingPermissions"), "{e:?}");
    assert_eq!(left[0], 0x55);
    let (opened, left) = attach(Permissions::new().allow_erase_all());
    opened.expect("erased and open");
    assert!(left.iter().all(|b| *b == 0xff));
}
