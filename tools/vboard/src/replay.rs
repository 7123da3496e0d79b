//! A recorded run's power cuts, all of them, without running it again.
//!
//! One run with its log gives every state in which a power cut can leave the flash: the operations up
//! to the cut, and where the cut falls within one, that one half done.

use crate::flash::{Cut, Faults, WrongLength};
use crate::machine::Machine;
use crate::oplog::{Array, Op};

/// Powers the chip on once for every cut of a log: before each operation and after the last, and for
/// each seed with that operation torn. `start` is what the chip's own flash held before the first
/// operation; an external one, if there are operations of it, must hold what it held then.
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
    m.board_mut().flash.load(start)?;
    let external = ops.iter().any(|op| op.array() == Array::External);
    let arrays = &[Array::Internal, Array::External][..1 + usize::from(external)];
    let contents = |m: &Machine| -> Vec<Vec<u8>> {
        let flash = &m.board().flash;
        arrays.iter().map(|a| flash.image_of(*a)).collect()
    };
    let restore = |m: &mut Machine, held: &[Vec<u8>]| {
        let flash = &mut m.board_mut().flash;
        let mut pairs = arrays.iter().zip(held);
        pairs.try_for_each(|(a, held)| flash.load_of(*a, held))
    };
    let mut held = contents(m);
    for after in 0..=ops.len() {
        let op = ops.get(after);
        let torn = seeds.iter().filter(|_| op.is_some()).map(|s| Some(*s));
        for torn in [None].into_iter().chain(torn) {
            restore(m, &held)?;
            if let (Some(op), Some(_)) = (op, torn) {
                m.board_mut().flash.apply(op, torn);
            }
            m.power_cycle(Faults::default());
            let after = after as u64;
            check(m, Cut { after, torn })?;
        }
        if let Some(op) = op {
            restore(m, &held)?;
            m.board_mut().flash.apply(op, None);
            held = contents(m);
        }
    }
    Ok(())
}
