//! Added classes beside old ones: how far their logits go down so that the old classes keep what they had.
//!
//! ```text
//! m = greatest logit of an added class − logit of the label     of a sample of an old class that is the
//!                                                               greatest of the old ones' logits
//! lost where m > 0
//! δ = m of rank lost + 1, 0 if that is negative;   bias[c] ← bias[c] − δ   of every added class c
//! ```
//!
//! A few recordings of a new word teach a head more about that word than about all that it is not, so the new
//! class takes inputs away from old ones. Samples of old classes that a fit has not seen say how many, and
//! one number takes them back; decisions between two old classes stay as they are.
//!
//! A guard that takes a tune back for one sample of an old class would let few words in: hold back samples that
//! are for this alone, and leave the schedule's `hold_back` at 0.
//!
//! RAM: 64 bytes of stack. Cost: one pass over the samples.

use super::block::{BlockMethod, Part};
use super::head::{LinearHead, argmax};
use super::softmax::Softmax;
use super::{Method, Samples, TuneError};

/// The most samples that may be lost: how many ranks are kept.
pub const MOST_LOST: usize = 15;

/// Added to δ: sums from another bias are rounded elsewhere.
const SLACK: f32 = 1e-3;

/// A method whose linear head can be changed from outside. Class means and ridge are none: their biases
/// are part of a solution.
pub trait HasHead<'m>: Method {
    /// Returns the head.
    fn head_mut(&mut self) -> &mut LinearHead<'m>;
}

impl<'m> HasHead<'m> for Softmax<'m> {
    fn head_mut(&mut self) -> &mut LinearHead<'m> {
        Softmax::head_mut(self)
    }
}

impl<'m, P: Part<'m>> HasHead<'m> for BlockMethod<'m, P> {
    fn head_mut(&mut self) -> &mut LinearHead<'m> {
        BlockMethod::head_mut(self)
    }
}

/// Lowers the classes that were added since the method's origin until at most the share `lost` (in `0..=1`,
/// and at most [`MOST_LOST`] samples) of the old classes' samples goes to them. `samples` are ones that
/// the method has not learned from. Returns δ, which is at least 0.
///
/// # Errors
/// A sample that cannot be read or does not suit the method; [`TuneError::NoSamples`] if no old class has a
/// sample that counts.
pub fn keep_old_classes<'m, M, S>(
    method: &mut M,
    samples: &mut S,
    lost: f32,
) -> Result<f32, TuneError>
where
    M: HasHead<'m> + ?Sized,
    S: Samples + ?Sized,
{
    let old = method.head_mut().origin_classes();
    let (mut counted, mut greatest) = (0u32, [0f32; MOST_LOST + 1]);
    for index in 0..samples.len() {
        let sample = samples.get(index);
        let (features, label) = sample.ok_or(TuneError::SampleMissing { index })?;
        let label = usize::from(label);
        if label >= old {
            continue;
        }
        counted += 1;
        let logits = method.logits(&features)?;
        let (known, added) = logits.split_at_checked(old).unwrap_or((logits, &[]));
        if argmax(known) != Some(label) {
            continue;
        }
        let (Some(best), Some(own)) = (argmax(added), known.get(label)) else {
            continue;
        };
        let mut m = added.get(best).copied().unwrap_or(0.0) - own;
        // Descending; what is smaller than all falls off the end.
        for place in &mut greatest {
            if m > *place {
                core::mem::swap(place, &mut m);
            }
        }
    }
    if counted == 0 {
        return Err(TuneError::NoSamples);
    }
    let allowed = (lost * counted as f32) as usize;
    let m = greatest.get(allowed.min(MOST_LOST)).copied();
    let by = match m {
        Some(m) if m > 0.0 => m + SLACK,
        _ => return Ok(0.0),
    };
    method.head_mut().lower_added(by);
    Ok(by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Features;
    use crate::tune::{HeadMemory, Math, MomentumMemory, OriginFn, ReplayMemory, evaluate};

    const SCALE: f32 = 0.1;

    fn feature(values: &[i8]) -> Features<'_> {
        Features {
            values,
            scale: SCALE,
            zero_point: 0,
        }
    }

    /// Two old classes left and right of 0; a new one that takes all of the right side: old samples come back
    /// one by one as fewer of them may be lost, and with none lost the old classes are as they were.
    #[test]
    fn old_classes_come_back_one_by_one() {
        let origin = OriginFn::new(
            2,
            2,
            |class, k| [[-1.0, 0.0], [1.0, 0.0]][class][k],
            |_| 0.0,
        );
        let rights = [50i8, 60, 70, 80, 90];
        let mut last = 0.0;
        for lost in (0..=5u32).rev() {
            let mut memory = HeadMemory::<2, 3>::new();
            let mut momentum = MomentumMemory::<2, 3>::new();
            let mut replay = ReplayMemory::<2, 16>::new();
            let head = LinearHead::new(memory.buffers(), &origin).unwrap();
            let method = &mut Softmax::new(head, momentum.buffers(), Math::Exact).unwrap();
            let samples = &mut replay.replay(2).unwrap();
            let new = method.head_mut().add_class("new").unwrap();
            for x in rights {
                samples.push(&feature(&[x, 0]), 1, 3).unwrap();
            }
            samples.push(&feature(&[-90, 0]), 0, 3).unwrap();
            for y in 0..4 {
                samples.push(&feature(&[100, y]), new, 3).unwrap();
            }
            // As if learned: twice the weight of the right one.
            method.head_mut().weights[4] = 2.0;
            let share = (f64::from(lost) / 6.0 + 0.01) as f32;
            let by = keep_old_classes(method, samples, share).unwrap();
            assert!(by >= last, "{lost}: {by} after {last}");
            last = by;
            let mut gone = 0;
            for x in rights {
                gone += u32::from(method.predict(&feature(&[x, 0])).unwrap() != 1);
            }
            assert_eq!(gone, lost, "lowered by {by}");
            assert_eq!(method.predict(&feature(&[-90, 0])), Ok(0));
        }
        assert!(last > 9.0 && last < 9.1, "{last}");
    }

    /// Only samples of old classes count; without one there is nothing to go by.
    #[test]
    fn only_old_classes_count() {
        let origin = OriginFn::new(2, 1, |_, k| [1.0, 0.0][k], |_| 0.0);
        let mut memory = HeadMemory::<2, 2>::new();
        let mut momentum = MomentumMemory::<2, 2>::new();
        let mut replay = ReplayMemory::<2, 8>::new();
        let head = LinearHead::new(memory.buffers(), &origin).unwrap();
        let method = &mut Softmax::new(head, momentum.buffers(), Math::Exact).unwrap();
        let new = method.head_mut().add_class("new").unwrap();
        method.head_mut().weights[2] = 2.0;
        let samples = &mut replay.replay(2).unwrap();
        samples.push(&feature(&[10, 0]), new, 2).unwrap();
        assert_eq!(
            keep_old_classes(method, samples, 0.0),
            Err(TuneError::NoSamples)
        );
        samples.push(&feature(&[10, 0]), 0, 2).unwrap();
        let by = keep_old_classes(method, samples, 0.0).unwrap();
        assert!(by > 1.0 && by < 1.1, "class 0 lies at 1: {by}");
        assert_eq!(evaluate(method, samples).unwrap().right, 1);
        assert_eq!(keep_old_classes(method, samples, 0.0), Ok(0.0));
    }
}
