//! Exception entry, return and faults, as the architecture's pseudo code has them.
//!
//! Not modelled: unprivileged thread mode, lazy floating-point stacking (it is stacked at once),
//! late arrival and tail chaining, which only save time.

use unicorn_engine::RegisterARM;

use crate::board::{Access, AccessKind};
use crate::cpu::{self, Engine, control};
use crate::nvic;

/// Why a fault came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An access that nothing answers.
    Bus(Access),
    /// An undefined instruction.
    Undefined,
    /// An exception return or a branch to a state that does not exist.
    State,
    /// An unaligned access that must be aligned.
    Unaligned,
    /// BKPT without a debugger.
    Breakpoint,
    /// SVC at a priority that does not allow it.
    Call,
}

/// Takes an exception. The core must be stopped between instructions.
pub fn enter(uc: &mut Engine, exc: u32) {
    let spec = uc.get_data().chip.spec().core;
    let control = cpu::get(uc, RegisterARM::CONTROL);
    let thread = cpu::exception(uc) == 0;
    let process = thread && control & control::SPSEL != 0;
    let float = spec.fpu && control & control::FPCA != 0;

    let sp = cpu::r(uc, 13);
    let frame = (sp - if float { 0x68 } else { 0x20 }) & !7;
    let padded = sp & 4 != 0;
    let xpsr = cpu::xpsr(uc) & !(1 << 9) | u32::from(padded) << 9;
    let mut words: Vec<u32> = [0, 1, 2, 3, 12, 14].map(|n| cpu::r(uc, n)).to_vec();
    words.extend([cpu::pc(uc), xpsr]);
    if float {
        words.extend((0..16).map(|n| cpu::s(uc, n)));
        words.extend([cpu::get(uc, RegisterARM::FPSCR), 0]);
    }
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    // Where the stack is no RAM the frame is lost; the handler's own first push then faults again.
    uc.get_data().map.write_ram(frame, &bytes);
    cpu::set_r(uc, 13, frame);

    let base = if !thread {
        0xffff_fff1
    } else if process {
        0xffff_fffd
    } else {
        0xffff_fff9
    };
    cpu::set(
        uc,
        RegisterARM::CONTROL,
        control & !(control::SPSEL | control::FPCA),
    );
    cpu::set_xpsr(uc, cpu::xpsr(uc) & 0xf80f_0000 | exc);
    cpu::set_r(uc, 14, if float { base & !0x10 } else { base });

    let board = uc.get_data_mut();
    board.scs.nvic.enter(exc);
    board.scs.event = true;
    let vector = board.map.word(board.scs.vtor + 4 * exc).unwrap_or(!0);
    cpu::set_pc(uc, vector);
}

/// Returns from an exception by the value that was branched to. `Err`: that value is not allowed.
pub fn leave(uc: &mut Engine, value: u32) -> Result<(), Fault> {
    let exc = cpu::exception(uc);
    let (thread, process) = match value & 0xf {
        1 => (false, false),
        9 => (true, false),
        0xd => (true, true),
        _ => return Err(Fault::State),
    };
    let spec = uc.get_data().chip.spec().core;
    let float = spec.fpu && value & 0x10 == 0;
    let stack = if process {
        RegisterARM::PSP
    } else {
        RegisterARM::MSP
    };
    let frame = cpu::get(uc, stack);
    let mut bytes = vec![0; if float { 0x68 } else { 0x20 }];
    if !uc.get_data().map.read(frame, &mut bytes) {
        return Err(Fault::Bus(Access {
            addr: frame,
            kind: AccessKind::Read,
        }));
    }
    let word =
        |i: usize| u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap_or_default());
    let xpsr = word(7);
    if thread != (xpsr & 0x1ff == 0) {
        return Err(Fault::State);
    }

    if exc != nvic::NMI {
        // FAULTMASK clears on every return but NMI's.
        if !spec.v6m {
            cpu::set(uc, RegisterARM::FAULTMASK, 0);
        }
    }
    cpu::set_xpsr(uc, xpsr);
    let control = cpu::get(uc, RegisterARM::CONTROL) & !(control::SPSEL | control::FPCA);
    let spsel = if process { control::SPSEL } else { 0 };
    let fpca = if float { control::FPCA } else { 0 };
    cpu::set(uc, RegisterARM::CONTROL, control | spsel | fpca);
    for (i, n) in [0, 1, 2, 3, 12, 14].into_iter().enumerate() {
        cpu::set_r(uc, n, word(i));
    }
    if float {
        for n in 0..16 {
            cpu::set_s(uc, n, word(8 + n as usize));
        }
        cpu::set(uc, RegisterARM::FPSCR, word(24));
    }
    let size = if float { 0x68 } else { 0x20 };
    let pad = if xpsr >> 9 & 1 == 1 { 4 } else { 0 };
    cpu::set_r(uc, 13, frame + size + pad);
    cpu::set_pc(uc, word(6));
    let board = uc.get_data_mut();
    board.scs.nvic.leave(exc);
    board.scs.event = true;
    board.scs.sleeping = thread && board.scs.sleep_on_exit();
    Ok(())
}

/// Takes the exception of a fault, or locks the core up where none can be taken.
pub fn fault(uc: &mut Engine, fault: Fault) {
    let masks = cpu::masks(uc);
    let board = uc.get_data_mut();
    let v6m = board.chip.spec().core.v6m;
    let scs = &mut board.scs;
    let exc = match fault {
        Fault::Bus(access) => {
            scs.cfsr |= match access.kind {
                AccessKind::Fetch => 1 << 8,
                // Precise, with a valid address.
                _ => 1 << 9 | 1 << 15,
            };
            if access.kind != AccessKind::Fetch {
                scs.bfar = access.addr;
            }
            nvic::BUS_FAULT
        }
        Fault::Undefined => {
            scs.cfsr |= 1 << 16;
            nvic::USAGE_FAULT
        }
        Fault::State => {
            scs.cfsr |= 1 << 17;
            nvic::USAGE_FAULT
        }
        Fault::Unaligned => {
            scs.cfsr |= 1 << 24;
            nvic::USAGE_FAULT
        }
        Fault::Breakpoint => {
            scs.hfsr |= 1 << 31;
            nvic::HARD_FAULT
        }
        Fault::Call => nvic::HARD_FAULT,
    };
    let priority = scs.nvic.execution_priority(masks);
    let allowed = !v6m && scs.nvic.is_enabled(exc) && scs.nvic.group_priority(exc) < priority;
    if exc != nvic::HARD_FAULT && allowed {
        enter(uc, exc);
        return;
    }
    if priority <= -1 {
        board.scs.lockup = true;
        return;
    }
    scs.hfsr |= 1 << 30;
    if scs.catches_hard_fault() {
        scs.halt(crate::scs::dfsr::VCATCH);
    }
    enter(uc, nvic::HARD_FAULT);
}
