//! The core's exceptions, and Nordic's NVMC against an independent model of it.

mod common;

use std::process::Command;

use common::machine;
use vboard::flash::Faults;
use vboard::machine::{Machine, Options, Stop};

/// A chip whose flash begins with this program, powered on.
fn booted(chip: &str, program: &[u8]) -> Machine {
    let mut m = machine(chip, &Options::default());
    let mut image = m.board().flash.image();
    image[..program.len()].copy_from_slice(program);
    m.board_mut().flash.load(&image).expect("its length");
    m.power_cycle(Faults::default());
    m
}

fn words<const N: usize>(m: &Machine) -> [u32; N] {
    std::array::from_fn(|i| m.board().map.word(0x2000_0000 + 4 * i as u32).expect("RAM"))
}

#[test]
fn exceptions_stack_nest_and_return() {
    let program = include_bytes!("programs/exceptions.bin");
    for chip in ["nrf52840", "stm32f411"] {
        let mut m = booted(chip, program);
        assert_eq!(m.run(100_000), Stop::Budget, "{chip}");
        assert_eq!(m.take_faults(), [], "{chip}");
        let w: [u32; 11] = words(&m);
        assert_eq!(w[0], 3, "{chip}: SysTick interrupts");
        assert_eq!(w[1], 0xffff_fff9, "{chip}: SVC from the main stack");
        assert_eq!(w[2], 0xffff_fffd, "{chip}: SVC from the process stack");
        assert_eq!(w[3], 0x5c5d, "{chip}: arguments are stacked");
        // The urgent one first (b, a), then one within the other (a, b, c).
        assert_eq!(w[4], 0xba_abc, "{chip}: order of interrupts");
        assert_eq!(w[5], 4.0f32.to_bits(), "{chip}: floating point is kept");
        assert_eq!(w[6], 0xffff_ffe9, "{chip}: an extended frame");
        assert_eq!(w[7], 1, "{chip}: flags are kept");
        assert_eq!((w[9], w[10]), (1, 1), "{chip}: it came to the end");
    }
}

#[test]
fn cortex_m0_takes_exceptions_and_echoes_by_interrupt() {
    let mut m = booted("nrf51822", include_bytes!("programs/serial.bin"));
    // Nothing comes: it sleeps, and nothing will wake it.
    assert_eq!(m.run(100_000), Stop::Idle);
    m.board_mut().uart.feed(b"HAL");
    assert_eq!(m.run(100_000), Stop::Idle);
    assert_eq!(m.take_faults(), []);
    assert_eq!(m.board().uart.sent(), b"IBM");
    assert_eq!(words(&m), [0xffff_fff9, 0x5c, 1, 3, 0]);
}

#[test]
fn runs_repeat_to_the_instruction() {
    let program = include_bytes!("programs/exceptions.bin");
    let run = || {
        let mut m = booted("nrf52840", program);
        m.run(50_000);
        (m.board().now, m.board().instructions, words::<11>(&m))
    };
    assert_eq!(run(), run());
}

#[test]
fn nvmc_does_what_qemu_says() {
    let program = include_bytes!("programs/nvmc.bin");
    let mut m = booted("nrf51822", program);
    assert_eq!(m.run(2_000_000), Stop::Budget);
    assert_eq!(m.take_faults(), []);
    let ours = String::from_utf8(m.board().uart.sent().to_vec()).expect("text");
    let expected = [
        "ffffffff", "ff00ff3c", "0f00ff30", "0f00ff30", "0f00ff30", "ffffffff", "cafef00d",
        "00000002", "00000001", "cafef00d", "600dcafe",
    ];
    assert_eq!(ours.lines().collect::<Vec<_>>(), expected);

    let theirs = qemu_microbit(program);
    assert_eq!(ours, theirs, "this model (left) and QEMU's (right)");
}

/// The serial output of a program on QEMU's micro:bit, up to its last line.
fn qemu_microbit(program: &[u8]) -> String {
    use std::io::{BufRead, BufReader};
    // QEMU's flash is zero where nothing is loaded: give it an erased one.
    let mut flash = vec![0xff; 256 * 1024];
    flash[..program.len()].copy_from_slice(program);
    let image = concat!(env!("CARGO_TARGET_TMPDIR"), "/nvmc-flash.bin");
    std::fs::write(image, flash).expect("a temporary file");
    let mut child = Command::new("qemu-system-arm")
        .args([
            "-machine",
            "microbit",
            "-nographic",
            "-monitor",
            "none",
            "-serial",
            "stdio",
        ])
        .args(["-device", &format!("loader,file={image},addr=0")])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("qemu-system-arm is on PATH: `apt-get install qemu-system-arm`");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut text = String::new();
    for line in lines.by_ref().take(11).map_while(Result::ok) {
        text.push_str(&line);
        text.push('\n');
    }
    let _ = child.kill();
    let _ = child.wait();
    text
}
