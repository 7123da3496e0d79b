//! The emulator's callbacks: how the core and the board meet.

use unicorn_engine::{HookType, MemType, Prot};

use crate::board::{Access, AccessKind, Exit, PPB, Wait};
use crate::chip::Stored;
use crate::cpu::{self, Engine};
use crate::machine::{EmulatorError, check};
use crate::mem::Kind;

/// Gives the emulator the chip's memory: the very bytes that the board holds.
pub fn map_memory(uc: &mut Engine<'static>) -> Result<(), EmulatorError> {
    for r in uc.get_data().map.regions.clone() {
        let (base, len) = (u64::from(r.base), u64::from(r.len));
        // SAFETY: the block lives as long as the board, which the emulator owns and drops last, and
        // is at least `len` bytes long.
        let mapped = unsafe { uc.mem_map_ptr(base, len, Prot::ALL, r.mem.start().cast()) };
        check("map memory", mapped)?;
        if r.kind != Kind::Ram {
            // Only this makes stores go past the bytes; mapping without the write bit does not.
            check(
                "protect memory",
                uc.mem_protect(base, len, Prot::READ | Prot::EXEC),
            )?;
        }
    }
    Ok(())
}

/// Sends loads and stores of registers to the board.
pub fn map_registers(uc: &mut Engine<'static>) -> Result<(), EmulatorError> {
    let ranges = uc.get_data().chip.spec().registers;
    for (base, len) in ranges.iter().copied().chain([PPB]) {
        let read = move |uc: &mut Engine, offset: u64, size: usize| {
            let addr = base + offset as u32;
            // Only ICSR shows the exception number.
            let exception = if addr & !3 == 0xe000_ed04 {
                cpu::exception(uc)
            } else {
                0
            };
            u64::from(uc.get_data_mut().read_register(addr, size as u8, exception))
        };
        let write = move |uc: &mut Engine, offset: u64, size: usize, value: u64| {
            let addr = base + offset as u32;
            let board = uc.get_data_mut();
            // The core cannot halt itself: requests are the debugger's.
            if !(0xe000_edf0..0xe000_edfc).contains(&addr) {
                board.write_register(addr, size as u8, value as u32);
            }
            if board.scs.reset_request || !board.flash.powered() {
                let _ = uc.emu_stop();
            }
        };
        check(
            "map registers",
            uc.mmio_map(u64::from(base), u64::from(len), Some(read), Some(write)),
        )?;
    }
    Ok(())
}

/// Watches blocks, exceptions, stores to flash and accesses that nothing answers.
pub fn add_hooks(uc: &mut Engine<'static>) -> Result<(), EmulatorError> {
    let block = |uc: &mut Engine, addr: u64, size: u32| {
        if uc.get_data().wants_attention(|| cpu::masks(uc)) {
            let _ = uc.emu_stop();
            return;
        }
        uc.get_data_mut().count_block(addr as u32, size);
    };
    check("watch blocks", uc.add_block_hook(1, 0, block))?;
    let exception = |uc: &mut Engine, number: u32| {
        uc.get_data_mut().exit = Exit::Exception(number);
        let _ = uc.emu_stop();
    };
    check("watch exceptions", uc.add_intr_hook(exception))?;
    let invalid = |uc: &mut Engine| {
        let pc = cpu::pc(uc);
        let board = uc.get_data_mut();
        // The emulator reports WFE and YIELD this way too, from behind the instruction.
        match board.wait {
            (Wait::Yield, at) if at == pc => return true,
            (Wait::Event, at) if at == pc => board.exit = Exit::WaitEvent,
            _ => board.exit = Exit::Undefined,
        }
        let _ = uc.emu_stop();
        true
    };
    check("watch instructions", uc.add_insn_invalid_hook(invalid))?;
    let store = |uc: &mut Engine, _: MemType, addr: u64, size: usize, value: i64| {
        let (addr, board) = (addr as u32, uc.get_data_mut());
        let in_flash = board
            .map
            .find(addr, size)
            .is_some_and(|(r, _)| r.kind == Kind::Flash);
        let taken = in_flash && board.store(addr, size as u8, value as u64) == Stored::Taken;
        if !taken {
            let kind = AccessKind::Write;
            board.exit = Exit::Bus(Access { addr, kind });
        } else if !board.flash.powered() {
            let _ = uc.emu_stop();
        }
        taken
    };
    check(
        "watch flash",
        uc.add_mem_hook(HookType::MEM_WRITE_PROT, 1, 0, store),
    )?;
    let unmapped = |uc: &mut Engine, kind: MemType, addr: u64, _: usize, _: i64| {
        let kind = match kind {
            MemType::READ_UNMAPPED | MemType::READ_PROT => AccessKind::Read,
            MemType::WRITE_UNMAPPED => AccessKind::Write,
            _ => AccessKind::Fetch,
        };
        let addr = addr as u32;
        uc.get_data_mut().exit = Exit::Bus(Access { addr, kind });
        false
    };
    let kinds = HookType::MEM_READ_UNMAPPED
        | HookType::MEM_WRITE_UNMAPPED
        | HookType::MEM_FETCH_UNMAPPED
        | HookType::MEM_READ_PROT
        | HookType::MEM_FETCH_PROT;
    check("watch faults", uc.add_mem_hook(kinds, 1, 0, unmapped))?;
    Ok(())
}
