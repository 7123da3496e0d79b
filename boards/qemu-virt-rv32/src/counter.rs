//! Executed instructions by the core's own counter, minstret (RISC-V Privileged Architecture, 3.1.10).

/// Counts from its start on.
pub struct Counter(u32);

impl Counter {
    pub fn start() -> Self {
        Self(riscv::register::minstret::read() as u32)
    }

    pub fn executed(&self) -> u32 {
        (riscv::register::minstret::read() as u32).wrapping_sub(self.0)
    }
}
