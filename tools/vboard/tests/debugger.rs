//! What a debugger does besides flashing: breakpoints, steps, registers, faults, the reset line.

mod common;

use std::time::Duration;

use common::{TARGETS, firmware, machine, serve_chip, wait_for};
use probe_rs::{CoreStatus, HaltReason, MemoryInterface, RegisterId};
use vboard::machine::Options;

const PATIENCE: Duration = Duration::from_secs(1);

/// An image of all of a chip's flash that begins with this firmware.
fn image(chip: &str, code: &[u8]) -> Vec<u8> {
    let mut image = machine(chip, &Options::default()).board().flash.image();
    image[..code.len()].copy_from_slice(code);
    image
}

#[test]
fn the_core_stops_where_it_is_told() {
    for t in &TARGETS {
        let at = t.ram_end - 8;
        let stores = [(at, 1), (at, 2), (at, 3), (at + 4, 0)];
        let code = firmware(t.flash, t.ram_end - 16, &stores);
        let served = serve_chip(t.chip, Options::default(), Some(image(t.chip, &code)));
        let mut session = served.attach(t.probe_rs);
        let mut core = session.core(0).expect("the core");
        let start = t.flash + 0xc0;

        let info = core.reset_and_halt(PATIENCE).expect("it halts");
        assert_eq!(info.pc as u32, start, "{}", t.chip);
        // Two loads and a store, one by one.
        for n in 1..=3 {
            let info = core.step().expect("a step");
            assert_eq!(info.pc as u32, start + 2 * n, "{}", t.chip);
        }
        assert_eq!(core.read_word_32(u64::from(at)).expect("RAM"), 1);
        let r0: u32 = core.read_core_reg(RegisterId(0)).expect("r0");
        assert_eq!(r0, at);

        // A breakpoint before the third store.
        core.set_hw_breakpoint(u64::from(start + 16))
            .expect("a comparator");
        core.run().expect("it runs");
        core.wait_for_core_halted(PATIENCE).expect("it halts");
        let status = core.status().expect("its state");
        assert!(
            matches!(status, CoreStatus::Halted(HaltReason::Breakpoint(_))),
            "{status:?}"
        );
        let pc: u32 = core.read_core_reg(core.program_counter()).expect("pc");
        assert_eq!(pc, start + 16, "{}", t.chip);
        assert_eq!(core.read_word_32(u64::from(at)).expect("RAM"), 2);
        // The register is changed on the way: so is what is stored.
        core.write_core_reg(RegisterId(1), 0x55u32).expect("r1");
        core.clear_hw_breakpoint(u64::from(start + 16))
            .expect("it is there");
        core.run().expect("it runs on");
        assert!(wait_for(&mut core, at, 0x55), "{}", t.chip);
        let info = core.halt(PATIENCE).expect("it halts");
        assert_eq!(info.pc as u32, start + 24, "{}: in its loop", t.chip);
        drop(core);
        drop(session);
        served.end();
    }
}

#[test]
fn nothing_answers_past_the_ram() {
    for t in &TARGETS {
        let served = serve_chip(t.chip, Options::default(), None);
        let mut session = served.attach(t.probe_rs);
        let mut core = session.core(0).expect("the core");
        assert!(
            core.read_word_32(u64::from(t.ram_end - 4)).is_ok(),
            "{}",
            t.chip
        );
        assert!(
            core.read_word_32(u64::from(t.ram_end)).is_err(),
            "{}",
            t.chip
        );
        assert!(
            core.write_word_32(u64::from(t.ram_end), 0).is_err(),
            "{}",
            t.chip
        );
        // Flash is not written behind its controller.
        let at = u64::from(t.flash + 0x1000);
        core.write_word_32(at, 0).expect("ignored");
        assert_eq!(core.read_word_32(at).expect("flash"), !0, "{}", t.chip);
        drop(core);
        drop(session);
        served.end();
    }
}

#[test]
fn the_reset_line_holds_the_core() {
    let t = &TARGETS[0];
    let at = t.ram_end - 4;
    let code = firmware(t.flash, t.ram_end - 16, &[(at, 7)]);
    let mut m = machine(t.chip, &Options::default());
    m.board_mut()
        .flash
        .load(&image(t.chip, &code))
        .expect("its length");
    m.power_cycle(Default::default());
    m.reset_line(true);
    assert!(!m.running());
    m.run(1000);
    let mut word = [0; 4];
    m.read_memory(at, &mut word).expect("RAM");
    assert_eq!(word, [0xa5; 4]);
    m.reset_line(false);
    m.run(1000);
    m.read_memory(at, &mut word).expect("RAM");
    assert_eq!(word, [7, 0, 0, 0]);
}
