//! nRF52840: Cortex-M4F at 64 MHz, 1 MiB of flash in pages of 4 KiB, 256 KiB of RAM.
//!
//! Build code AAD0: access port protection by UICR.APPROTECT alone, open when erased. (From build code
//! F on a part is closed until its firmware opens it.)

use super::nrf::{Kind, Nrf, Variant};
use super::nvmc::Params;
use super::{Part, Spec};
use crate::scs::CoreKind;

const RAM: Part = Part::ram(0x2000_0000, 0x4_0000);

static SPEC: Spec = Spec {
    name: "nrf52840",
    probe_rs_name: "nRF52840_xxAA",
    core: CoreKind {
        cpuid: 0x410f_c241,
        v6m: false,
        fpu: true,
        systick: true,
        irqs: 48,
        prio_bits: 3,
    },
    parts: &[
        Part::flash(0, 0x10_0000),
        Part::flash(0x1000_1000, 0x1000),
        Part::rom(0x1000_0000, 0x1000),
        RAM,
        RAM.alias(0x0080_0000),
    ],
    registers: &[(0x4000_0000, 0x3_0000), (0x5000_0000, 0x1000)],
    dpidr: 0x2ba0_1477,
    ap_idr: 0x2477_0011,
    ap_base: 0xe00f_f003,
    ctrl_ap: true,
};

static VARIANT: Variant = Variant {
    spec: &SPEC,
    nvmc: Params {
        flash: 0x10_0000,
        page: 0x1000,
        uicr: 0x1000_1000,
        uicr_len: 0x1000,
        // 41 µs and 85 ms, the datasheet's longest.
        write_cycles: 2_624,
        erase_cycles: 5_440_000,
    },
    hz: 64_000_000,
    ports: 2,
    approtect: Some(0x208),
    ficr: &[
        (0x1000_0010, 4096),
        (0x1000_0014, 256),
        (0x1000_0060, 0x1234_5678),
        (0x1000_0064, 0x9abc_def0),
        // INFO: part, variant AAD0, package QIAA, KiB of RAM and of flash.
        (0x1000_0100, 0x0005_2840),
        (0x1000_0104, 0x4141_4430),
        (0x1000_0108, 0x0000_2004),
        (0x1000_010c, 256),
        (0x1000_0110, 1024),
        // Read by errata workarounds: part 8, revision 2.
        (0x1000_0130, 8),
        (0x1000_0134, 2),
    ],
    timers: &[
        (0x4000_8000, 8, 4, Kind::Timer),
        (0x4000_9000, 9, 4, Kind::Timer),
        (0x4000_a000, 10, 4, Kind::Timer),
        (0x4001_a000, 26, 6, Kind::Timer),
        (0x4001_b000, 27, 6, Kind::Timer),
        (0x4000_b000, 11, 3, Kind::Rtc),
        (0x4001_1000, 17, 4, Kind::Rtc),
        (0x4002_4000, 36, 4, Kind::Rtc),
    ],
    qspi: true,
};

/// The chip at power on.
pub fn new() -> Nrf {
    Nrf::new(&VARIANT)
}
