//! nRF51822 (QFAA, as on the micro:bit V1): Cortex-M0 at 16 MHz, 256 KiB of flash in pages of 1 KiB,
//! 16 KiB of RAM.
//!
//! Read-back protection (UICR.RBPCONF) and code region 0 (UICR.CLENR0) are not modelled.

use super::nrf::{Kind, Nrf, Variant};
use super::nvmc::Params;
use super::{Part, Spec};
use crate::scs::CoreKind;

static SPEC: Spec = Spec {
    name: "nrf51822",
    probe_rs_name: "nRF51822_xxAA",
    core: CoreKind {
        cpuid: 0x410c_c200,
        v6m: true,
        fpu: false,
        systick: false,
        irqs: 32,
        prio_bits: 2,
    },
    parts: &[
        Part::flash(0, 0x4_0000),
        Part::flash(0x1000_1000, 0x400),
        Part::rom(0x1000_0000, 0x400),
        Part::ram(0x2000_0000, 0x4000),
    ],
    registers: &[(0x4000_0000, 0x2_0000), (0x5000_0000, 0x1000)],
    dpidr: 0x0bb1_1477,
    ap_idr: 0x0477_0021,
    ap_base: 0xf000_0003,
    ctrl_ap: false,
};

static VARIANT: Variant = Variant {
    spec: &SPEC,
    nvmc: Params {
        flash: 0x4_0000,
        page: 0x400,
        uicr: 0x1000_1000,
        uicr_len: 0x400,
        // 46.3 µs and 22.3 ms, the datasheet's longest.
        write_cycles: 741,
        erase_cycles: 356_800,
    },
    hz: 16_000_000,
    ports: 1,
    approtect: None,
    ficr: &[
        (0x1000_0010, 1024),
        (0x1000_0014, 256),
        // NUMRAMBLOCK and SIZERAMBLOCK: 2 of 8 KiB.
        (0x1000_0034, 2),
        (0x1000_0038, 0x2000),
        (0x1000_005c, 0x0000_003c),
        (0x1000_0060, 0x1234_5678),
        (0x1000_0064, 0x9abc_def0),
    ],
    timers: &[
        (0x4000_8000, 8, 4, Kind::Timer),
        (0x4000_9000, 9, 4, Kind::Timer),
        (0x4000_a000, 10, 4, Kind::Timer),
        (0x4000_b000, 11, 3, Kind::Rtc),
        (0x4001_1000, 17, 4, Kind::Rtc),
    ],
    qspi: false,
};

/// The chip at power on.
pub fn new() -> Nrf {
    Nrf::new(&VARIANT)
}
