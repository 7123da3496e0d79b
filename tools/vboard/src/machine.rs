//! A chip that runs: the emulated core and [`Board`] together.

use std::path::Path;

use unicorn_engine::{Arch, ArmCpuModel, Mode, RegisterARM, UcHookId, Unicorn, uc_error};

use crate::board::{Access, AccessKind, Board, Exit, Wait};
use crate::chip::Chip;
use crate::cpu::{self, Engine};
use crate::exception::{self, Fault};
use crate::flash::Faults;
use crate::hooks;
use crate::mem::Kind;
use crate::oplog::Array;
use crate::scs::{Request, dfsr};

/// An address where no code is: the emulator must be told one to run until.
const NOWHERE: u64 = 0xf000_0000;

/// What to make a chip with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bytes of RAM, in place of what the part has. A multiple of 1 KiB.
    pub ram: Option<u32>,
    /// What its flash does wrong.
    pub faults: Faults,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All cycles are used up.
    Budget,
    /// The debugger holds the core.
    Halted,
    /// The core sleeps, and nothing within the chip will wake it.
    Idle,
    /// Two faults at once: only a reset helps.
    Lockup,
    /// The power failed.
    PowerCut,
}

/// A fault that the core took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// What happened.
    pub fault: Fault,
    /// Where.
    pub pc: u32,
}

/// An error of the emulator: this is never the firmware's doing.
#[derive(Debug, thiserror::Error)]
#[error("the emulator refused to {what}: {error:?}")]
pub struct EmulatorError {
    what: &'static str,
    error: uc_error,
}

pub(crate) fn check<T>(
    what: &'static str,
    result: Result<T, uc_error>,
) -> Result<T, EmulatorError> {
    result.map_err(|error| EmulatorError { what, error })
}

/// A chip with its core.
pub struct Machine {
    uc: Engine<'static>,
    breakpoints: Vec<UcHookId>,
    in_reset: bool,
    faults: Vec<FaultRecord>,
    resets: u64,
}

impl Machine {
    /// Makes a chip and powers it on; flash is erased.
    ///
    /// # Errors
    /// The emulator refuses the memory map: a RAM size that is no multiple of 1 KiB.
    pub fn new(chip: Box<dyn Chip>, options: &Options) -> Result<Self, EmulatorError> {
        let spec = chip.spec();
        let mut board = Board::new(chip, options.ram);
        board.flash.set_faults(options.faults.clone());
        let mode = Mode::THUMB | Mode::MCLASS;
        let mut uc = check("start", Unicorn::new_with_data(Arch::ARM, mode, board))?;
        let model = if spec.core.v6m {
            ArmCpuModel::CORTEX_M0
        } else {
            ArmCpuModel::CORTEX_M4
        };
        check("take the core", uc.ctl_set_cpu_model(model as i32))?;
        hooks::map_memory(&mut uc)?;
        hooks::map_registers(&mut uc)?;
        hooks::add_hooks(&mut uc)?;
        let mut machine = Self {
            uc,
            breakpoints: Vec::new(),
            in_reset: false,
            faults: Vec::new(),
            resets: 0,
        };
        machine.power_on();
        Ok(machine)
    }

    /// All but the core.
    pub fn board(&self) -> &Board {
        self.uc.get_data()
    }

    /// All but the core.
    pub fn board_mut(&mut self) -> &mut Board {
        self.uc.get_data_mut()
    }

    pub(crate) fn engine(&self) -> &Engine<'static> {
        &self.uc
    }

    /// Faults since the last call.
    pub fn take_faults(&mut self) -> Vec<FaultRecord> {
        std::mem::take(&mut self.faults)
    }

    /// Resets since power on, that one not counted.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Keeps an array of flash in a file; see [`crate::flash::Flash::attach_file`]. Powers on anew.
    ///
    /// # Errors
    /// As there.
    pub fn attach_flash_file(&mut self, array: Array, path: &Path) -> std::io::Result<()> {
        self.board_mut().flash.attach_file(array, path)?;
        self.power_on();
        Ok(())
    }

    /// Takes the power away and gives it back: RAM is lost, flash is kept.
    pub fn power_cycle(&mut self, faults: Faults) {
        self.board_mut().flash.set_faults(faults);
        self.power_on();
    }

    fn power_on(&mut self) {
        let board = self.board_mut();
        for r in board.map.regions.iter().filter(|r| r.kind == Kind::Ram) {
            // What RAM holds at power on is not zero on silicon.
            r.mem.fill(0, r.len as usize, 0xa5);
        }
        let core = board.chip.spec().core;
        board.scs = crate::scs::Scs::new(core);
        board.chip.power_on();
        board.now = 0;
        board.instructions = 0;
        self.reset();
        self.resets = 0;
        self.faults.clear();
    }

    /// A system reset.
    pub fn reset(&mut self) {
        self.resets += 1;
        self.flush_code();
        let board = self.uc.get_data_mut();
        board.chip.reset(&board.map);
        board.scs.reset();
        board.exit = Exit::None;
        let sp = board.map.word(0).unwrap_or(!0);
        let pc = board.map.word(4).unwrap_or(!0);
        let v6m = board.chip.spec().core.v6m;
        let uc = &mut self.uc;
        cpu::set_xpsr(uc, 0);
        cpu::set(uc, RegisterARM::PRIMASK, 0);
        if !v6m {
            cpu::set(uc, RegisterARM::BASEPRI, 0);
            cpu::set(uc, RegisterARM::FAULTMASK, 0);
        }
        cpu::set(uc, RegisterARM::CONTROL, 0);
        for n in 0..13 {
            cpu::set_r(uc, n, 0);
        }
        cpu::set_r(uc, 13, sp & !3);
        cpu::set_r(uc, 14, !0);
        cpu::set_pc(uc, pc);
    }

    /// Drives the reset line. While it is low the core does not run.
    pub fn reset_line(&mut self, low: bool) {
        if self.in_reset && !low {
            self.reset();
        }
        self.in_reset = low;
    }

    /// True if the core has something to do.
    pub fn running(&self) -> bool {
        let b = self.board();
        !(self.in_reset || b.scs.halted || b.scs.lockup) && b.flash.powered()
    }

    /// Runs for this many cycles: one an instruction, and those the core sleeps or stands still.
    pub fn run(&mut self, cycles: u64) -> Stop {
        let end = self.board().now.saturating_add(cycles);
        loop {
            let board = self.board_mut();
            board.end = end;
            if !board.flash.powered() {
                return Stop::PowerCut;
            }
            if board.scs.reset_request {
                self.reset();
                continue;
            }
            if board.scs.halted || self.in_reset {
                return Stop::Halted;
            }
            if self.board().scs.lockup {
                return Stop::Lockup;
            }
            self.prepare();
            let board = self.uc.get_data_mut();
            if board.now >= end {
                return Stop::Budget;
            }
            if board.scs.sleeping && !self.wake() {
                match self.sleep(end) {
                    Some(stop) => return stop,
                    None => continue,
                }
            }
            self.take_pending();
            self.execute(0);
        }
    }

    /// Brings everything up to date before the core goes on.
    fn prepare(&mut self) {
        if self.uc.get_data().code_changed {
            self.flush_code();
        }
        if self.uc.get_data().scs.breakpoints_changed {
            self.set_breakpoints();
        }
        self.uc.get_data_mut().sync();
    }

    /// Drops translated code.
    pub(crate) fn flush_code(&mut self) {
        self.uc.get_data_mut().forget_code();
        let flushed = self.uc.ctl_flush_tb();
        debug_assert!(flushed.is_ok(), "{flushed:?}");
    }

    fn set_breakpoints(&mut self) {
        for hook in self.breakpoints.drain(..) {
            let removed = self.uc.remove_hook(hook);
            debug_assert!(removed.is_ok(), "{removed:?}");
        }
        let board = self.uc.get_data_mut();
        board.scs.breakpoints_changed = false;
        for addr in board.scs.breakpoints() {
            let at = u64::from(addr);
            let hook = self.uc.add_code_hook(at, at, |uc, _, _| {
                let board = uc.get_data_mut();
                if !board.stepping && board.scs.debug_enabled {
                    board.exit = Exit::Breakpoint;
                    let _ = uc.emu_stop();
                }
            });
            self.breakpoints.extend(hook);
        }
        self.flush_code();
    }

    /// Ends sleep if an interrupt or an event is there.
    fn wake(&mut self) -> bool {
        let mut masks = cpu::masks(&self.uc);
        // PRIMASK does not keep the core asleep.
        masks.primask = false;
        let scs = &mut self.uc.get_data_mut().scs;
        let woken = scs.event || scs.nvic.to_take(masks).is_some();
        if woken {
            scs.sleeping = false;
        }
        woken
    }

    /// Lets time pass until something may wake the core.
    fn sleep(&mut self, end: u64) -> Option<Stop> {
        let board = self.uc.get_data_mut();
        match board.next_event() {
            None => return Some(Stop::Idle),
            Some(at) if at > end => board.now = end,
            Some(at) => board.now = at.max(board.now),
        }
        None
    }

    /// Takes the pending exception that preempts, if one does.
    fn take_pending(&mut self) {
        let masks = cpu::masks(&self.uc);
        let scs = &self.uc.get_data().scs;
        if scs.ints_masked() {
            return;
        }
        if let Some(exc) = scs.nvic.to_take(masks) {
            exception::enter(&mut self.uc, exc);
            self.uc.get_data_mut().sync();
        }
    }

    /// One instruction, with the core halted before and after it.
    pub fn step(&mut self) {
        self.prepare();
        self.board_mut().scs.sleeping = false;
        self.take_pending();
        // Blocks translated before do not count their instructions.
        self.flush_code();
        self.board_mut().stepping = true;
        self.execute(1);
        let board = self.board_mut();
        board.stepping = false;
        board.scs.sleeping = false;
        board.scs.halt(dfsr::HALTED);
    }

    /// Runs the emulator until it must stop, and deals with why it did.
    fn execute(&mut self, count: usize) {
        let pc = cpu::pc(&self.uc);
        let board = self.uc.get_data_mut();
        board.exit = Exit::None;
        board.wait = (Wait::No, 0);
        board.scs.note_retired();
        let result = self.uc.emu_start(u64::from(pc | 1), NOWHERE, 0, count);
        let pc = cpu::r(&self.uc, 15);
        let board = self.uc.get_data_mut();
        match (result, board.exit) {
            (_, Exit::Breakpoint) => board.scs.halt(dfsr::BKPT),
            (_, Exit::WaitEvent) => {
                if !std::mem::take(&mut board.scs.event) {
                    board.scs.sleeping = true;
                }
            }
            (_, Exit::Exception(number)) => self.exception(number, pc),
            (_, Exit::Undefined) => self.fault(Fault::Undefined),
            (_, Exit::Bus(access)) => self.fault(Fault::Bus(access)),
            (Ok(()), Exit::None) => {
                if board.wait == (Wait::Interrupt, pc & !1) {
                    board.scs.sleeping = true;
                    board.scs.event = false;
                }
            }
            (Err(uc_error::FETCH_UNMAPPED | uc_error::FETCH_PROT), Exit::None) => {
                let kind = AccessKind::Fetch;
                self.fault(Fault::Bus(Access { addr: pc, kind }));
            }
            (Err(_), Exit::None) => self.fault(Fault::Undefined),
        }
    }

    /// An exception that the emulator saw, by its own number.
    fn exception(&mut self, number: u32, pc: u32) {
        const SVC: u32 = 2;
        const BKPT: u32 = 7;
        const RETURN: u32 = 8;
        match number {
            SVC => {
                let masks = cpu::masks(&self.uc);
                let nvic = &self.uc.get_data().scs.nvic;
                if nvic.group_priority(crate::nvic::SVCALL) < nvic.execution_priority(masks) {
                    exception::enter(&mut self.uc, crate::nvic::SVCALL);
                } else {
                    self.fault(Fault::Call);
                }
            }
            BKPT if self.board().scs.debug_enabled => self.board_mut().scs.halt(dfsr::BKPT),
            BKPT => self.fault(Fault::Breakpoint),
            RETURN => {
                if let Err(e) = exception::leave(&mut self.uc, pc | 1) {
                    self.fault(e);
                }
            }
            3 | 4 | 22 => self.fault(Fault::Unaligned),
            18 => self.fault(Fault::State),
            _ => self.fault(Fault::Undefined),
        }
    }

    fn fault(&mut self, fault: Fault) {
        let pc = cpu::pc(&self.uc);
        self.faults.push(FaultRecord { fault, pc });
        exception::fault(&mut self.uc, fault);
    }

    /// Does what a write to a debug register asked for.
    pub(crate) fn request(&mut self, request: Request) {
        match request {
            Request::Step => self.step(),
            Request::ReadRegister(n) => {
                let value = crate::debug::read_register(&self.uc, n);
                self.board_mut().scs.dcrdr = value;
            }
            Request::WriteRegister(n) => {
                let value = self.board().scs.dcrdr;
                crate::debug::write_register(&mut self.uc, n, value);
            }
        }
    }
}
