//! memory.x and the counter of the emulated Cortex-M4F's board.

include!("../../../boards/memory_x.rs");
include!("../../../boards/counter.rs");

fn main() {
    std::env::set_current_dir("../../../boards/qemu-mps2-an386").expect("the board's folder");
    memory_x();
    counter();
}
