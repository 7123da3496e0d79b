//! A board's own firmware, as built for silicon, on the emulated chip: flashed from its ELF by
//! probe-rs, started through its HAL, its clock, its LED and its log at work.

mod common;
#[path = "common/device.rs"]
mod device;
#[allow(dead_code)]
#[path = "../../src/toolchain.rs"]
mod toolchain;
use common::{machine, serve_chip};
use device::{Device, Firmware};
use probe_rs::flashing::DownloadOptions;
use vboard::board::AccessKind;
use vboard::chip::Pin;
use vboard::exception::Fault;
use vboard::machine::{Options, Stop};
use vboard::oplog::Array;
use vboard::{flash::Faults, rtt};

#[test]
fn the_nrf52840_dk_firmware_boots_logs_and_blinks() {
    let segments = &Firmware::nrf52840_dk().segments;
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

#[test]
fn a_stack_that_begins_8_bytes_past_the_ram_faults_at_boot() {
    for firmware in Firmware::all() {
        let ram = &firmware.board.ram[0];
        let (name, end) = (&firmware.board.name, ram.address + ram.bytes);
        // The linker script's `_stack_start` is the first word of the vectors. Moved to the end of the RAM
        // that board.toml gives, the last bytes there hold the stack, and the firmware runs.
        let start = |stack: u32| {
            let mut device = Device::new(firmware);
            device.put(firmware.segments[0].0, &stack.to_le_bytes());
            device.power_on(false);
            device
        };
        let log = start(end).run_until("failed: Image(Magic");
        assert_eq!(log.len(), 1, "{name}: {log:?}");

        // And as if the part had 8 bytes more.
        let mut device = start(end + 8);
        device.m.run(1_000_000);
        let faults = device.m.take_faults();
        assert_eq!(faults.len(), 1, "{name}: {faults:x?}");
        let Fault::Bus(access) = faults[0].fault else {
            panic!("{name}: {faults:x?}");
        };
        assert_eq!(access.kind, AccessKind::Write, "{name}");
        let past = end..end + 8;
        assert!(past.contains(&access.addr), "{name}: {:#x}", access.addr);
        assert!(!device.led().output, "{name}: it never came to main");
    }
}
