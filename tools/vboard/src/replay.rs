//! A recorded run's power cuts, all of them, without running it again.
//!
//! One run with its log gives every state in which a power cut can leave the flash: the operations up
//! to the cut, and where the cut falls within one, that one half done.

use crate::flash::{Cut, Faults, WrongLength};
use crate::machine::Machine;
use crate::oplog::Op;

/// Powers the chip on once for every cut of a log: before each operation and after the last, and for
/// each seed with that operation torn. `start` is what flash held before the first operation.
///
/// # Errors
/// `start` is not of this chip's length, or `check` says no.
pub fn every_cut<E: From<WrongLength>>(
    m: &mut Machine,
    start: &[u8],
    ops: &[Op],
    seeds: &[u64],
    mut check: impl FnMut(&mut Machine, Cut) -> Result<(), E>,
) -> Result<(), E> {
    let mut held = start.to_vec();
    for after in 0..=ops.len() {
        let op = ops.get(after);
        let torn = seeds.iter().filter(|_| op.is_some()).map(|s| Some(*s));
        for torn in [None].into_iter().chain(torn) {
            m.board_mut().flash.load(&held)?;
            if let (Some(op), Some(_)) = (op, torn) {
                m.board_mut().flash.apply(op, torn);
            }
            m.power_cycle(Faults::default());
            let after = after as u64;
            check(m, Cut { after, torn })?;
        }
        if let Some(op) = op {
            m.board_mut().flash.load(&held)?;
            m.board_mut().flash.apply(op, None);
            held = m.board().flash.image();
        }
    }
    Ok(())
}
