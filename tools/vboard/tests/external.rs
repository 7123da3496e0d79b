//! nRF52840's QSPI and the MX25R6435F behind it, register by register as a driver uses them.

mod common;

use common::machine;
use vboard::flash::{Cut, Faults};
use vboard::machine::{Machine, Options, Stop};
use vboard::mx25r;
use vboard::oplog::{Array, Op};

const BASE: u32 = 0x4002_9000;
const RAM: u32 = 0x2000_0000;

fn set(m: &mut Machine, offset: u32, value: u32) {
    m.write_memory(BASE + offset, &value.to_le_bytes(), 4)
        .expect("a register");
}

fn get(m: &mut Machine, offset: u32) -> u32 {
    let mut b = [0; 4];
    m.read_memory(BASE + offset, &mut b).expect("a register");
    u32::from_le_bytes(b)
}

/// Starts what `offset` starts and polls READY.
fn task(m: &mut Machine, offset: u32, value: u32) -> bool {
    set(m, 0x100, 0);
    set(m, offset, value);
    get(m, 0x100) == 1
}

/// A chip whose QSPI is set up as on the DK: READ4IO, PP4IO, pages of 256 bytes, 32 MHz.
fn active() -> Machine {
    let mut m = machine("nrf52840", &Options::default());
    m.board_mut().flash.keep_ops();
    start(&mut m, 4 | 3 << 3);
    m
}

fn start(m: &mut Machine, ifconfig0: u32) {
    let pins = [19, 17, 20, 21, 22, 23];
    for (offset, pin) in [0x524, 0x528, 0x530, 0x534, 0x538, 0x53c]
        .into_iter()
        .zip(pins)
    {
        set(m, offset, pin);
    }
    set(m, 0x544, ifconfig0);
    set(m, 0x600, 80);
    set(m, 0x500, 1);
    assert!(task(m, 0x000, 1), "activated");
}

/// A custom instruction with these bytes; what came back.
fn instruction<const N: usize>(m: &mut Machine, opcode: u8, wren: bool, bytes: [u8; N]) -> [u8; N] {
    let mut data = [0; 8];
    data[..N].copy_from_slice(&bytes);
    let data = u64::from_le_bytes(data);
    set(m, 0x638, data as u32);
    set(m, 0x63c, (data >> 32) as u32);
    let config = u32::from(opcode) | (N as u32 + 1) << 8 | 0x3000 | u32::from(wren) << 15;
    assert!(task(m, 0x634, config), "{opcode:#x}");
    let back = u64::from(get(m, 0x63c)) << 32 | u64::from(get(m, 0x638));
    let back = back.to_le_bytes();
    std::array::from_fn(|i| back[i])
}

fn quad_enable(m: &mut Machine) {
    instruction(m, 0x01, true, [1 << 6]);
}

fn write(m: &mut Machine, at: u32, bytes: &[u8]) {
    begin_write(m, at, bytes);
    assert_eq!(get(m, 0x100), 1, "written");
}

fn begin_write(m: &mut Machine, at: u32, bytes: &[u8]) {
    m.write_memory(RAM, bytes, 4).expect("RAM");
    set(m, 0x510, at);
    set(m, 0x514, RAM);
    set(m, 0x518, bytes.len() as u32);
    set(m, 0x100, 0);
    set(m, 0x008, 1);
}

fn read(m: &mut Machine, at: u32, len: usize) -> Vec<u8> {
    m.write_memory(RAM, &vec![0x5a; len], 4).expect("RAM");
    set(m, 0x504, at);
    set(m, 0x508, RAM);
    set(m, 0x50c, len as u32);
    assert!(task(m, 0x004, 1), "read");
    let mut bytes = vec![0; len];
    m.read_memory(RAM, &mut bytes).expect("RAM");
    bytes
}

fn erase(m: &mut Machine, at: u32, len: u32) {
    set(m, 0x51c, at);
    set(m, 0x520, len);
    assert!(task(m, 0x00c, 1), "erased");
}

#[test]
fn it_says_who_it_is() {
    let mut m = active();
    assert_eq!(instruction(&mut m, 0x9f, false, [0; 3]), [0xc2, 0x28, 0x17]);
    assert_eq!(instruction(&mut m, 0x05, false, [0]), [0]);
    // The latch shows, and an instruction that the part does not have answers nothing.
    assert_eq!(instruction(&mut m, 0x05, true, [0]), [2]);
    assert_eq!(get(&mut m, 0x604) >> 24, 2);
    assert_eq!(instruction(&mut m, 0x35, false, [0]), [0xff]);
    assert_eq!(instruction(&mut m, 0x04, false, []), []);
    assert_eq!(instruction(&mut m, 0x05, false, [0]), [0]);
}

#[test]
fn four_lines_need_the_quad_enable_bit() {
    let mut m = active();
    let bytes: Vec<u8> = (0..64).collect();
    write(&mut m, 0x1000, &bytes);
    assert_eq!(m.board_mut().flash.take_ops(), [], "nothing is programmed");
    // Without the latch the register stays as it is.
    instruction(&mut m, 0x01, false, [1 << 6]);
    assert_eq!(instruction(&mut m, 0x05, false, [0]), [0]);

    quad_enable(&mut m);
    assert_eq!(instruction(&mut m, 0x05, false, [0]), [1 << 6]);
    write(&mut m, 0x1000, &bytes);
    assert_eq!(read(&mut m, 0x1000, 64), bytes);

    // The bit outlives a power cycle, as the array does; cleared, four lines read nothing.
    m.power_cycle(Faults::default());
    start(&mut m, 4 | 3 << 3);
    assert_eq!(read(&mut m, 0x1000, 64), bytes);
    instruction(&mut m, 0x01, true, [0]);
    assert_eq!(read(&mut m, 0x1000, 64), [0xff; 64]);
    // One and two lines do not need it: FASTREAD and READ2IO, with PP.
    for opcode in [0, 2] {
        set(&mut m, 0x544, opcode);
        assert_eq!(read(&mut m, 0x1000, 64), bytes);
    }
    write(&mut m, 0x2000, &bytes);
    assert_eq!(read(&mut m, 0x2000, 64), bytes);
}

#[test]
fn programming_clears_bits_and_erasing_sets_them() {
    let mut m = active();
    quad_enable(&mut m);
    m.board_mut().flash.take_ops();
    write(&mut m, 0x3ff8, &[0xf0; 16]);
    write(&mut m, 0x3ff8, &[0x3c; 16]);
    assert_eq!(read(&mut m, 0x3ff8, 16), [0x30; 16]);
    erase(&mut m, 0x3abc, 0);
    assert_eq!(read(&mut m, 0x3ff8, 8), [0xff; 8]);
    assert_eq!(
        read(&mut m, 0x4000, 8),
        [0x30; 8],
        "the sector after it is kept"
    );
    let ops = m.board_mut().flash.take_ops();
    let array = Array::External;
    let (addr, old) = (0x3ff8, 0xf0f0_f0f0);
    assert_eq!(ops.len(), 9);
    assert_eq!(
        ops[4],
        Op::Program {
            array,
            addr,
            size: 4,
            value: 0x3c3c_3c3c,
            old
        }
    );
    let (addr, len) = (0x3000, 0x1000);
    assert_eq!(ops[8], Op::Erase { array, addr, len });
    // The chip's own flash is another.
    assert!(m.board().flash.image().iter().all(|b| *b == 0xff));
    erase(&mut m, 0x1_2345, 1);
    erase(&mut m, 0, 2);
    let ranges = [(0x1_0000, 0x1_0000), (0, mx25r::LEN)];
    let ops = m.board_mut().flash.take_ops();
    assert!(ops.iter().map(Op::range).eq(ranges), "{ops:?}");
}

#[test]
fn a_page_wraps_where_the_controller_takes_it_for_a_larger_one() {
    let mut m = active();
    quad_enable(&mut m);
    let bytes: Vec<u8> = (0..512u32).map(|i| (i / 4) as u8).collect();
    write(&mut m, 0x1000, &bytes);
    assert_eq!(read(&mut m, 0x1000, 512), bytes);
    // PPSIZE says 512: the second half lands on the first.
    set(&mut m, 0x544, 4 | 3 << 3 | 1 << 12);
    write(&mut m, 0x2000, &bytes);
    assert_eq!(read(&mut m, 0x2000, 256), bytes[256..]);
    assert_eq!(read(&mut m, 0x2100, 256), [0xff; 256]);
}

#[test]
fn nothing_answers_where_nothing_is_wired_or_enabled() {
    let mut m = active();
    set(&mut m, 0x52c + 4, 24);
    assert_eq!(instruction(&mut m, 0x9f, false, [0; 3]), [0xff; 3]);
    set(&mut m, 0x530, 20);
    assert_eq!(instruction(&mut m, 0x9f, false, [0; 3]), [0xc2, 0x28, 0x17]);
    set(&mut m, 0x500, 0);
    assert!(!task(&mut m, 0x000, 1), "not enabled");
    let mut m = machine("nrf52840", &Options::default());
    set(&mut m, 0x500, 1);
    assert!(!task(&mut m, 0x004, 1), "not activated");
}

#[test]
fn deep_power_down_ends_with_the_next_instruction() {
    let mut m = active();
    instruction(&mut m, 0xb9, false, []);
    assert_eq!(get(&mut m, 0x604) & 4, 4);
    assert_eq!(instruction(&mut m, 0x9f, false, [0; 3]), [0xff; 3]);
    assert_eq!(instruction(&mut m, 0x9f, false, [0; 3]), [0xc2, 0x28, 0x17]);
}

#[test]
fn an_erase_takes_its_time_and_ready_interrupts() {
    let mut m = active();
    quad_enable(&mut m);
    set(&mut m, 0x304, 1);
    set(&mut m, 0x100, 0);
    set(&mut m, 0x51c, 0);
    let begun = m.board().now;
    set(&mut m, 0x00c, 1);
    assert_eq!(get(&mut m, 0x604) & 8, 0, "busy");
    let at = m.board().next_event().expect("READY");
    // 240 ms at 64 MHz.
    assert!((at - begun).abs_diff(15_360_000) < 1000, "{}", at - begun);
    assert_eq!(get(&mut m, 0x100), 1, "who polls stands still until then");
    assert!(m.board().now >= at);
    assert_eq!(get(&mut m, 0x604) & 8, 8);
    // Interrupt 41.
    let mut pending = [0; 4];
    m.read_memory(0xe000_e204, &mut pending).expect("ISPR1");
    assert_eq!(u32::from_le_bytes(pending), 1 << (41 - 32));
}

#[test]
fn power_fails_within_the_external_flash_too() {
    for torn in [None, Some(5)] {
        let mut m = active();
        quad_enable(&mut m);
        let cut = Some(Cut { after: 3, torn });
        m.board_mut().flash.set_faults(Faults {
            cut,
            ..Faults::default()
        });
        begin_write(&mut m, 0, &[0; 32]);
        assert!(!m.board().flash.powered());
        assert_eq!(m.run(1), Stop::PowerCut);
        let held = m.board().flash.image_of(Array::External);
        assert_eq!(held[..12], [0; 12]);
        assert_eq!(held[12..16] != [0xff; 4], torn.is_some());
        assert_ne!(held[12..16], [0; 4]);
        assert_eq!(held[16..32], [0xff; 16]);
    }
    let mut m = active();
    quad_enable(&mut m);
    m.board_mut().flash.set_faults(Faults {
        write_enable_off: true,
        ..Faults::default()
    });
    write(&mut m, 0, &[0; 32]);
    assert_eq!(read(&mut m, 0, 32), [0xff; 32]);
}

#[test]
fn it_has_a_file_of_its_own() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("external.bin");
    let _ = std::fs::remove_file(&path);
    for boot in 0..2 {
        let mut m = machine("nrf52840", &Options::default());
        m.attach_flash_file(Array::External, &path).expect("a file");
        start(&mut m, 4 | 3 << 3);
        if boot == 0 {
            quad_enable(&mut m);
            write(&mut m, 0x7f_fffc, &[1, 2, 3, 4]);
        }
        assert_eq!(read(&mut m, 0x7f_fffc, 4), [1, 2, 3, 4]);
    }
    let held = std::fs::read(&path).expect("the file");
    assert_eq!(held.len(), mx25r::LEN as usize + 4);
    assert_eq!(held[0x7f_fffc..], [1, 2, 3, 4, !(1 << 6), 0xff, 0xff, 0xff]);
    let mut m = machine("nrf51822", &Options::default());
    let e = m.attach_flash_file(Array::External, &path);
    assert!(
        e.expect_err("it has none")
            .to_string()
            .contains("no external flash")
    );
}
